"""Writing a report: the page and the table, of a study wherever it is kept."""

import os
from pathlib import Path

from kerasbn import files
from kerasbn.config.report import ReportConfig
from kerasbn.tuning.compatibility.projects import is_project, read_project
from kerasbn.tuning.report.page import page
from kerasbn.tuning.report.table import all_trials
from kerasbn.tuning.store.contents import read_study
from kerasbn.tuning.store.records import StudyContent

PAGE, TABLE = "report.html", "report.csv"


def write_report(content: StudyContent, directory: str | os.PathLike[str]) -> Path:
    """Write what a study has found out as one HTML page, which opens anywhere without a network, and as a table.

    Args:
        content: The study, from `kerasbn.tuning.read_study`.
        directory: Where report.html and report.csv are written; made if missing, and older ones replaced.

    Returns:
        The page.

    Raises:
        InputError: If nothing can be written there.
        TaskError: If plotly is not installed.

    Example:
        >>> write_report(read_study("studies/digits"), "reports").name
        'report.html'
    """
    text, table = page(content), all_trials(content)
    directory = files.writable_directory(directory, "output")
    files.write_text(directory / TABLE, table.to_csv(index=False))
    files.write_text(directory / PAGE, text)
    return directory / PAGE


def report(config: ReportConfig) -> Path:
    """Write the report of a study, or of a project of KerasTuner, which is only read.

    Args:
        config: Which study, and where to.

    Returns:
        The page.

    Raises:
        InputError: If there is no study, or nothing can be written to the output.
        TaskError: If plotly is not installed.

    Example:
        >>> report(ReportConfig(study="studies/digits", output="reports")).name
        'report.html'
    """
    if config.storage is None and is_project(Path(config.study)):
        content = read_project(Path(config.study))
    else:
        content = read_study(config.study, config.storage)
    return write_report(content, content.directory if config.output is None else config.output)
