"""The record's own statements, as in the database: each decides by what is on record, and by nothing else.

Pure functions of the rows that the SQL functions of the same names lock, so that a monitor can hold what was recorded
against them.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from docs.protocol.environments import COMPENSATABLE, PIVOT
from docs.protocol.state import (
    AT_PIVOT,
    ENDED,
    FORWARD,
    NO_RECORD,
    PAST,
    TURNING,
    Record,
    Row,
)

GO_ON = ""
"""The statement may record; every other answer stands instead."""
SUPERSEDED, REUSED, FENCED, DOUBTED, ELSEWHERE = "superseded", "reused", "fenced", "doubted", "elsewhere"


def may_run(rules: Set[str], kind: str, state: str) -> bool:
    """Whether a command of this kind may be begun or recorded while the record is in this state."""
    if kind == COMPENSATABLE:
        return state == FORWARD or ("A2.forward" not in rules and state != NO_RECORD)
    if kind == PIVOT:
        return state in (FORWARD, AT_PIVOT) or ("A2.pivot" not in rules and state != NO_RECORD)
    return state == (PAST if "A2.retriable" in rules else FORWARD)


def standing(rules: Set[str], row: Row, content: int) -> str:
    """The answer that a command's row gives to a repeat; GO_ON where there is none yet."""
    if row.status in ("started", "done", "rejected") and row.content != content and "B1.compare" in rules:
        return REUSED
    if row.status == "done":
        return FENCED if row.undone or row.marked else "done"
    if row.status == "rejected":
        return "rejected"
    return FENCED if row.status in ("fenced", "midway") else GO_ON


def enter_step(rules: Set[str], record: Record, row: Row, kind: str, epoch: int, content: int) -> str:
    """What `enter_step` answers: what stands, or that this command comes at a wrong time, or GO_ON."""
    answer = standing(rules, row, content)
    if answer:
        return answer
    if not may_run(rules, kind, record.state):
        return ELSEWHERE
    if row.status == "none" and epoch < record.epoch and "epoch.commands" in rules:
        return SUPERSEDED
    return GO_ON


def may_be_in_force(row: Row) -> bool:
    return row.status in ("started", "done", "midway") and not row.undone


def counts_hold(rows: Sequence[Row], counts: str) -> bool:
    """Whether the store agrees with what a run says of its steps, one letter a step."""
    for row, letter in zip(rows, counts, strict=True):
        if letter == "a" and (row.status != "done" or row.marked or row.undone):
            return False
        if letter == "x" and not row.undone:
            return False
        if letter == "r" and not (row.status == "rejected" or row.undone):
            return False
    return True


def fence_step(
    rules: Set[str], record: Record, row: Row, *, single: bool, epoch: int, distrusts: bool
) -> tuple[str, Record, Row]:
    """The answer of `fence_step`, with the record and the row as it leaves them.

    "undone" and "refused" are final; "compensate" lets the compensation run. `distrusts` says that the command was
    dispatched, and has an effect elsewhere: that its row is absent proves nothing.
    """
    if row.undone:
        return "undone", record, row
    refusal, record = _admit_undo(rules, record, row, single=single, epoch=epoch)
    if refusal:
        return "refused", record, row
    proven = row.status in ("none", "rejected", "fenced")
    if proven and not (row.status == "none" and distrusts and "C1.absent" in rules):
        status = "fenced" if row.status == "none" else row.status
        return "undone", record, row._replace(status=status, undone=True)
    if row.status == "done":
        return "compensate", record, row._replace(marked="mark_done" in rules)
    return "compensate", record, row._replace(status="midway")


def _admit_undo(rules: Set[str], record: Record, row: Row, *, single: bool, epoch: int) -> tuple[bool, Record]:
    if single:
        begun = row.marked or row.status == "midway"
        late = epoch < record.epoch and not begun and "epoch.undos" in rules
        return late or (record.state != FORWARD and "A2.single" in rules), record
    if record.state in (FORWARD, NO_RECORD):
        # The undo of the end makes the turn in its own statement.
        late = 0 < epoch < record.epoch and "epoch.undos" in rules
        return late, record if late or "A4.turn" not in rules else record._replace(state=TURNING)
    if record.state == AT_PIVOT and epoch >= record.epoch:
        # The latest run has settled its pivot before it turned: that the record is at it again, a store forgot.
        return False, record._replace(state=TURNING)
    return record.state != TURNING and "A2.undo" in rules, record


def may_record_undo(rules: Set[str], record: Record, *, single: bool) -> bool:
    """Whether an undo that passed the fence may still be recorded (and, of a transactional step, take effect)."""
    if single:
        return record.state in (FORWARD, TURNING) or "A2.single" not in rules
    return record.state == TURNING or "A2.undo" not in rules


def claim_saga(rules: Set[str], record: Record) -> tuple[str, Record]:
    """What recovery's claim finds: "claimed", "settle", "report" or "not lost"."""
    if record.state == FORWARD or "A1.first" not in rules:
        return "claimed", record._replace(state=TURNING)
    answers = {TURNING: "claimed", AT_PIVOT: "settle", PAST: "report"}
    return answers.get(record.state, "not lost"), record


def end_saga(
    rules: Set[str], record: Record, rows: Sequence[Row], *, how: str, counts: str, pivot: bool, epoch: int = 0
) -> str:
    """The answer of `end_saga`: GO_ON to record the end, DOUBTED where the store says otherwise, or ELSEWHERE.

    `epoch` is said where a run that turns back may find the record at its pivot.
    """
    if record.state in ENDED:
        return ELSEWHERE if "A1.first" in rules or record.state == how else GO_ON
    if how == "compensated":
        settled = epoch and record.state == AT_PIVOT and (epoch >= record.epoch or "epoch.end" not in rules)
        if record.state not in (FORWARD, TURNING) and not settled:
            return ELSEWHERE if "A1.first" in rules else GO_ON
    elif record.state != (PAST if pivot else FORWARD) and "A1.first" in rules:
        return ELSEWHERE
    named = "A7.compensated" if how == "compensated" else "A7.completed"
    return GO_ON if named not in rules or counts_hold(rows, counts) else DOUBTED
