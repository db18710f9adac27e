"""The subscriber: what a subscription hands its events to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.store import StoredEvent


class Subscriber(ABC):
    """Receives every event in the global order.

    What it does through `connection` happens exactly once: it is committed together with the checkpoint. What it does
    elsewhere happens at least once.
    """

    name: str
    """Names the checkpoint: two subscribers of one name share the events between them."""
    event_types: frozenset[str] | None = None
    """The stored names of the events that it wants; None for all."""

    vocabulary: Mapping[str, frozenset[str]] = MappingProxyType({})
    """All stored names that it knows, wanted or not, by aggregate type. An event of such an aggregate with another name
    is handed over as well: a newer release has stored it, which this one must not pass by. `UnknownEventType` says so.
    """

    is_elsewhere: bool = False
    """Whether what it does is not undone with the transaction.

    Then events of a parked stream get batches of their own. Those of a batch that fails do too, one by one, and so do
    those that are redriven.
    """

    @property
    def is_resting(self) -> bool:
        """Whether it takes nothing for now. Asked again soon."""
        return False

    async def prepare(self, connection: AsyncConnection) -> None:  # noqa: B027 - most have nothing to prepare
        """Called before the first event, again after whatever went wrong, and where the subscription has started over
        or what it fills was made anew. Runs in a transaction; the next one may have another session, whose time limits
        are the subscription's.

        Raises RowsOfOtherCode where this process must deliver no more: others get its shards, and it is asked again
        every few seconds.
        """

    async def watch(self) -> None:  # noqa: B027 - most have nothing to watch
        """Called every few seconds, with or without events. What it raises is taken like a failure of `handle`."""

    @abstractmethod
    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        """Take a batch, in order, and whatever it raises, see it again: StoreUnavailable and OSError say that something
        is down, which is waited for, and anything else, after some attempts, that an event cannot be handled.

        A process that takes longer than the lease between two statements on `connection`, or three times as long in
        all, is taken for one that stands still, and replaced.
        """

    async def redrive(self, event: StoredEvent, connection: AsyncConnection) -> None:
        """Take an event that was parked. Later ones of other streams have been handled."""
        await self.handle([event], connection)


async def prepare(subscriber: Subscriber, connection: AsyncConnection) -> None:
    """Prepare a subscriber in a transaction of its own."""
    async with connection.begin():
        await subscriber.prepare(connection)
