"""Load, decide, append, and again while another writer is faster."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from uuid_utils.compat import uuid7

from counteract.decider import Decider
from counteract.decoding import decode_event
from counteract.errors import (
    BoundaryChanged,
    EventIdReused,
    StoreUnavailable,
    UndecodableEvent,
    WrongExpectedVersion,
)
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
"""How often a decision is sent while nobody knows whether it arrived."""
_NEVER = Expect(-1, -1)
"""No stream is ever there. An append that expects it says whether its events are stored, for then it is a repeat, and appends nothing."""


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

    `decision` must be pure, and raise to refuse. Where the answer of an append is lost, and the events are not stored, it is made
    anew of what is there now, under the same event ids, so that it happens once. Raises WrongExpectedVersion after `attempts`
    decisions, StoreUnavailable.
    """
    sending = _Sending[S](store, decider.stream(aggregate_id), metadata)

    async def attempt() -> Decided[S]:
        loaded = await store.load(decider, aggregate_id)
        if earlier := await sending.arrived():
            return earlier
        events = decision(loaded.state)
        if not events:
            return Decided(loaded.state, loaded.version, 0)
        return await sending.send(events, decider.fold(events, loaded.state), ExactVersion(loaded.version))

    return await until_no_conflict(store, lambda: sending.until_answered(attempt), attempts)


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
    sending = _Sending[S](store, stream, metadata)

    async def attempt() -> Decided[S]:
        found = await store.find(query)
        if earlier := await sending.arrived():
            return earlier
        state = decider.fold(_decoded(decider, each) for each in found.events)
        events = decision(state)
        if not events:
            return Decided(state, 0, 0)
        return await sending.send(events, decider.fold(events, state), expect, found.since)

    about = tuple((item.types, *item.tags) for item in query.items)
    return await until_no_conflict(store, lambda: sending.until_answered(attempt), attempts, about=about)


@dataclass(slots=True)
class _Sending(Generic[S]):
    """The appends of one decision, however often it is made: their events have the same ids, so that one of them takes effect at most.

    What was sent and not answered may take effect still, once the server comes by it. The failure may as well have been that of a
    server whose last commits are lost, so that what was loaded before is not gone on from.
    """

    store: EventStore
    stream: StreamId
    metadata: Mapping[str, Any] | None
    _ids: list[UUID] = field(default_factory=list)
    _unanswered: list[tuple[Sequence[Event], S]] = field(default_factory=list)
    """The events, and the state after them."""

    async def send(self, events: Sequence[Event], state: S, expect: Expect, unless: Since | None = None) -> Decided[S]:
        try:
            appended = await self._append(events, expect, unless)
        except StoreUnavailable:
            self._unanswered.append((events, state))
            raise
        return Decided(state, appended.version, appended.position)

    async def arrived(self) -> Decided[S] | None:
        """What came of those without an answer; None if nothing has. To be asked between loading and deciding: what was loaded before
        that answer does not hold their effect, and what takes effect later is met by the next one, under the same ids.
        """
        other: EventIdReused | None = None
        for events, state in reversed(self._unanswered):
            try:
                appended = await self._append(events, _NEVER)
            except WrongExpectedVersion:
                # They share their first id: then none of them is stored.
                return None
            except EventIdReused as reused:
                other = reused
            else:
                return Decided(state, appended.version, appended.position)
        if other is not None:
            raise other
        return None

    async def until_answered(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Raises StoreUnavailable at once where nothing has been sent, else the last one."""
        for failures in range(1, _SENDS):
            try:
                return await attempt()
            except (StoreUnavailable, EventIdReused):
                # Reused: an earlier one came in between.
                if not self._unanswered:
                    raise
                await _pause(failures, first=0.05)
        return await attempt()

    async def _append(self, events: Sequence[Event], expect: Expect, unless: Since | None = None) -> Appended:
        self._ids += [uuid7() for _ in range(len(self._ids), len(events))]
        ids = self._ids[: len(events)]
        return await self.store.append(
            self.stream, events, expect=expect, metadata=self.metadata, event_ids=ids, unless=unless
        )


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


async def _pause(failures: int, *, first: float) -> None:
    await asyncio.sleep(random.uniform(0, first * 2**failures))  # noqa: S311 - jitter, no secret
