"""An aggregate with personal data, for tests of the store and of what reads from it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from counteract import Decider, Event, Forgotten, Personal
from counteract.store import ANY, MasterKey, PostgresEventStore

MASTER_KEY = MasterKey.parse(MasterKey.new())
EMAIL = "ann@example.com"


class Registered(Event):
    customer_id: str
    email: Annotated[str | Forgotten, Personal("customer_id")]
    phones: Annotated[tuple[str, ...] | Forgotten, Personal("customer_id")] = ()
    plan: str = "free"


class Upgraded(Event):
    plan: str


def evolve(email: str | Forgotten | None, event: Registered | Upgraded) -> str | Forgotten | None:
    return event.email if isinstance(event, Registered) else email


customers: Decider[str | Forgotten | None, Registered | Upgraded] = Decider(
    "customer", initial=None, evolve=evolve, events=Registered | Upgraded
)
ANN, BOB = customers.stream("ann"), customers.stream("bob")


async def register(store: PostgresEventStore, name: str = "ann", ids: list[UUID] | None = None) -> int:
    event = Registered(customer_id=name, email=f"{name}@example.com", phones=("+1", "+2"))
    return (await store.append(customers.stream(name), [event], expect=ANY, event_ids=ids)).position


async def email_of(store: PostgresEventStore, name: str = "ann") -> Any:
    return (await store.load(customers, name)).state
