"""The saga's run: what its code and its engine do next, by what the run knows and what it was told."""

from __future__ import annotations

from collections.abc import Iterator

from docs.protocol import opening, turning
from docs.protocol.environments import COMPENSATABLE, PIVOT, RETRIABLE
from docs.protocol.participants import leave_pivot
from docs.protocol.record import DOUBTED, FENCED, GO_ON, REUSED, SUPERSEDED, end_saga, enter_step
from docs.protocol.setting import Setting
from docs.protocol.state import (
    ANSWERED,
    AT_PIVOT,
    COMPLETED,
    FORWARD,
    IN_FLIGHT,
    NO_RECORD,
    NOT_SENT,
    PAST,
    REFUSED,
    UNDOING,
    UNDONE_STEP,
    UNKNOWN,
    Label,
    Message,
    Record,
    State,
    note,
)

Moves = Iterator[tuple[Label, State]]


def moves(setting: Setting, state: State) -> Moves:
    mode = state.run.mode
    if mode in ("opening", "announcing"):
        yield from opening.moves(setting, state)
    elif mode in ("forward", "past"):
        yield from _code(setting, state)
    elif mode == "settling":
        yield from turning.settle(setting, state)
    elif mode == "turning":
        yield from turning.turn(setting, state)
    elif mode == "ending":
        yield from _ending(setting, state)


def _code(setting: Setting, state: State) -> Moves:
    """The code comes by its steps in order; those of a group go out at once."""
    yield from _answers(setting, state)
    knows, mode = state.run.knows, state.run.mode
    waiting = IN_FLIGHT in knows or UNDOING in knows
    failed = _failed(setting, state) is not None
    if mode == "forward" and not waiting:
        yield ("turns back", failed), turning.begin(_stopped(setting, state))
    if failed:
        if mode == "past":
            yield from turning.incomplete(state)
        return
    group = _next_group(setting, state)
    to_send = [step for step in group if knows[step] == NOT_SENT]
    elsewhere = [at for at, letter in enumerate(knows) if letter in (IN_FLIGHT, UNDOING) and at not in group]
    if to_send and not elsewhere:
        yield from _next(setting, state, to_send)
    elif not to_send and not waiting:
        yield from _finish(setting, state)


def _stopped(setting: Setting, state: State) -> State:
    """Some of a group may not have come to their turn. That says nothing of what an earlier run sent."""
    group, run = _next_group(setting, state), state.run
    waiting = [at for at in group if run.knows[at] == NOT_SENT]
    if "epoch.gate" in setting.rules or len(waiting) == len(group):
        return state
    return state._replace(run=run._replace(seen=run.seen & ~sum(1 << at for at in waiting)))


def _answers(setting: Setting, state: State) -> Moves:
    for step, letter in enumerate(state.run.knows):
        if letter == IN_FLIGHT:
            yield from _learn(setting, state, step)
        elif letter == UNDOING:
            yield from _learn_single_undo(setting, state, step)


def _next_group(setting: Setting, state: State) -> tuple[int, ...]:
    """The first group of this way that still has a step to come by."""
    way, knows = state.run.way, state.run.knows
    for group in setting.environment.groups:
        here = tuple(at for at in group if way in setting.environment.steps[at].ways and _is_due(setting, knows, at))
        if any(knows[at] == NOT_SENT for at in here):
            return here
    return ()


def _is_due(setting: Setting, knows: str, step: int) -> bool:
    return not setting.environment.steps[step].again or knows[step - 1] == REFUSED


def _failed(setting: Setting, state: State) -> int | None:
    """A step without which the code does not go on."""
    for at, letter in enumerate(state.run.knows):
        spec = setting.environment.steps[at]
        if state.run.way in spec.ways and letter in (REFUSED, UNKNOWN, UNDONE_STEP) and not spec.tolerated:
            return at
    return None


def loose(setting: Setting, state: State) -> list[int]:
    """Steps that may be in force, and that the code does not count on."""
    run = state.run
    return [
        at
        for at in setting.compensatable
        if run.knows[at] == UNKNOWN or (run.seen >> at & 1 and run.knows[at] in (NOT_SENT, UNKNOWN))
    ]


