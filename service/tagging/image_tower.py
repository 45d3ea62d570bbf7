"""A checkpoint's image tower: decodes photographs for it, and runs it for one caller at a time."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from sigrl.model.engine import Engine
from sigrl.model.kept_features import KeptFeatures
from sigrl.model.processors import available_processors, blas_on_one_thread
from sigrl.service.errors import ImageError, ModelError
from sigrl.service.images import files as image_files
from sigrl.service.images.decoder_pool import DecoderPool
from sigrl.service.images.files import ImageLimits
from sigrl.service.observability import metrics
from sigrl.service.tagging.scoring import Array, BatchItem, ScoredImage, pixel_values, score_batch

ImageSource = str | Path | bytes | Image.Image
"""A path, a file's content, or an image that was opened with Pillow."""

_BATCH = 8
# Decoders release the GIL. With this many threads, decoding is usually faster than the model.
_DECODERS = min(4, available_processors())
_MOST_SECONDS = 600.0
"""Time limit for decoding one photograph, including the wait for those decoded before it."""


class ImageTower:
    """Can be shared between threads."""

    def __init__(self, engine: Engine, pool: DecoderPool, limits: ImageLimits) -> None:
        self.engine, self.pool, self.limits = engine, pool, limits
        self._model = Lock()

    def score(self, items: Sequence[BatchItem]) -> list[ScoredImage | ModelError]:
        """See `sigrl.service.tagging.scoring.score_batch`. Serves one caller at a time; unless
        OPENBLAS_NUM_THREADS is set, all towers of the program together do."""
        # NumPy's threads, woken by the last scores, would spin while the tower runs: the limit covers both.
        with self._model, blas_on_one_thread():
            return score_batch(items)

    def keep_images(self, photographs: Sequence[bytes]) -> list[KeptFeatures]:
        """Features of photographs that can be scored with other labels later, computed in one image pass.
        Raises ImageError."""
        values = [self.pixel_values(photograph) for photograph in photographs]
        if not values:
            return []
        with self._model:
            kept = self.engine.keep_images(self.engine.encode_images(np.stack(values)))
        return [kept.take(slice(row, row + 1)) for row in range(len(kept))]

    def pixel_values(self, source: ImageSource) -> Array:
        """The tower's input for a photograph, float32 [3, S, S]. Raises ImageError."""
        with metrics.DECODE_SECONDS.time():
            if isinstance(source, Image.Image):
                return pixel_values(source, self.engine.preprocessing, may_shrink=False)
            data = source if isinstance(source, bytes) else image_files.read(Path(source), self.limits)
            deadline = time.monotonic() + _MOST_SECONDS
            return self.pool.pixel_values(data, self.limits, self.engine.preprocessing, deadline)

    def batches(self, sources: Iterator[ImageSource]) -> Iterator[list[Array | ImageError]]:
        """Yields decoded batches, with an ImageError in place of a photograph that cannot be decoded. The
        next batch is decoded in threads while the caller works on this one."""
        with ThreadPoolExecutor(_DECODERS, "sigrl-decode") as threads:

            def begin() -> list[Future[Array | ImageError]]:
                return [threads.submit(self._decode, source) for source in islice(sources, _BATCH)]

            following = begin()
            while batch := following:
                decoded = [each.result() for each in batch]
                following = begin()
                yield decoded

    def _decode(self, source: ImageSource) -> Array | ImageError:
        try:
            return self.pixel_values(source)
        except ImageError as error:
            return error
