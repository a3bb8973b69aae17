"""Re-test: whether the hyperparameters that a search chose have gone stale."""

from kerasbn.tuning.retesting.studies import retest
from kerasbn.tuning.retesting.trials import Retested, RetestResult, retest_trials

__all__ = ["RetestResult", "Retested", "retest", "retest_trials"]
