"""Faults of single steps: of each attempt at a step, and of what undoes and settles it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from counteract.messages import CommandKind
from counteract.participants.handlers import Role
from counteract.testing.exploration.catalogue import appeals, deliveries, fault_actions, interruptions
from counteract.testing.exploration.catalogue.fault_actions import after, before
from counteract.testing.exploration.faults import (
    EITHER,
    NEVER,
    STOPPED,
    UNDONE,
    WENT_ON,
    Around,
    Ending,
    Fault,
    Injection,
    Known,
    Layer,
    Pace,
    Place,
    Timing,
)

# Named, so that two faults which need the same reason to undo share it.
_REFUSED = before(fault_actions.refuse)
_ANSWER_LOST = after(fault_actions.fail)
_AS_SET = Timing()
_HERE = 0
"""For `ends`: under this fault the saga does not get past the step that it strikes."""
_HALF = timedelta(seconds=0.5)
_KILLED = Timing(heartbeat=_HALF)
_TIMED_OUT = Timing(attempt=_HALF, total=timedelta(seconds=0.6))
_GIVEN_UP = Timing(attempts=2)
_SLOW = Timing(attempt=timedelta(seconds=2))
# Cancellation reaches an activity with the answer to a heartbeat.
_ASKED_AT_ONCE = Timing(
    attempt=timedelta(seconds=60), total=timedelta(seconds=90), heartbeat=timedelta(seconds=6), attempts=1
)
_HEARS = Timing(attempt=timedelta(seconds=60), total=timedelta(seconds=90), heartbeat=timedelta(seconds=6))


def of_steps(steps: Sequence[Known], *, has_deadline: bool, pace: Pace) -> list[Fault]:
    """The faults of forward steps, in the order of the steps; then those of their undos and settlements."""
    faults = [
        Fault("the saga", "cancelled before it begins", may_end=STOPPED, cancelled_at_start=True),
        Fault("the saga", "cancelled as its end is recorded", cancelled_at_end=True),
    ]
    if has_deadline:
        faults += _overtaken(steps, pace)
    turn = _last_before_undo(steps).group
    for step in steps:
        faults += _from(step.group, _forward(step))
        faults += _from(step.group, _interrupted(step, steps, _CANCELLATION))
        if has_deadline:
            faults += _from(step.group, _interrupted(step, steps, _DEADLINE))
        faults += _from(step.group, _beside(step, steps))
    for step in steps:
        faults += [replace(each, begins=turn, ends=turn) for each in _undoing(step, steps)]
        faults += _from(step.group, _settling(step))
    return faults


def _from(group: int, faults: Iterator[Fault]) -> Iterator[Fault]:
    return (replace(each, begins=group, ends=group if each.ends == _HERE else each.ends) for each in faults)


def _overtaken(steps: Sequence[Known], pace: Pace) -> Iterator[Fault]:
    """The saga's own timer strikes at its first step: at any other it might, on a busy machine, strike too early."""
    if steps[0].kind is CommandKind.COMPENSATABLE:
        act, layer = before(fault_actions.outlast_the_deadline), Layer.HANDLER
        injection = Injection(Place(steps[0].key), layer, act, timing=_HEARS)
        soon = pace.deadline
        yield Fault("the saga", "its deadline passes", (injection,), UNDONE, deadline=soon, causes=("deadline passed",))


def _beside(step: Known, steps: Sequence[Known]) -> Iterator[Fault]:
    """A step of a group fails while this one is under way, sent with `parallel` or in a task of the saga's own code."""
    others = [
        each for each in steps if each.group == step.group and each is not step and each.parallel is step.parallel
    ]
    if not others or step.kind is not CommandKind.COMPENSATABLE:
        return
    stopped = fault_actions.be_stopped_with_another if step.parallel else fault_actions.be_stopped_if_it_turns_back
    yield _always(
        Place(others[0].key),
        f"failed while {step.key} runs",
        before(fault_actions.fail_beside_another),
        may_end=EITHER,
        also=[Injection(Place(step.key), Layer.HANDLER, before(stopped), timing=_HEARS)],
        ends=_HERE,
    )
    if step.parallel:
        yield _one(
            Place(others[0].key, Role.COMPENSATES),
            f"cancelled while it goes on without {step.key}",
            before(interruptions.cancel),
            may_end=EITHER | STOPPED,
            also=[Injection(Place(step.key), Layer.HANDLER, _REFUSED)],
            ends=_HERE,
        )


# Forward: what may happen to any step, and then what its kind adds.


def _forward(step: Known) -> Iterator[Fault]:
    yield from _passing(step)
    yield from _delivered(Place(step.key), WENT_ON)
    if step.kind is CommandKind.RETRIABLE:
        yield from _resolved(step)
    else:
        yield from _final(step)
        yield from _late(step)


