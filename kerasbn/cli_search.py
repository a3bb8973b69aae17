"""What the command line shows of searches: how far one is, what it has found, and whether that still holds."""

import shlex
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from kerasbn.callbacks.progress import summary
from kerasbn.config import TuneConfig
from kerasbn.progress import Report, reporting
from kerasbn.tuning import RetestResult, Study, TrialRecord, TuneResult, preview, retest, sample_config, tune
from kerasbn.tuning.retesting.reruns import Rerun
from kerasbn.tuning.retesting.text import lines, table
from kerasbn.tuning.schedule import schedule_of
from kerasbn.tuning.space.tiers import check_space
from kerasbn.tuning.tune import trials_of

_SHOWN_TRIALS = 5
_PICTURE = "search_space.png"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(record: TrialRecord) -> str:
    return "  ".join(f"{name} {_short(value)}" for name, value in record.hyperparameters.values.items())


class _SearchProgress:
    """What is said while a search runs; how many trials are finished and which is best are the study's to know."""

    study: Study  # from `start` on

    def __init__(self, report: Report, epochs: int) -> None:
        self.report, self.epochs = report, epochs
        self.at: dict[int, int] = {}  # epochs of each trial that has begun here

    def scored(self) -> bool:
        """Return whether there is a trial with a score."""
        study = getattr(self, "study", None)
        return study is not None and any(trial.scored for trial in study.ranked)

    def start(self, study: Study) -> None:
        self.study = study
        if study.trials:
            self.report(len(study.trials), f"{len(study.trials)} of them from earlier  {self._best()}")

    def epoch(self, number: int, epoch: int, logs: Mapping[str, float]) -> None:
        self.at[number] = max(epoch + 1, self.at.get(number, 0))
        finished = self.study.by_number
        begun = {n: t.epochs for n, t in self.study.waiting.items()} | self.at
        open_still = sum(min(done / self.epochs, 1) for n, done in begun.items() if n not in finished)
        beside = sum(n not in finished and done == self.at[number] for n, done in self.at.items())
        # Those of a stack are at one epoch.
        where = f"{beside} trials at epoch {epoch + 1}/{self.epochs}, " if beside > 1 else ""
        text = f"{where}trial {number}: {summary(logs)}"
        self.report(round(len(finished) + open_still, 2), text, line=False)

    def trial(self, record: TrialRecord) -> None:
        score = record.traceback.strip().splitlines()[-1] if record.score is None else _short(record.score)
        if record.status == "stopped":
            score += f" after {record.epochs} epoch{'s' * (record.epochs != 1)}"
        text = f"trial {record.number}: score {score}  {self._best()}{record.seconds:.1f} s  {_values(record)}"
        self.report(len(self.study.trials), text)

    def _best(self) -> str:
        best = self.study.ranked[0]
        return f"best {_short(best.score)} (trial {best.number})  " if best.scored else ""


def search_with_progress(config: TuneConfig) -> TuneResult:
    """Search as `kerasbn.tuning.tune` does, with progress; Ctrl-C says what was kept and how to go on."""
    with reporting(f"searching {config.model_name}", trials_of(config.search), "trials") as report:
        progress = _SearchProgress(report, config.search.epochs)
        try:
            return tune(config, progress.trial, progress.epoch, on_start=progress.start, say=report.say)
        except KeyboardInterrupt:
            place = f"{config.search.output}/{config.model_name}"
            best = f", and the best of them in {place}/best.yaml" if progress.scored() else ""
            raise KeyboardInterrupt(
                f"Stopped. All finished trials are kept in {place}{best}. To go on, give the same command again."
            ) from None


def show_study(result: TuneResult) -> None:
    """Print the best trials of a search, a column each, where it lies, and what to do next."""
    storage = "" if result.storage is None else f" --storage {shlex.quote(result.storage)}"
    shown = result.trials[:_SHOWN_TRIALS]
    table = Table("trial", *(str(record.number) for record in shown))
    table.add_row("score", *(_short(record.score) if record.scored else record.status for record in shown))
    # The one with the most goes first: of a depth that some have only, units_3 stands next to units_2.
    most = sorted(shown, key=lambda record: -len(record.hyperparameters.values))
    for name in dict.fromkeys(name for record in most for name in record.hyperparameters.values):
        table.add_row(name, *(_short(record.hyperparameters.values.get(name, "")) for record in shown))
    Console(highlight=False).print(table)
    if result.note:
        print(f"ended       {result.note}")
    earlier = f", {result.earlier} of them from earlier" if result.earlier else ""
    failed = sum(not t.scored for t in result.trials)
    print(f"trials      {len(result.trials)}{earlier}" + (f", {failed} failed: the report says why" if failed else ""))
    if len(schedule := schedule_of(result.best)) > 1:
        kept = "the schedule" if result.best_config.training.schedule is not None else "the last values"
        line = ", ".join(f"{segment.trial} from epoch {segment.epoch}" for segment in schedule)
        print(f"schedule    trials {line}; best.yaml has {kept}")
    print(f"study       {result.directory}")
    print(f"report      kerasbn report {shlex.quote(str(result.directory))}{storage}")
    print(f"next        kerasbn train --config {shlex.quote(str(result.directory / 'best.yaml'))}")


def retest_with_progress(study: str, source: str | None, storage: str | None = None) -> RetestResult:
    """Re-test a study as `kerasbn.tuning.retest` does, with progress; Ctrl-C says what was kept and how to go on."""
    with reporting(f"re-testing {study}", 1.0, "study") as report:

        def on_rerun(rerun: Rerun, done: int, total: int) -> None:
            score = "failed" if rerun.score is None else f"score {_short(rerun.score)}"
            report(round(done / total, 3), f"{done} of {total} re-runs, trial {rerun.trial}: {score}")

        try:
            return retest(study, source, storage=storage, on_trial=on_rerun, say=report.say)
        except KeyboardInterrupt:
            remedy = "Finished re-runs are kept there; to go on, give the same command again."
            raise KeyboardInterrupt(f"Stopped re-testing {study}. {remedy}") from None


def show_retest(result: RetestResult) -> None:
    """Print the trials that were trained again, what follows from their scores, and what to do next."""
    Console(highlight=False).print(table(result))
    print("\n".join(lines(result)))


def show_space(config: TuneConfig) -> None:
    """Print what the search of a config would draw, and write a picture of it."""
    check_space(config)
    seen = preview(lambda hp: sample_config(hp, config), seed=config.search.seed)
    Console(highlight=False).print(seen)
    if config.search.strategy == "grid":
        print("note        these are random draws; a grid takes the values of each hyperparameter in turn")
    seen.plot(_PICTURE)
    print(f"picture     {_PICTURE}")
