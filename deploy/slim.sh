#!/bin/sh
# Takes out of a virtual environment what only its packages' own developers need, and shows it /opt/app.
set -eu
packages="$("$1"/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
find "$packages" -depth -type d \( -name tests -o -name test \) -not -path '*/torch/*' -exec rm -r {} +
find "$packages" -name '*.a' -delete
# PyTorch's own tests are programs; of the others it asks for one when it is imported.
rm -rf "$packages/torch/test"
find "$packages/torch/bin" -type f -not -name torch_shm_manager -delete 2>/dev/null || true
echo /opt/app >"$packages/app.pth"
