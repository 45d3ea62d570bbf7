"""`python -m benchmarks.ladders TOWERS`: what each system and each part of the method contributes.

Two ablation ladders in one run, on frozen towers: open vocabulary (the rows of `sigrl-train ablate`, and why
a step helps or does not), and the losses of the single-positive protocol. Beside them it measures what the
precision of an epoch's evaluation changes. TOWERS are those of the bundled
checkpoint's recipe, trained without the hidden labels (`left_out/bundle` in a run of `task: everyday`), or of
`sigrl-train pretrain`. The tables go to stdout.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional

from benchmarks.measuring import markdown_table
from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.config import HeadConfig
from sigrl.model.heads import SigRLHead, create_head
from sigrl.model.matching import MatchingHead, unit_rms
from sigrl.model.svfr import StreamedSteps
from sigrl.training.backbones.features import text_features
from sigrl.training.backbones.initialisation import starting_point
from sigrl.training.data.coco import load_coco
from sigrl.training.loop.acceleration import training_steps
from sigrl.training.tasks.bundled.ablate import (
    HEADS,
    HeldOut,
    Row,
    bridge_scores,
    encode_test_split,
    fitted_row,
    with_head,
)
from sigrl.training.tasks.bundled.config import FitConfig, TrainingConfig, load_config
from sigrl.training.tasks.bundled.evaluate import MINIMUM_POSITIVES
from sigrl.training.tasks.bundled.fit import (
    Prepared,
    fit_head,
    image_batch,
    new_head,
    predict,
    prepare,
    train_head,
)
from sigrl.training.tasks.bundled.recipe import check_towers
from sigrl.training.tasks.bundled.teachers import label_texts, make_bridge, sentence_embeddings
from sigrl.training.tasks.bundled.towers import feature_maps
from sigrl.training.tasks.single_positive.ladder import ladder_table, single_positive_ladder

SIGRL: dict[str, object] = {"kind": "sigrl"}
GRAPH_ALONE: dict[str, object] = {"kind": "sigrl", "svfr": False}
SEEDS = (0, 1, 2)
BATCH_SIZE = 32
SINGLE_POSITIVE_SEEDS = (0, 1, 8)
Part = Literal["all", "open-vocabulary", "evaluation", "single-positive"]
SHARP = 10.0
"""Initial factor of the graph's attention vectors: logits of size 3 instead of 0.3."""


def main(
    towers: Annotated[Path, typer.Argument(help="Bundle that was trained without the hidden labels")],
    config: Annotated[Path, typer.Option()] = Path("training/configs/bundled_unseen.yaml"),
    cache: Annotated[Path, typer.Option(help="Folder for the outputs of frozen modules")] = Path("cache"),
    photographs: Annotated[int, typer.Option(help="Open vocabulary: most training photographs")] = 3200,
    part: Annotated[Part, typer.Option()] = "all",
) -> None:
    """Print the ladders as Markdown."""
    settings = load_config(config)
    fit = settings.fit.model_copy(update={"batch_size": BATCH_SIZE})
    settings = settings.model_copy(update={"cache": cache, "fit": fit})
    if part != "single-positive":
        bundle = load_bundle(towers)
        check_towers(bundle, towers, settings)
        if bundle.manifest.backbone.words is not None:
            # It has a quarter of the tokens.
            fit = with_head(fit, {"top_k": bundle.manifest.head.top_k})
            settings = settings.model_copy(update={"fit": fit})
        prepared = prepare(settings, bundle.model.backbone, cache, photographs)
        split = load_coco(settings.data.root, settings.data.test_split)
        test = encode_test_split(settings, bundle.model.backbone, split, cache)
        if part != "evaluation":
            open_vocabulary(settings, bundle, prepared, test)
        if part != "open-vocabulary":
            print(evaluation(settings.fit, bundle.model.head, prepared, test), flush=True)
    if part in ("all", "single-positive"):
        print(ladder_table(single_positive_ladder(settings, cache, SINGLE_POSITIVE_SEEDS)))


