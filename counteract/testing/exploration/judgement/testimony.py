"""Holds what a saga tells of itself against what happened: lifecycle events, report, end and search attributes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from itertools import groupby

from counteract.lifecycle import (
    LifecycleEvent,
    SagaCompensated,
    SagaCompleted,
    SagaResolved,
    SagaStarted,
    SagaStuck,
)
from counteract.messages import CommandKind, Outcome
from counteract.participants.handlers import Role
from counteract.saga import SagaReport, SagaStatus
from counteract.saga.ledger import Undoing
from counteract.testing.exploration.evidence import Evidence
from counteract.testing.exploration.faults import Ending
from counteract.testing.exploration.judgement.decisions import skipped_steps

_ENDS = (SagaCompleted, SagaCompensated)
STATUS = {
    Ending.COMPLETED: SagaStatus.COMPLETED,
    Ending.COMPENSATED: SagaStatus.COMPENSATED,
    Ending.CANCELLED: SagaStatus.COMPENSATED,
    Ending.INCOMPLETE: SagaStatus.STUCK,
}


def told(evidence: Evidence, causes: Collection[str]) -> Iterator[str]:
    """The violations: each place where it tells something else than happened.

    `causes` are texts, one of which the saga's reason for turning back should contain.
    """
    yield from _lifecycle(evidence)
    yield from _stuck(evidence)
    yield from _for_a_reason(evidence, causes)
    if evidence.runs_again:
        return
    for event in evidence.lifecycle:
        if isinstance(event, SagaCompensated):
            yield from _compensated(event, evidence)
        elif isinstance(event, SagaCompleted):
            yield from _completed(event, evidence)
    if evidence.report is not None and evidence.ending is not Ending.RECOVERED:
        yield from _reported(evidence.report, evidence)
    yield from _ended(evidence)
    yield from _shown(evidence)
    yield from _deadline(evidence)


def _undone_in_history(evidence: Evidence) -> list[str]:
    """The steps whose undo came to its end, in start order; for one that was tried again, the last try counts."""
    last = {each.place.step: each.key for each in evidence.of(Role.HANDLES)}
    undone = {each.key for each in evidence.of(Role.COMPENSATES) if each.succeeded}
    skipped = skipped_steps(evidence)
    return [step for step, key in last.items() if key in undone and step not in skipped]


def _lifecycle(evidence: Evidence) -> Iterator[str]:
    for event in evidence.lifecycle:
        if (event.saga_type, event.run_id) != (evidence.saga_type, evidence.run_id):
            yield f"{event.event_type} is of {event.saga_type} {event.run_id}, not {evidence.saga_type} {evidence.run_id}"
    places = [_rank(event) for event in evidence.lifecycle]
    if places != sorted(places):
        order = ", ".join(event.event_type for event in evidence.lifecycle)
        yield f"the saga's lifecycle events are out of order: {order}"


def _rank(event: LifecycleEvent) -> int:
    return 0 if isinstance(event, SagaStarted) else 2 if isinstance(event, _ENDS) else 1


def _stuck(evidence: Evidence) -> Iterator[str]:
    """Each decision answers a question that is on record before it, and nobody is asked about what goes well."""
    asked: list[str] = []
    for event in evidence.lifecycle:
        if isinstance(event, SagaStuck):
            asked.append(event.step)
            if not event.why or not _had_trouble(evidence, event.step):
                yield f"{event.step} is on record as stuck, and nothing was wrong with it (it says {event.why!r})"
        elif isinstance(event, SagaResolved):
            if event.step not in asked:
                yield f"{event.step} was resolved, and is not on record as stuck before"
            else:
                asked.remove(event.step)
    resolved = [each.step for each in evidence.lifecycle if isinstance(each, SagaResolved)]
    if len(resolved) > len(evidence.decisions):
        yield f"{len(evidence.decisions)} decisions were made, and {len(resolved)} are on record"


def _had_trouble(evidence: Evidence, step: str) -> bool:
    own = [each for each in evidence.sent if each.place.step == step]
    return evidence.runs_again or evidence.ending is Ending.INCOMPLETE or any(not each.succeeded for each in own)


def _for_a_reason(evidence: Evidence, causes: Collection[str]) -> Iterator[str]:
    for event in evidence.lifecycle:
        if isinstance(event, SagaCompensated) and not any(each in event.cause for each in causes or ("",)):
            yield f"SagaCompensated gives {event.cause!r} as its cause, and it was {' or '.join(causes)!r}"
        elif isinstance(event, SagaCompensated) and not event.cause:
            yield "SagaCompensated gives no cause"


def _compensated(event: SagaCompensated, evidence: Evidence) -> Iterator[str]:
    undone = _undone_in_history(evidence)
    if evidence.ending is Ending.RECOVERED:
        # It tells of what it has undone itself, one step after the other.
        on_record = {row.step for row in evidence.rows if row.status == "done" and row.undoes}
        undone = [step for step in event.undone if step in on_record]
    if list(event.undone) != undone:
        yield f"SagaCompensated lists {_list(event.undone)} as undone, and it was {_list(undone)}"
    if evidence.ending is not Ending.RECOVERED and evidence.report and evidence.report.cause != event.cause:
        yield f"SagaCompensated gives {event.cause!r} as its cause, and the report {evidence.report.cause!r}"


def _completed(event: SagaCompleted, evidence: Evidence) -> Iterator[str]:
    keys = [each.place.step for each in evidence.steps()]
    done = {row.command_id for row in evidence.rows if row.status == "done"}
    gone = {*_undone_in_history(evidence), *skipped_steps(evidence)}
    forward = evidence.of(Role.HANDLES)
    stand = [s for s in keys if s not in gone and any(e.command_id in done for e in forward if e.place.step == s)]
    if missing := [step for step in stand if step not in event.steps]:
        yield f"SagaCompleted does not list {_list(missing)}, and it counts on it"
    if given_up := [step for step in event.steps if step in skipped_steps(evidence)]:
        yield f"SagaCompleted lists {_list(given_up)}, which was skipped"
    if list(event.steps) != [step for step in keys if step in event.steps]:
        yield f"SagaCompleted lists {_list(event.steps)}, and what was sent is {_list(keys)}"


def _reported(report: SagaReport, evidence: Evidence) -> Iterator[str]:
    steps = [(each.place.step, each.command.kind) for each in evidence.steps()]
    if [(each.step, each.kind) for each in report.steps] != steps:
        yield f"the report lists {_list([each.step for each in report.steps])}, and what was sent is {_list([s for s, _ in steps])}"
    undone = _undone_in_history(evidence)
    for each in report.steps:
        if (each.undo is Undoing.UNDONE) != (each.step in undone):
            yield f"the undo of {each.step} is reported as {each.undo or 'not begun'}, and was {'' if each.step in undone else 'not '}done"
        if each.stuck:
            yield f"{each.step} is reported as stuck although the saga is over"
    past = any(each.kind is CommandKind.PIVOT and each.outcome is Outcome.APPLIED for each in report.steps)
    if report.past_pivot != past:
        yield f"the report says that the saga is {'' if report.past_pivot else 'not '}past its pivot"
    if report.paused and not evidence.is_paused:
        yield "the report says that the saga is paused, and it was told to go on"


def _ended(evidence: Evidence) -> Iterator[str]:
    """A caller learns from the failure what the report says."""
    end = evidence.end
    if evidence.ending is not Ending.COMPENSATED:
        return
    if end.report != evidence.report:
        yield f"the workflow failed with the report {end.report!r}, and answers {evidence.report!r}"
    if end.cause is None or asyncio.CancelledError.__name__ in (
        type(end.cause).__name__,
        getattr(end.cause, "type", ""),
    ):
        yield "the workflow failed without naming what made it turn back"
    if end.report is not None and (end.report.cause or "") not in evidence.why:
        yield f"the workflow failed with {evidence.why!r}, and the cause was {end.report.cause!r}"


def _shown(evidence: Evidence) -> Iterator[str]:
    """The search attributes: each status as it came, and in the end what it came to."""
    wanted = STATUS.get(evidence.ending)
    if wanted is None or not evidence.lifecycle:
        return
    statuses = [status for status, _ in groupby(each.status for each in evidence.shown)]
    if statuses[:1] != [SagaStatus.RUNNING]:
        yield f"the search attribute SagaStatus began as {_list(statuses[:1])}"
    shown = evidence.attributes
    if shown is None or shown.status != wanted:
        yield f"the saga ended {evidence.ending}, and the search attribute SagaStatus is {shown.status if shown else ''!r}"
    if shown and evidence.steps() and shown.step not in {each.place.step for each in evidence.steps()}:
        yield f"the search attribute SagaStep is {shown.step!r}"
    if evidence.decisions and SagaStatus.STUCK not in statuses:
        yield "somebody decided about a step, and the search attribute SagaStatus never was STUCK"
    turned = wanted is SagaStatus.COMPENSATED and evidence.of(Role.COMPENSATES)
    if turned and SagaStatus.COMPENSATING not in statuses:
        yield "the saga undid its steps, and the search attribute SagaStatus never was COMPENSATING"


def _deadline(evidence: Evidence) -> Iterator[str]:
    """A saga with a deadline has a timer for it."""
    declared = evidence.deadline
    if declared is not None and evidence.steps() and not any(_is_about(each, declared) for each in evidence.timers):
        yield f"the saga has a deadline of {declared}, and no timer waits for it"


def _is_about(actual: timedelta, declared: timedelta) -> bool:
    """Whether they are the same, but for the time that it took to start the timer."""
    return abs(actual - declared) < timedelta(seconds=5)


def _list(steps: Sequence[str]) -> str:
    return ", ".join(steps) or "nothing"
