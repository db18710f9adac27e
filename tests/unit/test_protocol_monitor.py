"""The monitor takes every trace that the protocol allows, and names the rule that any other breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from counteract.messages import Role, command_id_of
from counteract.testing.protocol import Child, Record, Row, Told, Trace, violations
from counteract.testing.protocol.transitions import STATES, TRANSITIONS, Move
from docs.protocol import record as model
from docs.protocol.environments import COMPENSATABLE, PIVOT, RETRIABLE
from docs.protocol.rules import ALL
from docs.protocol.state import NO_ROW
from docs.protocol.state import Record as ModelRecord
from docs.protocol.state import Row as ModelRow

pytestmark = pytest.mark.unit

STARTED, COMPLETED, COMPENSATED = Told("SagaStarted"), Told("SagaCompleted"), Told("SagaCompensated")
SKIPPED = Told("SagaResolved", "Hold", "skip")
RUN = "first"


def at(minute: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


def step(key: str, minute: float, status: str = "done", kind: str = "compensatable", **more: Any) -> Row:
    """A step, or what was recorded of one, that minute."""
    own = {"epoch": 1, **more}
    return Row(command_id_of("s", RUN, key), key, status, at(minute), kind, **own)


def undo(key: str, minute: float, **more: Any) -> Row:
    own = command_id_of("s", RUN, f"undo {key}")
    return Row(own, key, "done", at(minute), undoes=command_id_of("s", RUN, key), epoch=1, **more)


def trace(
    state: str, *rows: Row, since: float = 9, epoch: int = 1, told: Sequence[Told] | None = None, **more: Any
) -> Trace:
    undone = [row.key for row in rows if row.undoes is not None]
    ends = {"completed": [COMPLETED], "compensated": [replace(COMPENSATED, undone=undone)]}
    events = [STARTED, *ends.get(state, [])] if told is None else told
    return Trace(Record("s", RUN, state, epoch, at(0), at(since)), rows, told=events, **more)


HOLD = step("Hold", 1)
UNDONE = replace(HOLD, undone_since=at(5))
BOOKING = step("Book", 2, begun=1, started_at=at(1.5))
PAY = step("Pay", 3, kind="pivot")
SENT = step("Ship", 4, kind="retriable")
CAPTURE = step("Capture", 3, kind="pivot", begun=1, started_at=at(2.5))
SETTLED = replace(CAPTURE, recorded_at=at(2.5))
NEVER_HAPPENED = replace(SETTLED, status="fenced")


def sent_as(key: str, *roles: Role) -> dict[UUID, set[Role]]:
    return {command_id_of("s", RUN, f"undo {key}"): set(roles)}


LEGAL = {
    "nothing but its beginning": trace("forward"),
    "no pivot": trace("completed", HOLD),
    "a pivot and what follows": trace("completed", HOLD, PAY, SENT),
    "an external pivot": trace("completed", HOLD, CAPTURE, SENT),
    "an external pivot that was settled as done": trace("completed", SETTLED, undo("Capture", 3.5), SENT),
    "an external pivot that was settled as never": trace(
        "compensated", UNDONE, NEVER_HAPPENED, undo("Capture", 3), undo("Hold", 6)
    ),
    "undone": trace("compensated", UNDONE, undo("Hold", 6)),
    "undone, and never begun": trace("compensated", step("Hold", 5, "fenced"), undo("Hold", 5)),
    "undone, begun and without an answer": trace(
        "compensated", replace(BOOKING, status="fenced", recorded_at=at(1.5)), undo("Book", 6)
    ),
    "undone by the end, as the history says": trace(
        "compensated", UNDONE, undo("Hold", 6), roles=sent_as("Hold", Role.TURN)
    ),
    "one step undone before the pivot": trace(
        "completed", replace(HOLD, undone_since=at(1.5)), undo("Hold", 2), PAY, roles=sent_as("Hold", Role.UNDO)
    ),
    "a refusal that is tolerated": trace("completed", step("Hold", 1, "rejected"), PAY),
    "a refused pivot": trace("compensated", UNDONE, step("Pay", 3, "rejected", "pivot"), undo("Hold", 6)),
    "at the pivot": trace("at the pivot", HOLD, replace(SETTLED, status="started")),
    "past the pivot": trace("past the pivot", HOLD, PAY, told=[STARTED, Told("SagaStuck", "Ship")]),
    "turned back by recovery": trace("turning back", HOLD),
    "skipped by a person": trace(
        "compensated", HOLD, told=[STARTED, Told("SagaResolved", "Hold", "skip"), COMPENSATED]
    ),
    "an undo that a person skipped": trace(
        "compensated", UNDONE, undo("Hold", 6), told=[STARTED, SKIPPED, replace(COMPENSATED, names=["Hold"])]
    ),
    "a step that a person gave up, and that may have happened": trace(
        "completed",
        HOLD,
        replace(undo("Hold", 6), command_id=command_id_of("s", RUN, "skip Hold")),
        told=[STARTED, SKIPPED, COMPLETED],
    ),
    "closed by hand": trace(
        "completed",
        HOLD,
        replace(SETTLED, status="started"),
        told=[STARTED, Told("SagaResolved", "", "close"), COMPLETED],
    ),
    "two runs": trace("completed", HOLD, replace(BOOKING, epoch=2), epoch=2),
    "written by the release before": trace(
        "completed", replace(SENT, epoch=None, kind=None), replace(HOLD, epoch=None, kind=None)
    ),
    "undone by a service of the release before": trace("compensated", HOLD, replace(undo("Hold", 6), epoch=None)),
    "a late effect, undone again after the end": trace(
        "compensated",
        replace(BOOKING, status="fenced", recorded_at=at(1.5)),
        undo("Book", 6),
        replace(undo("Book", 20), command_id=uuid4()),
    ),
    "a child that completed": trace("completed", children=[Child("Trip", "completed")]),
    "a child that was undone": trace(
        "compensated", replace(undo("Trip", 5), undoes=None), children=[Child("Trip", "completed")]
    ),
    "a child that never began": trace("never", told=[]),
    "commits were lost, and written again in another order": trace(
        "completed", SENT, replace(HOLD, recorded_at=at(7)), PAY, lost_commits=True
    ),
}

ILLEGAL: dict[str, tuple[str, Trace]] = {
    "a step past the pivot": ("A2", trace("completed", PAY, step("Hold", 4))),
    "a step past the pivot, begun": (
        "A2",
        trace("past the pivot", PAY, step("Hold", 5, begun=1, started_at=at(4), status="started")),
    ),
    "a step while it turns back": (
        "A2",
        trace("compensated", UNDONE, undo("Hold", 6), step("Book", 7, "rejected"), roles=sent_as("Hold", Role.TURN)),
    ),
    "a step after the end": ("A2", trace("completed", step("Hold", 10))),
    "a retriable before the pivot": ("A2", trace("completed", step("Ship", 1, kind="retriable"), PAY)),
    "a retriable without a pivot": ("A2", trace("forward", step("Ship", 1, kind="retriable"))),
    "an external pivot while it turns back": (
        "A3",
        trace(
            "compensated",
            UNDONE,
            undo("Hold", 6),
            replace(SETTLED, status="started", started_at=at(7)),
            roles=sent_as("Hold", Role.TURN),
        ),
    ),
    "a pivot while it turns back": (
        "A2",
        trace(
            "past the pivot",
            replace(HOLD, undone_since=at(1.5)),
            undo("Hold", 2),
            PAY,
            roles=sent_as("Hold", Role.TURN),
        ),
    ),
    "an undo past the pivot": ("A2", trace("completed", UNDONE, PAY, undo("Hold", 6))),
    "an end undo, and then forward": (
        "A2",
        trace(
            "forward",
            replace(HOLD, undone_since=at(1.5)),
            undo("Hold", 2),
            step("Book", 3),
            roles=sent_as("Hold", Role.TURN),
        ),
    ),
    "a single undo while it turns back": (
        "A2",
        trace(
            "compensated",
            UNDONE,
            undo("Hold", 6),
            step("Book", 7, "fenced"),
            undo("Book", 7),
            roles=sent_as("Hold", Role.TURN) | sent_as("Book", Role.UNDO),
        ),
    ),
    "completed before its pivot was answered": ("A1", trace("completed", replace(SETTLED, status="started"))),
    "compensated past the pivot": ("A1", trace("compensated", PAY)),
    "a record that went back": ("A1", trace("forward", PAY)),
    "a record past a pivot that nobody passed": ("A1", trace("past the pivot", HOLD)),
    "a pivot while a step is half undone": ("A7", trace("past the pivot", replace(HOLD, undone_since=at(2)), PAY)),
    "compensated over a step that stands": ("A7", trace("compensated", HOLD)),
    "compensated over a step in doubt": ("A7", trace("compensated", replace(BOOKING, status="fenced"))),
    "compensated over a pivot that took effect": ("A7", trace("compensated", PAY)),
    "completed over half an undo": ("A7", trace("completed", UNDONE)),
    "completed with a step that is undone": (
        "A7",
        trace("completed", UNDONE, undo("Hold", 6), told=[STARTED, Told("SagaCompleted", names=["Hold"])]),
    ),
    "completed over a step in doubt": ("A7", trace("completed", replace(BOOKING, status="started"))),
    "the same, where commits were lost": ("A7", trace("compensated", HOLD, lost_commits=True)),
    "an earlier run's step, after a later one's": (
        "epoch",
        trace("completed", replace(HOLD, epoch=2), BOOKING, epoch=2),
    ),
    "a step of a run to come": ("epoch", trace("completed", replace(HOLD, epoch=2))),
    "one step under two ids": ("B1", trace("completed", HOLD, replace(HOLD, command_id=uuid4()))),
    "a later attempt's refusal": ("B2", trace("completed", replace(BOOKING, status="rejected", begun=2))),
    "a late mark on an answer": ("C3", trace("completed", replace(BOOKING, late_since=at(5)))),
    "an undo of nothing": ("C1", trace("compensated", undo("Hold", 5))),
    "an undo that left the answer standing": ("mark_done", trace("compensated", HOLD, undo("Hold", 6))),
    "a mark on what is no answer": ("mark_done", trace("compensated", replace(UNDONE, status="rejected"))),
    "a skip that no row says": ("A8", trace("compensated", told=[STARTED, SKIPPED, COMPENSATED])),
    "an undo that its end does not name": (
        "A7",
        trace("compensated", UNDONE, undo("Hold", 6), told=[STARTED, COMPENSATED]),
    ),
    "two ends": ("A1", trace("completed", told=[STARTED, COMPLETED, COMPENSATED])),
    "an end that the record does not have": ("A1", trace("forward", told=[STARTED, COMPLETED])),
    "another end than the record's": ("A1", trace("completed", told=[STARTED, COMPENSATED])),
    "no end": ("A1", trace("completed", told=[STARTED])),
    "stuck after its end": ("A1", trace("completed", told=[STARTED, COMPLETED, Told("SagaStuck", "Ship")])),
    "begun twice": ("A1", trace("forward", told=[STARTED, STARTED])),
    "begun by no event": ("A1", trace("forward", told=[])),
    "a child that goes on": ("E", trace("completed", children=[Child("Trip", "forward")])),
    "a child that stands": ("E", trace("compensated", children=[Child("Trip", "completed")])),
    "a child that began after it was settled as never": ("E", trace("never", HOLD, told=[])),
}


@pytest.mark.parametrize("name", LEGAL)
def test_a_trace_that_the_protocol_allows_breaks_nothing(name: str) -> None:
    assert violations(LEGAL[name]) == []


@pytest.mark.parametrize("name", ILLEGAL)
def test_a_trace_that_breaks_a_rule_is_noticed_by_its_name(name: str) -> None:
    rule, broken = ILLEGAL[name]
    assert rule in {each.partition(":")[0] for each in violations(broken)}


def test_a_violation_says_what_happened_when() -> None:
    late = trace("completed", PAY, step("Hold", 4))
    assert violations(late) == ["A2: Hold was recorded while the record was past the pivot"]


def test_one_statement_at_a_wrong_time_is_one_finding() -> None:
    late = trace("past the pivot", PAY, step("Hold", 4), SENT)
    assert len(violations(late)) == 1


def _model_moves(state: str) -> dict[Move, str | None]:
    """What the model's statements make of a record in this state; None where they refuse."""
    record = ModelRecord(state, 1)
    done, begun = ModelRow("done", 0, False, False, 0), ModelRow("started", 1, False, False, 0)

    def runs(kind: str, to: str) -> str | None:
        return to if model.may_run(ALL, kind, state) else None

    def fenced(row: ModelRow, *, single: bool) -> str | None:
        # The turn from `at the pivot`, of a run that has seen a settlement which the store forgot, is none that is to be seen.
        answer, after, _ = model.fence_step(ALL, record, row, single=single, epoch=1 if single else 0, distrusts=False)
        return None if answer == "refused" else after.state

    def ends(how: str, *, pivot: bool) -> str | None:
        answer = model.end_saga(ALL, record, (), how=how, counts="", pivot=pivot)
        return how if answer == model.GO_ON else None

    claim, claimed = model.claim_saga(ALL, record)
    assert fenced(done, single=True) == fenced(begun, single=True) == fenced(NO_ROW, single=True)
    return {
        Move.COMPENSATABLE: runs(COMPENSATABLE, state),
        Move.PIVOT_BEGUN: runs(PIVOT, "at the pivot"),
        Move.PIVOT_DONE: runs(PIVOT, "past the pivot"),
        Move.PIVOT_REFUSED: runs(PIVOT, "forward"),
        Move.RETRIABLE: runs(RETRIABLE, state),
        Move.SINGLE_UNDO: fenced(done, single=True),
        Move.SINGLE_UNDO_RECORDED: state if model.may_record_undo(ALL, record, single=True) else None,
        Move.END_UNDO: fenced(done, single=False),
        Move.END_UNDO_RECORDED: state if model.may_record_undo(ALL, record, single=False) else None,
        Move.CLAIM: claimed.state if claim == "claimed" else None,
        Move.COMPLETED: ends("completed", pivot=False),
        Move.COMPLETED_PAST_PIVOT: ends("completed", pivot=True),
        Move.COMPENSATED: ends("compensated", pivot=False),
    }


@pytest.mark.parametrize("state", STATES)
def test_the_monitor_allows_what_the_model_allows(state: str) -> None:
    moves = _model_moves(state)
    assert {move: TRANSITIONS[move].get(state) for move in moves} == moves


def test_every_move_is_held_against_the_model_but_the_settlement_of_a_pivot() -> None:
    """Which the model makes in two steps, and not with a statement of the record."""
    assert {*Move} - {*_model_moves("forward")} == {Move.PIVOT_SETTLED_DONE, Move.PIVOT_SETTLED_NEVER}
