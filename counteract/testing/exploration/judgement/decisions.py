"""Holds what the saga says of people's decisions against the decisions: none may get lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from counteract.lifecycle import SagaCompensated, SagaResolved
from counteract.messages import CommandKind
from counteract.participants.handlers import Role
from counteract.saga.ledger import Undoing
from counteract.testing.exploration.evidence import Evidence


def skipped_steps(evidence: Evidence) -> set[str]:
    """The steps that the saga went on without, and those whose undo it went on without.

    A step that must succeed is settled before it is skipped; where it turns out to have happened, it is not skipped.
    """
    happened = {each.place.step for each in evidence.of(Role.SETTLES) if each.succeeded and _happened(each.answer)}
    return {each.step for each in evidence.decisions if each.decision == "skip"} - happened


def _happened(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.get("happened") is True


def decisions(evidence: Evidence) -> Iterator[str]:
    """The violations: who decided what, and why, should be on record, and a skipped undo be listed as skipped alone."""
    resolved = [each for each in evidence.lifecycle if isinstance(each, SagaResolved)]
    on_record = Counter((each.step, each.decision, each.who, each.why) for each in resolved)
    for each in evidence.decisions:
        decided = (each.step, each.decision, each.who, each.why)
        if not on_record[decided]:
            yield f"somebody decided to {each.decision} {each.step}, which is not on record"
        on_record[decided] -= 1
    compensatable = {step.place.step for step in evidence.steps() if step.command.kind is CommandKind.COMPENSATABLE}
    skipped = skipped_steps(evidence) & compensatable
    for told in evidence.lifecycle:
        if isinstance(told, SagaCompensated):
            yield from _listed(told, skipped)
    left_out = skipped_steps(evidence) - compensatable
    for step in evidence.report.steps if evidence.report else ():
        if step.skipped != (step.step in left_out):
            yield f"{step.step} is reported as {'' if step.skipped else 'not '}skipped"
        if (step.undo is Undoing.SKIPPED) != (step.step in skipped):
            what = "was skipped" if step.step in skipped else "was never skipped"
            yield f"the undo of {step.step} {what}, and is reported as {step.undo or 'not begun'}"


def _listed(told: SagaCompensated, skipped: set[str]) -> Iterator[str]:
    for step in sorted(skipped - set(told.skipped)):
        yield f"the undo of {step} was skipped, and SagaCompensated does not list it as skipped"
    for step in sorted(set(told.skipped) - skipped):
        yield f"the undo of {step} was never skipped, and SagaCompensated lists it as skipped"
    for step in sorted(skipped & set(told.undone)):
        yield f"the undo of {step} was skipped, and SagaCompensated lists it as undone"
