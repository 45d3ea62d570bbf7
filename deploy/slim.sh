#!/bin/sh
# Takes out of a virtual environment what only its packages' own developers need, and shows it /opt/app.
set -eu
packages="$("$1"/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
find "$packages" -depth -type d \( -name tests -o -name test \) -not -path '*/torch/*' -exec rm -r {} +
find "$packages" -name '*.a' -delete
echo /opt/app >"$packages/app.pth"
