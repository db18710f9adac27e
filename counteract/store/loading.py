"""Folds streams into states, from the newest state that is known: one in memory, else a snapshot, else the initial one."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from counteract.decider import Decider
from counteract.decoding import decode_event
from counteract.errors import UndecodableEvent
from counteract.messages import Event, StreamId
from counteract.store.archives import raise_missing
from counteract.store.checking import check_stream
from counteract.store.connecting import Connection
from counteract.store.port import Loaded
from counteract.store.snapshots import SnapshotForm, holds_personal_data, keep_snapshot, snapshot_form
from counteract.store.vault import Vault

S = TypeVar("S")
E = TypeVar("E", bound=Event)

_logger = logging.getLogger("counteract.store")

PAGE = 1000
"""How many events are in memory at once, however long the stream is."""
_NEWEST = 2**31 - 1

# By version and not by a cursor: a stream only grows, so pages fit together without a transaction that stays open over
# them, and a short stream takes one round trip. A snapshot of other code is none.
_PAGE_QUERY = """
    with snapshot as (
        select version, state from snapshots
        where aggregate_type = %(type)s and aggregate_id = %(id)s and fingerprint = %(fingerprint)s
          and version > %(after)s and version <= %(up_to)s
    )
    (select version, null as event_type, null as schema_version, state as data from snapshot)
    union all
    (select version, event_type, schema_version, event_data::text from events
     where aggregate_type = %(type)s and aggregate_id = %(id)s
       and version > greatest(%(after)s, (select version from snapshot)) and version <= %(up_to)s
     order by version limit %(limit)s)
    order by version
"""

Row = Sequence[Any]


class Known(NamedTuple):
    """What a fold goes on from."""

    state: Any
    version: int
    snapshot_version: int
    """Of the newest snapshot seen; 0 if there was none."""


class Memory:
    """The states that were folded last, of this process, as one server had them.

    A failover or a restore may lose commits: with another server, or the same one restarted, nothing is known any more.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.server: datetime | None = None
        self._known: OrderedDict[tuple[Decider[Any, Any], str], Known] = OrderedDict()

    def heed(self, connection: Connection) -> None:
        """Forget everything if the connection leads to another server than those before."""
        if connection.server_began != self.server:
            self._known.clear()
            self.server = connection.server_began

    def find(self, decider: Decider[Any, Any], aggregate_id: str) -> Known | None:
        key = (decider, aggregate_id)
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key)

    def keep(self, decider: Decider[Any, Any], aggregate_id: str, known: Known) -> None:
        """Unless a load that overtook this one has kept a newer one."""
        before = self.find(decider, aggregate_id)
        if before is None or before.version <= known.version:
            self._known[decider, aggregate_id] = known
        while len(self._known) > self._size:
            self._known.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Loading:
    """How one event store loads."""

    memory: Memory
    vault: Vault
    snapshot_every: int
    """After so many events that were folded since the last snapshot there is a new one; 0: never."""

    def begin(self, decider: Decider[S, E], aggregate_id: str, *, up_to: int = _NEWEST) -> Fold[S, E]:
        """A fold up to a version, by default to the newest. Raises InvalidEvent for an impossible id."""
        stream = decider.stream(aggregate_id)
        check_stream(stream)
        known = self.memory.find(decider, aggregate_id)
        if known is None or known.version > up_to:
            known = Known(decider.initial, 0, 0)
        return Fold(self, decider, stream, known, up_to)

    def form_of(self, decider: Decider[S, Any]) -> SnapshotForm[S] | None:
        """None where no snapshots are used."""
        return snapshot_form(decider) if self.snapshot_every else None


class Fold(Generic[S, E]):
    """One aggregate being loaded. Its first page is for the caller to fetch, who may have more to ask in that round trip."""

    query = _PAGE_QUERY

    def __init__(self, loading: Loading, decider: Decider[S, E], stream: StreamId, start: Known, up_to: int) -> None:
        self._loading = loading
        self._decider = decider
        self._stream = stream
        self._known = start
        self._up_to = up_to
        self._form = loading.form_of(decider)
        self._server = loading.memory.server

    @property
    def parameters(self) -> dict[str, Any]:
        """Of `query`, for the next page."""
        return {
            "type": self._stream.aggregate_type,
            "id": self._stream.aggregate_id,
            "fingerprint": self._form.fingerprint if self._form else "",
            "after": self._known.version,
            "up_to": self._up_to,
            "limit": PAGE,
        }

    async def run(self, connection: Connection) -> Loaded[S]:
        """Fetch everything. Raises UnknownEventType, UnreadableEvent, PersonalDataLocked, StreamArchived."""
        return await self.finish(connection, await self._page(connection))

    async def finish(self, connection: Connection, rows: Sequence[Row]) -> Loaded[S]:
        """Go on from the first page."""
        self._loading.memory.heed(connection)
        if self._known.version and self._server != connection.server_began:
            # What was remembered is more than this server may have.
            self._known = Known(self._decider.initial, 0, 0)
            rows = await self._page(connection)
        events = await self._events(connection, rows)
        while await self._add(connection, events) >= PAGE:
            events = await self._events(connection, await self._page(connection))
        if self._up_to == _NEWEST:
            await self._keep(connection)
        return Loaded(self._known.state, self._known.version, self._stream)

    async def _page(self, connection: Connection) -> Sequence[Row]:
        return await (await connection.execute(self.query, self.parameters)).fetchall()

    async def _events(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Row]:
        """What is to be folded of a page. A snapshot stands before the events, and in place of those up to its version."""
        if not rows or rows[0][1] is not None or self._form is None:
            return rows
        version, _, _, text = rows[0]
        try:
            self._known = Known(self._form.load(text), version, version)
        except ValueError:
            _logger.warning("a snapshot of %r cannot be read and is left aside", self._stream.aggregate_type)
            self._form = None
            return await self._page(connection)
        return rows[1:]

    async def _add(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Fold a page's events; their number."""
        state, version, snapshot_version = self._known
        if rows and rows[-1][0] != version + len(rows):
            await raise_missing(connection, self._stream, version)
        data = await self._loading.vault.opened(connection, [row[1] for row in rows], [row[3] for row in rows])
        for (version, event_type, schema_version, _), text in zip(rows, data, strict=True):
            try:
                event = decode_event(self._decider.readers, event_type, schema_version, text)
            except UndecodableEvent as error:
                raise error.at(self._stream, version) from None
            state = self._decider.evolve(state, event)
        self._known = Known(state, version, snapshot_version)
        return len(rows)

    async def _keep(self, connection: Connection) -> None:
        """For the next load: in memory, and as a snapshot when the last one has fallen behind."""
        if holds_personal_data(self._decider):
            return
        state, version, snapshot_version = self._known
        if self._form and version - snapshot_version >= self._loading.snapshot_every:
            await keep_snapshot(connection, self._form, self._stream, version, state)
            self._known = Known(state, version, version)
        if version and self._loading.memory.server == connection.server_began:
            self._loading.memory.keep(self._decider, self._stream.aggregate_id, self._known)
