"""Studies as reports see them: made up, since a report reads records and trains nothing."""

import math
from pathlib import Path

import keras_tuner
import numpy as np
import pytest

from kerasbn.tuning.draws import Draws, uniform
from kerasbn.tuning.space.scales import one_minus_log
from kerasbn.tuning.store.records import StudyContent, TrialRecord

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in fit\nValueError: the loss is <nan>\n'


def every_kind(hp):
    """A space with every kind of hyperparameter, conditions, and one name in two branches."""
    hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    one_minus_log(hp, "momentum", 0.8, 0.99)
    hp.Int("units", 16, 256, sampling="log")
    hp.Choice("batch_size", [32, 64, 128])
    hp.Float("dropout", 0.0, 0.5)
    hp.Boolean("shortcut")
    hp.Fixed("version", "v1")
    family = hp.Choice("family", ["mlp", "convnet"])
    with hp.conditional_scope("family", ["mlp"]):
        if family == "mlp":
            hp.Int("depth", 1, 3)
    with hp.conditional_scope("family", ["convnet"]):
        if family == "convnet":
            hp.Int("depth", 4, 40)
            hp.Float("reverse", 0.9, 0.999, sampling="reverse_log")


def quality(values):
    """Best near a learning rate of 0.01; the number of units matters a little, the rest does not."""
    rate = math.log10(values.get("learning_rate", 0.01)) + 2
    return 0.97 - 0.08 * rate**2 + 0.01 * math.log2(values.get("units", 64) / 64)


def noise(number, name):
    return uniform(7, number, name) - 0.5


def curve(name, score, epochs, number, execution=0):
    """Return a learning curve that comes to about `score`."""
    rows = []
    for epoch in range(epochs):
        value = score - 0.6 * math.exp(-epoch / 2) + 0.006 * noise(number, f"{execution} {epoch}")
        rows.append({"execution": execution, "epoch": epoch, name: value})
    return tuple(rows)


def make_trial(number, space=every_kind, name="val_accuracy", executions=1, epochs=12, failed=False, **changes):
    """Return a trial whose score follows from its hyperparameters and its number."""
    draws = Draws(0, number)
    space(draws)
    hp = draws.copy()
    values = {
        "hyperparameters": hp,
        "seconds": 3 + 4 * uniform(1, number, "seconds"),
        "epochs": epochs,
        "worker": "host-1:100",
        "finished": f"2026-11-21T10:{number // 60:02}:{number % 60:02}+01:00",
    }
    if failed:
        values |= {"status": "failed", "score": None, "history": curve(name, 0.5, 3, number)}
        values |= {"traceback": TRACEBACK, "epochs": 3}
    else:
        scores = tuple(quality(hp.values) + 0.008 * noise(number, f"execution {e}") for e in range(executions))
        history = tuple(row for e, score in enumerate(scores) for row in curve(name, score, epochs, number, e))
        score = float(np.mean(scores))
        values |= {"status": "completed", "score": score, "history": history, "scores": scores}
        values |= {"metrics": {name: score}}
    return TrialRecord(number, **values | changes)


def make_study(trials, name="digits", objective=("val_accuracy", "max"), directory="studies/digits", **changes):
    values = {
        "settings": {
            "seed": 17,
            "strategy": {"name": "random"},
            "executions_per_trial": max((len(t.scores) for t in trials), default=1) or 1,
            "fingerprint": {"data": {"content": "sha256:abc123"}},
        },
        "created": "2026-11-21T09:59:50+01:00",
        "environment": {"python": "3.11.2", "platform": "Linux", "libraries": {"kerasbn": "0.1", "keras": "3.15.1"}},
    }
    goal = keras_tuner.Objective(*objective)
    return StudyContent(name, Path(directory), goal, trials=tuple(trials), **values | changes)


def make_full():
    """Thirty trials of which three failed and one was stopped, one of them with a curve that was not finite."""
    trials = [make_trial(number, failed=number in (4, 11, 23)) for number in range(30)]
    trials[7] = make_trial(7, status="stopped", epochs=4)
    broken = [dict(row) for row in trials[9].history]
    broken[2]["val_accuracy"], broken[3]["val_accuracy"] = math.nan, math.inf
    trials[9] = make_trial(9, history=tuple(broken))
    return make_study(trials)


@pytest.fixture(scope="session")
def trial():
    """Return the function that makes up a trial."""
    return make_trial


@pytest.fixture(scope="session")
def study():
    """Return the function that makes a study of trials."""
    return make_study


@pytest.fixture(scope="session")
def full():
    return make_full()
