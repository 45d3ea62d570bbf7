"""Warms up a checkpoint, so that its first request is not slower than later ones."""

import logging
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.checkpoints.table import Handle
from sigrl.service.errors import StoreError, TaggerError
from sigrl.service.settings import Settings
from sigrl.service.tagging.scoring import BatchItem
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.registry import VocabularyRegistry

_logger = logging.getLogger("sigrl")


def warm_up(
    tagger: Tagger,
    vocabularies: Iterable[Vocabulary],
    batch_images: int,
    progress: Callable[[int, int], None],
) -> None:
    """Encodes the vocabularies, the tagger's own last so that the cache evicts it last, and tags a grey
    image: once alone, and once in the largest batch. Raises what the model raises.

    `progress` is called with the numbers of encoded labels and of all labels; an exception from it stops
    the warm-up.
    """
    distinct = {tagger.labels.key(each): each for each in (*vocabularies, tagger.vocabulary)}
    total = sum(len(vocabulary.labels) for vocabulary in distinct.values())
    before = 0
    for vocabulary in distinct.values():
        progress(before, total)
        tagger.labels.features(vocabulary, partial(_add, progress, before, total))
        before += len(vocabulary.labels)
    progress(total, total)
    size = tagger.engine.preprocessing.image_size
    question = tagger.question(tagger.vocabulary, Selection())
    grey = BatchItem(np.zeros((3, size, size), np.float32), (question,))
    for count in (1, batch_images):
        for outcome in tagger.tower.score([grey] * count):
            if isinstance(outcome, Exception):
                raise outcome


def encode_ahead(handle: Handle, vocabulary: Vocabulary) -> None:
    """Encodes a vocabulary before anybody asks for it, and gives the handle back; a failure is logged."""
    with handle:
        try:
            handle.tagger.labels.features(vocabulary)
        except TaggerError as error:
            # It is tried again when somebody asks, who is told why.
            _logger.warning("'%s' could not be encoded in advance: %s", vocabulary.name, error)


def _add(progress: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


def largest_batch(tagger: Tagger, settings: Settings) -> int:
    """The largest number of photographs in one batch."""
    pixels = tagger.engine.preprocessing.image_size**2
    return max(1, min(settings.batch_images, settings.batch_pixels // pixels))


def registered(registry: VocabularyRegistry) -> list[Vocabulary]:
    """The newest version of every registered vocabulary. If the database does not respond, the list may be
    incomplete; the missing ones are encoded when they are first requested."""
    found: list[Vocabulary] = []
    after = ""
    try:
        while entries := registry.entries(after):
            found += [registry.get(entry.name) for entry in entries if entry.version is not None]
            after = entries[-1].name
    except StoreError as error:
        _logger.warning("registered vocabularies could not be encoded in advance: %s", error.detail)
    return found


def reason(error: BaseException) -> str:
    """Why a bundle could not be loaded, as a sentence."""
    if isinstance(error, TaggerError):
        return str(error)
    # PyTorch's error is recognised by its name, because torch is not imported here.
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return "there is not enough memory for another checkpoint (unload one of the others)"
    return f"{type(error).__name__}: {error}"
