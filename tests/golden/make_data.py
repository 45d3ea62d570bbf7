"""Cuts `data/`, the part of the golden files that a machine without them checks, out of the whole.

python tests/golden/make_data.py ../shared/golden
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

CASES = {
    "01_gmc.npz": ["C7.plain", "C7.sharp"],
    "02_svfr.npz": ["B1.P4.C20.sharp", "small.B2.P6.D8.C3", "small.B3.P9.D16.C5"],
    "03_clipvit.npz": ["A.P16.sharp"],
    "04_mkt_head.npz": ["A.P16"],
}
# Inputs that several cases share stand under the part of the name before the variant.
SHARED_INPUT = "/label_embed"


def belongs(array: str, cases: list[str]) -> bool:
    case = array.split("/")[0]
    return case in cases or (
        array.endswith(SHARED_INPUT) and any(name.startswith(case + ".") for name in cases)
    )


def main(source: Path) -> None:
    target = Path(__file__).parent / "data"
    target.mkdir(exist_ok=True)
    manifest = json.loads((source / "MANIFEST.json").read_text())
    weights = "weights.safetensors"
    shutil.copyfile(source / weights, target / weights)
    files = {weights: manifest["files"][weights]}
    for file, cases in CASES.items():
        whole = manifest["files"][file]
        names = [name for name in whole["arrays"] if belongs(name, cases)]
        with np.load(source / file, allow_pickle=False) as arrays:
            np.savez_compressed(target / file, **{name: arrays[name] for name in names})
        files[file] = {
            "about": whole["about"],
            "cases": {name: whole["cases"][name] for name in cases},
            "arrays": {name: whole["arrays"][name] for name in names},
        }
    text = json.dumps({"conventions": manifest["conventions"], "files": files}, indent=1)
    (target / "MANIFEST.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
