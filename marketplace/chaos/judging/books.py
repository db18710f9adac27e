"""The books that the invariants look at, folded page by page: the store's, and the payment provider's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

import aiohttp

from counteract import Decider, Event, EventDecoder, PostgresEventStore, StoredEvent, command_id_of
from counteract.testing.protocol import Trace, traces
from domain.orders import Order, OrderStatus, orders
from domain.payments import Payment, PaymentStatus, payments
from domain.stock import StockItem, stock_item
from marketplace.chaos.cases import Case

S = TypeVar("S")
Key = tuple[str, str]

ENDS = ("SagaCompleted", "SagaCompensated")
AT_ONCE = 500
"""The number of sagas whose traces are read at once."""


class Fold(Generic[S]):
    """Every aggregate of a kind, by its id."""

    def __init__(self, decider: Decider[S, Any]) -> None:
        self.decider = decider
        self._decoder: EventDecoder[Event] = EventDecoder(decider.event_classes)
        self.states: dict[str, S] = {}

    def take(self, stored: StoredEvent) -> None:
        if stored.stream.aggregate_type == self.decider.aggregate_type:
            key = stored.stream.aggregate_id
            before = self.states.get(key, self.decider.initial)
            self.states[key] = self.decider.evolve(before, self._decoder.decode(stored).event)


@dataclass(slots=True)
class Books:
    """The books of the store and of the payment provider."""

    orders: Fold[Order] = field(default_factory=lambda: Fold(orders))
    payments: Fold[Payment] = field(default_factory=lambda: Fold(payments))
    items: Fold[StockItem] = field(default_factory=lambda: Fold(stock_item))
    sagas: dict[Key, Counter[str]] = field(default_factory=dict)
    """The lifecycle events of each saga, by its workflow id and first run."""
    records: Mapping[Key, str] = field(default_factory=dict)
    """The state of each saga's record."""
    lines: Counter[str] = field(default_factory=Counter)
    """The number of order lines for each product."""
    provider: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The provider's accounts, by their key. The provider has not lost anything."""

    @classmethod
    async def gathered(cls, store: PostgresEventStore, provider_url: str) -> Books:
        books, position = cls(), 0
        mark = await store.high_water_mark()
        while page := await store.read(after=position, up_to=mark):
            for stored in page:
                books.take(stored)
            position = page[-1].position
        async with store.connection() as connection:
            rows = await (await connection.execute("select saga_id, run_id, state from sagas")).fetchall()
        books.records = {(saga_id, run_id): state for saga_id, run_id, state in rows}
        async with aiohttp.ClientSession(base_url=provider_url) as session, session.get("/payments") as answer:
            books.provider = {each["key"]: each for each in await answer.json()}
        return books

    def take(self, stored: StoredEvent) -> None:
        for fold in (self.orders, self.payments, self.items):
            fold.take(stored)
        if stored.stream.aggregate_type == "saga":
            key = stored.stream.aggregate_id, json.loads(stored.data)["run_id"]
            self.sagas.setdefault(key, Counter())[stored.event_type] += 1
        elif stored.event_type == "OrderPlaced":
            self.lines.update(line["product_id"] for line in json.loads(stored.data)["lines"])

    def ends(self, case: Case) -> Counter[str]:
        on_record = self.sagas.get(case.key, Counter())
        return Counter({name: on_record[name] for name in ENDS if on_record[name]})

    def account(self, case: Case) -> Mapping[str, Any] | None:
        """The provider's account of a checkout, under whichever key."""
        return self.provider.get(str(authorization_of(case)))

    def sold(self, case: Case, products: Iterable[str]) -> bool:
        return all(case.order_id in self.items.states[each].sold for each in products)

    def is_complete(self, case: Case) -> bool:
        """Whether order, units and money are as a completed checkout leaves them."""
        order, payment = self.orders.states.get(case.order_id), self.payments.states.get(case.order_id)
        account = self.account(case)
        if order is None or payment is None or account is None or order.totals is None:
            return False
        paid = payment.status is PaymentStatus.CAPTURED and account["state"] == "captured"
        amounts = {payment.amount, account["amount"], order.totals.invoice}
        return order.status is OrderStatus.COMPLETED and paid and len(amounts) == 1 and self.sold(case, case.products)

    def is_undone(self, case: Case, touched: Mapping[str, int]) -> bool:
        """Whether nothing is left of the checkout: no order, no units, no money."""
        order, payment = self.orders.states.get(case.order_id), self.payments.states.get(case.order_id)
        account = self.account(case)
        open_ = order is not None and order.status is not OrderStatus.CANCELLED
        held = payment is not None and payment.status is not PaymentStatus.VOIDED
        taken = account is not None and account["state"] in ("authorized", "captured")
        return not (open_ or held or taken or touched.get(case.order_id))

    def units(self) -> Mapping[str, int]:
        """The number of units that are held for each order, or sold to it."""
        units: Counter[str] = Counter()
        for item in self.items.states.values():
            units.update(item.held)
            units.update(item.sold)
        return units


async def traces_of(store: PostgresEventStore, books: Books) -> AsyncIterator[Trace]:
    """The tables' content for each saga, a page at a time."""
    saga_ids = sorted({saga_id for saga_id, _ in books.records})
    for start in range(0, len(saga_ids), AT_ONCE):
        for trace in await traces(store, saga_ids[start : start + AT_ONCE]):
            yield trace


def authorization_of(case: Case) -> UUID:
    return command_id_of(case.workflow_id, case.run_id, "AuthorizePayment")
