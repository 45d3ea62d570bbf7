"""Calibrates vocabularies while the service is running. Independent of HTTP."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sigrl.model.engine import LabelFeatures
from sigrl.model.kept_features import KeptFeatures
from sigrl.model.manifest import sha256
from sigrl.service.batching.threads import in_database_thread
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
from sigrl.service.vocabularies.label_calibrator import LabelCalibrator
from sigrl.service.vocabularies.registry import VocabularyRegistry


class Calibrating:
    """The calibrations of one service. Their photographs share the model's batches with other requests."""

    def __init__(self, tagger: AsyncTagger, registry: VocabularyRegistry, settings: Settings) -> None:
        self._tagger, self._registry = tagger, registry
        self._store = CalibrationStore(registry.database)
        self._most = settings.calibration_examples

    async def calibrate(
        self, name: str, files: Sequence[LabelledFile], goal: CalibrationGoal, *, replace: bool
    ) -> CalibrationReport:
        """Makes a new calibration from these examples and, unless `replace` is set, the stored ones. It takes
        effect at once. A request that fails stores nothing.

        Raises ExamplesError if a photograph cannot be used, and whatever `CalibrationStore.add` and
        `AsyncTagger.tag_many` raise.
        """
        # Checked first, because processing the photographs is expensive.
        await in_database_thread(self._store.check, name)
        self._check_head()
        if goal.kind == "false-positive-rate":
            await self._check_background(name)
        examples = [
            await self._tagger.in_decoder(partial(_example, file, self._tagger.small_copy)) for file in files
        ]
        checkpoint, features = await self._see(examples)
        add = partial(self._store.add, name, examples, goal, replace=replace, limit=self._most)
        await in_database_thread(add)
        await in_database_thread(self._store.keep_features, checkpoint, features)
        report = await self.report(name, with_gain=True)
        self._tagger.runtime.prepare(await in_database_thread(self._registry.get, name))
        return report

    async def report(self, name: str, *, with_gain: bool = False) -> CalibrationReport:
        """The report on the current calibration; `with_gain`: including what it gains, which takes as long as
        five calibrations. Raises CalibrationNotFoundError."""
        vocabulary = await in_database_thread(self._registry.get, name)
        if vocabulary.calibration is None:
            raise not_calibrated(name)
        calibration = await in_database_thread(self._store.get, name, vocabulary.calibration)
        plain = vocabulary.model_copy(update={"calibration": None})

        def make(tagger: Tagger, calibrated: LabelFeatures) -> CalibrationReport:
            calibrator, uncalibrated = LabelCalibrator(self._store), tagger.labels.features(plain)
            overruled = calibrator.overruled(tagger.tower, vocabulary, calibrated)
            report = report_calibration(
                vocabulary, calibration, tagger.engine, uncalibrated, calibrated, overruled
            )
            if not with_gain:
                return report
            return report.model_copy(update={"gain": calibrator.gain(tagger.tower, vocabulary, uncalibrated)})

        return await self._tagger.look_at_labels(vocabulary, make)

    async def goal(self, name: str) -> CalibrationGoal:
        """The goal of the current calibration; the best F1 if there is none."""
        vocabulary = await in_database_thread(self._registry.get, name)
        if vocabulary.calibration is None:
            return CalibrationGoal()
        return (await in_database_thread(self._store.get, name, vocabulary.calibration)).goal

    async def forget(self, name: str) -> None:
        """Deletes a vocabulary's calibrations and their photographs."""
        await in_database_thread(self._registry.entry, name)
        await in_database_thread(self._store.forget, name)

    async def judge(self, name: str) -> HygieneReport:
        """The report on the quality of a vocabulary's labels, calibrated or not."""
        vocabulary = await in_database_thread(self._registry.get, name)
        return await self._tagger.look_at_labels(
            vocabulary, lambda tagger, features: judge_labels(vocabulary, tagger.engine, features)
        )

    def _check_head(self) -> None:
        """Raises ExamplesError if the active checkpoint cannot score the features of examples: it could no
        longer tag with the vocabulary."""
        with self._tagger.runtime.acquire() as handle:
            if not handle.tagger.engine.scores_kept:
                raise ExamplesError(
                    "the active checkpoint looks at parts of each photograph again, and examples are kept "
                    "without their pixels",
                    "calibrate with another checkpoint",
                )

    async def _check_background(self, name: str) -> None:
        """Raises ExamplesError if the active checkpoint has no background set: with a false-positive-rate
        goal, it could no longer tag with the vocabulary."""
        vocabulary = await in_database_thread(self._registry.get, name)
        plain = vocabulary.model_copy(update={"calibration": None})
        background = await self._tagger.look_at_labels(
            plain, lambda tagger, features: tagger.engine.background_logits(features)
        )
        if background is None:
            raise ExamplesError(
                "the active checkpoint has no background set, which false-positive rates are measured on",
                "choose another goal or another checkpoint; `sigrl-train calibrate` makes a background set",
            )

    async def _see(self, examples: Sequence[Example]) -> tuple[str, dict[str, KeptFeatures]]:
        """Returns (id of the checkpoint, features of the photographs by digest)."""
        copies = [example.photograph for example in examples]
        vocabulary = self._tagger.vocabulary
        async with self._tagger.tag_many(copies, [vocabulary], Selection(1), Keep) as stream:
            results = await stream.in_order()
        features: dict[str, KeptFeatures] = {}
        for each in results:
            if isinstance(each.outcome, Exception):
                raise each.outcome
            (kept,) = each.outcome
            assert isinstance(kept, KeptPhotograph)
            features[examples[each.number].digest] = kept.features
        return stream.checkpoint, features


def example(data: bytes, shown: Mapping[str, bool], small_copy: Callable[[bytes], bytes]) -> Example:
    """The example to store of a labelled photograph: a small copy. Raises ImageError."""
    return Example("sha256:" + sha256(data), small_copy(data), shown)


def _example(file: LabelledFile, small_copy: Callable[[bytes], bytes]) -> Example:
    try:
        return example(file.data, file.shown, small_copy)
    except ImageError as error:
        raise ExamplesError(
            f"the photograph {(file.filename or '')[:80]!a} cannot be used: {error.detail}",
            f"{error.hint}, or leave it out; nothing of this request was stored",
        ) from error
