#!/usr/bin/env bash
# Install what the tests need and pip cannot bring: peers to talk to, a browser, a database.
#
# Only what is missing is installed, and nothing is started: the tests start their own, on free
# ports, as themselves.
set -euo pipefail

missing=()

need_program() { # name of the program, Debian package
    command -v "$1" > /dev/null || missing+=("$2")
}

need_file() { # glob, Debian package
    compgen -G "$1" > /dev/null || missing+=("$2")
}

need_program storescu dcmtk
need_program Orthanc orthanc
need_file '/usr/share/orthanc/plugins*/libOrthancDicomWeb.so*' orthanc-dicomweb
need_program dciodvfy dicom3tools
need_program chromium chromium
need_file '/usr/share/fonts/truetype/*/*.ttf' fonts-liberation
need_file '/usr/lib/postgresql/*/bin/initdb' postgresql
need_file '/usr/sbin/pgbouncer' pgbouncer
need_program haproxy haproxy
need_program systemd-analyze systemd

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

if ! command -v apt-get > /dev/null; then
    echo "The tests need ${missing[*]} (names of the Debian packages)." >&2
    echo "This is not Debian or a relative of it: install them by hand, then run this again." >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo > /dev/null; then
        echo "The tests need ${missing[*]}. As root:  apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "Installing for the tests: ${missing[*]}"

# Debian starts services on installation unless this file says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" > /dev/null
    "${as_root[@]}" chmod 755 "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

quiet=(env DEBIAN_FRONTEND=noninteractive)
"${as_root[@]}" "${quiet[@]}" apt-get update -q
"${as_root[@]}" "${quiet[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"

# Nor shall they start with the machine because of us.
if [ -d /run/systemd/system ]; then
    for package in "${missing[@]}"; do
        case "$package" in
            orthanc | postgresql | pgbouncer | haproxy) "${as_root[@]}" systemctl disable --quiet "$package" || true ;;
        esac
    done
fi
