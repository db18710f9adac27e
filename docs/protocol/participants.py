"""The participants: what a delivered message does, and what an attempt that is under way may still do."""

from __future__ import annotations

from collections.abc import Iterator

from docs.protocol.environments import COMPENSATABLE, PIVOT, RETRIABLE
from docs.protocol.record import (
    GO_ON,
    counts_hold,
    end_saga,
    enter_step,
    fence_step,
    may_record_undo,
    may_run,
)
from docs.protocol.setting import Setting
from docs.protocol.state import (
    ANSWERED,
    APPLIED,
    AT_PIVOT,
    BARRED,
    CHECKED,
    DONE_HELD,
    END_UNDO,
    FIRST_REFUSAL,
    FORWARD,
    LATE_MARK,
    LATE_UNDO,
    LATER_REFUSAL,
    NEVER,
    NO_RECORD,
    PAST,
    SINGLE_UNDO,
    THEIRS,
    UNDONE,
    UNKNOWN,
    Label,
    Message,
    Record,
    State,
    put,
)

Moves = Iterator[tuple[Label, State]]


def moves(setting: Setting, state: State) -> Moves:
    for message in state.sent:
        yield from _DELIVERIES[message[0]](setting, state, message)
    for step, attempts in enumerate(state.attempts):
        if attempts.uncalled:
            yield from _call(setting, state, step)
        if attempts.holding:
            yield from _record_held(setting, state, step)
        if attempts.undoing:
            yield from _compensate(setting, state, step)


def _deliver_command(setting: Setting, state: State, message: Message) -> Moves:
    _, step, epoch, content, counts, _ = message
    spec, row = setting.environment.steps[step], state.rows[step]
    record = setting.record_at(state, step)
    opens = record.state == NO_RECORD and setting.environment.first_command_opens and epoch == 1
    if opens:
        record = Record(FORWARD, 1)
    if enter_step(setting.rules, record, row, spec.kind, epoch, content) != GO_ON:
        return
    doubted = spec.kind == PIVOT and not spec.database and not counts_hold(state.rows, counts)
    if (doubted and "A7.pivot" in setting.rules) or _is_second(setting, state, step):
        return
    entered = state if not opens else setting.with_record_at(state, step, record)
    if spec.external:
        yield ("begins", step, epoch), _begun(setting, entered, message)
    elif spec.kind != RETRIABLE and not spec.database and "A2.lock" not in setting.rules:
        attempts = state.attempts[step]
        held = attempts._replace(holding=attempts.holding | CHECKED)
        yield ("checked", step, epoch), entered._replace(attempts=put(state.attempts, step, held))
    else:
        yield from _answered(setting, entered, step, epoch, content)


def _is_second(setting: Setting, state: State, step: int) -> bool:
    """A pivot, while another one may stand: which of the two the saga goes on with is open."""
    is_pivot = step in setting.environment.pivots
    return is_pivot and "A3.others" in setting.rules and setting.another_may_stand(state, step)


def _answered(setting: Setting, state: State, step: int, epoch: int, content: int) -> Moves:
    """A transactional command: its effect and its row are one."""
    spec, row = setting.environment.steps[step], state.rows[step]
    broken = f"{spec.name} has taken effect twice" if state.effects[step] in (APPLIED, UNDONE) else ""
    done = state._replace(
        rows=put(state.rows, step, row._replace(status="done", content=content)),
        effects=put(state.effects, step, APPLIED),
        broken=state.broken or ("" if setting.environment.losses else broken),
    )
    if spec.kind == PIVOT and not spec.database:
        done = done._replace(record=done.record._replace(state=PAST))
    yield ("done", step, epoch), done
    if spec.refusable:
        refused = state._replace(rows=put(state.rows, step, row._replace(status="rejected", content=content)))
        yield ("refused", step, epoch), refused