def open_vocabulary(settings: TrainingConfig, bundle: Bundle, prepared: Prepared, test: HeldOut) -> None:
    """The ladder of heads; what their parts do; the same heads on untrained towers."""
    rows = [test.row("untrained bridge", [bridge_scores(settings, test.split, settings.cache)])]
    print_rows(rows)
    for name, changes in HEADS.items():
        fit = with_head(settings.fit, changes)
        rows.append(fitted_row(name, fit, bundle.model.head, prepared, test, SEEDS))
        print_rows(rows[-1:])
    print(relatedness(rows, test))
    print_rows(variants(settings.fit, bundle, prepared, test, SEEDS[:1]))
    prepared, test, head = on_untrained_towers(settings, prepared, test)
    free = settings.fit.model_copy(update={"distillation_weight": 0.0})
    for name in ("mkt", "biam", "sigrl without GMC", "sigrl"):
        fit = with_head(free, HEADS[name])
        print_rows([fitted_row(f"untrained towers: {name}", fit, head, prepared, test, SEEDS[:1])])


def print_rows(rows: Sequence[Row]) -> None:
    """mAP in percent: mean and standard deviation over the seeds."""
    header = ["head", "seen labels", "unseen labels", "all", "seeds"]
    cells = [
        [
            row.head,
            *(f"{mean:.2f} ± {spread:.2f}" for mean, spread in (row.seen, row.hidden, row.all)),
            str(row.seeds),
        ]
        for row in rows
    ]
    print(markdown_table(header, cells), flush=True)


def relatedness(rows: Sequence[Row], test: HeldOut) -> str:
    """Whether a part of the method helps labels that are close to a trained label.

    Spearman's correlation, over labels, of the gain in average precision with the largest cosine to another
    trained label.
    """
    by_name = {row.head: np.array(row.per_label) for row in rows}
    labels = functional.normalize(test.label_embeddings, dim=-1)
    cosines = (labels @ labels[torch.from_numpy(~test.hidden)].T).numpy()
    cosines[cosines > 0.9999] = -1
    nearest = cosines.max(axis=1)
    counted = test.split.labels.sum(0) >= MINIMUM_POSITIVES
    lines = []
    for part, without in (("GMC", "sigrl without GMC"), ("SVFR", "sigrl without SVFR")):
        gain = by_name["sigrl"] - by_name[without]
        both = np.stack([_ranks(gain[counted]), _ranks(nearest[counted])])
        means = (gain[counted & ~test.hidden].mean(), gain[test.hidden].mean())
        lines.append([part, f"{np.corrcoef(both)[0, 1]:+.2f}", *(f"{mean:+.2f}" for mean in means)])
    return markdown_table(["part", "correlation with relatedness", "gain, seen", "gain, unseen"], lines)


def variants(
    settings: FitConfig, bundle: Bundle, prepared: Prepared, test: HeldOut, seeds: Sequence[int]
) -> list[Row]:
    """The sigrl head with other training settings, and what its parts do after training."""
    faster = settings.model_copy(update={"learning_rate": 4 * settings.learning_rate})
    free = settings.model_copy(update={"distillation_weight": 0.0})
    tried = [
        ("sigrl", with_head(settings, SIGRL), 1.0),
        ("sigrl, attention of the graph sharp at the start", with_head(settings, SIGRL), SHARP),
        ("sigrl, four times the learning rate", with_head(faster, SIGRL), 1.0),
        ("sigrl, names not held", with_head(free, SIGRL), 1.0),
        ("GMC alone, sharp at the start, four times the rate", with_head(faster, GRAPH_ALONE), SHARP),
    ]
    rows = []
    for name, changed, sharpness in tried:
        inside: list[str] = []

        def fit(
            one: FitConfig,
            towers_head: MatchingHead,
            data: Prepared,
            sharpness: float = sharpness,
            inside: list[str] = inside,
        ) -> MatchingHead:
            head = new_head(one, towers_head, data)
            sharpen(head, sharpness)
            train_head(head, one, towers_head, data)
            inside.append(look_inside(head, test))
            return head

        row = fitted_row(name, changed, bundle.model.head, prepared, test, seeds, fit)
        print(f"{name}: {'; '.join(inside)}", flush=True)
        rows.append(row)
    return rows


