"""Opens what `sigrl tag` tags with: a model in this process, a server or a Ray cluster."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sigrl.service.errors import ParameterError
from sigrl.service.terminal import Renderer

if TYPE_CHECKING:
    from sigrl.model.vocabulary import Vocabulary
    from sigrl.service.bulk.objects import ObjectStores
    from sigrl.service.bulk.tag_sources import ExplainingSource, TagSource
    from sigrl.service.settings import Settings
    from sigrl.service.tagging.selection import Selection


@dataclass(frozen=True)
class Asked:
    """What the options of `sigrl tag` ask for."""

    labels: list[str] | None
    names: list[str]
    """Names or files of vocabularies."""
    selection: "Selection"
    language: str | None
    checkpoint: Path | None


def open_source(
    renderer: Renderer, asked: Asked, server: str | None
) -> "AbstractContextManager[ExplainingSource]":
    """A server, or a model in this process. Raises TaggerError when it is entered."""
    return _local(renderer, asked) if server is None else _remote(server, asked)


@contextmanager
def open_ray_source(renderer: Renderer, asked: Asked, cluster: str) -> "Iterator[TagSource]":
    """A Ray cluster. Raises TaggerError when it is entered."""
    settings, wanted = _settings_and_labels(asked)

    from sigrl.service.bulk.on_ray import RaySource

    with renderer.phase(f"joining the cluster {cluster}"):
        source = RaySource(cluster, settings, wanted, asked.selection)
    with closing(source):
        yield source


@contextmanager
def open_downloading(
    opened: "AbstractContextManager[TagSource]", objects: "ObjectStores"
) -> "Iterator[TagSource]":
    """A source of tags that downloads what `objects` finds. Raises what `opened` raises."""
    from sigrl.service.bulk.downloaded import Downloaded
    from sigrl.service.bulk.objects import CONNECTIONS

    with opened as source:
        yield Downloaded(source, objects.download, CONNECTIONS)


@contextmanager
def _local(renderer: Renderer, asked: Asked) -> "Iterator[ExplainingSource]":
    settings, wanted = _settings_and_labels(asked)

    from sigrl.service.bulk.tag_sources import LocalSource
    from sigrl.service.tagging.tagger import Tagger

    with renderer.phase("loading the model"):
        tagger = Tagger.from_settings(settings)
    for each in wanted or (tagger.vocabulary,):
        with renderer.phase("encoding labels", len(each.labels)) as encoded:
            tagger.prepare(each, encoded)
    yield LocalSource(tagger, wanted, asked.selection)


@contextmanager
def _remote(server: str, asked: Asked) -> "Iterator[ExplainingSource]":
    from sigrl.service.bulk.tag_sources import RemoteSource
    from sigrl.service.client import Client
    from sigrl.service.vocabularies.builtin import parse_labels

    if asked.checkpoint is not None:
        raise ParameterError(
            "both --server and --checkpoint are given",
            "give one of them; `sigrl checkpoint` changes a server's checkpoint",
        )
    labels = None if asked.labels is None else parse_labels(asked.labels, asked.language)
    with Client(server) as client:
        yield RemoteSource(client, labels, asked.names, asked.selection, asked.language)


def _settings_and_labels(asked: Asked) -> "tuple[Settings, tuple[Vocabulary, ...]]":
    from sigrl.service.settings import load_settings
    from sigrl.service.vocabularies.builtin import find, parse_labels

    settings = load_settings(checkpoint=asked.checkpoint)
    if asked.labels is not None:
        return settings, (parse_labels(asked.labels, asked.language),)
    return settings, tuple(find(name, settings) for name in asked.names)
