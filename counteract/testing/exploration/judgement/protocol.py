"""Holds the evidence of one run against the protocol of sagas. Each rule yields what it finds broken, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from counteract.errors import Rejected
from counteract.messages import CommandKind, Outcome
from counteract.messages import Role as SentAs
from counteract.participants.handlers import Role
from counteract.saga.report import StepReport
from counteract.testing.exploration.evidence import Evidence, Row, Sent
from counteract.testing.exploration.faults import Ending
from counteract.testing.exploration.judgement.decisions import decisions, skipped_steps
from counteract.testing.exploration.judgement.handover import handed
from counteract.testing.exploration.judgement.testimony import STATUS, told
from counteract.testing.protocol import violations as broken_rules

_TERMINAL = {
    Ending.COMPLETED: "SagaCompleted",
    Ending.COMPENSATED: "SagaCompensated",
    Ending.CANCELLED: "SagaCompensated",
    Ending.RECOVERED: "SagaCompensated",
}
_RECORDS = {
    Ending.COMPLETED: "completed",
    **dict.fromkeys((Ending.COMPENSATED, Ending.CANCELLED, Ending.RECOVERED, Ending.REFUSED), "compensated"),
    Ending.INCOMPLETE: "past the pivot",
}


@dataclass(frozen=True, slots=True)
class _Effects:
    """The effects of one step, and what was done about them."""

    step: str
    kind: CommandKind
    external: bool
    applied: bool
    undone: bool
    report: StepReport | None
    forward: tuple[Row, ...]
    undoing: tuple[Row, ...]
    undone_last: bool
    """Whether an undo came after all that happened outside."""
    skipped: bool
    """Whether somebody decided to go on without it, or not to undo it."""

    unreported: bool
    """Whether the saga's report lacks the step."""
    answered: bool
    """Whether its service answered it."""
    forgotten: bool
    """Whether the store lost what it had on record of it."""
    unanswered: bool
    """Whether the saga's code was given an error in the place of its answer."""
    barred: bool
    """Whether the saga's record lets no step begin any more."""

    @property
    def may_still_happen(self) -> bool:
        """Whether nothing on record keeps a late attempt at it from taking effect."""
        if self.barred and not self.forward:
            return False
        answered = any(row.status in ("done", "rejected") for row in self.forward)
        return not answered and not any(row.status == "done" for row in self.undoing)


def violations(
    evidence: Evidence, may_end: Collection[Ending], external: Callable[[Sent], bool], causes: Collection[str] = ()
) -> list[str]:
    """The violations of the protocol in this run, in words; empty if there are none.

    `external` says whether a step's effect is an external one. `causes` are texts, one of which the saga's reason for
    turning back should contain.
    """
    if evidence.ending is Ending.HUNG:
        reason = f" (its code fails: {evidence.task_failure})" if evidence.task_failure else ""
        return [f"the saga did not come to an end{reason}", *evidence.complaints]
    effects = [_effects(evidence, step, external(step)) for step in evidence.steps()]
    lost = evidence.ending is Ending.RECOVERED
    found = [*_ended_otherwise(evidence, may_end), *_lifecycle(evidence)]
    found += [*_record(evidence), *([] if lost else _report(evidence))]
    found += [f"its code failed, and had to be run again: {evidence.task_failure}"] if evidence.task_failure else []
    found += [*decisions(evidence), *told(evidence, causes), *handed(evidence), *evidence.complaints]
    for each in effects:
        found += _more_than_once(each)
        found += _skipped(each) if each.skipped else _left_behind(each, evidence.ending)
        found += [] if lost or evidence.runs_again else _misreported(each)
        found += _too_late(each)
    found += [*_refused(evidence), *_forward_again(evidence)]
    if not evidence.runs_again:
        found += _undone_as(evidence, effects)
        found += [*_out_of_order(evidence), *_while_in_flight(evidence)]
    found += [broken for trace in evidence.traces for broken in broken_rules(trace)]
    return [*found, *_past_the_pivot(evidence), *_open(evidence)]


def undone_steps(evidence: Evidence) -> list[str]:
    """The steps whose undo was recorded, in the order of their undos."""
    undone = {row.undoes: row.step for row in evidence.rows if row.status == "done" and row.undoes}
    activities = {each.command_id for each in evidence.of(Role.HANDLES) if each.command.spec.compensation}
    return [step for original, step in undone.items() if original in activities]


