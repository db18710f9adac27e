"""Backwards, whoever does it: settle the pivot, undo what may be in force, record the end."""

from __future__ import annotations

from collections.abc import Iterator

from docs.protocol import opening
from docs.protocol.environments import COMPENSATABLE
from docs.protocol.participants import leave_pivot, reported
from docs.protocol.record import DOUBTED, GO_ON, end_saga
from docs.protocol.setting import Setting
from docs.protocol.state import (
    ANSWERED,
    AT_PIVOT,
    COMPENSATED,
    COMPLETED,
    FORWARD,
    IN_FLIGHT,
    INCOMPLETE,
    NO_RECORD,
    NOT_SENT,
    REFUSED,
    THEIRS,
    TURNING,
    UNDOING,
    UNDONE_STEP,
    UNKNOWN,
    Label,
    Message,
    State,
    note,
    put,
)

Moves = Iterator[tuple[Label, State]]


def begin(state: State) -> State:
    """The decision, which the history keeps; the record may still say otherwise."""
    run = state.run
    knows = "".join(
        UNKNOWN if letter in (IN_FLIGHT, UNDOING) or (letter == NOT_SENT and run.seen >> at & 1) else letter
        for at, letter in enumerate(run.knows)
    )
    return state._replace(run=run._replace(mode="turning", knows=knows, seen=0, turned=True))


def settle(setting: Setting, state: State) -> Moves:
    """A pivot of unknown outcome is asked about, never guessed."""
    run = state.run
    pivot = next((at for at in setting.environment.pivots if run.knows[at] == UNKNOWN), setting.the_pivot)
    row = state.rows[pivot]
    message: Message = ("settle", pivot, 0)
    if row.status == "done":
        known = run._replace(mode="past", knows=note(run.knows, pivot, ANSWERED))
        yield ("learns that the pivot happened",), leave_pivot(setting, state, pivot)._replace(run=known)
    elif row.undone or row.status == "rejected":
        known = run._replace(mode="forward", knows=note(run.knows, pivot, REFUSED))
        yield ("learns that the pivot never will",), leave_pivot(setting, state, pivot)._replace(run=known)
    elif message not in state.sent:
        yield ("settles",), state._replace(sent=state.sent | {message})


def _ask(setting: Setting, state: State, pivot: int) -> Moves:
    """Before anything is undone it is found out what became of a pivot, whoever sent it."""
    run, row, message = state.run, state.rows[pivot], ("settle", pivot, 0)
    if row.status == "done":
        yield from incomplete(state)
    elif row.undone or row.status == "rejected":
        yield (
            ("learns that the pivot never will",),
            state._replace(run=run._replace(knows=note(run.knows, pivot, REFUSED))),
        )
    elif message not in state.sent:
        yield ("settles",), state._replace(sent=state.sent | {message})


def incomplete(state: State) -> Moves:
    """Past the pivot there is only forward, and the code does not go there: people are told."""
    over = state._replace(run=state.run._replace(mode="over"))
    if state.record.state == COMPLETED:
        yield ("takes over the end",), over
        return
    told = over if state.reported in (COMPLETED, "compensated") else over._replace(reported=INCOMPLETE)
    yield ("is incomplete",), told


def due(setting: Setting, knows: str, seen: int) -> list[int]:
    """The last group that may be in force."""
    for group in reversed(setting.environment.groups):
        found = [at for at in group if _to_undo(setting, at, knows, seen)]
        if found:
            return found
    return []


def _to_undo(setting: Setting, at: int, knows: str, seen: int) -> bool:
    if setting.environment.steps[at].kind != COMPENSATABLE:
        return False
    return knows[at] in (ANSWERED, UNKNOWN, UNDOING) or (knows[at] in (NOT_SENT, REFUSED) and bool(seen >> at & 1))


def turn(setting: Setting, state: State) -> Moves:
    run = state.run
    if setting.environment.has_strangers and UNKNOWN in (
        pivots := [run.knows[at] for at in setting.environment.pivots]
    ):
        yield from _ask(setting, state, setting.environment.pivots[pivots.index(UNKNOWN)])
        return
    steps = due(setting, run.knows, run.seen)
    if _turn_first(setting, state, steps):
        yield from _turn(state)
        return
    for step in steps:
        if run.knows[step] == UNDOING:
            yield from _learn(setting, state, step)
            if setting.environment.skips and not state.rows[step].undone:
                known = state._replace(run=run._replace(knows=note(run.knows, step, UNDONE_STEP)))
                yield ("skips the undo", step), skipped(setting, known, step)
        else:
            epoch = run.epoch if setting.environment.has_strangers else 0
            message: Message = ("undo", step, epoch, run.way if setting.environment.other_content else 0)
            undoing = run._replace(knows=note(run.knows, step, UNDOING))
            yield ("undoes", step), state._replace(sent=state.sent | {message}, run=undoing)
    if not steps:
        yield from _end(setting, state)


