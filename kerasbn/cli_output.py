"""What the command line shows: how far a search is, and what is left when work is done."""

import shlex
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from kerasbn.callbacks.progress import summary
from kerasbn.config import LearningRateSearchConfig, TuneConfig
from kerasbn.diagnostics import RateRange, find_learning_rate
from kerasbn.progress import Report, reporting
from kerasbn.training import Run, begin
from kerasbn.training.divergence import Origin
from kerasbn.tuning import Study, TrialRecord, TuneResult, tune

_SHOWN_TRIALS = 5


def show_run(run: Run) -> None:
    """Print the figures of a training run, where it lies, and what to do next."""
    metrics = run.metrics
    table = Table("", "examples", "accuracy", "log loss")
    for part in ("validation", "test"):
        figures = metrics[part]
        accuracy, log_loss = f"{figures['accuracy']:.4f}", f"{figures['log_loss']:.4f}"
        table.add_row(part, str(figures["examples"]), accuracy, log_loss)
    Console(highlight=False).print(table)
    print(f"best epoch  {metrics['best_epoch']} of {metrics['epochs']}, {metrics['seconds']:.1f} s")
    print(f"run         {run.directory}")
    directory = shlex.quote(str(run.directory))
    if metrics["status"] == "diverged":
        print(f"diverged    {Origin(**metrics['diverged'])}; the model of the best epoch before is kept")
        print(f"go on       kerasbn adjust {directory} --learning-rate X; kerasbn train --resume {directory}")
    if metrics["status"] == "interrupted":
        print("stopped     before its end; the model of the best epoch so far is kept")
        print(f"go on       kerasbn train --resume {directory}")
    print(f"next        kerasbn export {directory}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(record: TrialRecord) -> str:
    return "  ".join(f"{name} {_short(value)}" for name, value in record.hyperparameters.values.items())


class _SearchProgress:
    """What is said while a search runs; how many trials are finished and which is best are the study's to know."""

    def __init__(self, report: Report, epochs: int) -> None:
        self.report, self.epochs = report, epochs

    def start(self, study: Study) -> None:
        self.study = study
        if study.trials:
            self.report(len(study.trials), f"{len(study.trials)} of them from earlier  {self._best()}")

    def epoch(self, number: int, epoch: int, logs: Mapping[str, float]) -> None:
        part = min((epoch + 1) / self.epochs, 1)
        self.report(round(len(self.study.trials) + part, 2), f"trial {number}: {summary(logs)}", line=False)

    def trial(self, record: TrialRecord) -> None:
        score = record.traceback.strip().splitlines()[-1] if record.score is None else _short(record.score)
        text = f"trial {record.number}: score {score}  {self._best()}{record.seconds:.1f} s  {_values(record)}"
        self.report(len(self.study.trials), text)

    def _best(self) -> str:
        best = self.study.ranked[0]
        return f"best {_short(best.score)} (trial {best.number})  " if best.completed else ""


def search_with_progress(config: TuneConfig) -> TuneResult:
    """Search as `kerasbn.tuning.tune` does, with progress; Ctrl-C says what was kept and how to go on."""
    with reporting(f"searching {config.model_name}", config.search.max_trials, "trials") as report:
        progress = _SearchProgress(report, config.search.epochs)
        try:
            return tune(config, progress.trial, progress.epoch, on_start=progress.start)
        except KeyboardInterrupt:
            place = f"{config.search.output}/{config.model_name}"
            raise KeyboardInterrupt(
                f"Stopped. All finished trials are kept in {place}, and the best of them in {place}/best.yaml. "
                "To go on, give the same command again."
            ) from None


def show_study(result: TuneResult) -> None:
    """Print the best trials of a search, a column each, where it lies, and what to do next."""
    shown = result.trials[:_SHOWN_TRIALS]
    table = Table("trial", *(str(record.number) for record in shown))
    table.add_row("score", *(_short(record.score) if record.completed else record.status for record in shown))
    for name in dict.fromkeys(name for record in shown for name in record.hyperparameters.values):
        table.add_row(name, *(_short(record.hyperparameters.values.get(name, "")) for record in shown))
    Console(highlight=False).print(table)
    if result.note:
        print(f"ended       {result.note}")
    earlier = f", {result.earlier} of them from earlier" if result.earlier else ""
    failed = sum(not t.completed for t in result.trials)
    print(f"trials      {len(result.trials)}{earlier}" + (f", {failed} failed: see trials.csv" if failed else ""))
    print(f"study       {result.directory}")
    print(f"next        kerasbn train --config {shlex.quote(str(result.directory / 'best.yaml'))}")


def find_rate_with_progress(config: LearningRateSearchConfig) -> RateRange:
    """Search as `kerasbn.diagnostics.find_learning_rate` does, on the model and the data of a config."""
    begun = begin(config)
    train = begun.prepared.train
    with reporting(f"trying rates for {config.model_name}", config.steps, "steps") as report:
        return find_learning_rate(
            begun.model,
            (train.inputs, train.labels),
            batch_size=config.training.batch_size,
            minimum=config.minimum,
            maximum=config.maximum,
            steps=config.steps,
            seed=config.training.seed,
            on_step=lambda step, rate, loss: report(step, f"rate {rate:.2g}  loss {loss:.4g}", line=False),
        )


def show_rates(found: RateRange, config: LearningRateSearchConfig, train: str) -> None:
    """Print what a search for the learning rate has found, draw its picture, and print what to do next.

    Args:
        found: What it has found.
        config: Of the search.
        train: The command that trains with the same options, but for the rate and its scaling.
    """
    found.plot(config.picture)
    print(found)
    print(f"picture     {config.picture}")
    if found.suggestion is None:
        return
    rate = f"{found.suggestion:.2g}"
    if config.training.schedule is not None:
        print(f"next        kerasbn train, with {rate} for the highest rate of training.schedule")
        return
    # It was found with batches of the very size.
    scaling = "" if config.training.batch_scaling == "none" else " --training.batch_scaling none"
    print(f"next        {train} --training.learning_rate {rate}{scaling}")
