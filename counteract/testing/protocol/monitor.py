"""Replays a saga's trace: follows every state that its record can have been in, and says where there is none left.

The tables' content is only partly ordered: a turn that recovery made leaves no time of its own. So the monitor keeps a
set of states. Turns that nobody saw add to it, and each statement that locked the record narrows it down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from counteract.messages import Role
from counteract.testing.protocol.trace import Row, Trace, name_of
from counteract.testing.protocol.transitions import (
    COMPENSATED,
    COMPLETED,
    FORWARD,
    NEVER,
    RULES,
    TRANSITIONS,
    Move,
)

_ENDS = {"SagaCompleted": COMPLETED, "SagaCompensated": COMPENSATED}
_BEGUN = {
    "compensatable": Move.COMPENSATABLE,
    "pivot": Move.PIVOT_BEGUN,
    "retriable": Move.RETRIABLE,
}
_RECORDED = {
    ("pivot", "done"): Move.PIVOT_DONE,
    ("pivot", "rejected"): Move.PIVOT_REFUSED,
    **{("compensatable", answer): Move.COMPENSATABLE for answer in ("done", "rejected")},
    **{("retriable", answer): Move.RETRIABLE for answer in ("done", "rejected")},
}
_FENCED = {Role.UNDO: Move.SINGLE_UNDO, Role.TURN: Move.END_UNDO}
_UNDONE = {Role.UNDO: Move.SINGLE_UNDO_RECORDED, Role.TURN: Move.END_UNDO_RECORDED}


@dataclass(frozen=True, slots=True)
class _Moment:
    """Something that was recorded at a time, and the moves that it can have been."""

    at: datetime
    what: str
    moves: Sequence[Move]


def violations(trace: Trace) -> list[str]:
    """The rules that this saga broke, in sentences that begin with the rule's name; empty if it kept them all.

    A saga that lost commits is held only against the rules about its end, since the order of what came before is lost.
    """
    found = [*_told(trace), *_counted_on(trace), *_children(trace)]
    if not trace.forgot:
        found += [*_moved(trace), *_epochs(trace), *_rows(trace), *_at_the_pivot(trace), *_given_up(trace)]
    return found


def _moved(trace: Trace) -> Iterator[str]:
    """Each move was allowed in some state that the record can have been in, from its first state to its last."""
    if any(row.epoch is None for row in trace.rows):
        # The release before says neither what a step is, nor which undo, and holds neither against the record.
        return
    state = trace.record.state
    possible = _with_turns({NEVER if state == NEVER else FORWARD})
    for moment in sorted(_moments(trace), key=lambda each: each.at):
        after = {to for move in moment.moves for at, to in TRANSITIONS[move].items() if at in possible}
        if not after:
            rule = RULES.get(moment.moves[0], "A2")
            yield f"{rule}: {moment.what} while the record was {' or '.join(sorted(possible))}"
            # From here on as if it had been in order, so that one wrong statement is one finding.
            after = possible
        possible = _with_turns(after)
    if state not in possible and state != NEVER and not trace.is_closed_by_hand:
        yield f"A1: the record is {state}, and nothing on record led it there from {' or '.join(sorted(possible))}"


def _with_turns(states: set[str]) -> set[str]:
    return states | {TRANSITIONS[Move.CLAIM][each] for each in states if each in TRANSITIONS[Move.CLAIM]}


def _moments(trace: Trace) -> Iterator[_Moment]:
    for step in trace.steps:
        yield from _forward(trace, step)
        if name_of(step.key) not in trace.skipped:
            yield from _backward(trace, step)
    if trace.record.state in (COMPLETED, COMPENSATED) and not trace.is_closed_by_hand:
        yield _Moment(trace.record.since, f"the saga ended {trace.record.state}", [_ending(trace)])


def _ending(trace: Trace) -> Move:
    if trace.record.state == COMPENSATED:
        return Move.COMPENSATED
    # A pivot that a person gave up, or that was refused where refusals are tolerated, was not passed.
    has_pivot = any(step.kind == "pivot" and step.status == "done" for step in trace.steps)
    return Move.COMPLETED_PAST_PIVOT if has_pivot else Move.COMPLETED


def _forward(trace: Trace, step: Row) -> Iterator[_Moment]:
    kind = step.kind or ""
    if step.has_begun and step.started_at is not None:
        yield _Moment(step.started_at, f"{step.key} was begun", [_BEGUN[kind]])
    settled = [row for row in trace.undoing(step) if kind == "pivot" and row.status == "done"]
    for row in settled:
        move = Move.PIVOT_SETTLED_DONE if step.status == "done" else Move.PIVOT_SETTLED_NEVER
        yield _Moment(row.recorded_at, f"{step.key} was settled", [move])
    if not settled and (move_of := _RECORDED.get((kind, step.status))):
        yield _Moment(step.recorded_at, f"{step.key} was recorded", [move_of])


def _backward(trace: Trace, step: Row) -> Iterator[_Moment]:
    """The moments at which its undo met the fence, and was recorded; one moment for a step that never began."""
    if step.kind != "compensatable":
        return
    undos = [row for row in trace.undoing(step) if not trace.is_late_undo(row)]
    roles = {role for row in undos for role in trace.roles.get(row.command_id, ())} or set(_FENCED)
    fenced = [_FENCED[role] for role in _FENCED if role in roles]
    recorded = [_UNDONE[role] for role in _UNDONE if role in roles]
    if step.undone_since is not None:
        yield _Moment(step.undone_since, f"{step.key} began to be undone", fenced)
    for row in undos:
        moves = recorded if step.may_have_applied else fenced
        # An end undo whose fence left no time of its own, met as a fence: the turn may have come with it.
        moves = [*moves, *(fenced if step.undone_since is None else ())]
        yield _Moment(row.recorded_at, f"{step.key} was undone", moves)


def _epochs(trace: Trace) -> Iterator[str]:
    """A step that an earlier run had sent does not begin once a later run has."""
    begun = [step for step in trace.steps if step.epoch is not None and (step.has_begun or step.status != "fenced")]
    newest = 0
    for step in sorted(begun, key=lambda each: each.started_at or each.recorded_at):
        if (epoch := step.epoch or 0) < newest:
            yield f"epoch: {step.key} was begun for epoch {epoch}, after a step of epoch {newest}"
        if epoch > trace.record.epoch:
            yield f"epoch: {step.key} is of epoch {epoch}, and the record is at {trace.record.epoch}"
        newest = max(newest, epoch)


def _rows(trace: Trace) -> Iterator[str]:
    for key, times in Counter(step.key for step in trace.steps).items():
        if times > 1:
            yield f"B1: {key} is on record under {times} ids"
    known = {row.command_id for row in trace.rows}
    for row in trace.rows:
        if row.undoes is not None and row.undoes not in known:
            yield f"C1: the undo of {row.key} is on record, and {row.key} is not"
        # The release before undoes without a mark.
        # Nor does what a person gave up count on a mark: that it is given up is on record itself.
        is_undone = any(undo.epoch is not None for undo in trace.undoing(row)) and name_of(row.key) not in trace.skipped
        yield from _row(row, is_undone=is_undone)


def _row(row: Row, *, is_undone: bool) -> Iterator[str]:
    if row.status == "rejected" and (row.begun or 0) > 1:
        yield f"B2: {row.key} is on record as refused, and had begun {row.begun} times"
    if row.late_since is not None and not (row.status == "fenced" and row.started_at is not None):
        yield f"C3: {row.key} is marked as late, and is {row.status}"
    if row.undone_since is not None and row.status != "done":
        yield f"mark_done: {row.key} is marked as being undone, and is {row.status}"
    if row.kind == "compensatable" and row.status == "done" and is_undone and row.undone_since is None:
        yield f"mark_done: {row.key} was undone, and still counts as an answer"


def _at_the_pivot(trace: Trace) -> Iterator[str]:
    """A pivot is not passed while a step before it is half undone, or unknown."""
    for pivot in trace.steps:
        if pivot.kind == "pivot" and pivot.status == "done":
            at = min([pivot.recorded_at, *(row.recorded_at for row in trace.undoing(pivot))])
            half = (step for step in trace.steps if _is_half_undone(trace, step, at))
            yield from (f"A7: {pivot.key} was passed while {step.key} was half undone" for step in half)


def _is_half_undone(trace: Trace, step: Row, at: datetime) -> bool:
    if step.kind != "compensatable" or name_of(step.key) in trace.skipped:
        return False
    marked = step.undone_since is not None and step.undone_since < at
    unknown = step.status == "fenced" and step.has_begun and step.started_at is not None and step.started_at < at
    return (marked or unknown) and not any(row.recorded_at < at for row in trace.undoing(step))


def _given_up(trace: Trace) -> Iterator[str]:
    """Skips are on record, and at the saga's end so are undos, whichever run or recovery made them."""
    if trace.record.state not in (COMPLETED, COMPENSATED) or any(row.epoch is None for row in trace.rows):
        return
    on_record = {name_of(row.key) for row in trace.rows if row.status == "done"}
    for told in trace.told:
        if told.decision == "skip" and told.step and name_of(told.step) not in on_record:
            yield f"A8: a person skipped {told.step}, and no row says so"
    for end in trace.told:
        if end.event_type == "SagaCompensated" and not trace.is_closed_by_hand:
            named = {name_of(key) for key in end.undone} | trace.skipped
            for step in trace.steps:
                if step.kind == "compensatable" and step.may_have_applied and name_of(step.key) not in named:
                    yield f"A7: {step.key} was undone, and SagaCompensated does not name it"


