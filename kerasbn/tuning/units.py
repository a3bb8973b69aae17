"""The members of stacks: what is built of a trial, and what comes back of it."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from kerasbn.caviar.drafts import Draft
from kerasbn.caviar.plan import FitPlan
from kerasbn.tuning.draws import Draws
from kerasbn.tuning.folds import Fold
from kerasbn.tuning.outcome import Outcome, Part
from kerasbn.tuning.watch import Watch

Place: TypeAlias = tuple[int, int]  # of a member: its trial's among those begun together, and its own in the trial


class NoMemberError(Exception):
    """What is trained alone whatever stacks can do: its model cannot be built, or its training has ended before."""


@dataclass(frozen=True)
class Planned:
    """A member whose model is built, and whose fit is to be planned.

    Args:
        hp: As `Unit`.
        part: As `Unit`.
        execution: As `Unit`.
        fold: As `Unit`.
        draft: As `Unit`.
        watch: As `Unit`.
    """

    hp: Draws
    part: Part
    execution: int
    fold: Fold | None
    draft: Draft
    watch: Watch


@dataclass
class Unit:
    """One execution of a trial, or a part of it: a member of a stack.

    Args:
        hp: The trial's hyperparameters.
        execution: Number of the execution, or of a fold of one.
        fold: Which examples it is trained and validated on; None: on what the plan says.
        part: What is trained of the trial.
        draft: Its model.
        watch: What the search sees of its fit.
        plan: What its fit does.
        seed: Of its order of examples.
    """

    hp: Draws
    execution: int
    fold: Fold | None
    part: Part
    draft: Draft
    watch: Watch
    plan: FitPlan
    seed: int


@dataclass
class Begun:
    """A trial whose models are built.

    Args:
        units: One an execution; none if it is trained alone.
        alone: Whether it is.
        seconds: That building them took.
    """

    units: list[Unit] = field(default_factory=list)
    alone: bool = False
    seconds: float = 0.0


@dataclass
class Done:
    """What training together has come to for one trial.

    Args:
        trial: Its position among those that were given.
        outcome: What it has come to; None: it is to be trained alone.
        engine: "stacked" or "parallel".
        seconds: Its share of the time.
    """

    trial: int
    outcome: Outcome | None
    engine: str = "fit"
    seconds: float = 0.0


def identity_of(unit: Unit) -> list[Any]:
    """Return JSON that tells a member of a stack from others."""
    description = unit.draft.description
    model = hashlib.sha256(f"{description.signature} {dict(description.leaves)}".encode()).hexdigest()[:16]
    span = list(unit.part.spans[-1])
    return [unit.hp.trial, unit.execution, unit.hp.attempt, span, dict(unit.hp.values), model]


def ranges(numbers: Sequence[int]) -> str:
    """Return numbers as a short text.

    Example:
        >>> ranges([0, 1, 2, 5, 7, 8])
        '0 to 2, 5, 7, 8'
    """
    texts = []
    for _, run in itertools.groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        texts += [f"{found[0]} to {found[-1]}"] if len(found) > 2 else [str(number) for number in found]
    return ", ".join(texts)
