"""Members of a tar by name, without reading it through again: where each begins, and how long it is."""

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
        """Raises DataError where the tar is shorter than its index says."""
        try:
            with self.tar.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except OSError as error:
            raise DataError(
                f"{self.tar} cannot be read ({error.strerror or error}): fetch it again"
            ) from error
        if len(content) < self.size:
            raise DataError(f"{self.tar} ends too early: it was not copied completely, fetch it again")
        return content

    def open(self) -> BinaryIO:
        """The content as a file. Raises as `read` does."""
        return io.BytesIO(self.read())


def tar_index(tar: Path) -> dict[str, Member]:
    """The files of an uncompressed tar by their names, in its order, without links, folders and devices.

    Only headers are read, once in a process for as long as the tar stays what it is. Raises DataError for
    what is no whole tar, and for two members of one name.
    """
    try:
        status = tar.stat()
    except OSError as error:
        raise DataError(f"{tar} is not there: complete the shards, or name others") from error
    return _index(tar, status.st_size, status.st_mtime_ns)


@cache
def _index(tar: Path, size: int, changed: int) -> dict[str, Member]:  # noqa: ARG001 (another tar by that name)
    members: dict[str, Member] = {}
    try:
        # "r:" refuses compression, in which there is no way to a member but through all before it.
        with tar.open("rb") as content, tarfile.open(fileobj=content, mode="r:") as file:
            for entry in file:
                if not entry.isreg() or entry.issparse():
                    continue
                name = entry.name.removeprefix("./")
                if name in members:
                    raise DataError(
                        f"{tar} holds two files of the name {name}: write it again with one of them"
                    )
                members[name] = Member(tar, entry.offset_data, entry.size)
            # To tarfile, a copy that was cut between two files is a shorter tar.
            content.seek(max(0, size - tarfile.BLOCKSIZE))
            whole = not any(content.read())
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{tar} is no uncompressed tar that can be read ({error}): fetch it again, or unpack and "
            "write it anew"
        ) from error
    if not whole:
        raise DataError(f"{tar} has no end: it was not copied completely, fetch it again")
    return members


def locate(path: Path) -> Member | None:
    """The member that a virtual path `shard.tar/name` means; None where there is none of that name, or no
    part of the path is a tar. Raises DataError as `tar_index` does."""
    for parent in path.parents:
        if parent.suffix == ".tar" and parent.is_file():
            return tar_index(parent).get(path.relative_to(parent).as_posix())
    return None
