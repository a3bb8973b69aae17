"""Bayesian search: values of which a model of the finished trials expects most, by a sampler of Optuna."""

import importlib.util
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import optuna
from keras_tuner.engine import hyperparameters as kinds
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy import special, stats

from kerasbn import checks
from kerasbn.callbacks.keep_best import sign_of
from kerasbn.checks import InputError
from kerasbn.tuning.draws import active, count_steps, draw, uniform
from kerasbn.tuning.store.journal import quiet
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.strategies.base import Choose, Job, Progress, Strategy


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(n_startup_trials=1, multivariate=True, group=True, seed=seed)


def _gp(seed: int) -> optuna.samplers.BaseSampler:
    # A Gaussian process is over the hyperparameters that all trials have; the others are left to the Parzen estimators.
    return optuna.samplers.GPSampler(
        n_startup_trials=1, seed=seed, independent_sampler=_tpe(seed), warn_independent_sampling=False
    )


SAMPLERS: Mapping[str, Callable[[int], optuna.samplers.BaseSampler]] = MappingProxyType({"tpe": _tpe, "gp": _gp})


def _key(hyperparameter: kinds.HyperParameter) -> str:
    """Return a name for Optuna, which two hyperparameters share if they have the same name and range."""
    config = hyperparameter.get_config()
    return json.dumps({key: config[key] for key in config if key not in ("conditions", "default")})


def _distribution(hyperparameter: kinds.HyperParameter) -> BaseDistribution:
    """Return a hyperparameter as Optuna sees it: as the index of its value, or as its cumulative probability.

    So every scale of KerasTuner is right, and those that Optuna does not have need no care.
    """
    numeric = isinstance(hyperparameter, kinds.Int | kinds.Float)
    if numeric and hyperparameter.step is None:
        return FloatDistribution(0.0, 1.0)
    count = count_steps(hyperparameter) if numeric else len(tuple(hyperparameter.values))
    if numeric or getattr(hyperparameter, "ordered", False):
        return IntDistribution(0, count - 1)
    return CategoricalDistribution(range(count))


def _count(distribution: BaseDistribution) -> int:
    """Return how many indices a distribution has."""
    if isinstance(distribution, IntDistribution):
        return distribution.high + 1
    assert isinstance(distribution, CategoricalDistribution)
    return len(distribution.choices)


def _to_optuna(hyperparameter: kinds.HyperParameter, value: Any, distribution: BaseDistribution) -> float:
    if isinstance(distribution, FloatDistribution):
        return min(max(float(hyperparameter.value_to_prob(value)), 0.0), 1.0)
    if isinstance(hyperparameter, kinds.Int | kinds.Float) and hyperparameter.sampling == "linear":
        value += hyperparameter.step / 2  # KerasTuner rounds down, and 0.6 - 0.5 is less than a step of 0.1
    count = _count(distribution)
    return min(int(hyperparameter.value_to_prob(value) * count), count - 1)


def _suggest(trial: optuna.Trial, hyperparameter: kinds.HyperParameter, distribution: BaseDistribution) -> Any:
    """Return the value of a hyperparameter, the same however often a trial is asked for it."""
    key = _key(hyperparameter)
    if isinstance(distribution, FloatDistribution):
        return draw(hyperparameter, trial.suggest_float(key, distribution.low, distribution.high))
    if isinstance(distribution, IntDistribution):
        index = trial.suggest_int(key, distribution.low, distribution.high)
    else:
        index = trial.suggest_categorical(key, range(_count(distribution)))
    return draw(hyperparameter, (index + 0.5) / _count(distribution))


def _losses(trials: list[TrialRecord], direction: str) -> list[float]:
    """Return a finite loss for each trial: the normal quantile of its rank, of which failed trials share the last.

    z = Phi^-1((rank - 1/2) / n)

    With the losses themselves a single one of 1e30 would make all others look alike to a Gaussian process.
    """
    sign = sign_of(direction)
    losses = [math.inf if t.score is None or math.isnan(t.score) else -sign * t.score for t in trials]
    return special.ndtri((stats.rankdata(losses) - 0.5) / max(len(trials), 1)).tolist()


