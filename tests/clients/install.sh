#!/usr/bin/env bash
# Installs what the tests in tests/clients drive, into a folder of their own, and says how they find it:
#     tests/clients/install.sh ~/sigrl-clients && export SIGRL_CLIENTS=~/sigrl-clients
# Without SIGRL_CLIENTS these tests are skipped. Those of openapi-typescript need Node.js, too.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
folder="$1"

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet -r "$here/requirements.txt"
if command -v npm >/dev/null; then
  cp "$here/package.json" "$folder/"
  npm install --prefix "$folder" --silent --no-audit --no-fund
fi
