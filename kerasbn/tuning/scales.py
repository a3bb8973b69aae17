"""Scales that KerasTuner does not have: values near 1, drawn by how far they are from it."""

from typing import Any

from kerasbn import checks
from kerasbn.checks import InputError


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
    if min_value > max_value:
        raise InputError(name, "min_value <= max_value", f"[{min_value}, {max_value}]", "Swap them.")
    rest = hp.Float(f"one_minus_{name}", 1 - max_value, 1 - min_value, sampling="log")
    if rest is None:
        return None
    # 1 - (1 - x) is not x in floating point: without the clamp 0.9 would come back as 0.90000000000000002.
    return min(max(1 - rest, min_value), max_value)
