"""The changes that make the tags in Immich match the model's."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sigrl.service.bulk.keyword_paths import KeywordPaths
from sigrl.service.immich.library import Library

Assets = Mapping[str, set[str]]
"""Path of a tag of ours, such as `animal/dog` -> ids of photographs."""


@dataclass(frozen=True)
class Changes:
    """What is to be added and removed."""

    added: Assets
    removed: Assets

    def count(self) -> tuple[int, int]:
        """The numbers of tags, counted once for each photograph, that are added and removed."""
        return sum(map(len, self.added.values())), sum(map(len, self.removed.values()))

    def most_added(self, number: int) -> list[tuple[str, int]]:
        """The tags that most photographs get, each with their number."""
        return Counter({path: len(assets) for path, assets in self.added.items()}).most_common(number)


def tag_paths(labels: Iterable[str], keyword_paths: KeywordPaths) -> set[str]:
    """The tags for labels that apply. A label above another one needs none: Immich finds a photograph of
    `animal/dog` under `animal` too."""
    paths = {keyword_paths.get(label, (label,)) for label in labels}
    above = {path[:length] for path in paths for length in range(1, len(path))}
    # Immich splits tags at slashes.
    return {"/".join(label.replace("/", "-") for label in path) for path in paths - above}


def plan(wanted: Mapping[str, set[str]], present: Assets) -> Changes:
    """Compares what is there with what should be.

    Args:
        wanted: id of a photograph -> paths of its tags. Other photographs are not changed.
        present: the photographs that have each of our tags.
    """
    added: dict[str, set[str]] = defaultdict(set)
    for asset, paths in wanted.items():
        for path in paths:
            if asset not in present.get(path, ()):
                added[path].add(asset)
    removed = {
        path: gone
        for path, assets in present.items()
        if (gone := {asset for asset in assets if asset in wanted and path not in wanted[asset]})
    }
    return Changes(dict(added), removed)


def read_present(library: Library, tags: Mapping[str, str], progress: Callable[[int], None]) -> Assets:
    """The photographs that have each of our tags itself. `tags` is what `Library.tags` returns; `progress` is
    called with the number of tags done. Raises ServerError."""
    found = {}
    for number, (path, tag) in enumerate(tags.items(), 1):
        found[path] = library.tagged(tag)
        progress(number)
    # Immich counts the photographs of the tags below a tag among its own.
    return {
        path: assets.difference(*(found[other] for other in found if other.startswith(f"{path}/")))
        for path, assets in found.items()
    }


def carry_out(
    library: Library, tags: Mapping[str, str], changes: Changes, progress: Callable[[int], None]
) -> set[str]:
    """Makes the changes; returns the ids of the photographs that Immich refuses to change. If it is stopped,
    a new plan has what is left to do. `tags` and `progress` are as for `read_present`. Raises ServerError."""
    refused: set[str] = set()
    done = 0
    for path, assets in changes.removed.items():
        refused |= library.untag(tags[path], sorted(assets))
        progress(done := done + 1)
    created = library.create(sorted(changes.added))
    for path, assets in changes.added.items():
        refused |= library.tag(created[path], sorted(assets))
        progress(done := done + 1)
    return refused
