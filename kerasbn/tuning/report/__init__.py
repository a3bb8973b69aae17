"""The report: what a study has found out, as one page that opens anywhere, and as a table."""

from kerasbn.tuning.report.writing import report, write_report

__all__ = ["report", "write_report"]
