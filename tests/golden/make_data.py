"""Cuts `data/`, the part of the golden files that a machine without them checks, out of the whole.

python tests/golden/make_data.py ../shared/golden
"""

import json
import shutil
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

CASES = {
    "01_gmc.npz": ["C7.plain", "C7.sharp"],
    "02_svfr.npz": ["B1.P4.C20.sharp", "small.B2.P6.D8.C3", "small.B3.P9.D16.C5"],
    "03_clipvit.npz": ["A.P16.sharp"],
    "04_mkt_head.npz": ["A.P16"],
    "05a_rank_distill.npz": ["*"],
    "05b_spml_losses.npz": ["pascal.*", "pascal_sat.*"],
    "05c_pseudo_labels.npz": ["*"],
    "06_metrics.npz": ["*"],
    "08_trajectory.npz": ["*"],
    "09_spml_data.npz": ["*"],
}
WHOLE = ("weights.safetensors", "07_optim.json")


def is_chosen(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def belongs(array: str, patterns: list[str], cases: list[str]) -> bool:
    owner = array.split("/")[0]
    # Inputs that several cases share stand under the part of the name before the variant.
    return is_chosen(owner, patterns) or any(case.startswith(owner + ".") for case in cases)


def main(source: Path) -> None:
    target = Path(__file__).parent / "data"
    target.mkdir(exist_ok=True)
    manifest = json.loads((source / "MANIFEST.json").read_text())
    files = {}
    for file in WHOLE:
        shutil.copyfile(source / file, target / file)
        files[file] = manifest["files"][file]
    for file, patterns in CASES.items():
        whole = manifest["files"][file]
        cases = [case for case in whole.get("cases", {}) if is_chosen(case, patterns)]
        names = [name for name in whole["arrays"] if belongs(name, patterns, cases)]
        with np.load(source / file, allow_pickle=False) as arrays:
            np.savez_compressed(target / file, **{name: arrays[name] for name in names})
        files[file] = {
            **{key: whole[key] for key in ("about", "parameter_order") if key in whole},
            "cases": {name: whole["cases"][name] for name in cases},
            "arrays": {name: whole["arrays"][name] for name in names},
        }
    text = json.dumps({"conventions": manifest["conventions"], "files": files}, indent=1)
    (target / "MANIFEST.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
