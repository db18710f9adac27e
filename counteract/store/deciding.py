"""Load, decide, append, and again while another writer is faster."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from uuid_utils.compat import uuid7

from counteract.decider import Decider
from counteract.decoding import decode_event
from counteract.errors import BoundaryChanged, StoreUnavailable, UndecodableEvent, WrongExpectedVersion
from counteract.messages import Event, StreamId
from counteract.store.expect import ANY, ExactVersion, Expect
from counteract.store.port import Appended, EventStore
from counteract.store.stored import StoredEvent
from counteract.store.terms import Query, Since
from counteract.store.turns import in_turn

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
        appended = await _sent(store, loaded.stream, events, ExactVersion(loaded.version), metadata)
        return Decided(decider.fold(events, loaded.state), appended.version, appended.position)

    return await until_no_conflict(store, attempt, attempts)


async def decide_where(
    store: EventStore,
    query: Query,
    decider: Decider[S, E],
    stream: StreamId,
    decision: Callable[[S], Sequence[E]],
    *,
    expect: Expect = ANY,
    metadata: Mapping[str, Any] | None = None,
    attempts: int = ATTEMPTS,
) -> Decided[S]:
    """Append to `stream` what `decision` makes of all that the query finds, in whatever streams, and nothing if that has changed in
    between: it is made anew.

    The state is what the decider makes of the events that are found, whatever else `stream` holds. Otherwise as `decide`. `version`
    is the stream's after the append, 0 if nothing happened. Raises BoundaryChanged or WrongExpectedVersion after `attempts` decisions.
    """

    async def attempt() -> Decided[S]:
        found = await store.find(query)
        state = decider.fold(_decoded(decider, each) for each in found.events)
        events = decision(state)
        if not events:
            return Decided(state, 0, 0)
        appended = await _sent(store, stream, events, expect, metadata, unless=found.since)
        return Decided(decider.fold(events, state), appended.version, appended.position)

    return await until_no_conflict(
        store, attempt, attempts, about=tuple((item.types, *item.tags) for item in query.items)
    )


async def _sent(
    store: EventStore,
    stream: StreamId,
    events: Sequence[Event],
    expect: Expect,
    metadata: Mapping[str, Any] | None,
    unless: Since | None = None,
) -> Appended:
    ids = [uuid7() for _ in events]

    async def send() -> Appended:
        return await store.append(stream, events, expect=expect, metadata=metadata, event_ids=ids, unless=unless)

    return await _again_while(StoreUnavailable, send, _SENDS, first=0.05)


def _decoded(decider: Decider[Any, E], stored: StoredEvent) -> E:
    try:
        return decode_event(decider.readers, stored.event_type, stored.schema_version, stored.data)
    except UndecodableEvent as error:
        raise error.at(stored.stream, stored.version, stored.position) from None


async def until_no_conflict(
    store: EventStore,
    attempt: Callable[[], Awaitable[T]],
    attempts: int = ATTEMPTS,
    *,
    about: Hashable = None,
    takes_turns: bool = True,
) -> T:
    """Raises the last WrongExpectedVersion or BoundaryChanged after `attempts`, with short random pauses between them.

    After the first, those of this process take turns, as long as an attempt is a matter of the store alone (`takes_turns`): by
    what they are `about`, or else by the stream that somebody else was faster at.
    """
    turn: AbstractAsyncContextManager[None] = nullcontext()
    for failures in range(1, attempts):
        try:
            async with turn:
                return await attempt()
        except (WrongExpectedVersion, BoundaryChanged) as conflict:
            await _pause(failures, first=0.002)
            contended = about if about is not None else getattr(conflict, "stream", None)
            turn = in_turn((id(store), contended)) if takes_turns and contended is not None else nullcontext()
    async with turn:
        return await attempt()


async def _again_while(
    error: type[Exception], attempt: Callable[[], Awaitable[T]], attempts: int, *, first: float
) -> T:
    for failures in range(1, attempts):
        try:
            return await attempt()
        except error:
            await _pause(failures, first=first)
    return await attempt()


async def _pause(failures: int, *, first: float) -> None:
    await asyncio.sleep(random.uniform(0, first * 2**failures))  # noqa: S311 - jitter, no secret