def evaluation(settings: FitConfig, towers_head: MatchingHead, prepared: Prepared, test: HeldOut) -> str:
    """SVFR in the precision in which a processor evaluates an epoch, against that in which it is trained."""
    head = fit_head(with_head(settings, HEADS["published form: sigrl"]), towers_head, prepared)
    assert isinstance(head, SigRLHead)
    assert head.svfr is not None
    rows, exact = [], None
    for name, steps in (
        ("float32, as trained", StreamedSteps()),
        ("as evaluated", training_steps(torch.device("cpu"), "float32", head.svfr.embed_dim)),
    ):
        head.svfr.steps = steps
        started = time.perf_counter()
        scores = predict(head, test.outputs, test.label_embeddings)
        milliseconds = 1000 * (time.perf_counter() - started) / len(scores)
        exact = scores if exact is None else exact
        shift = float((scores - exact).abs().max() / exact.abs().max())
        mean = test.row(name, [scores]).all[0]
        rows.append([name, f"{milliseconds:.1f}", f"{mean:.2f}", f"{shift:.1e}"])
    return markdown_table(["SVFR", "ms a photograph", "mAP", "largest shift, of the largest score"], rows)


@torch.inference_mode()
def on_untrained_towers(
    settings: TrainingConfig, prepared: Prepared, test: HeldOut
) -> tuple[Prepared, HeldOut, MatchingHead]:
    """Features of the same photographs and labels from towers that were not trained on these labels:
    ImageNet's classifier and a sentence encoder, joined patch by patch by the names of ImageNet's classes."""
    backbone, classifier = starting_point(settings.pretrain.backbone)
    bridge = make_bridge(backbone, classifier)

    def outputs(paths: Sequence[Path]) -> Tensor:
        parts = []
        for maps in feature_maps(backbone, paths, settings.pretrain, settings.cache):
            embeddings = torch.cat([bridge.embed(maps.mean(dim=1, keepdim=True)), bridge.embed(maps)], dim=1)
            parts.append(embeddings.half())
        return torch.cat(parts).clone()

    def texts(names: Sequence[str]) -> Tensor:
        return text_features(
            partial(sentence_embeddings, backbone), label_texts(backbone, names), "labels"
        ).clone()

    supervision = prepared.supervision
    seen = replace(
        prepared,
        outputs=outputs(supervision.image_paths),
        labels=texts(supervision.label_names),
        names=texts(supervision.names),
    )
    held_out = replace(
        test, outputs=outputs(test.split.image_paths), label_embeddings=texts(test.split.label_names)
    )
    return seen, held_out, create_head(HeadConfig(kind="mkt"), seen.labels.shape[1])


@torch.no_grad()
def sharpen(head: MatchingHead, factor: float) -> None:
    """Scales the vectors whose products with pairs of labels are the graph's attention."""
    if isinstance(head, SigRLHead) and head.graph is not None:
        head.graph.hidden.attention.mul_(factor)
        head.graph.output.attention.mul_(factor)


@torch.inference_mode()
def look_inside(head: MatchingHead, test: HeldOut) -> str:
    """How strongly the graph distinguishes labels, and how far SVFR moves a token."""
    assert isinstance(head, SigRLHead)
    found = []
    if head.graph is not None:
        context = unit_rms(head.context_label_embeddings)
        refined = head.graph(unit_rms(test.label_embeddings), context)
        share = refined.var(dim=0).sum() / refined.square().sum(dim=1).mean()
        found.append(
            f"{100 * float(share):.2g} % of GMC's output tells labels apart, gamma {float(head.gamma):.2f}"
        )
    if head.svfr is not None:
        features = image_batch(test.outputs[:50])
        rebuilt = head.reconstruct(features, head.label_features(test.label_embeddings))
        cosine = functional.cosine_similarity(rebuilt, features.patch_tokens, dim=-1).mean()
        found.append(f"cosine of a token before and after SVFR {float(cosine):.3f}")
    return ", ".join(found)


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values))


if __name__ == "__main__":
    typer.run(main)
