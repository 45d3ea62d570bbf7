"""The page that shows the unedited tags of fifty photographs beside their dense labels."""

from collections.abc import Sequence

import numpy as np

from benchmarks.everyday.answers import Verdict, judged_names
from benchmarks.everyday.labelled import Photographs
from sigrl.model.vocabulary import Vocabulary

SEED = 17
_SHOWN = 50
_MOST_MISSED = 15
_MARKS = {1: "", 0: "? ", -1: "✗ "}


def photographs_page(
    photographs: Photographs, verdicts: Sequence[Verdict], vocabulary: Vocabulary, checkpoint: str
) -> str:
    """Markdown with the brief answers for fifty of the test `photographs`, or for all if there are fewer;
    `verdicts` are in the order of the photographs."""
    test = np.flatnonzero(photographs.splits == "test")
    chosen = np.sort(np.random.default_rng(SEED).permutation(test)[:_SHOWN])
    columns = judged_names(vocabulary, photographs.names)
    header = f"""# Tags for {len(chosen)} photographs
The tags that `sigrl tag PHOTO` gives with no options for {len(chosen)} of the {len(test)} test photographs of
`everyday`, none of which was used in training. NumPy's generator drew them with the seed {SEED}; nothing was
left out or edited. We may not publish the photographs: each heading gives the main subject, in the words of a
labeller. Written by `python -m benchmarks.everyday --page docs/photographs.md` with the checkpoint
`{checkpoint}`.

A plain tag is right. ✗ is wrong. ? may be right: the labeller was not sure. · is a tag that the labels do not
judge. *Missed* are labels that apply and are neither shown nor implied; most photographs have more labels
than a brief answer has room for.
"""
    entries = [
        _entry(
            f"{photographs.ids[row]} ({photographs.kinds[row]}): {photographs.subjects[row]}",
            dict(zip(photographs.names, photographs.labels[row].tolist(), strict=True)),
            verdicts[row],
            {label: photographs.names[column] for label, column in columns.items()},
        )
        for row in chosen
    ]
    return "\n".join([header, *entries])


def _entry(title: str, holds: dict[str, int], verdict: Verdict, judged_as: dict[str, str]) -> str:
    """`holds` is +1, 0 or -1 for each name; `judged_as` maps labels to the names that they count as."""

    def marked(label: str) -> str:
        name = judged_as.get(label)
        if name is None:
            return f"· {label}"
        other = "" if name.casefold() == label.casefold() else f" (as {name})"
        return f"{_MARKS[holds[name]]}{label}{other}"

    tags = [tag for tag in verdict.tagging.tags if tag.accepted]
    found = {judged_as.get(label) for label in (*verdict.tagging.labels, *verdict.implied)}
    missed = [name for name, verdict_on in holds.items() if verdict_on > 0 and name not in found]
    more = f" and {len(missed) - _MOST_MISSED} more" if len(missed) > _MOST_MISSED else ""
    shown = ", ".join(f"{marked(tag.label)} {100 * tag.probability:.0f} %" for tag in tags)
    implied = ", ".join(marked(label) for label in verdict.implied)
    lines = [
        f"## {title}\n",
        f"- Shown: {shown or 'nothing'}",
        *([f"- Implied: {implied}"] if implied else []),
        f"- Missed: {', '.join(missed[:_MOST_MISSED]) or 'nothing'}{more}",
    ]
    return "\n".join(lines) + "\n"