def _passing(step: Known) -> Iterator[Fault]:
    """Faults that a repetition cures."""
    place, cured = Place(step.key), WENT_ON if step.repeats or step.kind is CommandKind.RETRIABLE else EITHER
    yield _one(place, "failed, then fine", before(fault_actions.fail), may_end=cured)
    yield _one(place, "answer lost, then asked again", after(fault_actions.fail), may_end=cured)
    yield _one(place, "worker killed", before(fault_actions.vanish), _KILLED, may_end=_or_undone(step))
    yield _one(place, "worker killed after its effect", after(fault_actions.vanish), _KILLED, may_end=_or_undone(step))
    if step.external:
        layer = Layer.HANDLER
        yield _one(
            place, "happened, not recorded, then asked again", after(fault_actions.fail), layer=layer, may_end=cured
        )
        between = "worker killed between effect and record"
        yield _one(place, between, after(fault_actions.vanish), _KILLED, layer=layer, may_end=_or_undone(step))
        yield _one(
            place, "takes too long", before(fault_actions.take_too_long), _SLOW, layer=layer, may_end=_or_undone(step)
        )


def _final(step: Known) -> Iterator[Fault]:
    """Faults that no repetition cures: refusals, and steps that end without an answer.

    A pivot that happened goes forward.
    """
    place, is_pivot = Place(step.key), step.kind is CommandKind.PIVOT
    happened, ends = (WENT_ON, NEVER) if is_pivot else (EITHER, _HERE)
    yield _one(place, "refused", before(fault_actions.refuse), layer=Layer.HANDLER, may_end=EITHER, ends=_HERE)
    yield _always(place, "failed for good", before(fault_actions.fail), _GIVEN_UP, may_end=EITHER, ends=_HERE)
    yield _always(place, "answer lost", after(fault_actions.fail), _GIVEN_UP, may_end=happened, ends=ends)
    yield _always(place, "timed out", before(fault_actions.vanish), _TIMED_OUT, may_end=EITHER, ends=_HERE)
    yield _always(
        place, "timed out after its effect", after(fault_actions.vanish), _TIMED_OUT, may_end=EITHER, ends=ends
    )
    if step.external:
        name, layer = "happened, not recorded", Layer.HANDLER
        yield _always(place, name, after(fault_actions.fail), _GIVEN_UP, layer=layer, may_end=happened, ends=ends)
        name = "happened, not recorded, then refused"
        yield _always(place, name, fault_actions.refuse_after_it_happened, layer=layer, may_end=happened, ends=ends)
        name = "happened, in conflict, then refused"
        yield _always(
            place, name, fault_actions.refuse_after_a_conflict, _GIVEN_UP, layer=layer, may_end=happened, ends=ends
        )


def _resolved(step: Known) -> Iterator[Fault]:
    """A step that must succeed waits for a person where it cannot go on."""
    place = Place(step.key)
    yield _one(place, "refused, then resolved", before(appeals.refuse_until_resolved), layer=Layer.HANDLER)
    yield _one(place, "refused, then corrected", before(appeals.refuse_until_corrected), layer=Layer.HANDLER)
    yield _one(place, "refused, then skipped", before(appeals.refuse_until_skipped), layer=Layer.HANDLER)
    yield _one(place, "broken, then resolved", before(appeals.break_down_and_look), times=2)
    yield _one(place, "broken after its effect, then resolved", after(appeals.break_down))
    yield _one(place, "broken after its effect, then corrected", after(appeals.break_until_corrected))
    yield _one(place, "broken after its effect, then skipped", after(appeals.break_until_skipped))
    yield _always(place, "keeps failing, then corrected", before(appeals.keep_failing(appeals.correct)), _TIMED_OUT)
    yield _always(place, "keeps failing, then skipped", before(appeals.keep_failing(appeals.skip)), _TIMED_OUT)
    yield _one(place, "timed out, then fine", before(fault_actions.vanish), _TIMED_OUT)
    yield _one(place, "timed out after its effect", after(fault_actions.vanish), _TIMED_OUT)


def _delivered(place: Place, may_end: frozenset[Ending], *also: Injection) -> Iterator[Fault]:
    """Faults of a queue, which delivers at least once."""
    yield _one(place, "delivered twice", deliveries.twice, may_end=may_end, also=also)
    yield _one(place, "delivered twice at once", deliveries.twice_at_once, may_end=may_end, also=also)
    yield _one(place, "delivered again after the end", deliveries.again_after_the_end, may_end=may_end, also=also)


