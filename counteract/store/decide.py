"""Decisions: load, decide, append, and decide anew where another writer was faster."""

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
"""The default number of times that a decision is made while other writers are faster."""
_SENDS = 5
"""The number of times that a decision is sent while it is not known whether it was stored."""
_NEVER = Expect(-1, -1)
"""A version that no stream ever has. An append that expects it stores nothing: it succeeds only as a repeat, where its
events are stored already.
"""


@dataclass(frozen=True, slots=True)
class Decided(Generic[S]):
    """An aggregate after a decision."""

    state: S
    version: int
    position: int
    """The position of the last event; 0 if the decision had none."""


async def decide(
    store: EventStore,
    decider: Decider[S, E],
    aggregate_id: str,
    decision: Callable[[S], Sequence[E]],
    *,
    metadata: Mapping[str, Any] | None = None,
    attempts: int = ATTEMPTS,
) -> Decided[S]:
    """Append the events that `decision` returns for the aggregate's current state.

    Where the stream has changed since it was loaded, the decision is made anew. `decision` must be pure, and raises to
    refuse. Where the answer to an append is lost, and its events are not stored, the decision is made anew of the state
    of then, under the same event ids, so that it takes effect once. Raises WrongExpectedVersion after `attempts`
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
    """Append to `stream` the events that `decision` returns for all events that the query finds, in whatever streams.

    Where the query finds more before they are stored, the decision is made anew. The state is folded by the decider
    from the found events alone, whatever else `stream` holds. `version` is that of `stream` after the append, 0 if the
    decision had no events. Otherwise as `decide`. Raises BoundaryChanged or WrongExpectedVersion after `attempts`
    decisions.
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
    """The appends of one decision, however often it is made. All of them use the same event ids, so one at most takes
    effect.

    An append without an answer may still take effect later, once the server comes to it. The server may also have lost
    its last commits, so a state that was loaded before the failure is not used any more.
    """

    store: EventStore
    stream: StreamId
    metadata: Mapping[str, Any] | None
    _ids: list[UUID] = field(default_factory=list)
    _unanswered: list[tuple[Sequence[Event], S]] = field(default_factory=list)
    """The events of each append without an answer, and the state after them."""

    async def send(self, events: Sequence[Event], state: S, expect: Expect, unless: Since | None = None) -> Decided[S]:
        """Append, and remember the events where no answer comes. Raises as the store's `append`."""
        try:
            appended = await self._append(events, expect, unless)
        except StoreUnavailable:
            self._unanswered.append((events, state))
            raise
        return Decided(state, appended.version, appended.position)

    async def arrived(self) -> Decided[S] | None:
        """The outcome of an append without an answer that took effect after all; None if none did.

        To be called between loading and deciding. A state that was loaded before does not hold the events; an append
        that takes effect afterwards makes the next one a repeat, for both have the same ids.
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
        """Repeat `attempt` while appends go without an answer. Raises StoreUnavailable at once where nothing was sent,
        else the last one.
        """
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
    """Repeat `attempt` while other writers are faster, with short random pauses.

    After the first conflict the attempts of this process take turns, unless `takes_turns` is false: an attempt that
    waits for more than the store must not hold up others. The turn is named by `about`, or else by the stream of the
    conflict. Raises the last WrongExpectedVersion or BoundaryChanged after `attempts`.
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