def _study(sampler: optuna.samplers.BaseSampler, trials: list[TrialRecord], direction: str) -> optuna.Study:
    """Return a study in memory that holds finished trials."""
    study = optuna.create_study(sampler=sampler, storage=optuna.storages.InMemoryStorage())
    known: dict[str, BaseDistribution] = {}
    for trial, loss in zip(trials, _losses(trials, direction), strict=True):
        params: dict[str, float] = {}
        for name, hyperparameter in active(trial.hyperparameters).items():
            key = _key(hyperparameter)
            known[key] = known.get(key) or _distribution(hyperparameter)
            params[key] = _to_optuna(hyperparameter, trial.hyperparameters.values[name], known[key])
        outcome: dict[str, Any] = {"value": loss}
        if trial.status == "stopped":
            outcome = {"state": optuna.trial.TrialState.PRUNED, "intermediate_values": {trial.epochs: loss}}
        distributions = {key: known[key] for key in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, **outcome))
    return study


class Bayesian(Strategy):
    """Values of which a model of the finished trials expects most.

    "tpe": argmax over candidates x of p(x | good) / p(x | the others), two Parzen estimators
    "gp": argmax over x of the expected improvement under a Gaussian process with a Matérn 5/2 kernel

    The first trials are independent random draws, and so are those of a trial whose first proposals have all been
    tried before: a space of few values is searched to its end. A trial that failed counts as the worst. With the same
    finished trials a trial's values are always the same.

    Args:
        sampler: "tpe": 0.02 s of computing a trial after 100, 0.1 s after 500 (2 CPU cores, nine hyperparameters);
            for conditional spaces. "gp": 2 and 4 s; needs PyTorch. Best where trials are long, hyperparameters
            numbers, and all of them always asked for.
        startup_trials: Number of trials that are random draws, at least 1; until so many have a score, further ones
            are too.

    Raises:
        InputError: If the sampler is none of these, or PyTorch is not installed for "gp", or startup_trials is no
            whole number of at least 1.

    Example:
        >>> Bayesian("tpe", startup_trials=5).settings()
        {'name': 'tpe', 'startup_trials': 5}

    Source: Bergstra et al. (2011), Algorithms for hyper-parameter optimization, NeurIPS 24; Optuna's `TPESampler`
        (multivariate, in groups) and `GPSampler`.
    """

    name: ClassVar[str] = "bayesian"
    # A sampler that has found the best of a few values proposes it again and again.
    proposals: ClassVar[int] = 5

    def __init__(self, sampler: str = "tpe", startup_trials: int = 10) -> None:
        self.sampler = checks.one_of("sampler", sampler, tuple(SAMPLERS))
        self.startup_trials = checks.in_range("startup_trials", startup_trials, 1, integer=True)
        if sampler == "gp" and importlib.util.find_spec("torch") is None:
            raise InputError(
                "sampler",
                "PyTorch to be installed for 'gp'",
                "an installation without it",
                "Install it with `pip install \"kerasbn[gp]\"`, or PyTorch's smaller build for CPUs, or take 'tpe'.",
            )

    def settings(self) -> dict[str, Any]:
        """Return what decides the trials besides the seed; the name is the sampler's."""
        return {"name": self.sampler, "startup_trials": self.startup_trials}

    def _random(self, number: int, attempt: int, progress: Progress) -> bool:
        scored = sum(trial.scored for trial in progress.finished.values())
        return min(number, scored) < self.startup_trials or attempt >= self.proposals

    def choose(self, seed: int, number: int, attempt: int, progress: Progress) -> Choose:
        """Return what gives the values of a trial: the sampler's proposal, or random draws; arguments as the base's."""
        if self._random(number, attempt, progress):
            return super().choose(seed, number, attempt, progress)
        trials = [trial for _, trial in sorted(progress.finished.items()) if trial.hyperparameters.values]
        with quiet():
            sampler = SAMPLERS[self.sampler](int(uniform(seed, number, self.sampler, attempt) * 2**32))
            trial = _study(sampler, trials, progress.direction).ask()

        return lambda hyperparameter: _suggest(trial, hyperparameter, _distribution(hyperparameter))

    def together(self, jobs: Sequence[Job], progress: Progress) -> int:
        """Return how many of the first jobs are random draws, or 1; arguments as the base's."""
        return max(1, sum(1 for _ in itertools.takewhile(lambda job: job.number < self.startup_trials, jobs)))

    def notes(self, seed: int, number: int, attempt: int, progress: Progress) -> dict[str, Any]:
        """Return whether a trial's values were "proposed" by the sampler or "random"; arguments as the base's."""
        return {"draw": "random" if self._random(number, attempt, progress) else "proposed"}
