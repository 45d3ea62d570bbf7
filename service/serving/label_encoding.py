"""Encodes the labels of many requests, which take turns."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sigrl.model.engine import LabelFeatures
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.batching.shared_calls import SharedCalls
from sigrl.service.batching.threads import RequestThreads
from sigrl.service.batching.turns import Turns
from sigrl.service.keys.rates import charge_new_labels
from sigrl.service.settings import Settings
from sigrl.service.tagging.label_cache import Key
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.builtin import BUILTIN

Result = TypeVar("Result")


class LabelEncoding:
    """Encodes labels in separate threads, because a long list takes as long as many photographs. At most
    `Settings.threads` lists are encoded at once, in slices, and other requests get their turn between slices.
    A list that nobody waits for any more is abandoned before its next slice. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        # One thread for every request that may be admitted, because one that waits for its turn needs a
        # thread too.
        self._threads = RequestThreads(settings.queue_images, "sigrl-labels")
        self._turns = Turns(settings.threads)
        self._encoding: SharedCalls[Key, LabelFeatures] = SharedCalls(self._threads)

    async def features(self, tagger: Tagger, vocabulary: Vocabulary) -> LabelFeatures:
        """The label features of the vocabulary. Raises RateError if the API key's budget of new labels is
        used up, and what `EncodedLabels.features` raises."""
        ready = tagger.labels.in_memory(vocabulary)
        if ready is not None:
            return ready
        key = tagger.labels.key(vocabulary)
        # Only the client's own labels are charged, not registered or built-in vocabularies.
        if key not in self._encoding and vocabulary.version is None and vocabulary.name not in BUILTIN:
            charge_new_labels(len(vocabulary.labels))
        return await self._encoding.get(
            key, lambda abandoned: tagger.labels.features(vocabulary, turn=self._turns.turn(abandoned))
        )

    async def run(
        self, look: Callable[[Tagger, LabelFeatures], Result], tagger: Tagger, features: LabelFeatures
    ) -> Result:
        """Calls `look` in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, look, tagger, features)

    def close(self) -> None:
        """Starts no more work. Does not wait for work in progress."""
        self._threads.close()
