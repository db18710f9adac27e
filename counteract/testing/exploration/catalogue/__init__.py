"""Every single fault that makes sense for a saga, derived from the steps of one run in which nothing went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from counteract.testing.exploration.catalogue.overlaps import of_two_runs
from counteract.testing.exploration.catalogue.steps import of_steps, turn_of
from counteract.testing.exploration.catalogue.whole import of_the_whole
from counteract.testing.exploration.faults import UNHURRIED, Fault, Known, Pace


def catalogue(steps: Sequence[Known], *, has_deadline: bool, decisions: int = 0, pace: Pace = UNHURRIED) -> list[Fault]:
    """One fault per run: those of single steps, then those of the saga's run as a whole.

    `decisions` is the number of workflow tasks of a run in which nothing goes wrong: the saga is reset to each of them.
    """
    return [
        *of_steps(steps, has_deadline=has_deadline, pace=pace),
        *of_the_whole(steps, decisions, turn_of(steps), pace),
        *of_two_runs(steps, turn_of(steps)),
    ]