def _counted_on(trace: Trace) -> Iterator[str]:
    """The end agrees with the rows."""
    state = trace.record.state
    if state not in (COMPLETED, COMPENSATED) or trace.is_closed_by_hand:
        return
    undone = {row.undoes for row in trace.rows if row.undoes is not None and row.status == "done"}
    named = {name for each in trace.told if each.event_type == "SagaCompleted" for name in each.names}
    for step in trace.steps:
        if name_of(step.key) not in trace.skipped:
            is_undone = step.command_id in undone
            yield from _contradiction(step, state, is_undone=is_undone, is_named=step.key in named)


def _contradiction(step: Row, state: str, *, is_undone: bool, is_named: bool) -> Iterator[str]:
    if step.kind == "compensatable":
        if state == COMPENSATED and step.may_have_applied and not is_undone:
            yield f"A7: the saga ended compensated, and {step.key} is {step.status} and was not undone"
        elif step.undone_since is not None and not is_undone:
            yield f"A7: the saga ended {state}, and {step.key} is half undone"
        elif state == COMPLETED and step.status != "done" and step.may_have_applied and not is_undone:
            yield f"A7: the saga ended completed, and nobody knows whether {step.key} took effect"
        elif is_named and (step.status != "done" or is_undone):
            yield f"A7: the saga completed with {step.key}, which is {'undone' if is_undone else step.status}"
    elif state == COMPENSATED and step.status == "done":
        yield f"A7: the saga ended compensated, and the {step.kind} {step.key} took effect"


