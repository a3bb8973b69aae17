"""The loop of a search: take a job, train it, keep what came of it, until there are no more."""

import contextlib
import dataclasses
import itertools
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import keras_tuner
from sqlalchemy.exc import SQLAlchemyError

from kerasbn.callbacks.keep_best import not_finite
from kerasbn.checks import InputError, TaskError
from kerasbn.tuning.draws import Draws
from kerasbn.tuning.engine import quick_collections
from kerasbn.tuning.objective import MisuseError
from kerasbn.tuning.outcome import Outcome, Part
from kerasbn.tuning.schedule import descent
from kerasbn.tuning.stacks import Begun, Stacks
from kerasbn.tuning.store import parts, weights
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.store.study import Study
from kerasbn.tuning.strategies import Choose, Job, Strategy
from kerasbn.tuning.tasks import Task, ends_before, part_of, source_of
from kerasbn.tuning.tried import Tried

_CHOICE = 1000  # jobs that a worker looks at, to find one that no other is at
_AT_ONCE = 64  # trials that are begun together: more are no faster, and a kill would lose them all
_FEW_AT_ONCE = 16  # where time may be over
_SHARE = 4  # of what is open a worker takes one part in so many


@dataclass(frozen=True)
class Limits:
    """What ends a search, and what it keeps.

    Args:
        trials: Number of trials, with those that are in the study already.
        minutes: After which no new job starts but the first; None: no limit.
        epochs: Of all trials together, after which no new job starts; None: no limit.
        failures: So many failed trials one after the other end the search with an error; None: no limit.
        keep_models: Of how many of the best trials the weights are kept.
    """

    trials: int
    minutes: float | None = None
    epochs: int | None = None
    failures: int | None = None
    keep_models: int = 1


