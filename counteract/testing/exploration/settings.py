"""The settings of one exploration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client

from counteract.messages import Command
from counteract.participants import Participants
from counteract.saga import SagaWorkflow
from counteract.store import PostgresEventStore
from counteract.testing.exploration.people import Correct
from counteract.testing.exploration.report import Explored
from counteract.testing.exploration.selection import Choice

Invariant = Callable[[Explored], object | Awaitable[object]]
AtRest = Callable[[], object | Awaitable[object]]
Request = Any | Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments of one call of `explore`, which explains them; each has the name that it has there."""

    saga: type[SagaWorkflow]
    request: Request

    participants: Participants | None
    answers: Mapping[type[Command[Any]], Any]
    external: Collection[type[Command[Any]]]
    store: PostgresEventStore | None
    client: Client | None

    invariant: Invariant | None
    at_rest: AtRest | None
    correct: Correct
    beside: Callable[[str], Any] | None

    choice: Choice
    """Which faults are tried: `only`, `singles`, `pairs`, `sample` and `seed`."""
    seconds: float | None
    limit: float
    fail_fast: bool
    concurrency: int