def _effects(evidence: Evidence, step: Sent, external: bool) -> _Effects:
    ids = {each.command_id for each in evidence.of(Role.HANDLES) if each.place.step == step.place.step}
    forward = tuple(row for row in evidence.rows if row.command_id in ids)
    compensation = step.command.spec.compensation
    undoing = tuple(row for row in evidence.rows if row.undoes in ids and row.activity == compensation)
    happened = [n for n, each in enumerate(evidence.journal) if each.command_id in ids and each.role is Role.HANDLES]
    undid = [n for n, each in enumerate(evidence.journal) if each.command_id in ids and each.role is Role.COMPENSATES]
    reports = evidence.report.steps if evidence.report else ()
    return _Effects(
        step=step.place.step,
        kind=step.command.kind,
        external=external,
        applied=any(row.status == "done" for row in forward) or (external and bool(happened)),
        undone=bool(undid) and any(row.status == "done" for row in undoing),
        report=next((each for each in reports if each.step == step.place.step), None),
        forward=forward,
        undoing=undoing,
        undone_last=not happened or (bool(undid) and undid[-1] > happened[-1]),
        unreported=evidence.ending is not Ending.RECOVERED
        and evidence.report is not None
        and step.place.step not in {each.step for each in reports},
        answered=any(each.succeeded for each in evidence.of(Role.HANDLES) if each.place.step == step.place.step),
        forgotten=bool(ids & set(evidence.forgotten)),
        unanswered=step.place.step in evidence.unanswered and not evidence.runs_again,
        barred=evidence.record in ("turning back", "compensated", "never"),
        skipped=step.place.step in skipped_steps(evidence),
    )


def _record(evidence: Evidence) -> Iterator[str]:
    """The saga's record, which decides, agrees with its end."""
    wanted = _RECORDS.get(evidence.ending)
    if wanted is not None and evidence.lifecycle and evidence.record != wanted:
        yield f"the saga ended {evidence.ending}, and its record says that it is {evidence.record}"
    for trace in evidence.traces:
        # One that only goes back sends nothing that an earlier run could get in the way of.
        if evidence.resets and trace.record.epoch == 1 and trace.record.state == "completed":
            yield "the saga was reset, and its record knows of no further run"


def _ended_otherwise(evidence: Evidence, may_end: Collection[Ending]) -> Iterator[str]:
    if evidence.ending not in may_end:
        why = f" ({evidence.why})" if evidence.why else ""
        yield f"the saga ended {evidence.ending}, not {' or '.join(sorted(may_end))}{why}"


def _lifecycle(evidence: Evidence) -> Iterator[str]:
    told = [each.event_type for each in evidence.lifecycle]
    counts = Counter(told)
    began = bool(evidence.steps()) or evidence.ending is not Ending.CANCELLED
    if counts["SagaStarted"] > 1 or (began and not counts["SagaStarted"]):
        yield f"the saga recorded {counts['SagaStarted']} SagaStarted events"
    if (wanted := _TERMINAL.get(evidence.ending)) and counts["SagaStarted"]:
        ends = [each for each in told if each in ("SagaCompleted", "SagaCompensated")]
        if ends != [wanted]:
            yield f"the saga ended {evidence.ending} and recorded {' and '.join(ends) or 'no end'} instead of {wanted}"


def _report(evidence: Evidence) -> Iterator[str]:
    wanted = STATUS.get(evidence.ending)
    if evidence.report is None:
        if evidence.steps():
            yield "the saga did not answer the report query"
    elif wanted and evidence.report.status is not wanted:
        yield f"the saga ended {evidence.ending} and reports {evidence.report.status}"


def _more_than_once(each: _Effects) -> Iterator[str]:
    """No step takes effect twice under different command ids; events of one command are counted by the `Book`."""
    undone = Counter(row.undoes for row in each.undoing if row.status == "done")
    stand = [row for row in each.forward if row.status == "done" and not undone[row.command_id]]
    if len(stand) > 1:
        yield f"{each.step} took effect {len(stand)} times"
    # What an external effect that came late has to undo is one more undo.
    if not each.external and undone and (most := max(undone.values())) > 1:
        yield f"{each.step} was undone {most} times"


def _skipped(each: _Effects) -> Iterator[str]:
    """A skipped step is left as it is: the person who decided so sees to it."""
    if each.undone:
        yield f"{each.step} was undone although its undo was skipped"
    if each.kind is CommandKind.RETRIABLE and each.applied:
        yield f"{each.step} took effect although it was skipped"


def _left_behind(each: _Effects, ending: Ending) -> Iterator[str]:
    went_forward = ending is Ending.COMPLETED
    if each.kind is CommandKind.PIVOT:
        if each.applied and not went_forward:
            yield f"{each.step} took effect, and the saga did not go forward"
    elif each.kind is CommandKind.RETRIABLE:
        if not each.applied and ending is Ending.COMPLETED:
            yield f"the saga completed, and {each.step} never took effect"
    else:
        yield from _not_undone(each, went_forward)


def _not_undone(each: _Effects, went_forward: bool) -> Iterator[str]:
    # A step that the saga went on without must be undone although the saga completes.
    is_lost_sight_of = each.applied and each.unreported
    counts_on = each.report is None or (each.report.outcome is Outcome.APPLIED and not each.report.undo)
    keeps = went_forward and counts_on and not is_lost_sight_of
    if each.applied and not each.undone and not keeps:
        yield f"{each.step} took effect and was never undone"
    elif not keeps and each.may_still_happen:
        yield f"{each.step} may still take effect: it has no answer, and no undo is recorded"
    if keeps and each.applied and each.unanswered:
        yield f"{each.step} took effect, the saga's code was given an error for it, and it was not undone"
    if each.undone and keeps:
        yield f"{each.step} was undone although the saga completed with it"
    if each.undone and not each.applied and not each.external:
        yield f"{each.step} was undone although it never took effect"