def _next(setting: Setting, state: State, to_send: list[int]) -> Moves:
    spec = setting.environment.steps[to_send[0]]
    if spec.kind != PIVOT:
        for step in to_send:
            yield ("sends", step, state.run.epoch), send(setting, state, step)
        return
    undo = loose(setting, state)
    if state.run.mode == "past" and setting.another_stands(state, to_send[0]):
        # An earlier run has passed another pivot: this one's code does not go there.
        yield from turning.incomplete(state)
    elif undo and state.run.seen & setting.at_pivot:
        yield ("turns back", True), turning.begin(state)
    elif undo and (state.run.mode == "forward" or "A5.lookup" not in setting.rules):
        yield from _single_undo(setting, state, undo[-1])
    elif spec.database and "A3.opened" in setting.rules and state.record.state != PAST:
        yield from _open_pivot(setting, state, to_send[0])
    else:
        yield ("sends", to_send[0], state.run.epoch), send(setting, state, to_send[0])


def _open_pivot(setting: Setting, state: State, step: int) -> Moves:
    """A pivot whose service has another database is opened in the saga's own before it is dispatched."""
    doubted = "A7.pivot" in setting.rules and not setting.counts_hold(state, state.run.knows)
    late = state.run.epoch < state.record.epoch and "epoch.commands" in setting.rules
    if state.record.state not in (FORWARD, AT_PIVOT) or late:
        yield ("opens again",), opening.again(state)
    elif doubted:
        yield ("turns back", True), turning.begin(state)
    else:
        opened = state._replace(record=state.record._replace(state=AT_PIVOT))
        yield ("opens the pivot", step), send(setting, opened, step)


def send(setting: Setting, state: State, step: int) -> State:
    run, spec = state.run, setting.environment.steps[step]
    counts = run.knows if spec.kind == PIVOT else ""
    content = run.way if setting.environment.other_content else 0
    message: Message = ("do", step, run.epoch, content, counts, spec.external)
    armed = run._replace(knows=note(run.knows, step, IN_FLIGHT))
    return state._replace(sent=state.sent | {message}, run=armed)


def _single_undo(setting: Setting, state: State, step: int) -> Moves:
    run = state.run
    message: Message = ("undo one", step, run.epoch, run.way if setting.environment.other_content else 0)
    undoing = run._replace(knows=note(run.knows, step, UNDOING))
    yield ("undoes one", step, run.epoch), state._replace(sent=state.sent | {message}, run=undoing)


def _learn(setting: Setting, state: State, step: int) -> Moves:
    """An answer comes, which is always one that a delivery would get now; or none does, in time."""
    spec = setting.environment.steps[step]
    answer = _answer(setting, state, step)
    if answer == "done":
        yield ("learns done", step), _answered(setting, state, step)
        return
    if answer == "rejected":
        yield ("learns refused", step), _refused(setting, state, step)
    elif answer in (FENCED, REUSED):
        yield ("learns " + answer, step), _unknown(setting, state, step)
    elif answer == DOUBTED:
        yield ("is doubted", step), _doubted(setting, state, step)
    elif answer != GO_ON:
        yield from _elsewhere(setting, state, step, answer)
    if spec.kind != RETRIABLE:
        yield ("gets no answer", step), _unknown(setting, state, step)


def _answer(setting: Setting, state: State, step: int) -> str:
    run, spec = state.run, setting.environment.steps[step]
    record = _opened_by_first(setting, state, setting.record_at(state, step))
    content = run.way if setting.environment.other_content else 0
    answer = enter_step(setting.rules, record, state.rows[step], spec.kind, run.epoch, content)
    if answer != GO_ON or spec.kind != PIVOT:
        return answer
    if "A3.others" in setting.rules and setting.another_may_stand(state, step):
        return DOUBTED
    if not spec.database and "A7.pivot" in setting.rules:
        return GO_ON if setting.counts_hold(state, note(run.knows, step, NOT_SENT)) else DOUBTED
    return GO_ON


def _doubted(setting: Setting, state: State, step: int) -> State:
    if setting.environment.steps[step].external or setting.environment.has_strangers:
        # This delivery was refused, but an earlier one may have begun in a store that forgot it.
        return _unknown(setting, state, step)
    run = state.run
    return turning.begin(state._replace(run=run._replace(knows=note(run.knows, step, REFUSED))))


def _opened_by_first(setting: Setting, state: State, record: Record) -> Record:
    """Where the first command opens the saga, that there is no record yet is no refusal."""
    waits = record.state == NO_RECORD and setting.environment.first_command_opens and state.run.epoch == 1
    return Record(FORWARD, 1) if waits and not state.pruned else record


