"""Charts as SVG by matplotlib; the page sets their colours, so they also work in dark mode."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sigrl.training.measures.report import Calibration
from sigrl.training.report.history import Series

# matplotlib does not know CSS variables, so each of these colours stands for one.
_INK, _FAINT = "#010001", "#010002"
_LINES = ("#010011", "#010012", "#010013", "#010014")
_VARIABLES = {_INK: "--ink", _FAINT: "--faint"} | {
    colour: f"--line-{number}" for number, colour in enumerate(_LINES, 1)
}
_DASHES = ("-", "--", ":", "-.")
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "font.size": 9,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def step_chart(name: str, series: Series) -> Markup:
    """Lines over steps: the loss and its parts, or the learning rate."""
    with _chart(name, _describe(name, series, "step")) as (axes, result):
        _plot(axes, series, marker="")
        axes.set_xlabel("step")
        if all(value >= 0 for points in series.values() for _, value in points):
            axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        _legend(axes, series)
    return result[0]


def epoch_chart(name: str, series: Series, best_epoch: int | None) -> Markup:
    """Lines over epochs, counted from 1, with the best one marked (counted from 0)."""
    with _chart(name, _describe(name, series, "epoch")) as (axes, result):
        _plot(axes, series, marker="o")
        axes.set_xlabel("epoch" if best_epoch is None else f"epoch (best: {best_epoch + 1})")
        if best_epoch is not None:
            axes.axvline(best_epoch + 1, color=_FAINT, linestyle="--", linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(next(iter(series)) if len(series) == 1 else "percent")
        _legend(axes, series)
    return result[0]


def reliability_chart(name: str, calibration: Calibration) -> Markup:
    """The share of labels that apply, over their predicted probability."""
    description = f"{name}: of labels given " + ", ".join(
        f"{one.probability:.0%}, {one.frequency:.0%} apply" for one in calibration.bins
    )
    with _chart(name, description) as (axes, result):
        axes.plot([0, 1], [0, 1], color=_FAINT, linestyle="--", linewidth=1, label="ideal")
        points = [(one.probability, one.frequency) for one in calibration.bins]
        axes.plot(*zip(*points, strict=True), color=_LINES[0], marker="o", markersize=4, label="measured")
        axes.set(xlabel="probability", ylabel="share that applies", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(loc="upper left")
    return result[0]


def _plot(axes: Axes, series: Series, marker: str) -> None:
    for number, (name, points) in enumerate(series.items()):
        axes.plot(
            *zip(*points, strict=True),
            color=_LINES[number % len(_LINES)],
            linestyle=_DASHES[number // len(_LINES) % len(_DASHES)],
            marker=marker,
            markersize=4,
            linewidth=1.6,
            label=name,
        )


def _legend(axes: Axes, series: Series) -> None:
    if len(series) > 1:
        axes.legend()


def _describe(name: str, series: Series, position: str) -> str:
    """The chart as text, for screen readers."""
    said = [
        f"{one} from {points[0][1]:.3g} at {position} {points[0][0]:g} to {points[-1][1]:.3g} at {position} "
        f"{points[-1][0]:g}"
        for one, points in series.items()
    ]
    return f"{name}: {'; '.join(said)}"


@contextmanager
def _chart(name: str, description: str) -> Iterator[tuple[Axes, list[Markup]]]:
    """Axes to draw on; after the block, the SVG is in the list."""
    result: list[Markup] = []
    # The salt keeps the ids of two charts on one page apart.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(3.9, 2.5), layout="constrained")
        yield figure.add_subplot(), result
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    result.append(_inline(file.getvalue(), description))


def _inline(document: str, description: str) -> Markup:
    """The `svg` element of matplotlib's document for a page, which sets its size and colours, with a label
    for screen readers. matplotlib has escaped every text in it."""
    box = re.search(r'viewBox="[^"]+"', document)
    body = document[document.index("<defs>") :]
    assert box is not None
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    referenced = set(re.findall(r"#([\w-]+)", body))
    body = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in referenced else "", body)
    start = '<svg class="chart" {} role="img" aria-label="{}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return Markup(start.format(box[0], escape(description)) + body)
