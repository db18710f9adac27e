"""What nobody decides in the protocol: runs are reset or end, stores forget, records are deleted."""

from __future__ import annotations

from collections.abc import Iterator

from docs.protocol.opening import answered_only, kept
from docs.protocol.setting import Setting
from docs.protocol.state import (
    ENDED,
    FIRST_REFUSAL,
    IN_FLIGHT,
    LATER_REFUSAL,
    NO_ATTEMPTS,
    NO_RECORD,
    NO_ROW,
    UNDOING,
    Attempts,
    Copy,
    Label,
    Message,
    Record,
    Run,
    State,
)

Moves = Iterator[tuple[Label, State]]


def moves(setting: Setting, state: State) -> Moves:
    run = state.run
    if run.mode not in ("dead", "over"):
        yield ("dies",), state._replace(run=run._replace(mode="dead"))
    if state.resets and not state.pruned:
        yield from _further_runs(setting, state)
    if (
        setting.environment.late_looks
        and state.resets
        and run.number > 1
        and state.record.state not in (*ENDED, NO_RECORD)
    ):
        raised = state.record._replace(epoch=state.record.epoch + 1)
        yield ("earlier look arrives", raised.epoch), state._replace(record=raised, resets=state.resets - 1)
    if setting.environment.losses:
        yield from _losses(setting, state)
    if setting.environment.prunes and not state.pruned and state.record.state in ENDED:
        yield from _prune(setting, state)


def _further_runs(setting: Setting, state: State) -> Moves:
    run, groups = state.run, setting.environment.groups
    seen = set()
    for cut in range(len(groups) + 1):
        prefix = kept(run.knows, cut, groups)
        for knows in (prefix, answered_only(prefix)):
            for way in (0, 1) if setting.environment.other_way else (run.way,):
                late = len(groups) if not setting.environment.other_content else 1
                if (knows, way) in seen or (way != run.way and cut >= late):
                    continue
                seen.add((knows, way))
                epoch = run.epoch if setting.environment.hands_on else 0
                further = Run("opening", 2, epoch, way, knows, 0, False)
                label = ("is reset", cut, way, run.mode in ("dead", "over"))
                yield label, state._replace(run=further, resets=state.resets - 1)


def _losses(setting: Setting, state: State) -> Moves:
    """A standby falls behind at any time, once, and takes over at any later time."""
    if state.copy is None and state.losses and state.record.state != NO_RECORD:
        yield (
            ("standby falls behind",),
            state._replace(copy=Copy(state.record, state.rows, state.effects, state.reported, state.relied)),
        )
    elif state.copy is not None:
        copy = state.copy
        effects = tuple(
            now if setting.environment.steps[at].external else before
            for at, (now, before) in enumerate(zip(state.effects, copy.effects, strict=True))
        )
        yield (
            ("standby takes over",),
            state._replace(
                record=copy.record,
                rows=copy.rows,
                effects=effects,
                attempts=tuple(_on_another_store(setting, each) for each in state.attempts),
                sent=frozenset(message for message in state.sent if _awaited(state, message)),
                # What only the lost store said was said to nobody; what the workflow returned was.
                reported=state.reported if state.run.mode == "over" else copy.reported,
                relied=state.relied if state.run.mode == "over" else copy.relied,
                copy=None,
                losses=state.losses - 1,
            ),
        )


def _awaited(state: State, message: Message) -> bool:
    """A failover breaks every connection: only what Temporal still waits for an answer to is delivered again."""
    what, step, run = message[0], message[1], state.run
    undoing = any(each.knows[step : step + 1] == UNDOING for each in state.recoveries)
    if what == "end":
        return run.mode == "ending"
    if what == "settle":
        return run.mode == "settling" or any(each.mode == "read" for each in state.recoveries)
    if run.mode in ("dead", "over"):
        return undoing and what == "undo"
    return run.knows[step] == (IN_FLIGHT if what == "do" else UNDOING) or (undoing and what == "undo")


def _on_another_store(setting: Setting, attempts: Attempts) -> Attempts:
    """An attempt that began in the store that is gone: its refusal is no proof in this one."""
    if "B2.same_store" not in setting.rules:
        return attempts
    holding = attempts.holding
    if holding & FIRST_REFUSAL:
        holding = holding & ~FIRST_REFUSAL | LATER_REFUSAL
    return attempts._replace(fresh=False, holding=holding)


def _prune(setting: Setting, state: State) -> Moves:
    """Retention deletes the record and its commands, once no message of the saga is kept any more."""
    if "P.closed" in setting.rules and state.run.mode not in ("dead", "over"):
        return
    sent = frozenset() if "P.late" in setting.rules else state.sent
    yield (
        ("is pruned",),
        state._replace(
            record=Record(NO_RECORD, 0),
            rows=(NO_ROW,) * setting.size,
            sent=sent,
            pruned=True,
            attempts=(NO_ATTEMPTS,) * setting.size,
        ),
    )