def _begun(setting: Setting, state: State, message: Message) -> State:
    """Where as many attempts as may live at once have begun, the earliest of them has died."""
    _, step, epoch, content, counts, first = message
    spec, row, attempts = setting.environment.steps[step], state.rows[step], state.attempts[step]
    uncalled = min(attempts.uncalled + 1, setting.environment.attempts)
    fresh = first or (attempts.fresh and uncalled > attempts.uncalled)
    again = ("do", step, epoch, content, counts, False)
    begun = state._replace(
        rows=put(state.rows, step, row._replace(status="started", begun=min(row.begun + 1, 2), content=content)),
        attempts=put(state.attempts, step, attempts._replace(uncalled=uncalled, fresh=fresh)),
        sent=(state.sent - {message}) | {again},
    )
    if spec.kind == PIVOT and not spec.database and "A3.begin" in setting.rules:
        begun = begun._replace(record=begun.record._replace(state=AT_PIVOT))
    return begun


def _call(setting: Setting, state: State, step: int) -> Moves:
    """One attempt comes to its call. Asked again under the same id, the provider gives the same answer and does nothing."""
    spec, attempts, effect = setting.environment.steps[step], state.attempts[step], state.effects[step]
    rest = attempts._replace(uncalled=attempts.uncalled - 1, fresh=attempts.fresh and attempts.uncalled > 1)
    if effect in (NEVER, APPLIED):
        held = rest._replace(holding=rest.holding | DONE_HELD)
        yield (
            ("takes effect", step),
            state._replace(attempts=put(state.attempts, step, held), effects=put(state.effects, step, APPLIED)),
        )
    else:
        yield ("barred", step), state._replace(attempts=put(state.attempts, step, rest))
    if spec.refusable:
        for first in {attempts.fresh, attempts.fresh and attempts.uncalled == 1}:
            left = rest._replace(fresh=attempts.fresh and not first)
            held = left._replace(holding=left.holding | (FIRST_REFUSAL if first else LATER_REFUSAL))
            yield ("turned down", step, first), state._replace(attempts=put(state.attempts, step, held))


def _record_held(setting: Setting, state: State, step: int) -> Moves:
    attempts = state.attempts[step]
    if attempts.holding & CHECKED:
        yield from _record_unlocked(setting, state, step)
    if setting.environment.conflicts and attempts.holding & DONE_HELD and not attempts.uncalled:
        yield ("decides again", step), _decides_again(setting, state, step)
    for bit in (DONE_HELD, FIRST_REFUSAL, LATER_REFUSAL):
        if attempts.holding & bit:
            rest = attempts._replace(holding=attempts.holding & ~bit)
            freed = state._replace(attempts=put(state.attempts, step, rest))
            yield from _record_outside(setting, freed, step, bit)


def _decides_again(setting: Setting, state: State, step: int) -> State:
    """Another writer was faster. What the handler is told now was not the attempt's first answer."""
    attempts = state.attempts[step]
    is_first = state.rows[step].begun == 1 and "B2.once" not in setting.rules
    again = attempts._replace(uncalled=1, fresh=is_first, holding=attempts.holding & ~DONE_HELD)
    return state._replace(attempts=put(state.attempts, step, again))


def _record_unlocked(setting: Setting, state: State, step: int) -> Moves:
    """A check that only read has let go what stands in a row by now."""
    attempts = state.attempts[step]
    rest = attempts._replace(holding=attempts.holding & ~CHECKED)
    freed = state._replace(attempts=put(state.attempts, step, rest))
    if freed.rows[step].status == "none":
        yield from _answered(setting, freed, step, 0, 0)


def _record_outside(setting: Setting, state: State, step: int, bit: int) -> Moves:
    spec, row = setting.environment.steps[step], state.rows[step]
    record = setting.record_at(state, step)
    if row.status == "midway" and bit == DONE_HELD and spec.kind == COMPENSATABLE:
        yield from _found_fenced(setting, state, step)
        return
    fits = row.status in ("started", "none") and may_run(setting.rules, spec.kind, record.state)
    fits = fits and not _is_second(setting, state, step)
    if not fits:
        # What stands is the answer: the attempt was in vain.
        yield ("in vain", step), state
    elif bit == DONE_HELD:
        after = state._replace(rows=put(state.rows, step, row._replace(status="done")))
        yield ("records done", step), _led_out(setting, after, step, PAST)
    elif _refusal_counts(setting, row.begun, bit):
        after = state._replace(rows=put(state.rows, step, row._replace(status="rejected")))
        yield ("records refused", step), _led_out(setting, after, step, FORWARD)
    else:
        yield ("refusal is no proof", step), state


