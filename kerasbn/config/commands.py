"""Configs of the commands that take what is already trained: export, serve, predict."""

from dataclasses import dataclass

from kerasbn import checks
from kerasbn.config.fields import check_fields
from kerasbn.config.format import FORMAT, check_format, check_name


@dataclass(frozen=True)
class ExportConfig:
    """What is exported, and where to.

    Args:
        run: Run directory of `kerasbn train`, runs/<name>/<time>; or runs/<name>: its newest run that has ended.
        output: Directory of the model's versions; null: saved_models/<name>.
        version: Number of the version directory, at least 1; null: one more than the newest there.
        format: Format of this file; 1 is the newest that this kerasbn reads.

    Raises:
        InputError: If a value is of another type or out of its range.

    Example:
        >>> ExportConfig(run="runs/digits", version=3).version
        3
    """

    run: str
    output: str | None = None
    version: int | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        check_fields(self)
        check_format(self.format)
        if self.version is not None:
            checks.in_range("version", self.version, 1, 2**63 - 1, integer=True)  # TensorFlow Serving's are int64


@dataclass(frozen=True)
class ServeConfig:
    """Which model is served, and where.

    Args:
        model: Directory of the model's versions, such as saved_models/digits; the newest is served.
        name: Name of the model in the URL; null: the directory's own.
        host: Address to listen on; the default is this machine only.
        port: TCP port for HTTP, 0 to 65535; 0 takes a free one.
        format: Format of this file; 1 is the newest that this kerasbn reads.

    Raises:
        InputError: If a value is of another type or out of its range.

    Example:
        >>> ServeConfig(model="saved_models/digits", port=8080).host
        '127.0.0.1'
    """

    model: str
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8501
    format: int = FORMAT

    def __post_init__(self) -> None:
        check_fields(self)
        check_format(self.format)
        check_name("name", self.name)
        checks.in_range("port", self.port, 0, 65535, integer=True)


@dataclass(frozen=True)
class PredictConfig:
    """Which file is classified, by which model.

    Args:
        model: Directory of the model's versions, such as saved_models/digits, or one version in it.
        input: What the model was trained on, without the answers: a .csv file, an .npy or .npz file (x), an
            image, or a folder of images.
        output: The .csv file to write: one row an example with the class and all probabilities.
        batch_size: Examples in a call of the model, at least 1.
        format: Format of this file; 1 is the newest that this kerasbn reads.

    Raises:
        InputError: If a value is of another type or out of its range.

    Example:
        >>> PredictConfig(model="saved_models/iris", input="flowers.csv").output
        'predictions.csv'
    """

    model: str
    input: str
    output: str = "predictions.csv"
    batch_size: int = 256
    format: int = FORMAT

    def __post_init__(self) -> None:
        check_fields(self)
        check_format(self.format)
        checks.in_range("batch_size", self.batch_size, 1, integer=True)
