"""The check of snapshots against the events that they stand for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from counteract.decider import Decider
from counteract.errors import StreamArchived, StreamIncomplete, UndecodableEvent
from counteract.messages import StreamId
from counteract.store.postgres.archived import raise_if_archived
from counteract.store.postgres.connect import Connection
from counteract.store.postgres.load import Loading, Memory
from counteract.store.postgres.snapshots import SnapshotForm, snapshot_form
from counteract.store.postgres.vault import Vault

_PAGE = 100

# Read in pages by the primary key: no transaction stays open while streams are replayed.
_SNAPSHOTS = """
    select aggregate_id, version, state from snapshots
    where aggregate_type = %(type)s and fingerprint = %(fingerprint)s and (%(after)s::text is null or aggregate_id > %(after)s)
    order by aggregate_id limit %(limit)s
"""


async def replayed_snapshots(
    connection: Connection, deciders: Sequence[Decider[Any, Any]]
) -> AsyncIterator[tuple[StreamId, int, str | None]]:
    """Every snapshot of today's code: its stream, its version, and what is wrong with it, or None.

    Snapshots of other code are never read again, and are left out.
    """
    for decider in deciders:
        if not (form := snapshot_form(decider)):
            continue
        # None comes before every id, the empty one included.
        last: str | None = None
        while rows := await _page(connection, decider, form, last):
            for last, version, state in rows:
                found = await _objection(connection, decider, form, last, version, state)
                yield decider.stream(last), version, found


async def _page(
    connection: Connection, decider: Decider[Any, Any], form: SnapshotForm[Any], after: str | None
) -> Sequence[tuple[str, int, str]]:
    parameters = {"type": decider.aggregate_type, "fingerprint": form.fingerprint, "after": after, "limit": _PAGE}
    return await (await connection.execute(_SNAPSHOTS, parameters)).fetchall()


async def _objection(
    connection: Connection, decider: Decider[Any, Any], form: SnapshotForm[Any], id_: str, version: int, state: str
) -> str | None:
    # Without snapshots, memory or a master key: a decider with personal data has no snapshots.
    loading = Loading(Memory(0), Vault(None), snapshot_every=0)
    try:
        replayed = await loading.begin(decider, id_, up_to=version).run(connection)
        if replayed.version != version:
            await raise_if_archived(connection, decider.stream(id_))
    except (UndecodableEvent, StreamIncomplete):
        # The event itself has been reported already.
        return None
    except StreamArchived:
        # Its events are in an archive, and only loads from the snapshot go on.
        return None
    if replayed.version != version:
        return f"the snapshot is ahead of its stream, which ends with version {replayed.version}: delete the snapshot"
    try:
        kept = form.load(state)
    except ValueError:
        return "the snapshot cannot be read: delete it"
    return None if kept == replayed.state else "the snapshot is not what its events lead to: delete it"
