"""`python -m benchmarks.svfr`: whether SVFR pays in the head of the bundled checkpoint.

Known words are learned on features of the untouched image tower, from the densely labelled photographs and
those of COCO. SVFR is a residual on the local tokens that starts at zero, and is trained from the first step
together with their projection. It is compared with the same head without it, and with two linear maps in its
place, which have as many parameters and do not look at labels. Its learning rate is chosen on `val`; `test`
is measured once, at the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.measuring import markdown_table
from sigrl.model.matching import top_k_mean, unit_rms
from sigrl.model.svfr import SemanticFeatureReconstruction
from sigrl.training.backbones.initialisation import minilm_tokenizer, starting_point
from sigrl.training.data.batches import seeded
from sigrl.training.data.dataset import read_yaml
from sigrl.training.loop.schedules import half_cosine
from sigrl.training.tasks.everyday.batches import endless_permutation
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.data import EverydayData, load_data
from sigrl.training.tasks.everyday.duplicates import may_be_trained_on
from sigrl.training.tasks.everyday.evaluation import measure_logits
from sigrl.training.tasks.everyday.frozen_features import FrozenFeatures, frozen_features
from sigrl.training.tasks.everyday.losses import known_loss
from sigrl.training.tasks.everyday.network import BEST_TOKENS, LastBlocks, tokens
from sigrl.training.tasks.everyday.start import Start
from sigrl.training.terminal import progress_bar

Residual = Literal["none", "linear", "svfr"]
FACTORS = (1.0, 4.0)
"""Learning rates of the residual that are tried on `val`, relative to the rest."""
STEPS, DENSE, OTHERS = 440, 80, 40
"""Photographs of each of the steps, with dense labels and of COCO."""
WIDTH = 128
"""Numbers of a projected token."""
CONTEXT, SAMPLED = 64, 8
"""Number of words that SVFR looks at, the most frequent ones, and how many of them are drawn for a step."""
RATE, DECAY, HIDDEN, WARM_UP = 5e-4, 0.1, 1024, 50
LEAST = 5
"""Densely labelled training photographs that a word needs."""
MEASURES = ("mAP", "F1")


@dataclass(frozen=True)
class Photographs:
    """Features and labels of N photographs, for K known words."""

    tokens: Tensor
    """[N, T, F] float16: the means of 2 x 2 cells of the untouched tower's last map."""
    labels: np.ndarray
    """[N, K]: +1, -1, 0 unknown."""
    rows: Mapping[str, np.ndarray]
    """The rows of `dense` and `others`, to train on, and of `val` and `test`."""
    words: Tensor
    """[K, E]: the sentence encoder's vectors of the words, with unit norm."""


class KnownWords(nn.Module):
    """A network on the pooled features, and matching of words with the whole photograph and its best
    tokens."""

    def __init__(self, words: Tensor, features: int, context: Tensor, residual: Residual) -> None:
        """`words` [K, E]; tokens have `features` numbers; SVFR looks at the words of the rows `context`."""
        super().__init__()
        self.words, self.context = words, context
        self.input_dropout, self.hidden_dropout = nn.Dropout(0.3), nn.Dropout(0.5)
        self.hidden = nn.Linear(2 * features, HIDDEN)
        self.known = nn.Linear(HIDDEN, len(words))
        self.embedding = nn.Linear(2 * features, WIDTH)
        self.tokens = nn.Linear(features, WIDTH)
        self.text_map = nn.Linear(words.shape[1], WIDTH)
        self.scales = nn.Parameter(torch.tensor([2.0, 2.0]))
        nn.init.constant_(self.known.bias, -4.0)
        self.residual = None if residual == "none" else _Residual(residual)

    def forward(self, given: Tensor) -> Tensor:
        """Standardised tokens [B, T, F] -> logits [B, K]."""
        pooled = torch.cat([given.mean(1), given.amax(1)], dim=1)
        shared = self.hidden_dropout(functional.gelu(self.hidden(self.input_dropout(pooled))))
        labels = self.text_map(self.words)
        local = unit_rms(self.tokens(given))
        if self.residual is not None:
            context = self.context
            if self.training:
                context = context[torch.randperm(len(context))[:SAMPLED]]
            local = local + self.residual(local, unit_rms(labels[context]))
        labels = functional.normalize(labels, dim=-1)
        whole = functional.normalize(self.embedding(pooled), dim=-1) @ labels.T
        parts = functional.normalize(local, dim=-1) @ labels.T
        of_whole, of_parts = self.scales.exp()
        logits: Tensor = self.known(shared) + of_whole * whole + of_parts * top_k_mean(parts, BEST_TOKENS)
        return logits


