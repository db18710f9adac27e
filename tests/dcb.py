"""The store as one of the library eventsourcing's recorders of dynamic consistency boundaries.

That interface knows no streams, no classes and no tasks: each event goes to a stream of its own, its class is made by its name, and the
store works on an event loop in a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import new_class
from typing import Any, TypeVar

from eventsourcing.dcb.api import (
    DCBAppendCondition,
    DCBEvent,
    DCBQuery,
    DCBReadResponse,
    DCBRecorder,
    DCBSequencedEvent,
)
from eventsourcing.dcb.persistence import DCBListenNotifySubscription
from eventsourcing.dcb.popo import SimpleDCBReadResponse
from eventsourcing.persistence import IntegrityError
from uuid_utils.compat import uuid7

from counteract import Event, StreamId
from counteract.errors import BoundaryChanged
from counteract.store import EventStore, Query, QueryItem, StoredEvent, StreamChange

T = TypeVar("T")


class _Opaque(Event, tags=lambda event: event.tags):
    data: str
    tags: tuple[str, ...]


class Recorder(DCBRecorder):  # type: ignore[misc, unused-ignore]
    """What `make` makes of the loop that it is to work on."""

    def __init__(self, store: EventStore, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self.listeners: set[threading.Event] = set()

    def read(
        self, query: DCBQuery | None = None, *, after: int | None = None, limit: int | None = None
    ) -> DCBReadResponse:
        events, position = self._call(self._found(_query(query or DCBQuery()), after or 0, limit))
        end = position if limit is None else max((each.position for each in events), default=None)
        return SimpleDCBReadResponse(iter([_sequenced(each) for each in events]), end)

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        unless = _query(condition.fail_if_events_match).since(condition.after or 0) if condition else None
        changes = [StreamChange(StreamId("dcb", str(uuid7())), 0, 0, [_event(each)]) for each in events]
        try:
            answers = self._call(self._store.append_many(changes, unless=unless))
        except BoundaryChanged as error:
            raise IntegrityError(str(error)) from error
        for listener in self.listeners:
            listener.set()
        return answers[-1].position

    def subscribe(self, query: DCBQuery | None = None, *, after: int | None = None) -> _Subscription:
        return _Subscription(self, query, after)

    async def _found(self, query: Query, after: int, limit: int | None) -> tuple[Sequence[StoredEvent], int | None]:
        if limit is not None:
            return await self._store.read(query=query, after=after, limit=limit), None
        found = await self._store.find(query, after=after)
        return found.events, found.position or None

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)


class _Subscription(DCBListenNotifySubscription[Recorder]):  # type: ignore[misc, unused-ignore]
    def __init__(self, recorder: Recorder, query: DCBQuery | None, after: int | None) -> None:
        super().__init__(recorder, query, after)
        recorder.listeners.add(self._has_been_notified)


@contextmanager
def recording(open_store: Callable[[], Any]) -> Iterator[Recorder]:
    """A recorder on a store that `open_store`, an asynchronous context manager, gives on a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=60)

    opened = open_store()
    try:
        store = call(opened.__aenter__())
        try:
            yield Recorder(store, loop)
        finally:
            call(opened.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@cache
def _class(name: str) -> type[_Opaque]:
    return new_class("Named", (_Opaque,), {"name": name})


def _event(event: DCBEvent) -> Event:
    return _class(event.type)(data=event.data.decode(), tags=tuple(event.tags))


def _sequenced(stored: StoredEvent) -> DCBSequencedEvent:
    data = _Opaque.model_validate_json(stored.data).data.encode()
    return DCBSequencedEvent(DCBEvent(stored.event_type, data, list(stored.tags)), stored.position)


def _query(query: DCBQuery) -> Query:
    """Without items it matches everything."""
    items = tuple(QueryItem(frozenset(item.types), tuple(item.tags)) for item in query.items)
    return Query(items) if items else Query.of()
