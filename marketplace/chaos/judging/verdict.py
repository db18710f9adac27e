"""The invariants that must hold when no saga runs any more, whatever happened.

Cases that the documentation leaves open are left out, and counted: past its pivot a saga cannot make up for commits
that its database has lost, and reports that; and a saga that was reset as well may have forgotten that it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from counteract.testing.protocol import Trace, violations
from marketplace.chaos.cases import ENDINGS, HAD_COMPLETED, INCOMPLETE, LOST, Case
from marketplace.chaos.judging.books import Books, authorization_of
from marketplace.chaos.judging.calm import Waits
from marketplace.invariants import Finding
from marketplace.scenarios import Ending

UNDONE = (Ending.COMPENSATED, Ending.CANCELLED, LOST)
RECORDED = {"SagaCompleted": "completed", "SagaCompensated": "compensated"}
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence that is judged."""

    cases: Sequence[Case]
    books: Books
    losses: Set[str]
    """The workflow ids of sagas that lost commits."""
    waiting: Mapping[Case, Waits]
    """The sagas that have not ended."""
    closed: Set[Case] = frozenset()
    """The sagas that a person put on record as finished after commits were lost: that end is not their own."""

    def lost(self, case: Case) -> bool:
        return case.workflow_id in self.losses

    def forgot(self, case: Case) -> bool:
        """Whether the saga lost commits and was reset, in which case nothing is promised."""
        return self.lost(case) and case.resets > 0

    def is_left_out(self, case: Case) -> bool:
        """Whether the saga is left out where the store's books are judged.

        The provider's books must be right for it all the same, unless it was reset.
        """
        return self.forgot(case) or (self.lost(case) and case.how not in UNDONE)

    def judged(self) -> list[Case]:
        return [case for case in self.cases if not self.is_left_out(case)]

    def ended(self, *hows: str) -> list[Case]:
        return [case for case in self.judged() if case.how in hows]


def findings(evidence: Evidence) -> list[Finding]:
    """Each invariant, with its figure."""
    rules: tuple[Callable[[Evidence], Finding], ...] = (
        every_saga_ended,
        no_saga_is_wedged,
        nothing_impossible,
        each_saga_ends_once,
        ends_agree,
        records_agree,
        completed_is_applied,
        undone_is_undone,
        the_provider_agrees,
        every_account_is_somebodys,
        nobody_pays_twice,
        units_add_up,
        nothing_is_left_reserved,
        lines_refer_to_products,
    )
    return [rule(evidence) for rule in rules]


def left_out(evidence: Evidence) -> list[tuple[str, int]]:
    """The cases that are left open, and how many sagas they concerned."""
    lost = [case for case in evidence.cases if evidence.lost(case)]
    forgot = sum(map(evidence.forgot, lost))
    beyond = sum(map(evidence.is_left_out, lost)) - forgot
    return [
        ("lost commits, and had to be made up for", len(lost) - forgot - beyond),
        ("lost commits past the pivot: left out of our books, not of the provider's", beyond),
        ("lost commits, and were reset: left out", forgot),
    ]


def every_saga_ended(evidence: Evidence) -> Finding:
    wrong = [case for case in evidence.cases if not may_end_so(evidence, case)]
    ended = [case for case in wrong if case not in evidence.waiting]
    what = [f"{'/'.join(case.key)} waits for {waits.what}" for case, waits in evidence.waiting.items()]
    figure = f"{len(evidence.cases)} sagas{listed([*what, *map(told, ended)])}"
    return Finding("every saga has ended, and in a way that it may", figure, not wrong)


def may_end_so(evidence: Evidence, case: Case) -> bool:
    return case.how in (*ENDINGS, HAD_COMPLETED) or (case.how == INCOMPLETE and evidence.lost(case))


def no_saga_is_wedged(evidence: Evidence) -> Finding:
    wedged = [case for case, waits in evidence.waiting.items() if waits.is_wedged]
    return found("no saga's code fails again and again", f"{len(wedged)} sagas", wedged)


def nothing_impossible(evidence: Evidence) -> Finding:
    """Delays may turn a checkout that could have succeeded into an undone one, and never the other way round."""
    refused = [case for case in evidence.cases if case.scenario.ending is Ending.COMPENSATED]
    wrong = [case for case in refused if case.how == Ending.COMPLETED]
    return found("nothing completes that has to be refused", f"{len(refused)} checkouts", wrong)


def each_saga_ends_once(evidence: Evidence) -> Finding:
    """Each saga ends once, however many runs it had."""
    ends = {case: evidence.books.ends(case).total() for case in evidence.cases}
    begun = {case for case in evidence.cases if case.key in evidence.books.sagas}
    wrong = [case for case in begun if ends[case] > 1 or (ends[case] < 1 and not evidence.is_left_out(case))]
    return found("each saga has exactly one end on record", f"{len(begun)} sagas", wrong)


def ends_agree(evidence: Evidence) -> Finding:
    """A reset gives a saga another run and not another end: what is on record holds for the last run too."""
    had_completed = dict.fromkeys((Ending.COMPLETED, HAD_COMPLETED), "SagaCompensated")
    contrary = {**had_completed, **dict.fromkeys(UNDONE, "SagaCompleted")}
    judged = [case for case in evidence.cases if not evidence.forgot(case) and case not in evidence.closed]
    wrong = [case for case in judged if evidence.books.ends(case)[contrary.get(case.how, "")]]
    return found("each saga's last run ended as its record says", f"{len(judged)} sagas", wrong)


