"""Load, decide, append, and again while another writer is faster."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from uuid_utils.compat import uuid7

from counteract.decider import Decider
from counteract.errors import StoreUnavailable, WrongExpectedVersion
from counteract.messages import Event
from counteract.store.expect import ExactVersion
from counteract.store.port import Appended, EventStore

S = TypeVar("S")
E = TypeVar("E", bound=Event)
T = TypeVar("T")

ATTEMPTS = 8
"""How often a decision is made anew while other writers are faster."""
_SENDS = 5
"""How often one append is sent while nobody knows whether it arrived."""


@dataclass(frozen=True, slots=True)
class Decided(Generic[S]):
    """An aggregate after a decision."""

    state: S
    version: int
    position: int
    """That of the last event; 0 if the decision was that nothing happens."""


async def decide(
    store: EventStore,
    decider: Decider[S, E],
    aggregate_id: str,
    decision: Callable[[S], Sequence[E]],
    *,
    metadata: Mapping[str, Any] | None = None,
    attempts: int = ATTEMPTS,
) -> Decided[S]:
    """Append what `decision` makes of the current state, and nothing if the stream has changed in between: it is made anew.

    `decision` must be pure, and raise to refuse. An append whose answer is lost is sent again under the same event ids,
    so that it happens once. Raises WrongExpectedVersion after `attempts` decisions, StoreUnavailable.
    """

    async def attempt() -> Decided[S]:
        loaded = await store.load(decider, aggregate_id)
        events = decision(loaded.state)
        if not events:
            return Decided(loaded.state, loaded.version, 0)
        ids = [uuid7() for _ in events]
        expect = ExactVersion(loaded.version)

        async def send() -> Appended:
            return await store.append(loaded.stream, events, expect=expect, metadata=metadata, event_ids=ids)

        appended = await _again_while(StoreUnavailable, send, _SENDS, first=0.05)
        return Decided(decider.fold(events, loaded.state), appended.version, appended.position)

    return await until_no_conflict(attempt, attempts)


async def until_no_conflict(attempt: Callable[[], Awaitable[T]], attempts: int = ATTEMPTS) -> T:
    """Raises the last WrongExpectedVersion after `attempts`, with short random pauses between them."""
    return await _again_while(WrongExpectedVersion, attempt, attempts, first=0.002)


async def _again_while(
    error: type[Exception], attempt: Callable[[], Awaitable[T]], attempts: int, *, first: float
) -> T:
    for failures in range(1, attempts):
        try:
            return await attempt()
        except error:
            await asyncio.sleep(random.uniform(0, first * 2**failures))  # noqa: S311 - jitter, no secret
    return await attempt()