def _children(trace: Trace) -> Iterator[str]:
    state = trace.record.state
    if state not in (COMPLETED, COMPENSATED) or trace.is_closed_by_hand:
        return
    undone = {row.key for row in trace.rows if row.kind is None and row.undoes is None and row.status == "done"}
    for child in trace.children:
        if name_of(child.key) in trace.skipped or child.key in undone or child.state in (COMPENSATED, NEVER):
            continue
        if state == COMPENSATED or child.state != COMPLETED:
            yield f"E: the saga ended {state}, and its child {child.key} is {child.state}"


def _told(trace: Trace) -> Iterator[str]:
    """The lifecycle events agree with the record, which has one end."""
    kinds = [each.event_type for each in trace.told]
    ends = [_ENDS[kind] for kind in kinds if kind in _ENDS]
    if len(ends) > 1:
        yield f"A1: {len(ends)} ends are on record: {', '.join(ends)}"
    if (
        not trace.forgot
        and trace.record.state != NEVER
        and (kinds.count("SagaStarted") != 1 or kinds[0] != "SagaStarted")
    ):
        yield f"A1: the saga did not begin with its one SagaStarted, but with {', '.join(kinds) or 'no event'}"
    state = trace.record.state
    if set(ends) != {state} & {COMPLETED, COMPENSATED}:
        yield f"A1: the record is {state}, and the events say {' and '.join(ends) or 'that it has not ended'}"
    if ends and kinds[-1] not in _ENDS:
        yield f"A1: {kinds[-1]} came after the saga's end"
    if state == NEVER and (trace.steps or kinds):
        yield "E: a saga that was settled as never has steps or events"
