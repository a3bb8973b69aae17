"""Config of the data: where examples come from and how they are split."""

from dataclasses import dataclass

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.config.fields import check_fields


@dataclass(frozen=True)
class DataConfig:
    """Where the examples come from and how they are split.

    Args:
        source: A bundled set (digits, breast_cancer, wine, iris), a name of keras.datasets (mnist,
            fashion_mnist, cifar10, cifar100), or a path: a .csv file, an .npz file (x_train and y_train, with
            or without x_test and y_test; or x and y), or a folder of images with one sub-folder a class.
        target: CSV only: the column to predict.
        categorical: CSV only: columns of numbers that are to be read as categories, such as codes.
        drop: CSV only: columns to leave out, such as row numbers.
        image_size: Image folder only: height and width in pixels to which images are resized; null: their own
            size if they all share one of at most 96 pixels a side, else 64 by 64.
        validation_fraction: Share of the examples kept for choosing, in (0, 1).
        test_fraction: Share of the examples kept for the final figures, in (0, 1); unused where the source has
            a test set of its own.
        seed: Seed of the split, a whole number of at least 0.

    Raises:
        InputError: If a value is of another type or out of its range, or the fractions leave
            nothing to train on.

    Example:
        >>> DataConfig(source="people.csv", target="income", drop=("row",)).validation_fraction
        0.15
    """

    source: str = "digits"
    target: str | None = None
    categorical: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    validation_fraction: float = 0.15
    test_fraction: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        for name in ("validation_fraction", "test_fraction"):
            checks.in_range(f"data.{name}", getattr(self, name), 0, 1, open_low=True, open_high=True)
        if self.validation_fraction + self.test_fraction >= 1:
            raise InputError(
                "data.validation_fraction + data.test_fraction",
                "less than 1, so that examples are left to train on",
                self.validation_fraction + self.test_fraction,
            )
        checks.in_range("data.seed", self.seed, 0, 2**31 - 1, integer=True)
        for side in self.image_size or ():
            checks.in_range("data.image_size", side, 1, 4096, integer=True)