def skipped(setting: Setting, state: State, step: int) -> State:
    """A person takes over what the compensation cannot do, on the record."""
    theirs = state._replace(effects=put(state.effects, step, THEIRS))
    if "A8.skip" not in setting.rules:
        return theirs
    return theirs._replace(rows=put(state.rows, step, state.rows[step]._replace(undone=True)))


def _turn_first(setting: Setting, state: State, steps: list[int]) -> bool:
    """Where the undo's database cannot make the turn, the saga's own record turns before it is sent."""
    elsewhere = any(setting.environment.steps[at].database for at in steps)
    return elsewhere and state.record.state != TURNING and "A4.first" in setting.rules


def _turn(state: State) -> Moves:
    if state.record.state in (FORWARD, NO_RECORD):
        yield ("turns the record",), state._replace(record=state.record._replace(state=TURNING))
    else:
        yield ("opens again",), opening.again(state)


def _learn(setting: Setting, state: State, step: int) -> Moves:
    run, row = state.run, state.rows[step]
    if row.undone:
        yield ("learns undone", step), state._replace(run=run._replace(knows=note(run.knows, step, UNDONE_STEP)))
    elif setting.environment.has_strangers:
        yield from _refused(state)
    elif setting.record_at(state, step).state not in (FORWARD, NO_RECORD, TURNING):
        # The undo is refused, for the saga was decided otherwise: that is taken over.
        back = run._replace(turned=False, knows=note(run.knows, step, ANSWERED))
        yield ("opens again",), opening.again(state._replace(run=back))


def _with(knows: str, left: str) -> str:
    return "".join(UNKNOWN if there == UNKNOWN else letter for letter, there in zip(knows, left, strict=True))


def _say(state: State, message: Message, answer: str) -> Moves:
    """The end is under way for a while, and may arrive when its run is over."""
    if state.record.state == COMPENSATED:
        yield ("learns the end",), state._replace(run=state.run._replace(mode="over"))
    elif answer == GO_ON and message not in state.sent:
        yield ("sends its end",), state._replace(sent=state.sent | {message})
    elif answer != GO_ON:
        yield from _refused(state)


def _refused(state: State) -> Moves:
    """The record does not allow what goes back: under a later epoch it may, or else people are told."""
    if state.record.state in (FORWARD, AT_PIVOT):
        if state.run.epoch < state.record.epoch:
            yield ("opens again",), opening.again(state)
    elif state.record.state not in (NO_RECORD, TURNING):
        yield from incomplete(state)


def _end(setting: Setting, state: State) -> Moves:
    run = state.run
    counts = "".join(
        letter if letter in "rx" and at in setting.compensatable else NOT_SENT for at, letter in enumerate(run.knows)
    )
    near = "".join("n" if setting.environment.steps[at].database else counts[at] for at in range(setting.size))
    epoch = run.epoch if setting.environment.has_strangers else 0
    answer = end_saga(setting.rules, state.record, state.rows, how="compensated", counts=near, pivot=False, epoch=epoch)
    if epoch and answer == GO_ON and UNKNOWN in (left := setting.left(state)):
        yield ("undoes again",), state._replace(run=run._replace(knows=_with(run.knows, left)))
    elif epoch and answer != DOUBTED:
        yield from _say(state, ("compensated", -1, epoch, near), answer)
    elif answer == GO_ON:
        yield ("is compensated",), reported(state._replace(run=run._replace(mode="over")), "compensated")
    elif answer == DOUBTED:
        doubted = "".join(
            UNKNOWN if counts[at] != NOT_SENT and not state.rows[at].undone else letter
            for at, letter in enumerate(run.knows)
        )
        yield ("undoes again",), state._replace(run=run._replace(knows=doubted))
    elif state.record.state == NO_RECORD:
        yield ("turns the record",), state._replace(record=state.record._replace(state=TURNING))
    else:
        yield ("opens again",), opening.again(state._replace(run=run._replace(turned=False)))
