"""`sigrl-train init`: writes a configuration for your own photographs, filled in with what was found."""

import json
from pathlib import Path

import torch
import yaml

from sigrl.training.data.dataset import DataError, LabelledPhotographs, Problem, read_yaml
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.data import read_source
from sigrl.training.tasks.photographs.measures import choose_loss


def write_starter_config(photographs: Path, labels: Path | None, output: Path) -> str:
    """Writes a commented YAML file for `task: photographs`, and returns the message for the user.

    Args:
        photographs: a folder, or shards as `train-{000..012}.tar`.
        labels: `.csv`, `.jsonl`, or `.json` in COCO's format. None: the sub-folders' names are the labels.

    Raises DataError if the data cannot be read or the file already exists.
    """
    if output.exists():
        raise DataError(f"{output} already exists: name another file, or remove it")
    shards = photographs.suffix == ".tar"
    source = str(photographs) if shards else None if labels is None else str(labels)
    problems: list[Problem] = []
    found = read_source(None if shards else photographs, source, None, False, problems.append)
    content = _content(photographs, labels, found)
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("x", encoding="utf-8") as file:
        file.write(content)
    PhotographsConfig.model_validate(read_yaml(output))
    more = f", {len(problems)} problems with labels" if problems else ""
    return (
        f"wrote {output}: {len(found):,} photographs, {len(found.label_names):,} labels{more}\n"
        "look through it, then:\n"
        f"  sigrl-train check --config {output}\n"
        f"  sigrl-train fit --config {output} -o runs/{output.stem}\n"
        f"  SIGRL_CHECKPOINT=runs/{output.stem}/bundle SIGRL_VOCABULARY=runs/{output.stem}/vocabulary.json "
        "sigrl serve"
    )


def _content(photographs: Path, labels: Path | None, found: LabelledPhotographs) -> str:
    positives = (found.labels == 1).sum(axis=0)
    negatives = (found.labels == -1).sum(axis=0)
    is_complete_format = photographs.suffix != ".tar" and (labels is None or labels.suffix.lower() == ".json")
    # In these formats, a label that is not given does not apply, unless there are explicit negatives.
    complete = is_complete_format and not negatives.any()
    draft = PhotographsConfig(photographs=photographs, complete=complete)
    loss = "iu" if complete else choose_loss(draft, found.labels).kind
    batch = next((size for size in (32, 16, 8, 4, 2) if 0.7 * len(found) >= 2 * size), 1)
    gpu = torch.cuda.is_available()
    if photographs.suffix == ".tar":
        source = f"shards: {_text(str(photographs))}  # WebDataset: key.jpg beside key.json, .txt or .cls"
    else:
        source = f"photographs: {_text(str(photographs))}  # folder of the photographs"
        if labels is not None:
            source += f"\nlabels: {_text(str(labels))}  # .csv, .jsonl, or .json in COCO's format"
        else:
            source += "\n# labels: labels.csv  # none: the sub-folders' names are the labels"
    lines = [
        f"  - {_text(name)}  # applies to {count}, not to {len(found) - count if complete else negative}"
        + ("" if count else ": add photographs of it, or remove it")
        for name, count, negative in zip(
            found.label_names, positives.tolist(), negatives.tolist(), strict=True
        )
    ]
    return f"""\
# Fits a checkpoint to your own photographs: sigrl-train fit --config THIS_FILE -o DIRECTORY
task: photographs
start: bundled  # checkpoint to start from; or a bundle's directory (`sigrl-train import --open-clip ...`)

{source}
complete: {str(complete).lower()}  # true: a label that is not given does not apply; false: it is unknown
# The labels to learn. To give a label synonyms: {{name: sofa, synonyms: [couch, settee]}}.
vocabulary:
{chr(10).join(lines)}

validation_share: 0.2  # share of the photographs to compare epochs on; they are not trained on
# validation: more.csv  # instead: a label file of the same folder (or shards) with other photographs
bad_data: stop  # stop at the first bad file or label and name it; skip: leave them out and count them
check: decode  # decode every file completely before training; exists: only check that it exists

# Unknown labels: iu leaves them out (it needs known negatives), an_ls assumes that they are absent and
# smooths these targets, em keeps them undecided (entropy_weight: 0.1). Others: an, wan, epr, pr.
loss: {{kind: {loss}}}
balance: none  # inverse_frequency: positives of rare labels weigh more, which raises their probabilities
largest_weight: 10  # maximum of that weight
remember: {draft.remember}  # weight of not forgetting other names; 0: only your labels count; try 1 to 10
tower: frozen  # trains in minutes on a CPU; tuned: the whole image tower is trained, which takes a GPU
cache: float16  # features on disk; int8: half the size; pooled: a quarter; none: computed in every epoch
augment: true  # mirrors photographs; if the tower is tuned, also crops and changes colours at random
learning_rate: {_number("learning_rate")}  # of projection and scales; lower it if validation/mAP soon falls
tower_learning_rate: {_number("tower_learning_rate")}  # of the image tower, if it is tuned
warm_up_epochs: 1  # epochs in which the learning rate rises
loop:
  epochs: {draft.loop.epochs}  # passes over the photographs
  batch_size: {batch}  # photographs per step, over all processes
  patience: {draft.loop.patience}  # epochs without a better validation/mAP before it stops
  precision: {"bfloat16" if gpu else "float32"}  # bfloat16 is faster on a GPU
  averaging: {draft.loop.averaging}  # decay of the weights' moving average, which is what is saved
  seed: 0  # another seed shuffles the photographs differently
  log_every: 10  # steps between two lines of metrics.jsonl
  tensorboard: false  # true: write curves for TensorBoard (pip install 'sigrl-tagger[tensorboard]')
"""


def _number(key: str) -> str:
    """The number in YAML: 1.0e-4, because YAML reads 1e-4 as a string."""
    value = PhotographsConfig.model_fields[key].default
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _text(text: str) -> str:
    """A YAML scalar that is read back as exactly this text."""
    try:
        plain = yaml.safe_load(f"- {text}  # comment") == [text]
    except yaml.YAMLError:
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=False)
