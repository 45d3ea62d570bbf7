"""Reports as tables in the terminal."""

from rich.bar import Bar
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sigrl.training.data.check import DataReport
from sigrl.training.measures.report import Evaluation
from sigrl.training.tasks.bundled.ablate import Row
from sigrl.training.tasks.bundled.evaluate import Report

_SHOWN_LABELS = 30
_BAR_WIDTH = 20


def evaluation_tables(evaluation: Evaluation) -> Group:
    """The measures, and a bar for each label; of many labels, only the best and the worst."""
    table = Table("measure", "value", title=f"{evaluation.photographs} photographs")

    def row(name: str, *values: float) -> None:
        table.add_row(name, " / ".join(f"{value:.1f}" for value in values))

    threshold = "their own thresholds" if evaluation.threshold is None else f"{evaluation.threshold:.2f}"
    for kind, means in (("a positive", evaluation.positive), ("10 positives", evaluation.frequent)):
        if means is not None:
            row(f"mAP, {means.labels} labels with at least {kind}", means.mean_average_precision)
            row(f"micro / macro F1 at {threshold}, the same", means.micro_f1, means.macro_f1)
    for k, at in ((3, evaluation.at_3), (5, evaluation.at_5)):
        row(f"F1 / precision / recall of the first {k}", at.f1, at.precision, at.recall)
    for name, value in evaluation.ranking:
        row(name.replace("_", " "), value)
    if evaluation.calibration is not None:
        calibration = evaluation.calibration
        row("calibration error, overall / mean of labels", calibration.overall, calibration.mean_over_labels)
    return Group(table, _label_table(evaluation))


def _label_table(evaluation: Evaluation) -> Table:
    table = Table("label", "average precision", "", "positive", "negative", box=None)
    table.columns[1].min_width = _BAR_WIDTH
    for column in table.columns[2:]:
        column.justify = "right"
    ranked = evaluation.ranked_labels()
    cut = _SHOWN_LABELS // 2 if len(ranked) > _SHOWN_LABELS else len(ranked)
    for number, (label, precision) in enumerate(ranked):
        if cut <= number < len(ranked) - cut:
            if number == cut:
                table.add_row("…")
            continue
        bar = Bar(100, 0, precision, width=_BAR_WIDTH, color="green")
        counts = str(label.positives), str(label.negatives)
        table.add_row(Text(label.label), bar, f"{precision:.1f}", *counts)
    if cut < len(ranked):
        table.caption = f"the best and the worst {cut} of {len(ranked)} labels: --report FILE.json lists all"
    if unmeasured := len(evaluation.per_label) - len(ranked):
        table.caption = f"{table.caption or ''}\nlabels without a positive: {unmeasured}".strip()
    return table


def report_table(report: Report) -> Group:
    """The measures of the bundled checkpoint: first those of every checkpoint, then its own."""
    table = Table("measure", "value", "constant guess")
    if report.hidden_mean_average_precision is not None:
        table.add_row("mAP, hidden labels", f"{report.hidden_mean_average_precision:.1f}", "")
        table.add_row("mAP, seen labels", f"{report.seen_mean_average_precision:.1f}", "")
    for name, value in report.ranking:
        table.add_row(name.replace("_", " "), f"{value:.1f}", f"{getattr(report.constant_guess, name):.1f}")
    for name, value in report.single_label.items():
        table.add_row(f"`dog` alone: {name.replace('_', ' ')}", f"{value:.1f}", "")
    for company in report.company:
        changed = f"mAP {company.mean_average_precision:.2f}, unchanged {company.unchanged_decisions:.2f}"
        table.add_row(f"20 labels + {company.distractors} others", changed, "")
    return Group(table) if report.evaluation is None else Group(evaluation_tables(report.evaluation), table)


def ablation_table(rows: list[Row]) -> Table:
    """One line per head: mean and deviation over the seeds."""
    table = Table("head", "seen mAP", "hidden mAP", "all mAP", "seeds", title="Same towers, other heads")
    for row in rows:
        cells = [f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in (row.seen, row.hidden, row.all)]
        table.add_row(row.head, *cells, str(row.seeds))
    return table


def check_table(name: str, report: DataReport) -> Table:
    """What `check` counted in one part of the data; of many labels, those with the fewest positives."""
    title = f"{name}: {report.photographs} photographs, {report.without_positives} without a positive label"
    table = Table("label", "positive", "negative", "unknown", title=title)
    rarest = sorted(report.labels, key=lambda label: label.positive)
    for label in rarest[:_SHOWN_LABELS]:
        table.add_row(label.label, str(label.positive), str(label.negative), str(label.unknown))
    if len(rarest) > _SHOWN_LABELS:
        table.caption = f"the rarest {_SHOWN_LABELS} of {len(rarest)} labels"
    for kind, subjects in report.counts().items():
        table.add_section()
        table.add_row(kind, str(sum(subjects.values())), "", "")
    return table