class _Residual(nn.Module):
    """What is added to the tokens [B, T, D]: nothing before the first step."""

    def __init__(self, kind: Residual) -> None:
        super().__init__()
        self.svfr = SemanticFeatureReconstruction(WIDTH) if kind == "svfr" else None
        self.network = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.GELU())
        self.outer = nn.Linear(WIDTH if kind == "svfr" else 4 * WIDTH, WIDTH, bias=False)
        nn.init.zeros_(self.outer.weight)

    def forward(self, given: Tensor, labels: Tensor) -> Tensor:
        if self.svfr is None:
            made = self.network(given)
        else:
            with torch.autocast("cpu", torch.bfloat16):
                made = self.svfr(given, labels, labels, "mean").float()
        added: Tensor = self.outer(made)
        return added


def main(
    config: Annotated[Path, typer.Option()] = Path("training/configs/everyday.yaml"),
    cache: Annotated[Path, typer.Option(help="Folder for the outputs of frozen modules")] = Path("cache"),
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each kind")] = 3,
) -> None:
    """Print the table as Markdown."""
    settings = EverydayConfig.model_validate(read_yaml(config))
    settings = settings.model_copy(update={"sources": {}, "flickr8k_captions": None, "cache": cache})
    photographs = prepare(settings)
    often = (photographs.labels[photographs.rows["dense"]] > 0).sum(0)
    context = torch.from_numpy(np.argsort(-often, kind="stable")[:CONTEXT].copy())

    def fit(residual: Residual, factor: float, seed: int) -> KnownWords:
        with seeded(seed):
            model = KnownWords(photographs.words, photographs.tokens.shape[2], context, residual)
            train(model, photographs, factor, seed)
        return model.eval()

    kinds: tuple[Residual, ...] = ("none", "svfr", "linear")
    rows = []
    for kind in kinds:
        tried = {factor: fit(kind, factor, 0) for factor in (FACTORS if kind != "none" else (1.0,))}
        on_val = {factor: measure(model, photographs, "val") for factor, model in tried.items()}
        print(kind, on_val, flush=True)
        best = max(on_val, key=lambda factor: on_val[factor]["mAP"])
        models = [tried[best], *(fit(kind, best, seed) for seed in range(1, seeds))]
        measured = {
            split: [measure(model, photographs, split) for model in models] for split in ("val", "test")
        }
        cells = [_spread([one[name] for one in measured[split]]) for split in measured for name in MEASURES]
        rows.append([kind, f"{best:g}", *cells])
        print(rows[-1], flush=True)
    header = ["residual", "rate", *(f"{split}: {name}" for split in ("val", "test") for name in MEASURES)]
    print(markdown_table(header, rows))


def prepare(config: EverydayConfig) -> Photographs:
    """Runs the frozen tower once over all photographs. Raises DataError."""
    torch.set_num_threads(config.threads)
    start = Start(*starting_point(config.backbone), minilm_tokenizer())
    data = load_data(config)
    features, _ = frozen_features(data.photographs, config, start.trunk)
    usable = may_be_trained_on(data.photographs, features.hashes) & features.readable
    rows = _rows(data, usable, features.readable)
    often = (data.targets.known[rows["dense"]] > 0).sum(0) >= LEAST
    words = np.flatnonzero(often[: len(data.names)])
    embeddings = start.text_embeddings([data.names[word] for word in words], config.cache, "words")
    return Photographs(
        _standardised(last_tokens(features, config, start), rows["dense"]),
        data.targets.known[:, words],
        rows,
        embeddings,
    )


