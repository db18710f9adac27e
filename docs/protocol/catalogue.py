"""The environments that are checked, each small enough to be exhausted."""

from __future__ import annotations

from typing import Any

from docs.protocol.checker import Machine
from docs.protocol.children import ChildMachine
from docs.protocol.environments import PIVOT, RETRIABLE, Environment, Step
from docs.protocol.machine import SagaMachine
from docs.protocol.retriables import RetriableMachine

RESERVE = Step("ReserveStock")
POINTS = Step("AddPoints", tolerated=True, ways=(0,))
HOTEL = Step("BookHotel", external=True)
HOTEL_BESIDE = Step("BookHotel", external=True, beside=True)
TAXI = Step("BookTaxi", external=True, tolerated=True, ways=(0,))
CAPTURE = Step("CapturePayment", kind=PIVOT)
CHARGE = Step("ChargeCard", kind=PIVOT, external=True)
CHARGE_FIRST = Step("ChargeCard", kind=PIVOT, external=True, ways=(0,))
CAPTURE_INSTEAD = Step("CapturePayment", kind=PIVOT, ways=(1,))
CHARGE_OR_ELSE = Step("ChargeCard", kind=PIVOT, external=True, tolerated=True)
CHARGE_AGAIN = Step("ChargeCard~1", kind=PIVOT, external=True, again=True)
RESERVE_FIRST = Step("ReserveStock", ways=(0,))
SHIP = Step("ArrangeShipment", kind=RETRIABLE, refusable=False)
ELSEWHERE = Step("BookRoom", database=1)
ELSEWHERE_TOO = Step("BookTable", database=2)
ELSEWHERE_OUTSIDE = Step("BookHotel", external=True, database=1)
ELSEWHERE_OPTIONAL = Step("AddPoints", tolerated=True, ways=(0,), database=1)
CAPTURE_ELSEWHERE = Step("CapturePayment", kind=PIVOT, database=1)
CAPTURE_IN_A_SECOND = Step("CapturePayment", kind=PIVOT, database=2)

ENVIRONMENTS = (
    Environment("resets", "a step of each kind; one further run", (RESERVE, HOTEL, CAPTURE, SHIP), resets=1),
    Environment("resets-of-resets", "two further runs", (HOTEL, CAPTURE), resets=2),
    Environment(
        "tolerance", "a step that the code can do without; the other way", (TAXI, CAPTURE), resets=1, other_way=True
    ),
    Environment("tolerance-of-two", "two such steps", (POINTS, TAXI, CAPTURE), resets=1, other_way=True),
    Environment("external-pivot", "the same, pivot outside", (TAXI, CHARGE, SHIP), resets=1, other_way=True),
    Environment(
        "another-pivot",
        "the other way has another pivot",
        (RESERVE_FIRST, CHARGE_FIRST, CAPTURE_INSTEAD),
        resets=2,
        other_way=True,
    ),
    Environment(
        "pivot-again", "a person has a refused pivot tried again", (RESERVE, CHARGE_OR_ELSE, CHARGE_AGAIN), resets=1
    ),
    Environment(
        "continued-unopened",
        "a further run continues as new",
        (POINTS, CHARGE),
        resets=1,
        other_way=True,
        hands_on=True,
    ),
    Environment("two-decisions", "external attempts that decide again", (HOTEL, CHARGE), resets=1, conflicts=True),
    Environment(
        "late-look", "the look of a run that is over comes late", (RESERVE, CAPTURE, SHIP), resets=2, late_looks=True
    ),
    Environment("no-pivot", "nothing is a point of no return", (RESERVE, TAXI), resets=1, other_way=True),
    Environment("two-attempts", "external attempts, two alive at once", (HOTEL, CAPTURE), resets=1, attempts=2),
    Environment("two-attempts-pivot", "the same of the pivot", (RESERVE, CHARGE), resets=1, attempts=2),
    Environment("parallel", "a group of two", (RESERVE, HOTEL_BESIDE, CAPTURE), resets=1),
    Environment(
        "first-command", "SagaStarted by the first command", (HOTEL, CAPTURE), resets=1, first_command_opens=True
    ),
    Environment("two-recoveries", "two recoveries at once", (RESERVE, HOTEL), resets=1, recoveries=2),
    Environment("foreign-step", "a step in another database", (RESERVE, ELSEWHERE, CAPTURE), resets=1),
    Environment("foreign-external", "and its effect outside", (ELSEWHERE_OUTSIDE, CAPTURE), resets=1),
    Environment(
        "foreign-pivot",
        "the pivot in another database",
        (ELSEWHERE_OPTIONAL, CAPTURE_ELSEWHERE),
        resets=1,
        other_way=True,
    ),
    Environment("two-foreign", "two other databases", (ELSEWHERE, ELSEWHERE_TOO, CAPTURE), resets=1),
    Environment("two-foreign-pivot", "the pivot in one of the two", (ELSEWHERE, CAPTURE_IN_A_SECOND), resets=1),
    Environment("lost-commits", "the store goes back once", (HOTEL, CAPTURE), losses=1),
    Environment("lost-commits-near", "the same, steps inside the store", (RESERVE, CAPTURE, SHIP), losses=1),
    Environment("lost-commits-pivot", "the same, pivot outside", (RESERVE, CHARGE), losses=1),
    Environment(
        "lost-commits-turn",
        "the same, turned from where the store is again",
        (RESERVE, CHARGE),
        losses=1,
        to_the_letter=True,
    ),
    Environment("lost-commits-tolerance", "the same, no pivot", (TAXI,), losses=1),
    Environment("skip", "undos that fail for ever, skipped by a person", (RESERVE, CAPTURE), resets=1, skips=True),
    Environment(
        "pruned",
        "the record and its rows deleted after the end",
        (RESERVE, CAPTURE),
        resets=1,
        prunes=True,
        first_command_opens=True,
    ),
    Environment("late-undo", "a provider that knows no undo in advance", (HOTEL,), attempts_end=True),
    Environment(
        "other-content",
        "another command under the same id",
        (RESERVE, CAPTURE),
        resets=1,
        other_way=True,
        other_content=True,
    ),
)
OTHERS = {
    "children": "a child saga; the parent is reset",
    "retriable": "a retriable refused, slow, corrected, skipped; the run is reset",
}
NAMES = (*(each.name for each in ENVIRONMENTS), *OTHERS)


def about(name: str) -> str:
    return OTHERS.get(name) or environment(name).about


def environment(name: str) -> Environment:
    return next(each for each in ENVIRONMENTS if each.name == name)


def steps(name: str) -> tuple[str, ...]:
    return () if name in OTHERS else tuple(step.name for step in environment(name).steps)


def machine(name: str, rules: frozenset[str]) -> Machine[Any]:
    """The machine of an environment under these rules."""
    if name == "children":
        return ChildMachine(rules)
    if name == "retriable":
        return RetriableMachine(rules)
    return SagaMachine.of(environment(name), rules)