def _elsewhere(setting: Setting, state: State, step: int, answer: str) -> Moves:
    """The record is not where the run believes: it opens again, and takes over what was decided."""
    run, spec = state.run, setting.environment.steps[step]
    is_outdated = answer == SUPERSEDED and "epoch.rise" in setting.rules
    if run.mode == "past" and spec.kind == COMPENSATABLE and not is_outdated:
        yield ("learns too late", step), _unknown(setting, state, step)
        return
    if run.mode == "past" and not is_outdated:
        if not setting.environment.losses:
            broken = f"{spec.name} can never be recorded past the pivot"
            yield ("learns too late", step), state._replace(broken=broken)
            return
        # It knows that the pivot is done, and the store has forgotten it: only a person can tell.
        yield from turning.incomplete(state)
        return
    if setting.environment.has_strangers and not is_outdated:
        # No answer: its code fails with it, or does without, and then finds out what became of a pivot that may stand.
        yield ("is too early or too late", step), _unknown(setting, state, step)
        return
    yield ("opens again",), opening.again(state)


def _answered(setting: Setting, state: State, step: int) -> State:
    run = state.run._replace(knows=note(state.run.knows, step, ANSWERED))
    if setting.environment.steps[step].kind == PIVOT:
        state = leave_pivot(setting, state, step)
        run = run._replace(mode="past")
    return state._replace(run=run)


def _refused(setting: Setting, state: State, step: int) -> State:
    if setting.environment.steps[step].kind == PIVOT:
        state = leave_pivot(setting, state, step)
    return state._replace(run=state.run._replace(knows=note(state.run.knows, step, REFUSED)))


def _unknown(setting: Setting, state: State, step: int) -> State:
    run = state.run._replace(knows=note(state.run.knows, step, UNKNOWN))
    if setting.environment.steps[step].kind == PIVOT:
        run = run._replace(mode="settling")
    return state._replace(run=run)


def _learn_single_undo(setting: Setting, state: State, step: int) -> Moves:
    run, row = state.run, state.rows[step]
    if row.undone:
        yield ("learns undone", step), state._replace(run=run._replace(knows=note(run.knows, step, UNDONE_STEP)))
        return
    record = setting.record_at(state, step)
    late = run.epoch < record.epoch and not row.marked and row.status != "midway" and "epoch.undos" in setting.rules
    refused = record.state != FORWARD and "A2.single" in setting.rules
    if refused and not late and setting.environment.has_strangers:
        yield ("turns back", True), turning.begin(state)
    elif late or refused:
        yield ("opens again",), opening.again(state)


def _finish(setting: Setting, state: State) -> Moves:
    """The code has come to its end."""
    undo = loose(setting, state)
    if undo and state.run.seen & setting.at_pivot and state.run.mode == "forward":
        yield ("turns back", True), turning.begin(state)
        return
    if undo and state.run.mode == "forward":
        yield from _single_undo(setting, state, undo[-1])
        return
    if undo and "A5.lookup" not in setting.rules:
        yield from _single_undo(setting, state, undo[-1])
        return
    if undo and "A6.incomplete" in setting.rules and any(_in_force(state, at) for at in undo):
        yield from turning.incomplete(state)
        return
    yield ("ends",), _said_completed(setting, state)


def _in_force(state: State, step: int) -> bool:
    row = state.rows[step]
    return row.status in ("done", "midway", "started") and not row.undone


def _said_completed(setting: Setting, state: State) -> State:
    run = state.run
    counts = "".join(letter if letter in "arx" else NOT_SENT for letter in run.knows)
    relied = sum(1 << at for at, letter in enumerate(run.knows) if letter == ANSWERED)
    content = run.way if setting.environment.other_content else 0
    message: Message = ("end", -1, run.epoch, counts, relied, content)
    return state._replace(sent=state.sent | {message}, run=run._replace(mode="ending"))


def _ending(setting: Setting, state: State) -> Moves:
    if state.record.state == COMPLETED:
        yield ("learns the end",), state._replace(run=state.run._replace(mode="over"))
        return
    counts = "".join(letter if letter in "arx" else NOT_SENT for letter in state.run.knows)
    near = "".join("n" if setting.environment.steps[at].database else counts[at] for at in range(setting.size))
    pivot = any(counts[at] == ANSWERED for at in setting.environment.pivots)
    answer = end_saga(setting.rules, state.record, state.rows, how="completed", counts=near, pivot=pivot)
    if answer == GO_ON and "A3.others" in setting.rules and setting.another_may_stand(state, None):
        answer = DOUBTED
    if answer == GO_ON:
        return
    if setting.environment.has_strangers and not pivot:
        yield ("turns back", True), turning.begin(state)
    elif pivot:
        # The store denies what the code counts on, and nothing is undone past the pivot.
        yield from turning.incomplete(state)
    elif answer == DOUBTED:
        yield ("turns back", True), turning.begin(state)
    else:
        yield ("opens again",), opening.again(state)
