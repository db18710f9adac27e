"""A run opens: it raises the epoch, and takes over what is on record."""

from __future__ import annotations

from collections.abc import Iterator

from docs.protocol import turning
from docs.protocol.record import may_be_in_force
from docs.protocol.setting import Setting
from docs.protocol.state import (
    ANSWERED,
    AT_PIVOT,
    ENDED,
    FORWARD,
    IN_FLIGHT,
    NO_RECORD,
    NOT_SENT,
    PAST,
    TURNING,
    UNDOING,
    UNDONE_STEP,
    UNKNOWN,
    Label,
    Record,
    Row,
    State,
    note,
    put,
)

Moves = Iterator[tuple[Label, State]]


def again(state: State) -> State:
    return state._replace(run=state.run._replace(mode="opening"))


def moves(setting: Setting, state: State) -> Moves:
    run, record = state.run, state.record
    if run.mode == "announcing":
        yield from _announce(setting, state)
        return
    if setting.environment.hands_on and run.number > 1 and run.epoch and "epoch.duty" not in setting.rules:
        yield ("goes on unopened",), state._replace(run=run._replace(mode=_by_history(setting, run.knows)))
    if record.state in ENDED:
        yield ("takes over the end",), state._replace(run=run._replace(mode="over"))
    elif record.state == NO_RECORD:
        yield from _first(setting, state)
    else:
        epoch = record.epoch + 1
        raised = state._replace(record=record._replace(epoch=epoch), run=run._replace(epoch=epoch))
        yield ("opens", run.number, epoch), _went_on(setting, _taken_over(setting, raised, 0))


def _first(setting: Setting, state: State) -> Moves:
    """There is no record: this is the first run, or the first command was to open it, or the store forgot or dropped it."""
    run = state.run
    if state.pruned:
        yield ("finds nothing",), state._replace(run=run._replace(mode="over"))
    elif run.number == 1 and setting.environment.first_command_opens:
        yield ("begins without a trip",), state._replace(run=run._replace(mode="forward", epoch=1))
    else:
        epoch = run.number
        record = Record(FORWARD, epoch)
        opened = state._replace(record=record, run=run._replace(epoch=epoch))
        yield ("opens", run.number, epoch), _went_on(setting, _taken_over(setting, opened, 0))


def _announce(setting: Setting, state: State) -> Moves:
    """Services with a database of their own learn the epoch and the state, and say what they have on record."""
    for at, mirror in enumerate(state.mirrors):
        if _untold(mirror, state):
            told = state._replace(mirrors=put(state.mirrors, at, Record(_told(mirror, state), state.run.epoch)))
            yield ("announces", at + 1, state.run.epoch), _went_on(setting, _taken_over(setting, told, at + 1))


def _untold(mirror: Record, state: State) -> bool:
    """Whether this service does not know what the saga's own record says."""
    turns = state.record.state == TURNING and mirror.state != TURNING
    return turns or mirror.epoch < state.run.epoch or mirror.state == NO_RECORD


def _told(mirror: Record, state: State) -> str:
    """A service that heard of the turn is not told otherwise."""
    return TURNING if mirror.state == TURNING else FORWARD if state.record.state != TURNING else TURNING


def _taken_over(setting: Setting, state: State, database: int) -> State:
    """What this database has on record of the saga, held against what the run knows."""
    run = state.run
    knows, seen = run.knows, run.seen
    for step in range(setting.size):
        spec = setting.environment.steps[step]
        if spec.database == database:
            letter = _disowned(setting, knows[step], state.rows[step])
            knows = note(knows, step, letter)
            if "epoch.rows" in setting.rules and step in setting.compensatable and may_be_in_force(state.rows[step]):
                seen |= 1 << step
            if setting.environment.has_strangers and _is_others_pivot(setting, state, step):
                seen |= 1 << step
    return state._replace(run=run._replace(knows=knows, seen=seen))


def _is_others_pivot(setting: Setting, state: State, step: int) -> bool:
    """Before it turns back, the run has to find out what became of it."""
    if step not in setting.environment.pivots or "A3.asks" not in setting.rules:
        return False
    row = state.rows[step]
    return row.status == "done" or (
        setting.may_stand(state, step) and (row.status == "started" or "A3.fenced" in setting.rules)
    )


def _disowned(setting: Setting, letter: str, row: Row) -> str:
    """What the run may still believe of a step, seeing its row."""
    if letter == IN_FLIGHT:
        return NOT_SENT
    if letter == UNDOING:
        letter = UNKNOWN
    if letter == UNKNOWN and row.undone:
        return UNDONE_STEP
    believed = letter == ANSWERED and row.status != "none"
    if believed and "epoch.disown" in setting.rules and (row.undone or row.marked or row.status != "done"):
        return UNDONE_STEP if row.undone else UNKNOWN
    return letter


def _went_on(setting: Setting, state: State) -> State:
    """Into the direction that the record says, once every database has been told."""
    run, record = state.run, state.record
    announces = "epoch.announce" in setting.rules or run.number == 1
    if announces and any(_untold(each, state) for each in state.mirrors):
        return state._replace(run=run._replace(mode="announcing"))
    if record.state == TURNING or (run.turned and "C2.history" in setting.rules):
        return turning.begin(state)
    if record.state == AT_PIVOT and not setting.environment.has_strangers:
        return state._replace(run=run._replace(mode="settling"))
    if record.state == PAST:
        return state._replace(run=run._replace(mode="past"))
    seen = run.seen | (setting.at_pivot if record.state == AT_PIVOT else 0)
    return state._replace(run=run._replace(mode=_by_history(setting, run.knows), seen=seen))


def _by_history(setting: Setting, knows: str) -> str:
    """Where the run's own pivot has brought it."""
    known = [knows[at] for at in setting.environment.pivots]
    return "settling" if UNKNOWN in known else "past" if ANSWERED in known else "forward"


def kept(knows: str, cut: int, groups: tuple[tuple[int, ...], ...]) -> str:
    """What a further run's history still holds that was reset to before this group."""
    gone = {at for group in groups[cut:] for at in group}
    return "".join(NOT_SENT if at in gone else letter for at, letter in enumerate(knows))


def answered_only(knows: str) -> str:
    """The same, from before the undo of any step."""
    return "".join(UNKNOWN if letter in (UNDONE_STEP, UNDOING) else letter for letter in knows)
