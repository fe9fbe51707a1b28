#!/usr/bin/env bash
# Make the passwords that compose.yaml reads, once: nothing is written over.
#
# Their folder is closed to others; the files are not, for the containers' own users read them.
set -euo pipefail

folder="$(dirname "$0")/secrets"
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

random() { # letters and digits only: it goes into a URL and into JSON
    head -c 24 /dev/urandom | base64 | tr '+/' 'ab'
}

once() { # file; its content from standard input
    if [ ! -e "$1" ]; then
        cat > "$1.new"
        chmod 444 "$1.new"
        mv "$1.new" "$1"
    fi
}

once postgres_password <<< "$(random)"
once index_url <<< "postgresql://filmroom:$(< postgres_password)@database/filmroom"
once s3_secret_key <<< "$(random)"
once admin_password <<< "$(random)"
once s3.json << JSON
{"identities": [{"name": "filmroom",
  "credentials": [{"accessKey": "filmroom", "secretKey": "$(< s3_secret_key)"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
echo "Secrets are in $PWD; the first administrator is admin, with what admin_password holds."
