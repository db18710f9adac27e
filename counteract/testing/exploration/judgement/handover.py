"""Holds what handlers and services were given against what was sent and recorded: commands, outcomes, results, rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from counteract.errors import CommandFenced, CommandIdReused, RecordSaysOtherwise, Rejected
from counteract.messages import Command, Outcome
from counteract.messages import Role as SentAs
from counteract.participants.handlers import Role, Undo
from counteract.testing.exploration.evidence import Evidence, Row, Sent
from counteract.testing.exploration.worker.witness import Witnessed


def handed(evidence: Evidence) -> Iterator[str]:
    """The violations: each place where something else was handed over than was sent or recorded."""
    rows = {row.command_id: row for row in evidence.rows}
    for told in evidence.journal:
        sent = evidence.commands.get(told.command_id)
        if sent is None:
            continue
        if told.role is Role.COMPENSATES:
            yield from _undoing(told, sent, rows.get(told.command_id), evidence)
        elif _command_in(told) != sent:
            yield f"the handler that {told.role} {sent.spec.name} was given {_command_in(told)!r}, and {sent!r} was sent"
    for each in evidence.sent:
        yield from _addressed(each)
        yield from _failed(each, evidence)
        if (row := rows.get(each.command_id)) is not None:
            yield from _recorded(row, each, evidence)
            yield from _answered(row, each)


_SENT_AS = {
    Role.HANDLES: (SentAs.FORWARD,),
    Role.COMPENSATES: (SentAs.UNDO, SentAs.TURN),
    Role.SETTLES: (SentAs.SETTLE,),
}


def _addressed(sent: Sent) -> Iterator[str]:
    """Each activity has the header by which its service holds it against the saga's record."""
    if sent.sent_as not in _SENT_AS[sent.place.role]:
        yield f"{sent.place} was sent as {sent.sent_as or 'one of which nobody says where its saga stands'}"


def _failed(sent: Sent, evidence: Evidence) -> Iterator[str]:
    """No activity ends with a failure that nothing in this run explains, and none that is final is tried again."""
    if sent.failed == CommandIdReused.__name__:
        yield f"{sent.place} was taken for a command of another content, or another's"
    if sent.failed in _FINAL and not sent.is_final:
        yield f"{sent.place} ended as {sent.failed}, and was to be asked again"
    if sent.failed == RecordSaysOtherwise.__name__ and not (evidence.runs_again or evidence.forgotten):
        yield f"{sent.place} was refused by the saga's record, as if another run had taken over"
    if sent.is_lost and sent.command_id not in evidence.vanished:
        yield f"{sent.place} was given up, for its worker, which was there, did not heartbeat"


_FINAL = (Rejected.__name__, CommandFenced.__name__, CommandIdReused.__name__)


def _command_in(told: Witnessed) -> Any:
    return told.subject if told.role is Role.HANDLES else told.subject.command


def _undoing(told: Witnessed, sent: Command[Any], row: Row | None, evidence: Evidence) -> Iterator[str]:
    undo: Undo[Any, Any] = told.subject
    name = sent.spec.name
    if undo.command_id != told.command_id:
        yield f"the undo of {name} was given the id {undo.command_id}, and the command's is {told.command_id}"
    if undo.command != sent and undo.command not in _corrections(evidence):
        yield f"the undo of {name} was given {undo.command!r}, and {sent!r} was sent"
    results = [each.result for each in evidence.journal if _is_effect(each, told)]
    done = row is not None and row.status == "done"
    if undo.outcome is Outcome.APPLIED:
        recorded = [_result(sent, row)] if row is not None and done else results
        if undo.result not in recorded:
            yield f"the undo of {name} was given the result {undo.result!r}, and what it returned is {_either(recorded)}"
    elif done:
        yield f"the undo of {name} was told that its outcome is {undo.outcome}, and it is on record as done"
    elif undo.result is not None:
        yield f"the undo of {name} was given a result, {undo.result!r}, although its outcome is {undo.outcome}"


def _is_effect(each: Witnessed, told: Witnessed) -> bool:
    return each.role is Role.HANDLES and each.command_id == told.command_id


def _corrections(evidence: Evidence) -> list[Any]:
    """The commands with which people had a step tried again: its undo is about them."""
    corrected = {each.step for each in evidence.decisions if each.command is not None}
    return [evidence.commands[each.command_id] for each in evidence.sent if each.place.step in corrected]


def _result(sent: Command[Any], row: Row) -> Any:
    return sent.spec.result.validate_json(json.dumps(row.result))


def _recorded(row: Row, sent: Sent, evidence: Evidence) -> Iterator[str]:
    """The columns of a command's row, by which recovery goes, say what was sent."""
    command = evidence.commands[sent.command_id]
    wanted = {
        "saga_type": evidence.saga_type,
        "step": sent.key,
        "activity": sent.activity,
        "task_queue": command.spec.service,
        "undoes": sent.undoes,
    }
    for name, expected in wanted.items():
        if (found := getattr(row, name)) != expected:
            yield f"{sent.place} is on record with the {name} {found!r}, not {expected!r}"
    if row.command is not None and row.command != command.model_dump(mode="json"):
        yield f"{sent.place} is on record with the command {row.command!r}, not {command!r}"


def _answered(row: Row, sent: Sent) -> Iterator[str]:
    if row.status == "done" and sent.succeeded and sent.answer != row.result:
        yield f"{sent.place} was answered {sent.answer!r}, and what is on record is {row.result!r}"


def _either(results: list[Any]) -> str:
    return " or ".join(map(repr, results)) or "nothing, for it never ended"
