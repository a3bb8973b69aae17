"""A search of KerasTuner, and one of ours that trains the very same trials."""

import keras_tuner
import numpy as np

from kerasbn.tuning import RandomSearch
from kerasbn.tuning.strategies import Strategy

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(12, 2)
Y = X.sum(axis=1, keepdims=True)
DATA = {"x": X, "y": Y, "validation_data": (X, Y), "epochs": 3, "verbose": 0}


class Copied(Strategy):
    """The values of given trials, one after the other."""

    name = "copied"

    def __init__(self, trials):
        self.trials = trials

    def choose(self, seed, number, attempt, progress):
        return lambda hyperparameter: self.trials[number][hyperparameter.name]


def theirs(hypermodel, directory, trials=4, kind=keras_tuner.RandomSearch, search=True, **kwargs):
    kwargs = {"max_trials": trials, "seed": 1, "max_consecutive_failed_trials": 99} | kwargs
    tuner = kind(hypermodel, directory=directory / "theirs", project_name="p", **kwargs)
    if search:
        tuner.search(**DATA)
    return tuner


def ours(hypermodel, directory, copied, search=True, kind=RandomSearch, **kwargs):
    trials = [copied.oracle.trials[name] for name in copied.oracle.start_order]
    strategy = Copied([trial.hyperparameters.values for trial in trials])
    kwargs = {"max_trials": len(trials) or 1, "seed": 0, "keep_models": 9, "on_trial": lambda record: None} | kwargs
    kwargs = {"engine": "fit"} | kwargs  # to the last bit: a stack rounds in another order
    tuner = kind(hypermodel, directory=directory / "ours", project_name="p", strategy=strategy, **kwargs)
    if search:
        tuner.search(**DATA)
    return tuner


def both(make, directory, trials=4, **kwargs):
    """Search with a hypermodel that `make` makes, one for each, and return both tuners."""
    one = theirs(make(), directory, trials, **kwargs)
    return one, ours(make(), directory, one, **kwargs)


def printed(capsys, tuner, method, *args):
    """Return what a method prints, the two directories made alike."""
    capsys.readouterr()
    getattr(tuner, method)(*args)
    return capsys.readouterr().out.replace("/theirs/", "/").replace("/ours/", "/")


def ranking(tuner, trials=99):
    best = tuner.oracle.get_best_trials(trials)
    return [(t.trial_id, t.status, t.score, t.best_step, t.hyperparameters.values) for t in best]
