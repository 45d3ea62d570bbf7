"""Which files are photographs, for everything that searches folders."""

import os
import unicodedata
from pathlib import Path
from typing import NoReturn

import pytest

from sigrl.model.photograph_files import ListedPhotographs, photographs_below

JPEG = b"\xff\xd8\xff\xe0 and so on"


def _refuse(error: OSError) -> NoReturn:
    raise error


def _make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(JPEG)


def _found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in photographs_below(folder, _refuse)]


def test_thumbnails_and_trash_folders_are_ignored(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg", "@home/b.jpg", "Thumbs.db", "ehthumbs.db", "desktop.ini", "._a.jpg")
    for folder in ("@eaDir", "#recycle", "$RECYCLE.BIN", ".thumbnails", "__MACOSX", "below/@eaDir/a.jpg"):
        _make(tmp_path, f"{folder}/SYNOPHOTO_THUMB_XL.jpg")
    assert _found(tmp_path) == ["a.jpg", "@home/b.jpg"]


@pytest.mark.parametrize(
    "head",
    [
        JPEG,
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
        b"BM\1\1\1\1\0\0\0\0",
        b"II*\0",
        b"\0\0\0\x18ftypheic",
        b"\0\0\0\x18ftypavif",
    ],
)
def test_file_without_suffix_is_recognized_by_content(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "0f3c").write_bytes(head + bytes(20))
    (tmp_path / "README").write_text("BMW")
    (tmp_path / "video").write_bytes(b"\0\0\0\x18ftypmp42")
    (tmp_path / "data.bin").write_bytes(head)
    (tmp_path / "scan.JFIF").write_bytes(JPEG)
    assert _found(tmp_path) == ["0f3c", "scan.JFIF"]


def test_linked_folders_are_followed_once_without_loops(tmp_path: Path) -> None:
    album, elsewhere = tmp_path / "album", tmp_path / "elsewhere"
    _make(album, "a.jpg", "below/b.jpg")
    _make(elsewhere, "c.jpg")
    for name, target in {
        "linked": elsewhere,
        "linked-again": elsewhere,
        "same": album / "below",
        "below/up": album,
        "above": tmp_path,
        "nowhere": tmp_path / "absent",
    }.items():
        (album / name).symlink_to(target, target_is_directory=True)
    (elsewhere / "back").symlink_to(album, target_is_directory=True)
    assert _found(album) == ["a.jpg", "below/b.jpg", "linked/c.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")
def test_nobody_waits_for_a_pipe(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg")
    for name in ("b.jpg", "no suffix"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "absent")
    assert _found(tmp_path) == ["a.jpg", "nowhere.jpg"]


def test_unreadable_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(photographs_below(tmp_path / "absent", _refuse))


def test_find_ignores_unicode_form_and_case_unless_ambiguous(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    _make(tmp_path, f"{decomposed}/IMG_1.JPG", "same.jpg", "SAME.jpg")
    if len(os.listdir(tmp_path)) < 3:
        pytest.skip("this file system does not tell capitals apart")
    listed = ListedPhotographs(tmp_path)
    assert listed.find(f"{composed}/img_1.jpg") == tmp_path / decomposed / "IMG_1.JPG"
    assert listed.find("same.jpg") == tmp_path / "same.jpg"
    # Which of two is meant cannot be told.
    assert listed.find("Same.jpg") == tmp_path / "Same.jpg"
    assert listed.find("absent/1.jpg") == tmp_path / "absent/1.jpg"
