"""Writes tags to a file beside each photograph, where other programs can read them. What other programs wrote
to that file stays."""

import json
import os
from pathlib import Path
from typing import Any

from sigrl.service.bulk.keyword_paths import KeywordPaths
from sigrl.service.bulk.xmp import with_keywords
from sigrl.service.errors import SidecarError

_US = "sigrl-tagger"
_MAX_BYTES = 16 * 1024 * 1024


def write_sidecar(kind: str, photograph: Path, content: str, paths: KeywordPaths) -> None:
    """Writes a photograph's tags, given as JSON, beside it: as `json` to NAME.EXT.json, as keywords to
    NAME.EXT.xmp (`xmp`) or NAME.xmp (`xmp-lightroom`). `paths` places keywords below each other. Raises
    SidecarError if that fails; the sidecar is then unchanged."""
    if kind == "json":
        _write_json(photograph.with_name(photograph.name + ".json"), content)
        return
    stem = photograph.stem if kind == "xmp-lightroom" else photograph.name
    path = photograph.with_name(stem + ".xmp")
    labels = [tag["label"] for tag in json.loads(content)["tags"] if tag["accepted"]]
    _replace(path, with_keywords(path.name, _read(path), labels, paths))


def _write_json(path: Path, content: str) -> None:
    if (present := _read(path)) is not None:
        try:
            known: Any = json.loads(present)
        except (ValueError, RecursionError):
            known = None
        if not isinstance(known, dict) or known.get("software") != _US:
            raise SidecarError(
                f"'{path.name}' was written by another program", "move it away, or use --sidecar xmp"
            )
    _replace(path, json.dumps({"software": _US, **json.loads(content)}, indent=1).encode() + b"\n")


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SidecarError(
            f"'{path.name}' cannot be read: {error.strerror}", "check its permissions"
        ) from error
    if len(content) > _MAX_BYTES:
        raise SidecarError(f"'{path.name}' is larger than any sidecar that sigrl writes", "move it away")
    return content


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise SidecarError(
            f"'{path.name}' cannot be written: {error.strerror}", "check its folder"
        ) from error
