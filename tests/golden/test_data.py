"""The committed part of the golden files: whole, true to its source, small, and never skipped."""

import json

import numpy as np
import pytest

MUST_RUN = {
    "01_gmc.npz": {"C7.plain", "C7.sharp"},
    "02_svfr.npz": {"B1.P4.C20.sharp", "small.B2.P6.D8.C3"},
    "03_clipvit.npz": {"A.P16.sharp"},
    "04_mkt_head.npz": {"A.P16"},
    "05a_rank_distill.npz": {"rank.random", "rank.exact_margin_ties"},
    "05b_spml_losses.npz": {"pascal.role", "pascal_sat.EM_APL", "pascal_sat.EM_PL_ASL.after"},
    "05c_pseudo_labels.npz": {"apl.0", "vlpl.0.T0.03.th0.3.partial0.2"},
    "06_metrics.npz": set(),
    "08_trajectory.npz": {"flat", "scaled"},
    "09_spml_data.npz": {"split.n5717.frac0.2.seed1200", "observed.0"},
}


@pytest.mark.parametrize("file", MUST_RUN)
def test_required_cases_are_in_the_committed_data(committed, golden, file):
    """`Golden.case` fails, not skips, for a case of the committed part: what is listed here must be there."""
    for folder in (committed, golden):
        assert MUST_RUN[file] <= folder.manifest["files"][file].get("cases", {}).keys()
        assert set(folder.described(file)) <= set(folder.file(file).files)


def test_committed_data_equals_the_full_data(committed, golden):
    for file in MUST_RUN:
        for name in committed.described(file):
            np.testing.assert_array_equal(committed.file(file)[name], golden.file(file)[name])
    for name in ("weights.safetensors", "07_optim.json"):
        assert (committed.root / name).read_bytes() == (golden.root / name).read_bytes()


def test_committed_data_is_small(committed):
    assert sum(path.stat().st_size for path in committed.root.iterdir()) < 9e6


def test_a_missing_committed_case_fails_instead_of_skipping(committed, tmp_path):
    empty = {"files": {file: {"cases": {}, "arrays": {}} for file in MUST_RUN}}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(empty))
    broken = type(committed)(tmp_path)
    with pytest.raises(AssertionError, match="lacks the committed case"):
        broken.case("01_gmc.npz", "C7.sharp")
    with pytest.raises(pytest.skip.Exception):
        broken.case("01_gmc.npz", "C81.sharp")
