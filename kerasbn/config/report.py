"""Config of the command report: which study is shown, and where its page goes."""

from dataclasses import dataclass

from kerasbn.config.fields import check_fields
from kerasbn.config.format import FORMAT, check_format


@dataclass(frozen=True)
class ReportConfig:
    """Which study is shown, and where the page and the table go.

    Args:
        study: Directory of a study, such as studies/digits; or a project directory of KerasTuner.
        output: Directory for report.html and report.csv; null: the study's own.
        storage: URL of the database that the study is in, such as postgresql://host/name; null: its own journal.
        format: Format of this file; 1 is the newest that this kerasbn reads.

    Raises:
        InputError: If a value is of another type.

    Example:
        >>> ReportConfig(study="studies/digits", output="reports").storage is None
        True
    """

    study: str
    output: str | None = None
    storage: str | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        check_fields(self)
        check_format(self.format)
