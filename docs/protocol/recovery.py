"""Recovery: finds a saga that nobody carries on, claims it, ends whatever run is open, collects, and undoes."""

from __future__ import annotations

from collections.abc import Iterator

from docs.protocol.participants import leave_pivot, reported
from docs.protocol.record import DOUBTED, GO_ON, claim_saga, end_saga
from docs.protocol.setting import Setting
from docs.protocol.state import (
    ANSWERED,
    COMPLETED,
    ENDED,
    FORWARD,
    IN_FLIGHT,
    INCOMPLETE,
    NO_RECORD,
    NOT_SENT,
    TURNING,
    UNDOING,
    UNDONE_STEP,
    UNKNOWN,
    Label,
    Message,
    Record,
    Recovery,
    Row,
    State,
    note,
    put,
)
from docs.protocol.turning import due, skipped

Moves = Iterator[tuple[Label, State]]


def moves(setting: Setting, state: State) -> Moves:
    for at, recovery in enumerate(state.recoveries):
        # Recoveries are alike: of two in the same state only the first moves.
        if recovery not in state.recoveries[:at]:
            for label, after in _moves(setting, state, at):
                yield label, after._replace(recoveries=tuple(sorted(after.recoveries)))


def _moves(setting: Setting, state: State, at: int) -> Moves:
    mode = state.recoveries[at].mode
    if mode == "idle":
        if state.run.mode in ("dead", "over") and state.record.state not in (*ENDED, NO_RECORD):
            yield ("recovery finds",), _now(state, at, Recovery("read", ""))
    elif mode == "read":
        yield from _claim(setting, state, at)
    elif mode == "claimed":
        yield from _end_run(setting, state, at)
    elif mode == "alone":
        yield from _collect(setting, state, at)
    else:
        yield from _undo(setting, state, at)


def _now(state: State, at: int, recovery: Recovery) -> State:
    return state._replace(recoveries=put(state.recoveries, at, recovery))


def _claim(setting: Setting, state: State, at: int) -> Moves:
    if "D2.claim" not in setting.rules:
        yield ("recovery does not claim",), _now(state, at, Recovery("alone", ""))
        return
    if _over_by_history(setting, state) and state.record.state not in ENDED:
        yield from _report(state, at)
        return
    answer, record = claim_saga(setting.rules, state.record)
    if answer == "claimed" and _forgotten(setting, state):
        answer = "settle"
    if answer == "claimed":
        yield ("recovery claims",), _now(state, at, Recovery("claimed", ""))._replace(record=record)
    elif answer == "report":
        yield from _report(state, at)
    elif answer == "settle":
        yield from _settle(setting, state, at)
    else:
        yield ("recovery lets it be",), _now(state, at, Recovery("idle", ""))


def _over_by_history(setting: Setting, state: State) -> bool:
    """The history says that the pivot was answered, or the end: what the store forgot is no reason to undo."""
    if "C2.history" not in setting.rules or not setting.environment.losses:
        return False
    by_pivot = any(state.run.knows[pivot] == ANSWERED for pivot in setting.environment.pivots)
    return by_pivot or (state.run.mode == "over" and state.reported == COMPLETED)


def _forgotten(setting: Setting, state: State) -> list[int]:
    """A history sent these pivots outside, and knows no answer: that the record does not say so is no proof."""
    if not setting.environment.losses or "C2.pivot" not in setting.rules:
        return []
    return [pivot for pivot in setting.environment.pivots if _is_forgotten(setting, state, pivot)]


def _is_forgotten(setting: Setting, state: State, pivot: int) -> bool:
    row = state.rows[pivot]
    sent = state.run.knows[pivot] in (IN_FLIGHT, UNKNOWN)
    return sent and setting.environment.steps[pivot].external and not (row.undone or row.status == "rejected")


def _report(state: State, at: int) -> Moves:
    if state.run.mode in ("dead", "over"):
        told = state._replace(reported=INCOMPLETE) if not state.reported else state
        yield ("recovery reports",), _now(told, at, Recovery("idle", ""))
    else:
        yield ("recovery lets it be",), _now(state, at, Recovery("idle", ""))


