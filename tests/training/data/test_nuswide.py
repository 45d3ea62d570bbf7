"""NUS-WIDE's published layout, with five seen and three unseen concepts."""

import builtins
import pickle
from pathlib import Path

import numpy as np
import pytest

from sigrl.training.data.dataset import DataError, Problem
from sigrl.training.data.nuswide import read_nuswide

h5py = pytest.importorskip("h5py", reason="the extra `nuswide` is not installed")

SEEN, UNSEEN = ("nature", "blue", "sky light", "green", "red"), ("airport", "bear", "birds")
NAMES = ["actor_0001_2124494179.jpg", "blue_sky_0002_17.jpg", "zoo_0003_5.jpg"]
LABELS = np.array(
    [[1, 0, -1, 0, 1, -1, 1, 0], [-1, -1, 0, 0, 0, 1, 1, 1], [0, 1, 0, 0, 0, -1, -1, -1]], dtype=np.int8
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "features").mkdir()
    (tmp_path / "Concepts925.txt").write_text("\n".join(SEEN) + "\n\n")
    (tmp_path / "Concepts81.txt").write_text("".join(f"{name} \r\n" for name in UNSEEN))
    for split, pickled, width in (("train", "img_names.pkl", 5), ("test", "test_img_names.pkl", 8)):
        (tmp_path / pickled).write_bytes(pickle.dumps({"img_names": NAMES}))
        with h5py.File(tmp_path / "features" / f"nus_wide_{split}.h5", "w") as file:
            for name, row in zip(NAMES, LABELS, strict=True):
                file.create_dataset(f"{name}-features", data=np.zeros(2))
                file.create_dataset(f"{name}-labels", data=row[:width], compression="gzip")
                file.create_dataset(f"{name}-labels_81", data=row[5:].astype(np.float32))
    return tmp_path


def change(root: Path, split: str, key: str, data: np.ndarray | None) -> None:
    with h5py.File(root / "features" / f"nus_wide_{split}.h5", "a") as file:
        del file[key]
        if data is not None:
            file.create_dataset(key, data=data)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("label_set", "names", "columns"),
    [("seen", SEEN, slice(5)), ("unseen", UNSEEN, slice(5, 8)), ("all", SEEN + UNSEEN, slice(8))],
)
def test_each_label_set_has_its_columns(
    root: Path, split, label_set, names: tuple[str, ...], columns: slice
) -> None:
    photographs = read_nuswide(root, split, label_set)
    assert photographs.label_names == names
    assert photographs.ids == tuple(NAMES)
    assert photographs.labels.dtype == np.int8
    np.testing.assert_array_equal(photographs.labels, LABELS[:, columns])


def test_image_paths_use_one_folder_per_word(root: Path) -> None:
    paths = read_nuswide(root, "train", "seen").image_paths
    flickr = root / "Flickr"
    assert paths[:2] == (flickr / "actor" / "0001_2124494179.jpg", flickr / "blue_sky" / "0002_17.jpg")


def test_training_excludes_images_without_a_seen_label(root: Path) -> None:
    assert read_nuswide(root, "train", "seen").with_positives().ids == (NAMES[0], NAMES[2])


def test_names_with_full_path_from_the_biam_script_are_accepted(root: Path) -> None:
    name = "_home_me_multi-label-zsl_data_Flickr_blue_sky_0002_17.jpg"
    (root / "img_names.txt").write_text(name + "\n")
    with h5py.File(root / "features" / "nus_wide_train.h5", "a") as file:
        file.create_dataset(f"{name}-labels", data=LABELS[0, :5])
    photographs = read_nuswide(root, "train", "seen")
    assert photographs.image_paths == (root / "Flickr" / "blue_sky" / "0002_17.jpg",)
    assert photographs.ids == (name,)


@pytest.mark.parametrize(
    ("label_set", "key"), [("seen", "labels"), ("unseen", "labels_81"), ("all", "labels")]
)
def test_image_without_labels_is_an_error_or_skipped(root: Path, label_set, key: str) -> None:
    change(root, "test", f"{NAMES[1]}-{key}", None)
    with pytest.raises(DataError, match=rf"nus_wide_test\.h5 lacks the dataset `{NAMES[1]}-{key}`"):
        read_nuswide(root, "test", label_set)
    problems: list[Problem] = []
    photographs = read_nuswide(root, "test", label_set, problems.append)
    assert photographs.ids == (NAMES[0], NAMES[2])
    assert [(problem.kind, problem.subject) for problem in problems] == [("missing labels", NAMES[1])]


def test_file_without_expected_keys_gives_no_images(root: Path) -> None:
    with h5py.File(root / "features" / "nus_wide_train.h5", "w") as file:
        file.create_dataset("labels", data=LABELS)
    problems: list[Problem] = []
    assert read_nuswide(root, "train", "seen", problems.append).labels.shape == (0, 5)
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LABELS[0, :4], r"has \(4,\) values in `.*-labels`, not 5 or 8"),
        (LABELS[:, :5], r"has \(3, 5\) values"),
        (np.array([1, 0, -1, 0, 2]), "has values other than -1, 0 and 1"),
        (np.array([1, 0, 255, 0, 1], dtype=np.uint8), "has values other than -1, 0 and 1"),
        (np.array([1, 0, np.nan, 0, 1]), "has values other than -1, 0 and 1"),
    ],
)
def test_invalid_labels_are_reported(root: Path, data: np.ndarray, message: str) -> None:
    change(root, "train", f"{NAMES[0]}-labels", data)
    with pytest.raises(DataError, match=message):
        read_nuswide(root, "train", "seen")


@pytest.mark.parametrize(
    "name", ["Concepts81.txt", "Concepts925.txt", "img_names.pkl", "features/nus_wide_train.h5"]
)
def test_missing_file_is_reported(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(DataError, match=rf"{name} does not exist"):
        read_nuswide(root, "train", "seen")


def test_damaged_files_are_reported(root: Path) -> None:
    (root / "img_names.txt").write_text("photograph.jpg\n")
    with h5py.File(root / "features" / "nus_wide_train.h5", "a") as file:
        file.create_dataset("photograph.jpg-labels", data=LABELS[0, :5])
    with pytest.raises(DataError, match=r"'photograph\.jpg' is not a NUS-WIDE name"):
        read_nuswide(root, "train", "seen")
    (root / "features" / "nus_wide_train.h5").write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(DataError, match=r"nus_wide_train\.h5 is not an HDF5 file, or is damaged"):
        read_nuswide(root, "train", "seen")
    (root / "Concepts81.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"Concepts81\.txt is not UTF-8 text"):
        read_nuswide(root, "train", "seen")
    (root / "Concepts81.txt").write_text("bear\nbear\n")
    with pytest.raises(DataError, match=r"Concepts81\.txt is empty or names a concept twice"):
        read_nuswide(root, "train", "seen")


def test_missing_h5py_error_names_the_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments, **options):
        if name == "h5py":
            raise ImportError(name)
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'sigrl-tagger\[nuswide\]'"):
        read_nuswide(root, "train", "seen")
