"""What `counteract store verify` finds in a store, with the classes that it should know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from counteract import Decider, Event
from counteract.personal import Forgotten, Personal
from counteract.store.checks.verify import Expected, Problem, Step, Verification
from counteract.store.contracts.published import contract_of, key_of
from counteract.store.postgres.vault import Vault
from tests.counters import Counted, CounterReset, counters


class Registered(Event):
    customer: str
    email: Annotated[str | Forgotten, Personal("customer")]


@dataclass(frozen=True)
class Customers:
    count: int = 0


customers: Decider[Customers, Registered] = Decider(
    "customer", initial=Customers(), evolve=lambda state, _: state, events=Registered
)
CLASSES: Sequence[type[Event]] = (Counted, CounterReset, Registered)
EXPECTED = Expected(CLASSES, {key_of(each): contract_of(each) for each in CLASSES}, [counters, customers])


async def steps(url: str, expected: Expected = EXPECTED, vault: Vault | None = None) -> AsyncIterator[Step]:
    async with Verification.open(url, expected, vault) as verification:
        async for step in verification.run():
            yield step


async def problems(url: str, expected: Expected = EXPECTED, vault: Vault | None = None) -> list[Problem]:
    return [problem async for step in steps(url, expected, vault) for problem in step.problems]
