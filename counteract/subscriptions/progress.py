"""The progress of a subscription, by what the database says, and the wait until it has come as far as a position."""

from __future__ import annotations

import asyncio
from time import monotonic

from counteract.errors import ProjectionBehind
from counteract.store import PostgresEventStore
from counteract.subscriptions.backoff import Backoff

# What is inline has come as far as whatever was appended, also where a process of the release before has begun a
# subscription to it.
_POSITION = """
    select coalesce((select %(wanted)s from inline_projections where name = %(name)s),
                    (select min(position) from subscriptions where name = %(name)s), 0)
"""


async def reached(
    store: PostgresEventStore,
    name: str,
    position: int,
    *,
    timeout: float,  # noqa: ASYNC109 - the error says how far it came
) -> None:
    """Return once the named subscription has applied every event up to `position`, whichever process runs it.

    Raises ProjectionBehind after `timeout` seconds.
    """
    pauses = Backoff(shortest=0.002, longest=0.05)
    deadline = monotonic() + timeout
    while (current := await position_of(store, name, wanted=position)) < position:
        if monotonic() > deadline:
            raise ProjectionBehind(name, position=current, wanted=position)
        await asyncio.sleep(pauses.next())


async def position_of(store: PostgresEventStore, name: str, *, wanted: int = 0) -> int:
    """The last position that the subscription is done with; 0 before its first event, `wanted` for what is inline."""
    async with store.connection() as connection:
        row = await (await connection.execute(_POSITION, {"name": name, "wanted": wanted})).fetchone()
    return int(row[0]) if row else 0
