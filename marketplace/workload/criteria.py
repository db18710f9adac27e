"""The criteria of the benchmark's authors, checked on what a run left behind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from counteract import EventDecoder, PostgresEventStore
from domain.products import Product, products
from domain.shipments import shipments
from marketplace.invariants import Facts, Finding, findings, rebuilt_equals_live
from marketplace.workload.customers import Customers, Replica
from projections import READ_MODELS

_WRITERS = """
    select distinct task_queue, aggregate_type from events
    join commands on command_id = (metadata ->> 'causation_id')::uuid
    order by 1, 2
"""


async def criteria(customers: Customers, facts: Facts, killed: str, own_ends: Counter[str]) -> list[Finding]:
    """All criteria, with their figures.

    `killed` is the process that was killed halfway; `own_ends` says which others ended, and how often.
    """
    sound = findings(facts)
    return [
        await functional_decomposition(customers.store),
        resource_isolation(killed, own_ends),
        all_or_nothing(sound, killed),
        referential_integrity(facts),
        causal_replication(customers, facts),
        consistent_dashboards(customers),
        payment_before_shipment(facts),
    ]


async def standing(url: str, store: PostgresEventStore, facts: Facts) -> list[Finding]:
    return [*findings(facts), *[await rebuilt_equals_live(url, store, each) for each in READ_MODELS]]


async def functional_decomposition(store: PostgresEventStore) -> Finding:
    """Each kind of stream is written by the commands of one service."""
    async with store.connection() as connection:
        rows = await (await connection.execute(_WRITERS)).fetchall()
    writers = defaultdict(set)
    for service, kind in rows:
        writers[kind].add(service)
    wrong = {kind: services for kind, services in writers.items() if len(services) > 1}
    figure = f"{len(writers)} kinds of streams by {len({service for service, _ in rows})} services"
    return Finding(
        "functional decomposition: each kind of stream is written by one service", figure, not wrong and bool(rows)
    )


def resource_isolation(killed: str, own_ends: Counter[str]) -> Finding:
    figure = f"{killed} was killed, {', '.join(own_ends) or 'no other process'} ended with it"
    return Finding("resource isolation: each service is a process of its own", figure, not own_ends)


def all_or_nothing(sound: Sequence[Finding], killed: str) -> Finding:
    broken = [each.invariant for each in sound if not each.holds]
    figure = f"{killed} killed halfway; {len(broken)} of {len(sound)} invariants broken (`make chaos` does worse)"
    return Finding("all or nothing: a checkout takes effect in every service, or in none", figure, not broken)


def referential_integrity(facts: Facts) -> Finding:
    of = defaultdict(set)
    for event in facts.events:
        of[event.stream.aggregate_type].add(event.stream.aggregate_id)
    dangling = (of["payment"] | of["shipment"]) - of["order"], of["stock-item"] ^ of["product"]
    figure = f"{len(of['payment'])} payments, {len(of['shipment'])} shipments, {len(of['product'])} products"
    return Finding("referential integrity across contexts", figure, not any(dangling))


def causal_replication(customers: Customers, facts: Facts) -> Finding:
    """Each product that a cart copied was in that state; none is older than one that its customer saw before."""
    states = dict(_product_states(facts))
    copies = [copy for each in customers.copies for copy in each]
    invented = [
        copy
        for copy in copies
        if states.get((copy.product_id, copy.revision)) != (copy.product_version, copy.unit_price)
    ]
    older = sum(_steps_back(each) for each in customers.copies)
    figure = f"{len(copies)} products copied, {len(invented)} in a state they never had, {older} older than before"
    return Finding("causal replication of product updates to carts", figure, not invented and not older)


def consistent_dashboards(customers: Customers) -> Finding:
    wrong = [each for each in customers.dashboards if each.total != sum(line.amount for line in each.lines)]
    lines = sum(len(each.lines) for each in customers.dashboards)
    figure = f"{len(customers.dashboards)} dashboards of {lines} lines, {len(wrong)} that do not add up"
    return Finding("a seller's dashboard is one consistent snapshot", figure, not wrong)


def payment_before_shipment(facts: Facts) -> Finding:
    """Payments come before shipments in the log, in whose order every reader sees them."""
    captured, wrong, shipped = set(), 0, 0
    for event in facts.events:
        if event.event_type == "PaymentCaptured":
            captured.add(event.stream.aggregate_id)
        elif event.stream.aggregate_type == shipments.aggregate_type:
            shipped += event.event_type == "ShipmentCreated"
            wrong += event.stream.aggregate_id not in captured
    figure = f"{shipped} shipments, {wrong} before their payment"
    return Finding("payments and shipments are observed in order", figure, wrong == 0)


def _product_states(facts: Facts) -> Iterator[tuple[tuple[str, int], tuple[str | None, int]]]:
    """Every state of every product, by id and version of its stream."""
    decoder, states = EventDecoder(products.event_classes), dict[str, Product]()
    for stored in facts.events:
        if stored.stream.aggregate_type == products.aggregate_type:
            key = stored.stream.aggregate_id
            state = products.fold([decoder.decode(stored).event], states.get(key, products.initial))
            states[key] = state
            yield (key, stored.version), (state.version, state.unit_price)


def _steps_back(copies: Sequence[Replica]) -> int:
    latest, back = dict[str, int](), 0
    for copy in copies:
        back += copy.revision < latest.get(copy.product_id, 0)
        latest[copy.product_id] = copy.revision
    return back
