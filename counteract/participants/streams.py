"""The store as a handler sees it: the streams that it loads, and what it appends to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from counteract.decider import Decider
from counteract.messages import Event, StreamId
from counteract.participants.fence import FIND_COMMAND, Found
from counteract.store import Loaded, PostgresEventStore
from counteract.store.expect import StreamChange
from counteract.store.postgres.load import Fold

S = TypeVar("S")
E = TypeVar("E", bound=Event)


@dataclass(slots=True)
class Stream(Generic[S, E]):
    """One aggregate as it was loaded, and as the events appended since leave it."""

    decider: Decider[S, E]
    id: StreamId
    version: int
    """The version that was loaded: nobody else may have appended when this is recorded."""
    state: S
    appended: list[E] = field(default_factory=list)

    def append(self, *events: E) -> None:
        """Add events; they are recorded together with the command's result once the handler has returned."""
        self.appended += events
        self.state = self.decider.fold(events, self.state)


class AlreadyAnswered(BaseException):
    """Ends a handler whose command turns out to have been answered before.

    Not an Exception: a handler's own `except Exception` must not catch it and go on deciding.
    """

    def __init__(self, found: Found) -> None:
        self.found = found


class Streams:
    """The unit of work of one attempt at one command.

    With `ask`, each load also asks for the command's own row, in the same round trip: a command that was answered
    before ends there, and nothing runs twice, nor on a stream that holds its own effect already.
    """

    def __init__(self, store: PostgresEventStore, command_id: Any, *, ask: bool) -> None:
        self._store = store
        self._command_id = command_id
        self._ask = ask
        self._answered: Found | None = None
        self._loaded: dict[StreamId, Stream[Any, Any]] = {}

    async def load(self, decider: Decider[S, E], aggregate_id: str) -> Stream[S, E]:
        """The aggregate's current state; the same object when loaded again."""
        stream = decider.stream(aggregate_id)
        if stream not in self._loaded:
            loaded = await self._fetch(self._store.begin_load(decider, aggregate_id))
            # Another task of the handler may have been loading it too, and was first.
            self._loaded.setdefault(stream, Stream(decider, stream, loaded.version, loaded.state))
        return self._loaded[stream]

    def raise_if_answered(self) -> None:
        """Raises AlreadyAnswered once a load has found an answer."""
        if self._answered is not None:
            raise AlreadyAnswered(self._answered)

    @property
    def changes(self) -> Sequence[StreamChange]:
        """All loaded streams: one that was only read must not have changed either, for the decision depends on it."""
        return [StreamChange(each.id, each.version, each.version, each.appended) for each in self._loaded.values()]

    async def _fetch(self, fold: Fold[S, E]) -> Loaded[S]:
        async with self._store.connection() as connection:
            if not self._ask:
                return await fold.run(connection)
            async with connection.pipeline():
                rows = await connection.execute(fold.query, fold.parameters)
                # After the stream, for each statement has a snapshot of its own: no answer here proves that what the
                # first one read holds no effect of this command.
                own = await connection.execute(FIND_COMMAND, (self._command_id,))
            if row := await own.fetchone():
                self._answered = Found(*row)
            self.raise_if_answered()
            return await fold.finish(connection, await rows.fetchall())