@torch.inference_mode()
def last_tokens(features: FrozenFeatures, config: EverydayConfig, start: Start) -> Tensor:
    """Tokens [N, T, F] float16 of the untouched tower."""
    last = LastBlocks(start.trunk, config.training.tuned_blocks)
    parts = []
    with progress_bar() as progress, torch.autocast("cpu", torch.bfloat16):
        bar = progress.add_task("last blocks", total=len(features.pooled), note="")
        for part in np.array_split(np.arange(len(features.pooled)), max(1, len(features.pooled) // 64)):
            parts.append(tokens(last(features.maps(part))).half())
            progress.update(bar, advance=len(part))
    return torch.cat(parts).clone()


def train(model: KnownWords, photographs: Photographs, factor: float, seed: int) -> None:
    """Trains all parts from the first step on; the residual's rate is `factor` times that of the others."""
    special = [] if model.residual is None else list(model.residual.parameters())
    others = [one for one in model.parameters() if all(one is not given for given in special)]
    groups = [{"params": others, "lr": RATE}, {"params": special, "lr": factor * RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, half_cosine(WARM_UP, STEPS))
    rows = photographs.rows
    with progress_bar() as progress:
        bar = progress.add_task("train", total=STEPS, note="")
        for step in range(STEPS):
            dense = endless_permutation(rows["dense"], DENSE, seed, step)
            drawn = np.concatenate([dense, endless_permutation(rows["others"], OTHERS, seed, step)])
            labels = torch.from_numpy(photographs.labels[drawn])
            logits = model(photographs.tokens[drawn].float())
            loss = known_loss(logits, (labels > 0).float(), (labels != 0).float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update(bar, advance=1, note=f"loss {loss.item():.2f}")


@torch.inference_mode()
def measure(model: KnownWords, photographs: Photographs, split: str) -> dict[str, float]:
    """mAP and F1 in percent at a probability of one half; see `measure_logits`."""
    rows = photographs.rows[split]
    logits = torch.cat([model(part.float()) for part in photographs.tokens[rows].split(100)])
    measured = measure_logits("", logits.numpy(), photographs.labels[rows])
    return {name: measured[f", {name}"] for name in MEASURES}


def _rows(data: EverydayData, usable: np.ndarray, readable: np.ndarray) -> dict[str, np.ndarray]:
    dense = np.array([one.dense for one in data.photographs])
    roles = np.array([one.role for one in data.photographs])
    known = (data.targets.known != 0).any(1)
    # On photographs that were sought for rare names, prevalences are not those of a library.
    sought = np.array([one.sought for one in data.photographs])
    rows = {"dense": usable & dense, "others": usable & ~dense & known}
    rows |= {
        "val": readable & dense & (roles == "val") & ~sought,
        "test": readable & dense & (roles == "test"),
    }
    return {name: np.flatnonzero(chosen) for name, chosen in rows.items()}


def _standardised(given: Tensor, rows: np.ndarray) -> Tensor:
    of_rows = given[rows].flatten(0, 1)
    total, squares = torch.zeros(2, of_rows.shape[1])
    for part in of_rows.split(4000):
        total, squares = total + part.float().sum(0), squares + part.float().square().sum(0)
    mean = total / len(of_rows)
    deviation = 1.5 * (squares / len(of_rows) - mean.square()).clamp(min=0).sqrt() + 0.05
    return torch.cat([((part.float() - mean) / deviation).half() for part in given.split(500)])


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


if __name__ == "__main__":
    typer.run(main)
