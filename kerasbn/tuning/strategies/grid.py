"""Grid search: every combination of a few values of each hyperparameter, one after the other."""

from typing import Any, ClassVar

from keras_tuner.engine import hyperparameters as kinds

from kerasbn.tuning.draws import count_steps, draw
from kerasbn.tuning.objective import MisuseError
from kerasbn.tuning.strategies.base import Choose, Progress, Strategy

# Of a hyperparameter without a step, as many as KerasTuner's GridSearch takes.
CONTINUOUS_VALUES = 10
_MOST_VALUES = 1_000_000


def grid_values(hyperparameter: kinds.HyperParameter) -> list[Any]:
    """Return the values of a hyperparameter on the grid, those of a number in ascending order.

    All of a choice, or of a number with a step; else those at the cumulative probabilities 0.05, 0.15, ..., 0.95,
    without repetitions.

    Args:
        hyperparameter: A `keras_tuner.engine.hyperparameters.HyperParameter`.

    Returns:
        At least one value, each once.

    Example:
        >>> hp = keras_tuner.HyperParameters()
        >>> units = hp.Int("units", 2, 32, step=2, sampling="log")
        >>> grid_values(hp.space[0])
        [2, 4, 8, 16, 32]
    """
    if not isinstance(hyperparameter, kinds.Int | kinds.Float):
        return list(dict.fromkeys(hyperparameter.values))
    number = CONTINUOUS_VALUES if hyperparameter.step is None else count_steps(hyperparameter)
    if number > _MOST_VALUES:
        remedy = "Give it a larger step, or take another strategy than grid."
        raise MisuseError(hyperparameter.name, f"at most {_MOST_VALUES} values on a grid", number, remedy)
    # Drawn, not taken from `values`: those of an Int with log sampling are floats, and in the order of a set.
    return sorted({draw(hyperparameter, (i + 0.5) / number) for i in range(number)})


class Grid(Strategy):
    """Every combination of the values of a grid, in a fixed order.

    index = number + attempt = d1 + n1 (d2 + n2 (d3 + ...)),  0 <= d_i < n_i

    d_i is the place of the i-th hyperparameter's value among its n_i. The one that is asked for first varies fastest:
    what will be asked for after it, and so n_2, n_3, ..., is not known before it has its value. Where an `if` asks
    for fewer hyperparameters than elsewhere, combinations come again; they are passed over as any repetition is.

    A search that ends early has seen the first values only of what is asked for last: give it as many trials as
    there are combinations, or use another strategy.

    Example:
        >>> hp = keras_tuner.HyperParameters()
        >>> kind, wide = hp.Choice("kind", ["a", "b"]), hp.Boolean("wide")
        >>> for number in range(4):
        ...     choose = Grid().choose(0, number, 0, Progress("max"))
        ...     [choose(h) for h in hp.space]
        ['a', True]
        ['b', True]
        ['a', False]
        ['b', False]
    """

    name: ClassVar[str] = "grid"

    def choose(self, seed: int, number: int, attempt: int, progress: Progress) -> Choose:
        """Return what gives the values of the combination at number + attempt; arguments as the base's."""
        index = number + attempt

        def value(hyperparameter: kinds.HyperParameter) -> Any:
            nonlocal index
            values = grid_values(hyperparameter)
            index, place = divmod(index, len(values))
            return values[place]

        return value

    def count(self, hyperparameter: kinds.HyperParameter) -> float:
        """Return how many values of a hyperparameter are on the grid; argument as the base's."""
        return len(grid_values(hyperparameter))