def _late(step: Known) -> Iterator[Fault]:
    """The first attempt is given up, its undo (or settlement) passes, and then it comes after all."""
    place, bar = Place(step.key), "its settlement" if step.kind is CommandKind.PIVOT else "its undo"
    ends = NEVER if step.kind is CommandKind.PIVOT else _HERE
    yield _one(place, f"arrives after {bar}", deliveries.lose_and_deliver_late, may_end=EITHER, ends=_HERE)
    if step.external and step.kind is CommandKind.COMPENSATABLE:
        late = "its effect comes after its undo, unnoticed"
        yield _one(place, late, deliveries.land_after_undo, layer=Layer.HANDLER, may_end=EITHER, ends=_HERE)
    for name, held in (("begins", before(deliveries.hold)), ("records", after(deliveries.hold))):
        hold = Injection(place, Layer.HANDLER, held)
        yield _one(
            place,
            f"{name} after {bar}",
            deliveries.give_up_while_held,
            _HEARS,
            may_end=EITHER,
            also=[hold],
            ends=ends,
        )
    if step.external and step.kind is CommandKind.COMPENSATABLE:
        fails = Injection(place, Layer.HANDLER, deliveries.happen_late_and_fail)
        yield _one(
            place,
            f"fails after {bar}",
            deliveries.give_up_while_held,
            _HEARS,
            may_end=EITHER,
            also=[fails],
            ends=ends,
        )


# Interrupted: cancelled, or overtaken by the deadline.


@dataclass(frozen=True, slots=True)
class _Interruption:
    """One way to stop a saga from outside."""

    name: str
    between: fault_actions.Act
    during: fault_actions.Act
    unheard: fault_actions.Act
    ends: frozenset[Ending]


_CANCELLATION = _Interruption(
    "cancelled", interruptions.cancel_between, interruptions.cancel, interruptions.cancel_unheard, STOPPED
)
_DEADLINE = _Interruption(
    "deadline",
    interruptions.pass_deadline_between,
    interruptions.pass_deadline,
    interruptions.pass_deadline_unheard,
    UNDONE,
)


def _interrupted(step: Known, steps: Sequence[Known], how: _Interruption) -> Iterator[Fault]:
    """An interruption stops the saga before the pivot has been sent; afterwards there is only forward."""
    place, stoppable = Place(step.key), step.kind is CommandKind.COMPENSATABLE
    may_end, ends = (how.ends, _HERE) if stoppable else (WENT_ON, NEVER)
    if previous := _just_before(step, steps):
        injection = Injection(Place(previous.key), Layer.DELIVERY, after(how.between))
        stops = WENT_ON if step.kind is CommandKind.RETRIABLE else how.ends
        last = NEVER if step.kind is CommandKind.RETRIABLE else previous.group
        yield Fault(str(place), f"{how.name} before", (injection,), stops, ends=last)
    yield _one(place, f"{how.name} during", before(how.during), _HEARS, layer=Layer.HANDLER, may_end=may_end, ends=ends)
    yield _one(place, f"{how.name} after", after(how.unheard), _HEARS, may_end=may_end, ends=ends)
    if stoppable and step.external:
        happened = f"{how.name} between effect and record"
        yield _one(place, happened, after(how.during), _HEARS, layer=Layer.HANDLER, may_end=may_end, ends=ends)
    if stoppable:
        again = Injection(Place(step.key, Role.COMPENSATES), Layer.DELIVERY, before(interruptions.cancel))
        name = "cancelled twice" if how is _CANCELLATION else "deadline, then cancelled"
        may_end = UNDONE | STOPPED
        yield _one(
            place, name, before(how.during), _HEARS, layer=Layer.HANDLER, may_end=may_end, also=[again], ends=_HERE
        )


# What concludes a step: its undo, its settlement.


def _undoing(step: Known, steps: Sequence[Known]) -> Iterator[Fault]:
    if step.kind is not CommandKind.COMPENSATABLE:
        return
    place, also = Place(step.key, Role.COMPENSATES), [_reason_to_undo(steps)]
    yield from _concluding(place, EITHER, also)
    yield _one(place, "broken, then corrected", before(appeals.break_until_corrected), may_end=EITHER, also=also)
    yield _one(place, "broken, then skipped", before(appeals.break_until_skipped), may_end=EITHER, also=also)
    keeps = before(appeals.keep_failing(appeals.correct))
    yield _always(place, "keeps failing, then corrected", keeps, _TIMED_OUT, may_end=EITHER, also=also)
    keeps = before(appeals.keep_failing(appeals.skip))
    yield _always(place, "keeps failing, then skipped", keeps, _TIMED_OUT, may_end=EITHER, also=also)
    hangs = before(appeals.hang_until_resolved)
    yield _always(place, "hangs, then resolved", hangs, _ASKED_AT_ONCE, may_end=EITHER, also=also)
    yield _one(place, "cancelled during", before(interruptions.cancel), may_end=EITHER | STOPPED, also=also)
    if earlier := [each for each in steps if each.kind is step.kind and each.group < step.group]:
        late = before(appeals.decide_too_late(step.key))
        decided = Injection(Place(earlier[-1].key, Role.COMPENSATES), Layer.DELIVERY, late)
        name, passes = "keeps failing, then fine, then decided on", before(appeals.fail_until_asked)
        yield _always(place, name, passes, _TIMED_OUT, may_end=EITHER, also=[*also, decided])
    if step.external:
        again = "happened, not recorded, then asked again"
        yield _one(place, again, after(fault_actions.fail), layer=Layer.HANDLER, may_end=EITHER, also=also)


