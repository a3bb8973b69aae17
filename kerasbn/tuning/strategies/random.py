"""Random search: independent draws."""

from typing import ClassVar

from kerasbn.tuning.strategies.base import Strategy


class Random(Strategy):
    """Independent random draws, each hyperparameter on its own scale.

    Example:
        >>> Random().settings()
        {'name': 'random'}

    Source: Bergstra and Bengio (2012), Random search for hyper-parameter optimization, JMLR 13.
    """

    name: ClassVar[str] = "random"
