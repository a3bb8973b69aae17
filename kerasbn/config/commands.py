"""Configs of the commands other than train and tune: adjust, lr-find, export, serve, predict."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.config.fields import check_fields
from kerasbn.config.format import FORMAT, check_format, check_name
from kerasbn.config.training import TrainConfig


@dataclass(frozen=True)
class Change:
    """A change of a run while it trains: other values from here on, the last change undone, or the end.

    It takes effect at the next execution: before the next step, or at most 64 steps later where several are one call.

    Args:
        learning_rate: Learning rate from there, above 0; the schedule goes on from there in proportion.
        momentum: Weight of the old average of gradients, in [0, 1); beta_1 of adam and adamw.
        dropout: Share of the units that each dropout layer drops, in [0, 1).
        stop: Whether training ends.
        undo: Whether the last change that is in force is taken back.

    Raises:
        InputError: If a value is of another type or out of its range, or there is more beside `stop` or `undo`.

    Example:
        >>> Change(learning_rate=0.003, momentum=0.8).given()
        {'learning_rate': 0.003, 'momentum': 0.8}
    """

    learning_rate: float | None = None
    momentum: float | None = None
    dropout: float | None = None
    stop: bool = False
    undo: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.learning_rate is not None:
            checks.in_range("learning_rate", self.learning_rate, 0, 1e38, open_low=True)
        if self.momentum is not None:
            checks.in_range("momentum", self.momentum, 0, 1, open_high=True)
        if self.dropout is not None:
            checks.in_range("dropout", self.dropout, 0, 1, open_high=True)
        given = self.given()
        for alone in ("stop", "undo"):
            if alone in given and len(given) > 1:
                received = next(name for name in given if name != alone)
                raise InputError(alone, "nothing else in the same change", received, "Make two changes of them.")

    def given(self) -> dict[str, Any]:
        """Return what is to be changed, by name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None and value is not False}


@dataclass(frozen=True)
class AdjustConfig:
    """Which run is changed while it trains, and how: from its next execution on, or when it is resumed.

    Args:
        run: Run directory of `kerasbn train`, runs/<name>/<time>; or runs/<name>: its newest run that is not
            complete.
        learning_rate: Learning rate at the next execution, above 0; the schedule goes on from there in proportion.
        momentum: Weight of the old average of gradients, in [0, 1); beta_1 of adam and adamw.
        dropout: Share of the units that each dropout layer drops, in [0, 1).
        stop: Whether training ends.
        undo: Whether the last change that is in force is taken back.
        format: Format of this file; 1 is the newest that this kerasbn reads.

    Raises:
        InputError: If a value is of another type or out of its range.

    Example:
        >>> AdjustConfig(run="runs/digits", learning_rate=0.003).change.given()
        {'learning_rate': 0.003}
    """

    run: str
    learning_rate: float | None = None
    momentum: float | None = None
    dropout: float | None = None
    stop: bool = False
    undo: bool = False
    format: int = FORMAT

    def __post_init__(self) -> None:
        check_fields(self)
        check_format(self.format)
        _ = self.change  # checks the values

    @property
    def change(self) -> Change:
        """What is to be changed."""
        return Change(self.learning_rate, self.momentum, self.dropout, self.stop, self.undo)


@dataclass(frozen=True)
class LearningRateSearchConfig(TrainConfig):
    """Everything that decides a search for the learning rate: the training it is for, and the rates to try.

    Args:
        format: Format of this file; 1 is the newest that this kerasbn reads.
        name: Name of the model; null: taken from the source.
        output: Directory in which runs are kept; a search makes none.
        data: Where the examples come from and how they are split.
        model: The family of models and its shape.
        training: How the model is trained; its learning rate is not used.
        minimum: First rate to try, above 0.
        maximum: Last rate to try, above the first.
        steps: Steps from the first rate to the last, in equal factors, at least 20.
        picture: The picture to write, with loss by rate: a .png, .pdf or .svg file.

    Raises:
        InputError: If a value is of another type or out of its range.

    Example:
        >>> LearningRateSearchConfig(data=DataConfig(source="iris"), steps=50).picture
        'lr_find.png'
    """

    minimum: float = 1e-6
    maximum: float = 10.0
    steps: int = 200
    picture: str = "lr_find.png"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.in_range("minimum", self.minimum, 0, open_low=True)
        checks.in_range("maximum", self.maximum, self.minimum, open_low=True)
        checks.in_range("steps", self.steps, 20, integer=True)
        if not self.picture.lower().endswith((".png", ".pdf", ".svg")):
            raise InputError("picture", "the name of a .png, .pdf or .svg file", repr(self.picture))


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
