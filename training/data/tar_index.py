"""Random access to the members of a tar file: an index of where each begins and how long it is."""

import io
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from sigrl.training.data.dataset import DataError


@dataclass(frozen=True)
class Member:
    """A file within a tar."""

    tar: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """The content. Raises DataError if the tar is shorter than its index says."""
        try:
            with self.tar.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except OSError as error:
            raise DataError(
                f"{self.tar} cannot be read ({error.strerror or error}): download it again"
            ) from error
        if len(content) < self.size:
            raise DataError(f"{self.tar} ends too early: it was not copied completely, download it again")
        return content

    def open(self) -> BinaryIO:
        """The content as a file. Raises as `read` does."""
        return io.BytesIO(self.read())


def tar_index(tar: Path) -> dict[str, Member]:
    """The regular files of an uncompressed tar by name, in order; links, folders and devices are left out.

    Only the headers are read, and only once per process while the tar stays unchanged. Raises DataError for
    an incomplete tar, and for two members with the same name.
    """
    try:
        status = tar.stat()
    except OSError as error:
        raise DataError(f"{tar} does not exist: complete the shards, or name others") from error
    return _index(tar, status.st_size, status.st_mtime_ns)


@cache
def _index(tar: Path, size: int, changed: int) -> dict[str, Member]:  # noqa: ARG001 (a changed tar is another cache key)
    members: dict[str, Member] = {}
    try:
        # "r:" refuses compression, which would allow a member to be read only after all before it.
        with tar.open("rb") as content, tarfile.open(fileobj=content, mode="r:") as file:
            for entry in file:
                if not entry.isreg() or entry.issparse():
                    continue
                name = entry.name.removeprefix("./")
                if name in members:
                    raise DataError(f"{tar} has two files named {name}: write it again with only one of them")
                members[name] = Member(tar, entry.offset_data, entry.size)
            # To tarfile, a copy that was cut off between two files is just a shorter tar.
            content.seek(max(0, size - tarfile.BLOCKSIZE))
            whole = not any(content.read())
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{tar} is not a readable uncompressed tar ({error}): download it again, or unpack it and "
            "write it without compression"
        ) from error
    if not whole:
        raise DataError(f"{tar} has no end marker: it was not copied completely, download it again")
    return members


def locate(path: Path) -> Member | None:
    """The member that a virtual path `shard.tar/name` refers to; None if there is no such member, or if no
    part of the path is a tar. Raises DataError as `tar_index` does."""
    for parent in path.parents:
        if parent.suffix == ".tar" and parent.is_file():
            return tar_index(parent).get(path.relative_to(parent).as_posix())
    return None
