"""batch_size_factor: how the rate grows with the batch size."""

from kerasbn import checks


def batch_size_factor(batch_size: int, reference: int, rule: str = "linear") -> float:
    """Return the factor for a rate that was right for batches of another size, to `scale` a schedule by.

        B / R (linear),   sqrt(B / R) (square_root)

    The linear rule makes a step on a batch of k R move the weights as k steps on batches of R do, as long as the
    gradients hardly change meanwhile; a warm-up helps where they do. The square root keeps the variance of the
    step.

    Args:
        batch_size: B, examples in a batch, at least 1.
        reference: R, examples in the batches that the rate was right for, at least 1.
        rule: "linear" or "square_root".

    Returns:
        The factor.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> batch_size_factor(1024, 256), batch_size_factor(1024, 256, "square_root")
        (4.0, 2.0)

    Source: Goyal et al. (2017), arXiv:1706.02677, section 2.1; Krizhevsky (2014), arXiv:1404.5997, section 5.
    """
    checks.in_range("batch_size", batch_size, 1, integer=True)
    checks.in_range("reference", reference, 1, integer=True)
    checks.one_of("rule", rule, ("linear", "square_root"))
    return float(batch_size / reference) ** (1.0 if rule == "linear" else 0.5)
