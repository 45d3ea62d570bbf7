"""The page of a run, `report.html`: curves, labels, photographs; one file that needs nothing else."""

from sigrl.training.report.page import try_report, write_report

__all__ = ["try_report", "write_report"]
