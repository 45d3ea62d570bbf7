#!/bin/sh
# Removes what only package developers need from a virtual environment, and adds /opt/app to its path.
set -eu
packages="$("$1"/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
find "$packages" -depth -type d \( -name tests -o -name test \) -not -path '*/torch/*' -exec rm -r {} +
find "$packages" -name '*.a' -delete
# PyTorch's test programs go; one of its other test modules is imported by torch itself.
rm -rf "$packages/torch/test"
find "$packages/torch/bin" -type f -not -name torch_shm_manager -delete 2>/dev/null || true
echo /opt/app >"$packages/app.pth"
