"""Given, when, then: decisions and projections as examples, without a server.

    given(stock, StockItemAdded(quantity=5)).when(reserve, ReserveStock(quantity=2)).then(StockReserved(quantity=2))
    given(stock).when(reserve, ReserveStock(quantity=2)).then_rejected("out of stock", available=0)

    given(order_summary, OrderPlaced(order_id="o-1")).when(OrderCancelled()).then_row("o-1", status="cancelled")

What fails says what was given, what happened, and where that differs from what was expected.
"""

from __future__ import annotations

from typing import Any, TypeVar, overload

from counteract.decider import Decider
from counteract.messages import Event, Recorded
from counteract.projections import Projection
from counteract.testing.scenarios.decisions import Deciding, Decision
from counteract.testing.scenarios.projections import Projected, Projecting, in_stream

S = TypeVar("S")
E = TypeVar("E", bound=Event)

__all__ = ["Deciding", "Decision", "Projected", "Projecting", "given", "in_stream"]


@overload
def given(subject: Decider[S, E], *events: E) -> Deciding[S, E]: ...
@overload
def given(subject: Projection, *events: Event | Recorded[Any]) -> Projecting: ...
def given(subject: Decider[Any, Any] | Projection, *events: Any) -> Deciding[Any, Any] | Projecting:
    """A decider's aggregate, or a projection's rows, as these events leave them.

    Raises AssertionError for an event that the decider does not declare: it could not be read again.
    """
    if isinstance(subject, Projection):
        return Projecting(subject, events)
    return Deciding(subject, events)
