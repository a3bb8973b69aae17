"""Tasks: what is trained for a job, and what it goes on from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerasbn.tuning.draws import Draws
from kerasbn.tuning.outcome import Part
from kerasbn.tuning.schedule import schedule_of
from kerasbn.tuning.store import parts
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.store.study import Study
from kerasbn.tuning.strategies import Job


@dataclass(frozen=True)
class Task:
    """A job that is to be trained.

    Args:
        job: The job.
        hp: The trial's hyperparameters, which are drawn while its model is built.
        earlier: The trial as it waits for this part; None: it begins.
        notes: Of the strategy.
        part: What is trained.
    """

    job: Job
    hp: Draws
    earlier: TrialRecord | None
    notes: Mapping[str, Any]
    part: Part


def source_of(study: Study, job: Job) -> TrialRecord | None:
    """Return the trial that a new one goes on from, as far as it has come by now; None if it begins anew."""
    return None if job.source is None else study.waiting.get(job.source) or study.by_number[job.source]


def ends_before(record: TrialRecord, job: Job) -> tuple[int, ...]:
    """Return the ends of a trial's parts, and of its ancestors', that come before the end of a job."""
    return tuple(end for end in record.parts if end < (job.epochs or 0))


def part_of(study: Study, job: Job) -> Part:
    """Return what is trained for a job."""
    directory = parts.checkpoints(study.directory, job.number)
    identity = {"settings": study.settings, "trial": job.number, "environment": study.environment}
    if job.epochs is None:
        return Part(checkpoints=directory, identity=identity)
    earlier = study.waiting.get(job.number)
    before = earlier or source_of(study, job)
    if before is None:
        return Part(((0, job.epochs),), checkpoints=directory, identity=identity)
    ends = (*ends_before(before, job), job.epochs)
    spans = tuple(zip((0, *ends), ends, strict=False))
    states = parts.read(study.directory, before.number, ends[-2])
    schedule = schedule_of(before)
    begins, ancestors = (schedule[-1].epoch, schedule[:-1]) if earlier else (ends[-2], schedule)
    return Part(spans, states, earlier, directory, identity, before.build_config, begins, ancestors)
