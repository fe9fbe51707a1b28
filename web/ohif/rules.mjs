// What is kept of the published OHIF build, and how its addresses are moved below /ohif/.

export const BASE = '/ohif/';

const DROPPED = [
  /^ort\//, // ONNX runtime: 136 MB for one segmentation tool
  /\.map$/,
  /^(sw|init-service-worker)\.js$/, // names a CDN; we want no worker between us and the server
  /^app-config\.js$/, // made by our server at run time
  /^index\.html$/, // written anew, see page()
  /^(google|oidc-client\.min|es6-shim\.min|polyfill\.min)\.js$/, // nothing in the page loads them
  /^(silent-refresh\.html|serve\.json|manifest\.json|_headers|_redirects)$/,
  /^customizations\//, // served only when customizationUrlPrefixes names them, which ours does not
  /^assets\/(?!images\/|favicon)/, // start-up images and home-screen icons
];

/** Whether a file of the published build is served at all. */
export function keep(name) {
  return !DROPPED.some(rule => rule.test(name));
}

/** Give `text` the addresses it has below BASE; say so when OHIF no longer looks as expected. */
export function patch(name, text) {
  let moved = text;
  if (name.endsWith('.css')) {
    moved = moved.replace(/url\(\/(?!\/)/g, `url(${BASE}`);
  } else {
    moved = moved.replaceAll('__webpack_require__.p = "/";', `__webpack_require__.p = "${BASE}";`);
    moved = moved.replaceAll("'/dicom-microscopy-viewer/", `'${BASE}dicom-microscopy-viewer/`);
  }
  if (/^app\.bundle\./.test(name) && moved === text) {
    throw new Error(`${name}: nothing to patch; OHIF has changed, look at web/ohif/rules.mjs`);
  }
  return moved;
}

/** The page's two inline scripts as a file, so that inline scripts can stay forbidden. */
export const BOOT = `console.time('scriptToView');
window.PUBLIC_URL = '${BASE}';
window.browserImportFunction = address => import(address);
`;

/** What the configuration cannot say in JSON: the corner leads back to filmroom's own list. */
export const BRAND = `window.config.whiteLabeling = {
  createLogoComponentFn: React => React.createElement(
    'a',
    { href: '/', title: 'Back to the studies of filmroom', style: { color: '#fff', fontSize: '15px', whiteSpace: 'nowrap' } },
    React.createElement('strong', null, 'filmroom'),
    ' \u00b7 OHIF',
  ),
};
`;

/** Our index.html, with the names of the bundles taken from theirs. */
export function page(original) {
  const script = /src="\/(app\.bundle\.[0-9a-f]+\.js)"/.exec(original)?.[1];
  const style = /href="\/(app\.bundle\.css)"/.exec(original)?.[1];
  if (!script || !style) throw new Error('index.html: bundles not found; OHIF has changed');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1,shrink-to-fit=no">
<meta name="theme-color" content="#000000">
<title>filmroom - OHIF</title>
<link rel="icon" href="${BASE}assets/favicon.ico">
<link rel="stylesheet" href="${BASE}${style}">
<script src="${BASE}boot.js"></script>
<script src="${BASE}app-config.js"></script>
<script src="${BASE}brand.js"></script>
<script defer src="${BASE}${script}"></script>
</head>
<body>
<noscript>OHIF needs JavaScript.</noscript>
<div id="react-portal"></div>
<div id="root"></div>
</body>
</html>
`;
}