def _refusal_counts(setting: Setting, begun: int, bit: int) -> bool:
    """Only the refusal of an attempt that was the only one proves that nothing happened."""
    once = begun == 1 or "B2.begun" not in setting.rules
    return once and (bit == FIRST_REFUSAL or "B2.attempt" not in setting.rules)


def _led_out(setting: Setting, state: State, step: int, to: str) -> State:
    """The answer of an external pivot leads the record out of where it began."""
    spec = setting.environment.steps[step]
    if spec.kind != PIVOT or spec.database:
        return state
    return state._replace(record=state.record._replace(state=to))


def _found_fenced(setting: Setting, state: State, step: int) -> Moves:
    """The effect came after its undo had passed: it is undone again, and where that fails, marked for recovery."""
    attempts = state.attempts[step]
    undone = attempts._replace(undoing=attempts.undoing | LATE_UNDO)
    yield ("finds itself fenced", step), state._replace(attempts=put(state.attempts, step, undone))
    if setting.environment.attempts_end:
        mark = LATE_MARK if "C3.mark" in setting.rules else 0
        failed = attempts._replace(undoing=attempts.undoing | mark)
        yield ("late undo fails", step), state._replace(attempts=put(state.attempts, step, failed))


def _deliver_undo(setting: Setting, state: State, message: Message) -> Moves:
    what, step, epoch, content = message
    single = what == "undo one"
    spec, record, row = setting.environment.steps[step], setting.record_at(state, step), state.rows[step]
    if spec.database and not single and "A4.turn" in setting.rules and record.state != "turning back":
        # It was sent after the saga's own record had turned, and says so here.
        record = record._replace(state="turning back")
    distrusts = bool(setting.environment.losses) and spec.external
    answer, record, row = fence_step(setting.rules, record, row, single=single, epoch=epoch, distrusts=distrusts)
    if answer == "refused":
        return
    fenced = setting.with_record_at(state, step, record)._replace(rows=put(state.rows, step, row))
    if answer == "compensate":
        if state.effects[step] == THEIRS:
            fenced = fenced._replace(broken=f"{spec.name} is to be undone although a person has taken it over")
        attempts = state.attempts[step]
        bits = attempts.undoing | (SINGLE_UNDO if single else END_UNDO)
        fenced = fenced._replace(attempts=put(state.attempts, step, attempts._replace(undoing=bits)))
        if "B1.stored" not in setting.rules and content != row.content:
            # The undo was given another command than the one that was carried out.
            fenced = fenced._replace(rows=put(state.rows, step, row._replace(undone=True)))
    if fenced != state:
        yield ("fences", step, answer, single), fenced


def _compensate(setting: Setting, state: State, step: int) -> Moves:
    attempts, row = state.attempts[step], state.rows[step]
    external = setting.environment.steps[step].external
    if setting.environment.skips:
        return
    after = _taken_back(setting, state, step) if external else NEVER
    if external and after != state.effects[step]:
        yield ("compensates", step, state.effects[step]), setting.undo_effect(state, step, after)
        return
    if row.undone:
        return
    record = setting.record_at(state, step)
    for bit in (SINGLE_UNDO, END_UNDO):
        if attempts.undoing & bit and may_record_undo(setting.rules, record, single=bit == SINGLE_UNDO):
            recorded = state._replace(rows=put(state.rows, step, row._replace(undone=True)))
            undone = recorded if external else setting.undo_effect(recorded, step, UNDONE)
            yield ("records undone", step, external), undone


def _taken_back(setting: Setting, state: State, step: int) -> str:
    """The effect as an external compensation leaves it, which also tells the provider to let a late original be."""
    effect = state.effects[step]
    if effect == NEVER and "F.duty" in setting.rules and not setting.environment.attempts_end:
        return BARRED
    return UNDONE if effect == APPLIED else effect