def _settle(setting: Setting, state: State, at: int) -> Moves:
    open_ones = [pivot for pivot in setting.environment.pivots if setting.may_stand(state, pivot)]
    (pivot, *_) = (*open_ones, *_forgotten(setting, state), setting.the_pivot)
    row, message = state.rows[pivot], ("settle", pivot, 0)
    if row.status in ("done", "rejected") or row.undone:
        out = leave_pivot(setting, state, pivot)
        if out != state:
            yield ("recovery leads out of the pivot",), out
    elif message not in state.sent:
        yield ("recovery settles",), state._replace(sent=state.sent | {message})


def _end_run(setting: Setting, state: State, at: int) -> Moves:
    ended = state
    if "D2.ends_run" in setting.rules and state.run.mode != "over":
        ended = state._replace(run=state.run._replace(mode="dead"))
    yield ("recovery ends the run",), _now(ended, at, Recovery("alone", ""))


def _collect(setting: Setting, state: State, at: int) -> Moves:
    """What is on record, and what the histories sent; the statement confirms the claim."""
    if state.record.state != TURNING and "D2.claim" in setting.rules:
        yield ("recovery lets it be",), _now(state, at, Recovery("idle", ""))
        return
    if setting.environment.has_strangers and (answer := _strangers(setting, state)):
        yield from (_report(state, at) if answer == "report" else _settle(setting, state, at))
        return
    knows = "".join(_collected(setting, state, step) for step in range(setting.size))
    told = state
    if "D2.announces" in setting.rules:
        told = state._replace(mirrors=tuple(Record(TURNING, each.epoch) for each in state.mirrors))
    yield ("recovery collects", knows), _now(told, at, Recovery("turning", knows))


def _strangers(setting: Setting, state: State) -> str:
    """What it finds out of pivots before it undoes anything, though the record has been turned: report, settle or nothing."""
    if "A3.asks" not in setting.rules:
        return ""
    if setting.another_stands(state, -1):
        return "report"
    return "settle" if setting.another_may_stand(state, None) else ""


def _collected(setting: Setting, state: State, step: int) -> str:
    """What was undone is named too, so that the end is refused where the store forgets it."""
    if step not in setting.compensatable:
        return NOT_SENT
    if state.rows[step].undone:
        return UNDONE_STEP
    return UNKNOWN if _owed(setting, state, step) else NOT_SENT


def _owed(setting: Setting, state: State, step: int) -> bool:
    row: Row = state.rows[step]
    by_history = bool(setting.environment.losses) and "C2.history" in setting.rules
    return (row.status in ("started", "done", "midway") and not row.undone) or (
        by_history and state.run.knows[step] != NOT_SENT and not row.undone
    )


def _undo(setting: Setting, state: State, at: int) -> Moves:
    recovery = state.recoveries[at]
    if state.record.state not in (FORWARD, TURNING):
        # It ended, or the store forgot the claim.
        yield ("recovery lets it be",), _now(state, at, Recovery("idle", ""))
        return
    steps = due(setting, recovery.knows, 0)
    for step in steps:
        if recovery.knows[step] != UNDOING:
            message: Message = ("undo", step, 0, 0)
            doing = Recovery("turning", note(recovery.knows, step, UNDOING))
            yield ("recovery undoes", step), _now(state, at, doing)._replace(sent=state.sent | {message})
        elif setting.environment.skips and not state.rows[step].undone:
            known = _now(state, at, Recovery("turning", note(recovery.knows, step, UNDONE_STEP)))
            yield ("skips the undo", step), skipped(setting, known, step)
        elif state.rows[step].undone:
            done = Recovery("turning", note(recovery.knows, step, UNDONE_STEP))
            yield ("recovery learns undone", step), _now(state, at, done)
    if not steps:
        yield from _end(setting, state, at)


def _end(setting: Setting, state: State, at: int) -> Moves:
    knows = state.recoveries[at].knows
    near = "".join("n" if setting.environment.steps[step].database else knows[step] for step in range(setting.size))
    answer = end_saga(setting.rules, state.record, state.rows, how="compensated", counts=near, pivot=False)
    if answer == GO_ON and (state.record.state == TURNING or "D2.claim" not in setting.rules):
        yield ("recovery compensates",), reported(_now(state, at, Recovery("idle", "")), "compensated")
    elif answer == DOUBTED:
        yield ("recovery collects again",), _now(state, at, Recovery("alone", ""))
    else:
        yield ("recovery lets it be",), _now(state, at, Recovery("idle", ""))
