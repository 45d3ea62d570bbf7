"""How a vocabulary is calibrated while the service answers, with no HTTP in it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from anyio import to_thread

from sigrl.model.engine import LabelFeatures
from sigrl.model.kept_features import KeptFeatures
from sigrl.model.manifest import sha256
from sigrl.service.errors import ExamplesError, ImageError
from sigrl.service.schemas.calibration import CalibrationGoal, CalibrationReport, HygieneReport
from sigrl.service.serving.async_tagger import AsyncTagger
from sigrl.service.serving.recent_photographs import Keep, KeptPhotograph
from sigrl.service.settings import Settings
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.calibration_report import judge_labels, report_calibration
from sigrl.service.vocabularies.calibration_store import CalibrationStore, not_calibrated
from sigrl.service.vocabularies.examples import Example, LabelledFile
from sigrl.service.vocabularies.registry import VocabularyRegistry


class Calibrating:
    """Calibrations of one service: what is asked goes to its model in the same batches as all else."""

    def __init__(self, tagger: AsyncTagger, registry: VocabularyRegistry, settings: Settings) -> None:
        self._tagger, self._registry = tagger, registry
        self._store = CalibrationStore(registry.database)
        self._most = settings.calibration_examples

    async def calibrate(
        self, name: str, files: Sequence[LabelledFile], goal: CalibrationGoal, *, replace: bool
    ) -> CalibrationReport:
        """Makes a new calibration, which holds from now on: of the examples that there are, unless they are
        to be replaced, and of these. Nothing is kept of a request that fails.

        Raises ExamplesError when a photograph cannot be used, as `CalibrationStore.add` does, and as
        `AsyncTagger.tag_many` does.
        """
        # What cannot be calibrated is found out before its photographs are looked at.
        await to_thread.run_sync(self._store.check, name)
        if goal.kind == "false-positive-rate":
            await self._check_background(name)
        examples = [
            await self._tagger.in_decoder(partial(_example, file, self._tagger.small_copy)) for file in files
        ]
        checkpoint, features = await self._see(examples)
        add = partial(self._store.add, name, examples, goal, replace=replace, limit=self._most)
        await to_thread.run_sync(add)
        await to_thread.run_sync(self._store.keep_features, checkpoint, features)
        report = await self.report(name)
        self._tagger.runtime.prepare(await to_thread.run_sync(self._registry.get, name))
        return report

    async def report(self, name: str) -> CalibrationReport:
        """The calibration that holds. Raises CalibrationNotFoundError."""
        vocabulary = await to_thread.run_sync(self._registry.get, name)
        if vocabulary.calibration is None:
            raise not_calibrated(name)
        calibration = await to_thread.run_sync(self._store.get, name, vocabulary.calibration)
        plain = vocabulary.model_copy(update={"calibration": None})

        def make(tagger: Tagger, refined: LabelFeatures) -> CalibrationReport:
            return report_calibration(
                vocabulary, calibration, tagger.engine, tagger.label_features(plain), refined
            )

        return await self._tagger.look_at_labels(vocabulary, make)

    async def forget(self, name: str) -> None:
        """Drops a vocabulary's calibrations with their photographs."""
        await to_thread.run_sync(self._registry.entry, name)
        await to_thread.run_sync(self._store.forget, name)

    async def judge(self, name: str) -> HygieneReport:
        """The report on a vocabulary's labels, calibrated or not."""
        vocabulary = await to_thread.run_sync(self._registry.get, name)
        return await self._tagger.look_at_labels(
            vocabulary, lambda tagger, features: judge_labels(vocabulary, tagger.engine, features)
        )

    async def _check_background(self, name: str) -> None:
        """Raises ExamplesError where the active checkpoint has no background set: with such a goal it could
        not tag with the vocabulary any more."""
        vocabulary = await to_thread.run_sync(self._registry.get, name)
        plain = vocabulary.model_copy(update={"calibration": None})
        background = await self._tagger.look_at_labels(
            plain, lambda tagger, features: tagger.engine.background_logits(features)
        )
        if background is None:
            raise ExamplesError(
                "the active checkpoint has no background set, by which false positives are counted",
                "choose another goal, or another checkpoint: `sigrl-train calibrate` makes a background set",
            )

    async def _see(self, examples: Sequence[Example]) -> tuple[str, dict[str, KeptFeatures]]:
        """(id of the checkpoint, features of the photographs by digest)."""
        copies = [example.photograph for example in examples]
        vocabulary = self._tagger.vocabulary
        async with self._tagger.tag_many(copies, [vocabulary], Selection(1), Keep) as tags:
            finished = await tags.in_order()
        features: dict[str, KeptFeatures] = {}
        for each in finished:
            if isinstance(each.outcome, Exception):
                raise each.outcome
            (kept,) = each.outcome
            assert isinstance(kept, KeptPhotograph)
            features[examples[each.number].digest] = kept.features
        return tags.checkpoint, features


def example(data: bytes, shown: Mapping[str, bool], small_copy: Callable[[bytes], bytes]) -> Example:
    """What is kept of a labelled photograph. Raises ImageError."""
    return Example("sha256:" + sha256(data), small_copy(data), shown)


def _example(file: LabelledFile, small_copy: Callable[[bytes], bytes]) -> Example:
    try:
        return example(file.data, file.shown, small_copy)
    except ImageError as error:
        raise ExamplesError(
            f"the photograph {(file.filename or '')[:80]!a} cannot be used: {error.detail}",
            f"{error.hint}, or leave it out; nothing was kept of this request",
        ) from error
