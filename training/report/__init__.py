"""The report page of a run, `report.html`: curves, labels and photographs in one self-contained file."""

from sigrl.training.report.page import try_report, write_report

__all__ = ["try_report", "write_report"]