def _deliver_settlement(setting: Setting, state: State, message: Message) -> Moves:
    """Whether the pivot happened; if not, it never will: the fence holds here, and the settlement bars it outside."""
    step = message[1]
    spec, row, effect = setting.environment.steps[step], state.rows[step], state.effects[step]
    if row.undone or row.status in ("done", "rejected"):
        return
    distrusts = bool(setting.environment.losses) and spec.external and "C1.absent" in setting.rules
    if row.status == "none" and not distrusts:
        fenced = state._replace(rows=put(state.rows, step, row._replace(status="fenced", undone=True)))
        yield ("settles as never", step), _led_back(setting, fenced, step)
    elif row.status in ("none", "started"):
        yield ("fences the pivot", step), state._replace(rows=put(state.rows, step, row._replace(status="midway")))
    elif effect == APPLIED:
        done = state._replace(rows=put(state.rows, step, row._replace(status="done")))
        yield ("settles as happened", step), _led_out(setting, done, step, PAST)
    else:
        barred = BARRED if "A3.bars" in setting.rules else effect
        never = state._replace(
            rows=put(state.rows, step, row._replace(undone=True)), effects=put(state.effects, step, barred)
        )
        yield ("settles as never", step), _led_back(setting, never, step)


def _led_back(setting: Setting, state: State, step: int) -> State:
    """What never happened leads the record out of its pivot: not where it is at another one."""
    if setting.environment.steps[step].database or state.record.state != AT_PIVOT:
        return state
    if "A3.out" in setting.rules and setting.another_may_stand(state, step):
        return state
    return state._replace(record=state.record._replace(state=FORWARD))


def leave_pivot(setting: Setting, state: State, step: int) -> State:
    """The answer of a pivot in another database leads the record out, whoever brings it."""
    if not setting.environment.steps[step].database or state.record.state not in (AT_PIVOT, FORWARD):
        return state
    if state.record.state == FORWARD and "A3.opened" in setting.rules:
        return state
    out = PAST if state.rows[step].status == "done" else FORWARD
    return state._replace(record=state.record._replace(state=out))


def _deliver_end(setting: Setting, state: State, message: Message) -> Moves:
    """`completed`, from the run whose code came to its end."""
    _, _, _, counts, relied, content = message
    near = "".join("n" if setting.environment.steps[at].database else counts[at] for at in range(setting.size))
    has_pivot = any(counts[at] == ANSWERED for at in setting.environment.pivots)
    answer = end_saga(setting.rules, state.record, state.rows, how="completed", counts=near, pivot=has_pivot)
    passed_over = "A3.others" in setting.rules and setting.another_may_stand(state, None)
    if answer == GO_ON and state.record.state != "completed" and not passed_over:
        mistaken = [at for at, row in enumerate(state.rows) if relied >> at & 1 and row.content != content]
        broken = f"the code counts on {setting.name(mistaken[0])}, which was carried out otherwise" if mistaken else ""
        yield ("completes",), reported(state._replace(broken=broken), "completed", relied)


def _deliver_compensated(setting: Setting, state: State, message: Message) -> Moves:
    _, _, epoch, counts = message
    answer = end_saga(
        setting.rules, state.record, state.rows, how="compensated", counts=counts, pivot=False, epoch=epoch
    )
    if answer == GO_ON and UNKNOWN not in setting.left(state):
        yield ("compensates late" if epoch < state.record.epoch else "compensates",), reported(state, "compensated")


_DELIVERIES = {
    "do": _deliver_command,
    "undo": _deliver_undo,
    "undo one": _deliver_undo,
    "settle": _deliver_settlement,
    "end": _deliver_end,
    "compensated": _deliver_compensated,
}


def reported(state: State, how: str, relied: int = 0) -> State:
    """The end with its lifecycle event, in one transaction."""
    broken = state.broken
    if state.reported in ("completed", "compensated") and state.reported != how:
        broken = f"reported {state.reported.upper()} and then {how.upper()}"
    return state._replace(record=state.record._replace(state=how), reported=how, relied=relied, broken=broken)
