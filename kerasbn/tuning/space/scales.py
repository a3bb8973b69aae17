"""Scales: on which a hyperparameter is drawn, as the course teaches it, each a function over hp."""

from typing import Any

from kerasbn import checks
from kerasbn.checks import InputError

_SCALE = "A log scale has no 0: to try it, too, ask for a Boolean or a Choice first."


def _check_order(name: str, min_value: float, max_value: float) -> None:
    if min_value > max_value:
        raise InputError(name, "min_value <= max_value", f"[{min_value}, {max_value}]", "Swap them.")


def linear(hp: Any, name: str, min_value: float, max_value: float) -> float | None:
    """Return a number for which equal differences matter alike, such as a dropout rate.

    value = min_value + u (max_value - min_value),  u uniform on [0, 1)

    Args:
        hp: A `keras_tuner.HyperParameters`.
        name: Name of the hyperparameter, a Float with linear sampling.
        min_value: Smallest value.
        max_value: Largest value, not below `min_value`.

    Returns:
        The value, in [min_value, max_value]; None if the hyperparameter is in a conditional scope that is not
        active.

    Raises:
        InputError: If a bound is no finite number, or they are swapped.

    Example:
        >>> linear(keras_tuner.HyperParameters(), "dropout", 0.1, 0.5)
        0.1

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: an appropriate scale to pick
    hyperparameters.
    """
    checks.in_range(f"{name}: min_value", min_value)
    checks.in_range(f"{name}: max_value", max_value)
    _check_order(name, min_value, max_value)
    return hp.Float(name, min_value, max_value)


def log(hp: Any, name: str, min_value: float, max_value: float) -> float | None:
    """Return a number for which equal ratios matter alike, such as a learning rate.

    value = 10^r,  r uniform on [log10(min_value), log10(max_value)]

    On [0.0001, 1] a quarter of all values is in each decade; on a linear scale 90% are above 0.1.

    Args:
        hp: A `keras_tuner.HyperParameters`.
        name: Name of the hyperparameter, a Float with log sampling.
        min_value: Smallest value, above 0.
        max_value: Largest value, not below `min_value`.

    Returns:
        The value, in [min_value, max_value]; None if the hyperparameter is in a conditional scope that is not
        active.

    Raises:
        InputError: If a bound is not above 0 and finite, or they are swapped.

    Example:
        >>> log(keras_tuner.HyperParameters(), "learning_rate", 1e-4, 1.0)
        0.0001

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: an appropriate scale to pick
    hyperparameters.
    """
    checks.in_range(f"{name}: min_value", min_value, 0, open_low=True, remedy=_SCALE)
    checks.in_range(f"{name}: max_value", max_value, 0, open_low=True, remedy=_SCALE)
    _check_order(name, min_value, max_value)
    return hp.Float(name, min_value, max_value, sampling="log")


def one_minus_log(hp: Any, name: str, min_value: float, max_value: float) -> float | None:
    """Return a value near 1, such as a momentum, drawn so that 1 minus it is log-uniform.

    value = 1 - r,  log(r) uniform on [log(1 - max_value), log(1 - min_value)]

    A momentum averages over about 1 / (1 - momentum) steps: from 0.9 to 0.99 is as far (10 to 100 steps) as
    from 0.99 to 0.999 (100 to 1000). On [0.9, 0.999] half of all values are above 0.99; on a linear scale and
    on KerasTuner's "reverse_log" it is one in eleven. The hyperparameter itself is registered as
    "one_minus_" + name, a Float with log sampling, so that every oracle and every importance analysis sees
    the scale.

    Args:
        hp: A `keras_tuner.HyperParameters`.
        name: Name of the value, without "one_minus_".
        min_value: Smallest value, at least 0.
        max_value: Largest value, below 1 and not below `min_value`.

    Returns:
        The value, in [min_value, max_value]; None if the hyperparameter is in a conditional scope that is not
        active.

    Raises:
        InputError: If the range is not within [0, 1) or its bounds are swapped.

    Example:
        >>> one_minus_log(keras_tuner.HyperParameters(), "momentum", 0.9, 0.999)
        0.999

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: an appropriate scale to pick
    hyperparameters.
    """
    checks.in_range(f"{name}: min_value", min_value, 0, 1, open_high=True)
    checks.in_range(f"{name}: max_value", max_value, 0, 1, open_high=True, remedy="1 itself has no place on the scale.")
    _check_order(name, min_value, max_value)
    rest = hp.Float(f"one_minus_{name}", 1 - max_value, 1 - min_value, sampling="log")
    if rest is None:
        return None
    # 1 - (1 - x) is not x in floating point: without the clamp 0.9 would come back as 0.90000000000000002.
    return min(max(1 - rest, min_value), max_value)


def integer_log(hp: Any, name: str, min_value: int, max_value: int) -> int | None:
    """Return a whole number for which equal ratios matter alike, such as the units of a layer.

    P(k) = log((k + 1) / k) / log((max_value + 1) / min_value)

    From 32 to 64 units is as far as from 128 to 256.

    Args:
        hp: A `keras_tuner.HyperParameters`.
        name: Name of the hyperparameter, an Int with log sampling.
        min_value: Smallest value, at least 1.
        max_value: Largest value, not below `min_value`.

    Returns:
        The value, in [min_value, max_value]; None if the hyperparameter is in a conditional scope that is not
        active.

    Raises:
        InputError: If a bound is no whole number of at least 1, or they are swapped.

    Example:
        >>> integer_log(keras_tuner.HyperParameters(), "units", 32, 256)
        32

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: an appropriate scale to pick
    hyperparameters.
    """
    checks.in_range(f"{name}: min_value", min_value, 1, integer=True, remedy=_SCALE)
    checks.in_range(f"{name}: max_value", max_value, 1, integer=True, remedy=_SCALE)
    _check_order(name, min_value, max_value)
    return hp.Int(name, min_value, max_value, sampling="log")


def layer_count(hp: Any, name: str, min_value: int, max_value: int) -> int | None:
    """Return a number of layers, each equally likely.

    P(k) = 1 / (max_value - min_value + 1)

    Args:
        hp: A `keras_tuner.HyperParameters`.
        name: Name of the hyperparameter, an Int with linear sampling.
        min_value: Fewest layers, at least 0.
        max_value: Most layers, not below `min_value`.

    Returns:
        The number, in [min_value, max_value]; None if the hyperparameter is in a conditional scope that is not
        active.

    Raises:
        InputError: If a bound is no whole number of at least 0, or they are swapped.

    Example:
        >>> layer_count(keras_tuner.HyperParameters(), "layers", 2, 4)
        2

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: an appropriate scale to pick
    hyperparameters.
    """
    checks.in_range(f"{name}: min_value", min_value, 0, integer=True)
    checks.in_range(f"{name}: max_value", max_value, 0, integer=True)
    _check_order(name, min_value, max_value)
    return hp.Int(name, min_value, max_value)
