#!/usr/bin/env bash
# Pins the images' packages: rewrites deploy/locks/ from pyproject.toml and requirements-onnx.txt.
#     pip install uv && deploy/lock.sh            # keeps pins that still fit
#     deploy/lock.sh --upgrade                    # takes the newest versions that fit
# tests/deploy/test_locks.py fails when it has to be run.
set -euo pipefail
cd "$(dirname "$0")/.."
locks=deploy/locks

compile() {
  uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command deploy/lock.sh "$@" >/dev/null
}

# Leaves out the requirements of torch's CUDA wheels and torch itself, whose CPU wheels come from a separate
# index: torch.txt lists the releases, see the Dockerfile.
cuda="$(mktemp --suffix .txt)"
trap 'rm -f "$cuda"' EXIT
printf '%s\n' cuda-bindings cuda-toolkit triton \
  nvidia-{cudnn-cu13,cusparselt-cu13,nccl-cu13,nvshmem-cu13} >"$cuda"
without_cuda=(--excludes "$cuda" --no-emit-package torch --no-emit-package torchvision)

compile pyproject.toml --extra postgres --extra otel -o $locks/gpu.txt "$@"
grep -oE '^torch(vision)?==[0-9.]+' $locks/gpu.txt >$locks/torch.txt
# The other images use the same releases as the first.
compile pyproject.toml --extra postgres --extra otel -c $locks/gpu.txt "${without_cuda[@]}" -o $locks/cpu.txt
compile pyproject.toml --extra postgres --extra otel --extra export --extra onnx -c $locks/gpu.txt \
  "${without_cuda[@]}" -o $locks/export.txt
python3 - <<'END' | compile requirements-onnx.txt - -c $locks/export.txt -o $locks/onnx.txt
import tomllib
extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
print(*extras["postgres"], *extras["otel"], sep="\n")
END
compile - -o $locks/build.txt "$@" <<<'hatchling>=1.26'
