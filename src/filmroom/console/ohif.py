"""The configuration of the OHIF viewer, as the script it loads first (`/ohif/app-config.js`)."""

from __future__ import annotations

from typing import Any

import orjson


def ohif_config() -> dict[str, Any]:
    """OHIF's settings: our DICOMweb root on the page's own origin, and what it can do."""
    source = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "filmroom",
        "configuration": {
            "friendlyName": "filmroom",
            "name": "filmroom",
            "qidoRoot": "/dicom-web",
            "wadoRoot": "/dicom-web",
            "wadoUriRoot": "/wado",
            "qidoSupportsIncludeField": True,
            "supportsFuzzyMatching": True,
            "supportsWildcard": True,
            "supportsReject": False,
            "supportsStow": True,
            "dicomUploadEnabled": True,
            "imageRendering": "wadors",
            "thumbnailRendering": "thumbnail",
            "thumbnailRequestStrategy": "fetch",
            "enableStudyLazyLoad": True,
            "omitQuotationForMultipartRequest": True,
            "singlepart": "bulkdata,video,pdf",
            "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
        },
    }
    return {
        "routerBasename": "/ohif",
        "showStudyList": True,
        "extensions": [],
        "modes": [],
        # No eleven-step tour over somebody's images.
        "customizationService": {"global": {"ohif.tours": {"$set": []}}},
        "maxNumberOfWebWorkers": 3,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": True,
        "strictZSpacingForVolumeViewport": True,
        "investigationalUseDialog": {"option": "never"},
        "studyListFunctionsEnabled": True,
        "defaultDataSourceName": "filmroom",
        "dataSources": [source],
    }


def ohif_script() -> bytes:
    """The same as the script OHIF expects."""
    return b"window.config = " + orjson.dumps(ohif_config()) + b";\n"
