"""The invariants that hold whenever no checkout is under way, whatever happened before."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from psycopg import sql

from counteract import (
    Decider,
    Event,
    EventDecoder,
    PostgresEventStore,
    Projection,
    ProjectionRunner,
    StoredEvent,
    reached,
)
from counteract.lifecycle import sagas
from counteract.store.postgres.names import StoreName
from domain.orders import OrderStatus, orders
from domain.payments import PaymentStatus, payments
from domain.stock import stock_item

ENDED = (PaymentStatus.CAPTURED, PaymentStatus.VOIDED)
PAID = (OrderStatus.COMPLETED, OrderStatus.DELIVERED)

S = TypeVar("S")
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Finding:
    """One invariant, the figure it was judged by, and whether it holds."""

    invariant: str
    figure: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the invariants look at, read once."""

    events: Sequence[StoredEvent]
    provider: Sequence[Mapping[str, Any]]
    """The payment provider's own books."""

    @classmethod
    async def gathered(cls, store: PostgresEventStore, provider_url: str) -> Facts:
        events: list[StoredEvent] = []
        mark = await store.high_water_mark()
        while page := await store.read(after=events[-1].position if events else 0, up_to=mark):
            events += page
        async with aiohttp.ClientSession(base_url=provider_url) as session, session.get("/payments") as answer:
            return cls(events, await answer.json())

    def states(self, decider: Decider[S, E]) -> dict[str, S]:
        """Every aggregate of a kind, by its id."""
        decoder, states = EventDecoder(decider.event_classes), dict[str, S]()
        for stored in self.events:
            if stored.stream.aggregate_type == decider.aggregate_type:
                key = stored.stream.aggregate_id
                states[key] = decider.evolve(states.get(key, decider.initial), decoder.decode(stored).event)
        return states


def findings(facts: Facts) -> list[Finding]:
    """The invariants of events and the provider."""
    return [
        units_add_up(facts),
        nothing_is_left_reserved(facts),
        each_authorisation_ends_once(facts),
        captured_equals_invoiced(facts),
        no_order_is_left_open(facts),
        payments_agree_with_the_provider(facts),
        each_saga_ends_once(facts),
        lines_refer_to_products(facts),
    ]


def units_add_up(facts: Facts) -> Finding:
    items = facts.states(stock_item).values()
    sums = [(item, item.available + item.reserved + sum(item.sold.values())) for item in items]
    wrong = [item for item, total in sums if item.initial != total or item.available < 0]
    figure = f"{sum(item.initial for item in items)} units of {len(items)} products"
    return Finding("initial units = available + reserved + sold", figure, not wrong)


def nothing_is_left_reserved(facts: Facts) -> Finding:
    reserved = sum(item.reserved for item in facts.states(stock_item).values())
    return Finding("no units are reserved when no saga runs", f"{reserved} reserved", reserved == 0)


def each_authorisation_ends_once(facts: Facts) -> Finding:
    ends = Counter(payment["state"] for payment in facts.provider)
    wrong = [each for each in facts.provider if len(each["captures"]) != (each["state"] == "captured")]
    figure = ", ".join(f"{count} {state}" for state, count in sorted(ends.items()))
    return Finding("each authorised payment is captured or voided, once", figure, not wrong and not ends["authorized"])


def captured_equals_invoiced(facts: Facts) -> Finding:
    captured = sum(each["amount"] for each in facts.provider if each["state"] == "captured")
    completed = {key: each for key, each in facts.states(orders).items() if each.status in PAID}
    invoiced = {key: order.totals.invoice for key, order in completed.items() if order.totals}
    paid = {key: each.amount for key, each in facts.states(payments).items() if each.status is PaymentStatus.CAPTURED}
    total = sum(invoiced.values())
    # Order by order too: two errors may cancel each other out in the total.
    holds = captured == total and paid == invoiced
    return Finding("captured total = invoices of completed orders", f"{captured} = {total}", holds)


def no_order_is_left_open(facts: Facts) -> Finding:
    ends = Counter(order.status for order in facts.states(orders).values())
    figure = ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
    return Finding("each order is completed or cancelled when no saga runs", figure, not ends[OrderStatus.PLACED])


def payments_agree_with_the_provider(facts: Facts) -> Finding:
    """Payments agree with the provider's, one by one; it knows of one more only where its answer was lost."""
    theirs = {each["key"]: each["state"] for each in facts.provider}
    ours = {each.authorization: str(each.status) for each in facts.states(payments).values()}
    wrong = [key for key, status in ours.items() if status not in ENDED or theirs.get(key) != status]
    unheard_of = [key for key in theirs.keys() - ours.keys() if theirs[key] == "captured"]
    figure = f"{len(ours)} payments, {len(wrong) + len(unheard_of)} of them otherwise"
    return Finding("our payments agree with the provider's books", figure, not wrong and not unheard_of)


def each_saga_ends_once(facts: Facts) -> Finding:
    progress = facts.states(sagas).values()
    wrong = [saga for saga in progress if saga.started != saga.completed + saga.compensated]
    figure = f"{len(progress)} sagas, {len(wrong)} without exactly one end"
    return Finding("each saga has exactly one terminal event", figure, not wrong)


def lines_refer_to_products(facts: Facts) -> Finding:
    products = {key for key, item in facts.states(stock_item).items() if item.initial}
    lines = [
        line["product_id"]
        for event in facts.events
        if event.event_type == "OrderPlaced"
        for line in json.loads(event.data)["lines"]
    ]
    dangling = [product for product in lines if product not in products]
    return Finding("no order line is for a product that never existed", f"{len(lines)} lines", not dangling)


async def rebuilt_equals_live(
    url: str, store: PostgresEventStore, projection: Projection, *, patience: float = 30
) -> Finding:
    """Fill a second table from position 0, and compare it with the live one. `patience` is in seconds, for each."""
    position = await store.high_water_mark()
    await reached(store, projection.name, position, timeout=patience)
    second = projection.under(f"{projection.name}-rebuilt", schema=StoreName().rebuild)
    runner = ProjectionRunner(url, [second])
    running = asyncio.create_task(runner.run())
    try:
        await runner.reached(position, timeout=patience)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    rows, different = await _compare(store, projection.table.name)
    name = f"projection {projection.name}, rebuilt from position 0, equals the live one"
    return Finding(name, f"{rows} rows, {different} different", different == 0)


async def _compare(store: PostgresEventStore, table: str) -> tuple[int, int]:
    query = sql.SQL(
        "select (select count(*) from {0}),"
        " (select count(*) from ((table {0} except table {1}) union all (table {1} except table {0})) as difference)"
    )
    async with store.connection() as connection:
        names = sql.Identifier(table), sql.Identifier(StoreName().rebuild, table)
        row = await (await connection.execute(query.format(*names))).fetchone()
        await connection.execute(sql.SQL("drop table {}").format(names[1]))
    if row is None:
        raise AssertionError("a count without a row")
    return row[0], row[1]
