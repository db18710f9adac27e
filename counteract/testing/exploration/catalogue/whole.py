"""Faults of a saga's run as a whole: lost and recovered, reset, retried, added to, beside another on its aggregates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from counteract.messages import CommandKind
from counteract.participants.handlers import Role
from counteract.testing.exploration.aftermath import reset_to
from counteract.testing.exploration.catalogue import fault_actions, workflow_actions
from counteract.testing.exploration.catalogue.fault_actions import after, before
from counteract.testing.exploration.faults import (
    EITHER,
    RECOVERED,
    STOPPED,
    UNDONE,
    WENT_ON,
    Ending,
    Fault,
    Injection,
    Known,
    Layer,
    Pace,
    Place,
    Timing,
)
from counteract.testing.exploration.worker.additions import ADDED

ROOMY = Timing(attempt=timedelta(seconds=10), total=timedelta(seconds=30), heartbeat=timedelta(seconds=5))
"""Time enough for what is done to the workflow while the attempt is under way."""
_HELD = Timing(attempt=timedelta(minutes=5), total=timedelta(minutes=5), heartbeat=timedelta(minutes=1))
STAYS_UNDONE = UNDONE | {Ending.REFUSED}
_EITHER_WAY = RECOVERED | WENT_ON
_ANY_END = EITHER | RECOVERED | STOPPED


def of_the_whole(steps: Sequence[Known], decisions: int, turn: Injection, pace: Pace) -> Iterator[Fault]:
    """The faults of this kind for a saga with these steps.

    `turn` is the injection that makes it turn back, `decisions` the number of workflow tasks of a run without a fault.
    """
    yield from _run_again(decisions, turn)
    yield Fault("the saga", "beside another on its aggregates", may_end=EITHER, beside=True)
    yield Fault("the saga", "turns back beside another on its aggregates", (turn,), may_end=EITHER, beside=True)
    for before_it, step in zip((None, *steps), steps, strict=False):
        yield from _lost(step)
        yield from _begun_anew(step, pace)
        yield from _added_to(step, before_it)
        yield from _forgotten(step)
    for step in steps:
        if step.kind is CommandKind.COMPENSATABLE:
            yield from _while_undone(step, turn)


def _run_again(decisions: int, turn: Injection) -> Iterator[Fault]:
    saga = "the saga"
    yield Fault(saga, "retried after its end", retried=True)
    yield Fault(saga, "retried after it was undone", (turn,), STAYS_UNDONE, retried=True)
    for number in range(1, decisions + 1):
        then = (reset_to(number),)
        yield Fault(saga, f"reset to decision {number} after its end", afterwards=then)
        yield Fault(saga, f"reset to decision {number} after it was undone", (turn,), STAYS_UNDONE, afterwards=then)


def _lost(step: Known) -> Iterator[Fault]:
    """The workflow is terminated: only recovery can undo its saga."""
    ends = {CommandKind.COMPENSATABLE: RECOVERED, CommandKind.PIVOT: _EITHER_WAY}
    may_end = ends.get(step.kind, WENT_ON)
    place = Place(step.key)
    yield _fault(
        place,
        "terminated during",
        Injection(place, Layer.HANDLER, before(workflow_actions.terminate), timing=ROOMY),
        may_end,
    )
    yield _fault(
        place,
        "terminated with its effect",
        Injection(place, Layer.DELIVERY, after(workflow_actions.terminate), timing=ROOMY),
        may_end,
    )
    if step.kind is CommandKind.PIVOT and step.external:
        lost = Injection(place, Layer.HANDLER, after(workflow_actions.terminate_and_vanish), timing=_HELD)
        yield _fault(place, "terminated between effect and record", lost, WENT_ON)
        late = Injection(place, Layer.HANDLER, workflow_actions.terminate_and_come_late, timing=_HELD)
        yield _fault(place, "terminated, and comes late", late, may_end)
        # Fenced by then, and the provider has not said yet what became of it.
        settling = Place(step.key, Role.SETTLES)
        unsettled = Injection(settling, Layer.HANDLER, before(workflow_actions.terminate_and_vanish), timing=_HELD)
        answerless = Injection(place, Layer.HANDLER, after(fault_actions.fail), None, Timing(attempts=1))
        yield _fault(settling, "terminated during", unsettled, WENT_ON, answerless)


def _begun_anew(step: Known, pace: Pace) -> Iterator[Fault]:
    place = Place(step.key)
    yield Fault(
        str(place),
        "its run times out and is retried",
        (Injection(place, Layer.DELIVERY, before(workflow_actions.outlast_the_run), timing=_HELD),),
        _ANY_END,
        run_timeout=pace.run_timeout,
        recovered=True,
    )
    # Nothing else goes wrong: what the runs before had done is taken over, and the saga goes on.
    during = Injection(place, Layer.HANDLER, before(workflow_actions.reset_now), timing=ROOMY)
    yield Fault(str(place), "reset during", (during,))
    done = Injection(place, Layer.DELIVERY, after(workflow_actions.reset_now), timing=ROOMY)
    yield Fault(str(place), "reset with its effect", (done,))


def _added_to(step: Known, before_it: Known | None) -> Iterator[Fault]:
    place = Place(step.key)
    if step.kind is CommandKind.PIVOT and before_it is not None:
        begun = Injection(Place(before_it.key), Layer.DELIVERY, after(workflow_actions.begin_addition), timing=ROOMY)
        slow = Injection(ADDED, Layer.DELIVERY, before(workflow_actions.take_a_while), timing=ROOMY)
        yield Fault(str(place), "a signal's step is under way as it comes", (begun, slow), WENT_ON)
    for how, act in (("a signal", workflow_actions.add_by_signal), ("an update", workflow_actions.add_by_update)):
        yield Fault(
            str(place),
            f"a step is added by {how}",
            (Injection(place, Layer.HANDLER, before(act), timing=ROOMY),),
            WENT_ON,
        )


def _forgotten(step: Known) -> Iterator[Fault]:
    """The store loses the record of an external effect.

    A transactional one would be lost with its events, and would never have happened.
    """
    if step.kind is CommandKind.COMPENSATABLE and step.external:
        place = Place(step.key)
        forgotten = Injection(place, Layer.DELIVERY, after(fault_actions.have_it_forgotten))
        yield Fault(str(place), "forgotten by the store", (forgotten,), UNDONE, forgets=True)


def _while_undone(step: Known, turn: Injection) -> Iterator[Fault]:
    place = Place(step.key, Role.COMPENSATES)
    lost = Injection(place, Layer.DELIVERY, before(workflow_actions.terminate), timing=ROOMY)
    yield _fault(place, "terminated during", lost, RECOVERED, turn)
    for how, act in (("a signal", workflow_actions.add_by_signal), ("an update", workflow_actions.add_by_update)):
        added = Injection(place, Layer.DELIVERY, before(workflow_actions.in_vain(act)), timing=ROOMY)
        yield Fault(str(place), f"a step is added by {how}", (added, turn), UNDONE)
    reset = Injection(place, Layer.DELIVERY, before(workflow_actions.reset_now), timing=ROOMY)
    yield Fault(str(place), "reset during", (reset, turn), STAYS_UNDONE)
    anew = Injection(place, Layer.DELIVERY, before(workflow_actions.reset_to_the_beginning), timing=ROOMY)
    yield Fault(str(place), "reset to the beginning during", (anew, turn), STAYS_UNDONE)


def _fault(place: Place, name: str, injection: Injection, may_end: frozenset[Ending], *also: Injection) -> Fault:
    return Fault(str(place), name, (injection, *also), may_end, recovered=True)