@dataclass
class Loop:
    """One search of a study.

    Args:
        study: Where trials are kept.
        strategy: Which are trained.
        engine: What trains one: takes a hyperparameter set and a part of a trial.
        given: Hyperparameters that are registered beforehand.
        limits: What ends it.
        on_trial: Called with each finished trial.
        say: Where lines about other workers and the storage are said.
        entries: Takes what gives the values of all hyperparameters, and returns what gives those of this search.
        stacks: Trains trials together; None: each is trained alone.
    """

    study: Study
    strategy: Strategy
    engine: Callable[[Draws, Part], Outcome]
    given: keras_tuner.HyperParameters | None
    limits: Limits
    on_trial: Callable[[TrialRecord], None]
    say: Callable[[str], None]
    entries: Callable[[Choose], Choose]
    stacks: Stacks | None = None
    tried: Tried = dataclasses.field(default_factory=Tried)
    first_error: InputError | None = None
    failures: int = 0  # one after the other, by their numbers: those that are done together end in another order
    ended: dict[int, bool] = dataclasses.field(default_factory=dict)  # by number: whether it failed
    exhausted: str = ""  # why there are no more trials than there are

    def run(self) -> str:
        """Train until there is nothing left to do; return why it ended early, if it did."""
        started, jobs, note = time.monotonic(), 0, ""
        for record in self.study.ranked:
            self._know(record)
        self._tidy()
        try:
            with quick_collections():
                while True:
                    self._refresh()
                    if note := self._spent(time.monotonic() - started, jobs):
                        break
                    todo = list(itertools.islice(self._jobs(), _CHOICE))
                    if not todo:
                        break
                    with self._claimed(todo) as mine:
                        if not mine and self.study.leases is not None:  # others are at all of them
                            self.study.leases.wait()
                        self._do(mine)
                    jobs += len(mine)
                    if self._failed_too_often():
                        break
        finally:
            keras.utils.clear_session()
        self._tidy()
        self._complain()
        return note or self.exhausted or ("" if jobs else f"All {len(self.study.trials)} trials were there already.")

    def _tidy(self) -> None:
        """Remove what is here of trials that a killed process or another worker has finished."""
        parts.remove_finished(self.study.directory, self.study.by_number.keys() - self._sources())
        weights.prune(self.study, self.study.ranked[: self.limits.keep_models])

    def _know(self, record: TrialRecord) -> None:
        # A trial that failed before anything was drawn says nothing about the values it would have drawn.
        if record.scored or record.hyperparameters.values:
            self.tried.add(record.hyperparameters)

    def _refresh(self) -> None:
        known = set(self.study.by_number) | set(self.study.waiting)
        self.study.refresh()
        for record in self.study.ranked:
            if record.number not in known:
                self._know(record)

    def _epochs(self) -> int:
        """Return how many epochs all trials together have had."""
        return sum(len(trial.history) for trial in self.study.ranked)

    def _jobs(self) -> Iterator[Job]:
        return self.strategy.jobs(self.study.progress, self.limits.trials)

    def _sources(self) -> frozenset[int]:
        """Return the trials that others are still to go on from."""
        return self.strategy.sources(self.study.progress, self.limits.trials)

    def _spent(self, seconds: float, jobs: int) -> str:
        """Return why the budget allows no more; empty if it does."""
        minutes, epochs = self.limits.minutes, self.limits.epochs
        if minutes is not None and (jobs or self.study.ranked) and seconds > 60 * minutes:
            return f"No more trials after {minutes:g} minutes."
        if epochs is not None and (spent := self._epochs()) >= epochs:
            return f"No more trials after {spent} epochs; {epochs} were allowed."
        return ""

    def _at_once(self, todo: Sequence[Job]) -> int:
        """Return how many of the first jobs are done together, if no other worker is at them."""
        if self.stacks is None:
            return 1
        count = self.strategy.together(todo, self.study.progress)
        if self.limits.epochs is not None:  # no more than would be begun one by one
            left = self.limits.epochs - self._epochs()
            count = min(count, max(1, -(-left // self.stacks.epochs(todo[0]))))
        if self.study.leases is not None:  # the others are to have some, too, and less and less as it comes to the end
            count = min(count, max(1, len(todo) // _SHARE))
        return min(count, _AT_ONCE if self.limits.minutes is None else _FEW_AT_ONCE)

    @contextlib.contextmanager
    def _claimed(self, todo: Sequence[Job]) -> Iterator[list[Job]]:
        """Give the first job that no other worker is at, and those that are done with it; none if there is none."""
        leases = self.study.leases
        if leases is None:
            yield list(todo[: self._at_once(todo)])
            return

        def claim(job: Job) -> bool:
            return bool(self.study.retrying(lambda: leases.claim(job.number, _part(job))))

        with contextlib.ExitStack() as held:
            mine: list[Job] = []
            end = len(todo)
            for at, job in enumerate(todo):
                if at < end and claim(job):
                    held.callback(self._release, job)
                    if not mine:  # those before it are others'
                        end = at + self._at_once(todo[at:])
                    mine.append(job)
            if mine:
                self._refresh()  # another worker may have finished them since this one looked
                open_still = list(itertools.islice(self._jobs(), _CHOICE))
                mine = [job for job in mine if job in open_still]
            for job in mine:
                held.enter_context(leases.renewing(job.number, _part(job)))
            yield mine

    def _release(self, job: Job) -> None:
        """Let go of a job; of one that is done, this changes nothing."""
        assert self.study.leases is not None
        with contextlib.suppress(SQLAlchemyError):  # does not answer: it runs out by itself
            self.study.leases.release(job.number, _part(job))

    def _do(self, jobs: Sequence[Job]) -> None:
        """Do jobs and keep what came of them."""
        tasks: list[Task] = []
        begun: list[Begun] = []
        for job in jobs:
            if job.stop:
                self._finish(job, dataclasses.replace(self.study.waiting[job.number], status="stopped"), None)
                continue
            task = self._task(job)
            if task is None:
                break
            tasks.append(task)
            if self.stacks is not None:
                begun.append(self.stacks.begin(task.hp, task.part))
                if task.hp.values:  # the next ones are to be others
                    self.tried.add(task.hp.copy())
        if self.stacks is None:
            for task in tasks:
                self._finish(task.job, *self._train(task))
            return
        for done in self.stacks.train(begun):
            task = tasks[done.trial]
            if done.outcome is None:
                record, outcome = self._train(task)
            else:
                record, outcome = self._record(task, done.outcome, "", done.seconds, done.engine)
            self._finish(task.job, record, outcome)
            if self._failed_too_often():
                return

    def _task(self, job: Job) -> Task | None:
        """Return what is to be trained for a job; None if all values have been tried."""
        earlier = self.study.waiting.get(job.number)
        chosen = self._values(job, earlier)
        if chosen is None:  # those that wait for their rung are still to be decided
            self.limits = dataclasses.replace(self.limits, trials=job.number)
            self.exhausted = f"The space is exhausted: all its {job.number} combinations have been tried."
            if self.tried.hyperparameter is None:
                self.exhausted = "The space is empty: the build function asks for no hyperparameter, such as hp.Float."
            return None
        attempt, choose = chosen
        progress = self.study.progress
        notes = earlier.notes if earlier else self.strategy.notes(self.study.seed, job.number, attempt, progress)
        if source := source_of(self.study, job):
            notes = {**notes, **descent(source, ends_before(source, job)[-1])}
        hp = Draws(self.study.seed, job.number, attempt, self.given, choose)
        return Task(job, hp, earlier, notes, part_of(self.study, job))

    def _values(self, job: Job, earlier: TrialRecord | None) -> tuple[int, Choose] | None:
        """Return which attempt at a trial its values are of, and what gives them; None if all have been tried."""
        if earlier is not None:
            values = earlier.hyperparameters.values
            return earlier.attempt, lambda hyperparameter: values[hyperparameter.name]
        if source := source_of(self.study, job):
            return 0, self.entries(self.strategy.vary(self.study.seed, job.number, source))
        seed, progress = self.study.seed, self.study.progress
        return self.tried.first_new(
            self.strategy,
            lambda attempt: self.entries(self.strategy.choose(seed, job.number, attempt, progress)),
        )

    def _train(self, task: Task) -> tuple[TrialRecord, Outcome | None]:
        """Train a trial, or a part of it, alone."""
        started = time.perf_counter()
        outcome, failure = None, ""
        try:
            outcome = self.engine(task.hp, task.part)
        except (MisuseError, keras_tuner.errors.FatalError):
            raise
        except Exception as raised:  # recorded with its traceback; the search goes on with other values
            failure = traceback.format_exc()
            if isinstance(raised, InputError):
                self.first_error = self.first_error or raised.with_traceback(None)
        return self._record(task, outcome, failure, time.perf_counter() - started, "fit")

    def _record(
        self, task: Task, outcome: Outcome | None, failure: str, seconds: float, engine: str
    ) -> tuple[TrialRecord, Outcome | None]:
        """Return what is kept of a trial, and what it has come to unless it failed."""
        job, hp, earlier = task.job, task.hp, task.earlier
        if outcome is not None and (name := not_finite(outcome.metrics, self.study.objective.name)):
            failure = f"{name} is {outcome.metrics[name]}: training diverged.\n"
        status = "failed" if failure else "completed" if job.final else "waiting"
        before = earlier.seconds if earlier else 0.0
        record = TrialRecord(
            number=job.number,
            status=status,
            score=outcome.metrics[self.study.objective.name] if outcome and not failure else None,
            hyperparameters=hp.copy(),
            metrics=outcome.metrics if outcome else {},
            history=outcome.history if outcome else earlier.history if earlier else (),
            seconds=before + seconds,
            attempt=hp.attempt,
            engine=engine,
            build_config=outcome.build_config if outcome else None,
            traceback=failure,
            scores=outcome.scores if outcome and not failure else (),
            epochs=job.epochs or 0,
            notes=task.notes,
            parts=() if job.epochs is None else tuple(end for _, end in task.part.spans if end is not None),
        )
        return record, outcome if not failure else None

    def _finish(self, job: Job, record: TrialRecord, outcome: Outcome | None) -> None:
        """Keep a record; what is on the disk goes first, so that after a kill between the two it is written again."""
        study, sources = self.study, self._sources()
        others = [trial for trial in study.ranked if trial.number != record.number]
        kept = study.rank([*others, record])[: self.limits.keep_models]
        if outcome is not None:
            if outcome.weights and any(one is record for one in kept):
                weights.write(study, record, outcome.weights)
            if record.status == "waiting":
                parts.write(study.directory, record.number, record.epochs, outcome.states, record.number in sources)
        if not study.add(record, _part(job)):
            self.say(f"Trial {job.number} has been taken over by another worker; what it comes to there counts.")
            return
        if record.status != "waiting":
            record = study.by_number[record.number]
            for number in {record.number, *sources} - self._sources():
                if number in study.by_number:
                    parts.remove(study.directory, number)
            self.ended[record.number] = record.status == "failed"
            self.failures = max(self.failures, self._failed_around(record.number))
        weights.prune(study, kept)
        self._know(record)
        if record.status != "waiting":
            self.on_trial(record)

    def _failed_too_often(self) -> bool:
        return self.limits.failures is not None and self.failures >= self.limits.failures

    def _failed_around(self, number: int) -> int:
        """Return how many trials failed one after the other, a trial among them; 0 if it did not."""
        if not self.ended[number]:
            return 0
        steps = (itertools.count(number, step) for step in (1, -1))
        return sum(sum(1 for _ in itertools.takewhile(lambda n: self.ended.get(n), s)) for s in steps) - 1

    def _complain(self) -> None:
        """Raise an error if no trial has come to anything, or if too many have failed one after the other."""
        trials, limit = self.study.trials, self.limits.failures
        if trials and not any(t.scored for t in self.study.ranked):
            if self.first_error is not None:
                raise self.first_error
            raise TaskError(f"All {len(trials)} trials failed, the first one with:\n{trials[0].traceback}")
        if self._failed_too_often():
            last = next(t.traceback for t in reversed(trials) if t.traceback)
            raise TaskError(f"{limit} trials failed one after the other, the last one with:\n{last}")


def _part(job: Job) -> int:
    """Return the number of a part of a trial, for its lease: where it ends, or -1 for the decision that it stops."""
    return -1 if job.stop else job.epochs or 0
