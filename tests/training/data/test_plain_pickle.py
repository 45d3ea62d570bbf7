"""Names are read from pickles of every protocol, and nothing else is accepted."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from sigrl.training.data.dataset import DataError
from sigrl.training.data.plain_pickle import read_pickled_names

NAMES = ["actor_0001_2.jpg", "naïve_0002_3.jpg", "actor_0001_2.jpg", "x" * 300]


class Spy:
    """An object that would create a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def write(tmp_path: Path):
    def call(content: bytes) -> Path:
        path = tmp_path / "img_names.pkl"
        path.write_bytes(content)
        return path

    return call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol_is_read(write, protocol: int) -> None:
    many = [f"folder_{number}_1.jpg" for number in range(2500)]
    for names in (NAMES, many, NAMES[:1]):
        for value in (names, {"other": [], "img_names": names}, {"img_names": names}):
            assert read_pickled_names(write(pickle.dumps(value, protocol)), "img_names") == names


def test_python_2_pickles_are_read(write) -> None:
    by_hand = b"(dp0\nS'img_names'\np1\n(lp2\nS'a_1_2.jpg'\np3\nag3\nas."
    assert read_pickled_names(write(by_hand), "img_names") == ["a_1_2.jpg", "a_1_2.jpg"]
    binary = b"\x80\x02]q\x00(U\x03a_1q\x01T\x03\x00\x00\x00b_2h\x01e."
    assert read_pickled_names(write(binary), "img_names") == ["a_1", "b_2", "a_1"]


def test_byte_names_are_decoded_as_utf8(write) -> None:
    content = b"\x80\x03]" + b"C\x05na\xc3\xafv" + b"a."
    assert read_pickled_names(write(content), "img_names") == ["naïv"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_with_code_are_rejected_without_running_it(write, tmp_path: Path, protocol: int) -> None:
    left_behind = tmp_path / "left behind"
    for value in (Spy(left_behind), [Spy(left_behind)], {"img_names": [*NAMES, Spy(left_behind)]}):
        with pytest.raises(
            DataError, match=r"img_names\.pkl contains more than lists and strings .* img_names\.txt"
        ):
            read_pickled_names(write(pickle.dumps(value, protocol)), "img_names")
    assert not left_behind.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02\x82\x01.",
        b"Pidentifier\n.",
        b"\x80\x05\x97.",
        pickle.dumps(np.array(NAMES)),
        pickle.dumps({"img_names": tuple(NAMES)}),
        pickle.dumps([1, 2]),
    ],
    ids=["global", "inst", "stack global", "extension", "persistent", "buffer", "array", "tuple", "numbers"],
)
def test_unsupported_pickle_opcodes_are_rejected(write, content: bytes) -> None:
    with pytest.raises(DataError, match="contains more than lists and strings"):
        read_pickled_names(write(content), "img_names")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle at all",
        b"]",
        b".",
        b"a.",
        b"]]s.",
        b"](]u.",
        b"}(]]u.",
        b"h\x05.",
        b"e.",
        b"u.",
        b"X\x00\x00\x00\x00X\x00\x00\x00\x00a.",
        b"\x80\x04X" + struct.pack("<I", 2**32 - 1) + b"short.",
        pickle.dumps(NAMES)[:-5],
        b"X\x02\x00\x00\x00\xff\xfe.",
    ],
)
def test_damaged_pickle_is_reported(write, content: bytes) -> None:
    with pytest.raises(DataError, match=r"img_names\.pkl (is damaged or not a pickle|contains|has)"):
        read_pickled_names(write(content), "img_names")


@pytest.mark.parametrize("value", [[], {}, {"img_names": "a"}, {"names": NAMES}, "a", [["a"]]])
def test_pickle_without_a_list_of_names_is_reported(write, value) -> None:
    with pytest.raises(DataError, match="has no list of names under `img_names`"):
        read_pickled_names(write(pickle.dumps(value)), "img_names")


def test_self_referencing_list_is_rejected(write) -> None:
    with pytest.raises(DataError, match="has no list of names"):
        read_pickled_names(write(b"\x80\x02]q\x00h\x00a."), "img_names")


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"img_names\.pkl does not exist"):
        read_pickled_names(tmp_path / "img_names.pkl", "img_names")
