"""Tags an Immich library, from the beginning or from where it was stopped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sigrl.service.bulk.downloaded import Downloaded
from sigrl.service.bulk.job import Summary, find_photographs, open_ledger, tag_waiting, write_tags
from sigrl.service.bulk.keyword_paths import KeywordPaths
from sigrl.service.bulk.tag_sources import TagSource
from sigrl.service.immich.changes import Changes, carry_out, plan, read_present, tag_paths
from sigrl.service.immich.library import Library
from sigrl.service.terminal import Renderer

# In the ledger, where a sidecar of this kind was written: a photograph whose tags are in Immich is not
# changed again, so tags that its owner corrects there stay corrected.
_IN_IMMICH = "immich"
_CONNECTIONS = 4


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    summary: Summary
    changes: Changes
    """What was changed, or without `apply` would be."""
    refused: int
    """Photographs that Immich refused to change."""


def tag_library(
    library: Library,
    user: str,
    source: TagSource,
    out: Path,
    selection: str,
    apply: bool,
    renderer: Renderer,
) -> Outcome:
    """Tags the photographs that are not done yet, writes all tags to `out`, and changes the tags in Immich if
    `apply` is set.

    Args:
        library: Immich.
        user: the id of the user whose photographs are tagged.
        source: tags the previews, with one vocabulary.
        out: as for `sigrl.service.bulk.job.tag_in_bulk`.
        selection: a description of which labels become tags; the ledger refuses a different one.
        apply: without it, nothing in Immich changes.
        renderer: shows the progress.

    Raises:
        ParameterError: earlier photographs were tagged differently, or `out` cannot be written.
        ServerError: Immich refuses or does not answer.
        StoreError: the ledger cannot be written.
    """
    made_with = {"selection of tags": selection, "library": f"{library.url}, user {user}"}
    with open_ledger(out, made_with) as ledger:
        previews = Downloaded(source, library.preview, _CONNECTIONS)
        found = find_photographs(
            previews, ledger, library.photographs(user), renderer, lambda _: (None, None)
        )
        tag_waiting(previews, ledger, lambda *_: None, renderer)
        summary = write_tags(ledger, found, out, renderer)
        open_ones = {path.parts[0]: (path, content) for path, content in ledger.without_sidecar(_IN_IMMICH)}
        tags = library.tags() if open_ones else {}
        with renderer.phase("reading the tags in Immich", len(tags)) as progress:
            present = read_present(library, tags, progress)
        changes = plan(_wanted(open_ones, previews), present)
        refused: set[str] = set()
        if apply:
            steps = len(changes.added) + len(changes.removed)
            with renderer.phase("tagging in Immich", steps) as progress:
                refused = carry_out(library, tags, changes, progress)
            ledger.done((*open_ones[asset], _IN_IMMICH) for asset in open_ones.keys() - refused)
        return Outcome(summary, changes, len(refused))


def _wanted(photographs: Mapping[str, tuple[Path, str]], source: TagSource) -> dict[str, set[str]]:
    keyword_paths: KeywordPaths | None = None
    wanted = {}
    for asset, (_, content) in photographs.items():
        tagging = json.loads(content)
        if keyword_paths is None:
            keyword_paths = source.keyword_paths(tagging["vocabulary"]["name"])
        accepted = [tag["label"] for tag in tagging["tags"] if tag["accepted"]]
        wanted[asset] = tag_paths(accepted, keyword_paths)
    return wanted
