"""Words of captions are predicted from what the image tower recognises."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sigrl.model.vocabulary import Label
from sigrl.training.tasks.everyday.caption_words import predict_mentions
from sigrl.training.tasks.everyday.config import EverydayConfig, KnownWordsConfig
from sigrl.training.tasks.everyday.draft import Draft, make_draft
from sigrl.training.tasks.everyday.run import train
from sigrl.training.tasks.everyday.start import Start
from sigrl.training.tasks.everyday.trained import keep_photographs

Config = Callable[..., EverydayConfig]


def test_predictions_are_the_log_odds_of_mentions() -> None:
    draw = np.random.default_rng(0)
    logits = (3 * draw.standard_normal((20_000, 6)) - 2).astype(np.float32)
    truth = np.stack([0.5 * logits[:, 0] - 1, 0.3 * logits[:, 1] - 0.2 * logits[:, 2] - 4], axis=1)
    mentions = draw.random(truth.shape) < 1 / (1 + np.exp(-truth))
    weights, bias = predict_mentions(logits, mentions)
    found = logits @ weights.T + bias
    assert np.abs(found - truth).mean() < 0.15
    assert found.dtype == np.float32


def test_word_that_no_logit_tells_of_has_the_same_odds_everywhere() -> None:
    draw = np.random.default_rng(0)
    logits = draw.standard_normal((5000, 4)).astype(np.float32)
    # A tower may never have told a class from the others.
    logits[:, 3] = -7
    mentions = draw.random((5000, 1)) < 0.1
    weights, bias = predict_mentions(logits, mentions)
    found = logits @ weights.T + bias
    np.testing.assert_allclose(found, np.log(1 / 9), atol=0.25)


def test_draft_scores_words_that_enough_captions_mention(
    everyday: Config, start: Start, tmp_path: Path
) -> None:
    """Captions of seven photographs mention a bridge; none mentions a wing or a cloud."""
    trained = train(everyday(), tmp_path, start)

    def draft(captions: int) -> Draft:
        known_words = KnownWordsConfig(dense=1, others=1, captions=captions)
        config = trained.config.model_copy(update={"known_words": known_words})
        return make_draft(replace(trained, config=config))

    def logits(of: Draft) -> npt.NDArray[np.float32]:
        rows = of.evidence.describe([Label(name="bridges")], unit, of.background)
        return of.evidence.score_kept(kept, unit, rows)[:, 0]

    enough, too_few = draft(7), draft(8)
    evidence = [one.head.evidence for one in (enough, too_few)]
    assert [one and one.caption_words for one in evidence] == [("bridge",), ()]
    rows, unit = np.flatnonzero(trained.trained_on), enough.arrays["known_labels"][:1]
    kept = keep_photographs(trained, rows, enough.words)
    said = logits(enough) - logits(too_few)
    captions = [trained.photographs[row].captions for row in rows]
    mentioned = np.array([any("bridge" in caption for caption in of) for of in captions])
    captioned = np.array([bool(of) for of in captions])
    assert said[mentioned].mean() > said[captioned & ~mentioned].mean()