def records_agree(evidence: Evidence) -> Finding:
    """The record, which decides, and the event, which tells of it, agree: they are written in one transaction."""
    books = evidence.books
    ends = {case: {RECORDED[name] for name in books.ends(case)} for case in evidence.cases}
    wrong = [case for case, said in ends.items() if said != {books.records.get(case.key)} & {*RECORDED.values()}]
    return found("each saga's record and its last event say the same", f"{len(books.records)} records", wrong)


def completed_is_applied(evidence: Evidence) -> Finding:
    completed = evidence.ended(Ending.COMPLETED)
    wrong = [case for case in completed if not evidence.books.is_complete(case)]
    name = "of what completed nothing is undone: order, units and money"
    return found(name, f"{len(completed)} sagas", wrong)


def undone_is_undone(evidence: Evidence) -> Finding:
    undone, units = evidence.ended(*UNDONE), evidence.books.units()
    wrong = [case for case in undone if not evidence.books.is_undone(case, units)]
    return found("of what was undone nothing is applied: order, units and money", f"{len(undone)} sagas", wrong)


def the_provider_agrees(evidence: Evidence) -> Finding:
    """The provider, which has lost nothing, also judges the sagas that lost commits."""
    judged = [case for case in evidence.cases if not evidence.forgot(case)]
    wrong = [case for case in judged if not paid_as_it_ended(evidence, case)]
    states = Counter(account["state"] for account in evidence.books.provider.values())
    figure = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return found("the provider has the money of what completed, and of nothing else", figure, wrong)


def paid_as_it_ended(evidence: Evidence, case: Case) -> bool:
    account = evidence.books.account(case)
    state = account["state"] if account else "none"
    is_paid = case.how in (Ending.COMPLETED, HAD_COMPLETED, INCOMPLETE)
    return state == "captured" if is_paid else state not in ("captured", "authorized")


def every_account_is_somebodys(evidence: Evidence) -> Finding:
    known = {str(authorization_of(case)) for case in evidence.cases}
    strange = evidence.books.provider.keys() - known
    figure = f"{len(evidence.books.provider)} accounts, {len(strange)} of them nobody's"
    return Finding("each of the provider's accounts belongs to a saga", figure, not strange)


def nobody_pays_twice(evidence: Evidence) -> Finding:
    accounts = evidence.books.provider.values()
    wrong = [each for each in accounts if len(each["captures"]) != (each["state"] == "captured")]
    captured = sum(each["amount"] for each in accounts if each["state"] == "captured")
    return Finding("no payment is captured twice", f"{captured} captured, {len(wrong)} wrong", not wrong)


def units_add_up(evidence: Evidence) -> Finding:
    items = evidence.books.items.states.values()
    sums = [(item, item.available + item.reserved + sum(item.sold.values())) for item in items]
    wrong = [item for item, total in sums if item.initial != total or item.available < 0]
    figure = f"{sum(item.initial for item in items)} units of {len(items)} products"
    return Finding("initial units = available + reserved + sold", figure, not wrong)


def nothing_is_left_reserved(evidence: Evidence) -> Finding:
    ignored = {case.order_id for case in evidence.cases if evidence.is_left_out(case)}
    held = Counter[str]()
    for item in evidence.books.items.states.values():
        held.update(item.held)
    left = {order: number for order, number in held.items() if order not in ignored}
    figure = f"{sum(left.values())} reserved{listed(left)}"
    return Finding("no units are reserved when no saga runs", figure, not left)


def lines_refer_to_products(evidence: Evidence) -> Finding:
    products = {key for key, item in evidence.books.items.states.items() if item.initial}
    dangling = evidence.books.lines.keys() - products
    figure = f"{evidence.books.lines.total()} lines"
    return Finding("no order line is for a product that never existed", figure, not dangling)


async def each_saga_is_a_trace(evidence: Evidence, traces: AsyncIterator[Trace]) -> Finding:
    """Each saga's rows are a trace of the protocol.

    A saga that lost commits is held only against the rules about its end, and one that was reset as well against none.
    """
    forgot = {case.key for case in evidence.cases if evidence.forgot(case)}
    judged, wrong = 0, list[str]()
    async for trace in traces:
        key = trace.record.saga_id, trace.record.run_id
        if key not in forgot:
            judged += 1
            lost = replace(trace, lost_commits=trace.record.saga_id in evidence.losses)
            wrong += [f"{'/'.join(key)}: {broken}" for broken in violations(lost)]
    return Finding("each saga is a trace of the protocol", f"{judged} sagas{listed(wrong)}", not wrong)


def found(invariant: str, figure: str, wrong: Sequence[Case]) -> Finding:
    return Finding(invariant, figure + listed(map(told, wrong)), not wrong)


def told(case: Case) -> str:
    return f"{'/'.join(case.key)}: {case.how}"


def listed(wrong: Iterable[str]) -> str:
    lines = list(wrong)
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "".join(f"\n{line}" for line in (*lines[:SHOWN], *more))