def _settling(step: Known) -> Iterator[Fault]:
    """Faults of settling a pivot that happened and lost its answer, and one that did not happen."""
    if step.kind is not CommandKind.PIVOT:
        return
    place, pivot = Place(step.key, Role.SETTLES), Place(step.key)
    layer = Layer.HANDLER if step.external else Layer.DELIVERY
    happened = Injection(pivot, layer, after(fault_actions.fail), None, _GIVEN_UP)
    never = Injection(pivot, Layer.DELIVERY, before(fault_actions.fail), None, _GIVEN_UP)
    yield from _concluding(place, WENT_ON, [happened])
    yield _one(
        place, "never happened; failed, then fine", before(fault_actions.fail), may_end=EITHER, also=[never], ends=_HERE
    )
    yield _one(
        place, "never happened; answer lost", after(fault_actions.fail), may_end=EITHER, also=[never], ends=_HERE
    )


def _concluding(place: Place, may_end: frozenset[Ending], also: Sequence[Injection]) -> Iterator[Fault]:
    """Faults of an undo or a settlement, which is tried until it succeeds, and takes effect once."""
    yield _one(place, "failed, then fine", before(fault_actions.fail), may_end=may_end, also=also)
    yield _one(place, "answer lost, then asked again", after(fault_actions.fail), may_end=may_end, also=also)
    yield _one(place, "timed out, then fine", before(fault_actions.vanish), _TIMED_OUT, may_end=may_end, also=also)
    yield _one(place, "timed out after its effect", after(fault_actions.vanish), _TIMED_OUT, may_end=may_end, also=also)
    yield _one(place, "worker killed", before(fault_actions.vanish), _KILLED, may_end=may_end, also=also)
    yield _one(
        place, "worker killed after its effect", after(fault_actions.vanish), _KILLED, may_end=may_end, also=also
    )
    yield _one(place, "broken, then resolved", before(appeals.break_down_and_look), times=2, may_end=may_end, also=also)
    yield _one(place, "broken twice, then resolved", before(appeals.break_down), times=2, may_end=may_end, also=also)
    yield from _delivered(place, may_end, *also)


def _reason_to_undo(steps: Sequence[Known]) -> Injection:
    """Refuse the pivot, or, in a saga without one, lose the last step's answer, so that everything is undone."""
    last = _last_before_undo(steps)
    if last.kind is CommandKind.PIVOT:
        return Injection(Place(last.key), Layer.HANDLER, _REFUSED)
    return Injection(Place(last.key), Layer.DELIVERY, _ANSWER_LOST, None, _GIVEN_UP)


def turn_of(steps: Sequence[Known]) -> Injection:
    """An injection that makes the saga turn back: the deadline passes once everything that can be undone is done.

    With a refusal in its place, the answer on record would keep another run from going on.
    """
    ahead = [step for step in steps if step.group < _last_before_undo(steps).group]
    if not ahead:
        return _reason_to_undo(steps)
    return Injection(Place(ahead[-1].key), Layer.DELIVERY, after(_DEADLINE.unheard), timing=_HEARS)


def _last_before_undo(steps: Sequence[Known]) -> Known:
    return next((step for step in steps if step.kind is CommandKind.PIVOT), steps[-1])


def _just_before(step: Known, steps: Sequence[Known]) -> Known | None:
    """The last step of the group before; None for all but a group's first member."""
    at = steps.index(step)
    previous = steps[at - 1] if at else None
    return previous if previous and previous.group != step.group else None


def _or_undone(step: Known) -> frozenset[Ending]:
    """A lost worker costs time, and the step's own time limit may leave none for another attempt."""
    return WENT_ON if step.kind is CommandKind.RETRIABLE else EITHER


def _one(
    place: Place,
    name: str,
    around: Around,
    timing: Timing = _AS_SET,
    *,
    layer: Layer = Layer.DELIVERY,
    times: int | None = 1,
    may_end: frozenset[Ending] = WENT_ON,
    also: Sequence[Injection] = (),
    ends: int = NEVER,
) -> Fault:
    return Fault(str(place), name, (Injection(place, layer, around, times, timing), *also), may_end, ends=ends)


_always = functools.partial(_one, times=None)
