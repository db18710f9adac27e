"""Faults in which two runs of one workflow meet: what the earlier one left under way comes during the later one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from counteract.messages import CommandKind
from counteract.participants.handlers import Role
from counteract.testing.exploration import aftermath
from counteract.testing.exploration.attempt import Attempt
from counteract.testing.exploration.catalogue.deliveries import come_late
from counteract.testing.exploration.catalogue.fault_actions import Act, after, before, error
from counteract.testing.exploration.catalogue.interruptions import send_cancellation
from counteract.testing.exploration.catalogue.whole import ROOMY, STAYS_UNDONE
from counteract.testing.exploration.catalogue.workflow_actions import add_by_signal, reset_to_the_beginning
from counteract.testing.exploration.faults import EITHER, STOPPED, Fault, Injection, Known, Layer, Place, Proceed
from counteract.testing.exploration.worker.additions import ADD_BY_SIGNAL, ADDED

_BEGUN_ANEW = "begun anew"
_STOPPED_TOO = "stopped too"
_ON_ITS_WAY = "on its way"
_MAY_COME = "may come"
_CAME = "came"
_TURNING = ("turning back",)
"""The cause that a saga gives which cannot go on without the group, so that no further run goes forward."""
_LOOK = 0.02
"""Seconds between two looks at what the saga knows."""


def of_two_runs(steps: Sequence[Known], turn: Injection) -> Iterator[Fault]:
    """The faults of this kind for a saga with these steps; `turn` is the injection that makes it turn back."""
    for step in steps:
        if step.group != steps[0].group and step.kind is not CommandKind.RETRIABLE:
            yield _late_behind_a_stopped_run(step, steps[0])
        if step.kind is CommandKind.COMPENSATABLE:
            yield _undone_late(step, turn)
            yield from _without(step, steps)
    if undoable := [step for step in steps if step.kind is CommandKind.COMPENSATABLE]:
        yield from _added(undoable[-1])


def _late_behind_a_stopped_run(step: Known, first: Known) -> Fault:
    """The later run is stopped before this step, and so never sends what is on its way for the earlier run."""
    held = Injection(Place(first.key), Layer.DELIVERY, before(_wait_to_be_stopped), 2, ROOMY)
    if step.kind is CommandKind.PIVOT and step.external:
        lost = Injection(Place(step.key), Layer.HANDLER, before(_begin_anew_and_stop), timing=ROOMY)
        return Fault(str(Place(step.key)), "begun, then reset and cancelled", (lost, held), EITHER | STOPPED)
    late = Injection(Place(step.key), Layer.DELIVERY, _stop_and_come_late, timing=ROOMY)
    return Fault(str(Place(step.key)), "reset and cancelled, and comes late", (late, held), EITHER | STOPPED)


def _undone_late(step: Known, turn: Injection) -> Fault:
    """The later run comes to its end, and only then does the undo arrive that the earlier run had sent."""
    place = Place(step.key, Role.COMPENSATES)
    late = Injection(place, Layer.DELIVERY, _reset_and_come_late, timing=ROOMY)
    return Fault(str(place), "reset to the beginning, and comes late", (late, turn), EITHER | STAYS_UNDONE)


def _without(step: Known, steps: Sequence[Known]) -> Iterator[Fault]:
    """The earlier run goes on without a group of which this step failed, and has undone only the other one so far."""
    others = [each for each in steps if each.group == step.group and each is not step and each.parallel]
    if not (step.parallel and others):
        return
    other, undo = others[0].key, Place(others[0].key, Role.COMPENSATES)
    for name, anew, causes, may_end in (
        (
            f"reset to the beginning as it goes on without {step.key}",
            reset_to_the_beginning,
            ("CommandFenced", *_TURNING),
            EITHER | STAYS_UNDONE,
        ),
        (
            f"reset to before {step.key} failed, as it goes on without it",
            _reset_to_before_the_answer_of(step.key),
            ("had been undone", *_TURNING),
            STAYS_UNDONE,
        ),
    ):
        injections = (
            Injection(Place(step.key), Layer.DELIVERY, before(_fail_once_answered(other)), timing=ROOMY),
            Injection(undo, Layer.DELIVERY, after(_and_say_so(anew)), timing=ROOMY),
            Injection(
                Place(step.key, Role.COMPENSATES), Layer.DELIVERY, before(_be_lost_once_begun_anew), timing=ROOMY
            ),
        )
        yield Fault(str(undo), name, injections, may_end, causes=causes)


def _added(step: Known) -> Iterator[Fault]:
    """The earlier run had sent a step because of a signal, of which the later run is not told."""
    place = Place(step.key)
    done = Injection(place, Layer.HANDLER, before(_add_and_begin_anew), timing=ROOMY)
    yield Fault(str(place), "reset once a signal's step is done", (done,))
    meets = Injection(place, Layer.DELIVERY, _meet_the_added, 2, ROOMY)
    late = Injection(ADDED, Layer.DELIVERY, _come_when_it_may, timing=ROOMY)
    yield Fault(str(place), "reset, and a signal's step comes late", (meets, late))


# What they do.


def _and_say_so(begin_anew: Act) -> Act:
    async def act(attempt: Attempt) -> None:
        await begin_anew(attempt)
        attempt.run.moments[_BEGUN_ANEW].set()

    return act


async def _begin_anew_and_stop(attempt: Attempt) -> NoReturn:
    # Its own attempt is asked to stop with its run, which is over by then.
    await asyncio.shield(attempt.run.spawn(_stopped_anew(attempt)))
    raise error("explore: lost on the way", final=True)


async def _stopped_anew(attempt: Attempt) -> None:
    await reset_to_the_beginning(attempt)
    await send_cancellation(attempt.run)
    attempt.run.moments[_STOPPED_TOO].set()


async def _wait_to_be_stopped(attempt: Attempt) -> None:
    """In the later run, wait until the saga has been stopped."""
    if attempt.run.resets:
        await attempt.run.until(_STOPPED_TOO)


async def _stop_and_come_late(attempt: Attempt, proceed: Proceed) -> NoReturn:
    attempt.run.spawn(_at_the_end(attempt, proceed))
    await _begin_anew_and_stop(attempt)


async def _reset_and_come_late(attempt: Attempt, proceed: Proceed) -> NoReturn:
    attempt.run.spawn(_at_the_end(attempt, proceed))
    await reset_to_the_beginning(attempt)
    raise error("explore: lost on the way", final=True)


async def _at_the_end(attempt: Attempt, proceed: Proceed) -> None:
    await attempt.run.ended.wait()
    await come_late(attempt, proceed)


def _reset_to_before_the_answer_of(step: str) -> Act:
    """Reset the workflow to the last decision that the saga took before this step was answered."""

    async def act(attempt: Attempt) -> None:
        events = (await attempt.run.handle.fetch_history()).events
        sent = [each.event_id for each in events if each.activity_task_scheduled_event_attributes.activity_id == step]
        failed = (each for each in events if each.activity_task_failed_event_attributes.scheduled_event_id in sent)
        answered = min((each.event_id for each in failed), default=0)
        decisions = await aftermath.decisions_of(attempt.run)
        await aftermath.reset(attempt.run, max(sum(each < answered for each in decisions), 1))

    return act


def _fail_once_answered(other: str) -> Act:
    """Fail once the other step was answered, so that the saga has the two answers in decisions of their own."""

    async def act(attempt: Attempt) -> NoReturn:
        run = attempt.run
        while not (await run.has_answer(other) or run.ended.is_set()):  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(_LOOK)
        raise error("explore: failed beside another", final=True)

    return act


async def _be_lost_once_begun_anew(attempt: Attempt) -> NoReturn:
    await attempt.run.until(_BEGUN_ANEW)
    raise error("explore: lost on the way")


async def _add_and_begin_anew(attempt: Attempt) -> None:
    await add_by_signal(attempt)
    await reset_to_the_beginning(attempt)


async def _meet_the_added(attempt: Attempt, proceed: Proceed) -> Any:
    run = attempt.run
    if run.resets:
        run.moments[_MAY_COME].set()
        await run.until(_CAME)
        return await proceed()
    await run.handle.signal(ADD_BY_SIGNAL)
    await run.until(_ON_ITS_WAY)
    await reset_to_the_beginning(attempt)
    run.moments[_BEGUN_ANEW].set()
    raise error("explore: lost on the way", final=True)


async def _come_when_it_may(attempt: Attempt, proceed: Proceed) -> NoReturn:
    async def late() -> None:
        await attempt.run.until(_MAY_COME)
        await come_late(attempt, proceed)
        attempt.run.moments[_CAME].set()

    attempt.run.spawn(late())
    attempt.run.moments[_ON_ITS_WAY].set()
    await attempt.run.until(_BEGUN_ANEW)
    raise error("explore: lost on the way", final=True)