def _misreported(each: _Effects) -> Iterator[str]:
    if each.report is None:
        yield f"{each.step} was sent, and is missing from the saga's report"
    elif each.report.outcome is None:
        yield f"{each.step} is still reported in flight"
    elif each.applied and each.report.outcome is Outcome.NOT_APPLIED:
        yield f"{each.step} took effect and is reported as not applied"
    elif each.report.outcome is Outcome.UNKNOWN and each.answered and not (each.unanswered or each.forgotten):
        yield f"{each.step} was answered, and is reported as {each.report.outcome}"
    elif not each.applied and each.report.outcome is Outcome.APPLIED:
        yield f"{each.step} is reported as applied and never took effect"


def _refused(evidence: Evidence) -> Iterator[str]:
    """A refusal is an answer: nothing happened, nothing is undone, and nobody asks again."""
    done = {row.command_id for row in evidence.rows if row.status == "done"}
    undone = {each.undoes for each in evidence.of(Role.COMPENSATES)}
    reports = {each.step: each.outcome for each in evidence.report.steps} if evidence.report else {}
    for each in evidence.of(Role.HANDLES):
        if each.command_id in evidence.refused and each.command_id in done:
            yield f"{each.place} was refused, and carried out when it was asked again"
        if each.failed == Rejected.__name__ and not evidence.runs_again:
            if each.command_id in undone:
                yield f"{each.place} was refused, and undone"
            if reports.get(each.place.step) is Outcome.UNKNOWN:
                yield f"{each.place} was refused, and is reported as {Outcome.UNKNOWN}"


def _forward_again(evidence: Evidence) -> Iterator[str]:
    """No run goes forward once one has turned back."""
    turned = [each.ended for each in evidence.of(Role.COMPENSATES) if each.sent_as is SentAs.TURN and each.succeeded]
    since = min((ended for ended in turned if ended is not None), default=None)
    for each in evidence.of(Role.HANDLES):
        if since is not None and each.begun > since:
            yield f"{each.place} was sent after the saga had turned back"


def _undone_as(evidence: Evidence, effects: Collection[_Effects]) -> Iterator[str]:
    """Steps that the saga counted on until it turned back are undone with the turn, so that its record knows of it."""
    sent = {each.place.step: each.sent_as for each in evidence.of(Role.COMPENSATES)}
    for each in effects:
        is_counted_on = each.report is not None and each.report.outcome is Outcome.APPLIED
        if is_counted_on and each.step not in evidence.unanswered and sent.get(each.step) is SentAs.UNDO:
            yield f"the saga turned back, and {each.step} was undone as one that it goes on without"


def _too_late(each: _Effects) -> Iterator[str]:
    """No effect after its undo: inside by the order of records, outside by the order of calls."""
    if each.external:
        if each.undone and not each.undone_last:
            yield f"{each.step} took effect outside after its undo, and was not undone again"
        return
    done = [row.recorded_at for row in each.forward if row.status == "done" and row.recorded_at]
    undone = [row.recorded_at for row in each.undoing if row.status == "done" and row.recorded_at]
    if done and undone and max(done) > min(undone):
        yield f"{each.step} took effect after its undo"


def _out_of_order(evidence: Evidence) -> Iterator[str]:
    """Groups are undone in reverse start order, one after the other."""
    groups = {each.place.step: each.group for each in evidence.steps()}
    # The others are of steps that the saga goes on without, and come when its code does.
    sent = [each for each in evidence.of(Role.COMPENSATES) if each.sent_as is not SentAs.UNDO]
    # Recovery undoes again what had been undone by then.
    undos = list({each.place.step: each for each in reversed(sent)}.values())
    for earlier in undos:
        for later in undos:
            if groups[earlier.place.step] < groups[later.place.step] and earlier.begun < (
                later.ended or earlier.begun + 1
            ):
                yield f"the undo of {earlier.place.step} began before that of {later.place.step}, which started later, was over"


def _while_in_flight(evidence: Evidence) -> Iterator[str]:
    for undo in evidence.of(Role.COMPENSATES):
        for step in evidence.of(Role.HANDLES):
            if step.begun < undo.begun < (step.ended or undo.begun + 1):
                yield f"the undo of {undo.place.step} began while {step.place.step} was still in flight"


def _past_the_pivot(evidence: Evidence) -> Iterator[str]:
    done = {row.command_id for row in evidence.rows if row.status == "done"}
    pivots = [each for each in evidence.steps() if each.command.kind is CommandKind.PIVOT and each.command_id in done]
    for pivot in pivots:
        late = {each.place.step for each in evidence.of(Role.COMPENSATES) if each.begun > pivot.begun}
        yield from (f"{step} was undone past the pivot {pivot.place.step}" for step in sorted(late))


def _open(evidence: Evidence) -> Iterator[str]:
    left = skipped_steps(evidence)
    for row in evidence.rows:
        if row.status == "started" and row.step not in left:
            yield f"{row.step} is left as started, without a conclusion"
