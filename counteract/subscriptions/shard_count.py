"""The number of shards of a subscription: made before its first event, and changed to another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from counteract.errors import ConfigurationError
from counteract.store.postgres.connect import Connection
from counteract.subscriptions.lease import Lease
from counteract.subscriptions.membership import FREE

_COUNT = """
    select count(*), exists (select from inline_projections where name = %(name)s) from subscriptions where name = %(name)s
"""
_ALL_FREE = f"""
    select shard, position, epoch, (select count(*) from subscriptions where name = %(name)s)
    from subscriptions where name = %(name)s and (owner = %(owner)s or {FREE})
    for update skip locked
"""  # noqa: S608 - a constant
# Whoever has made the first makes the others: two that begin at once in different numbers would add to each other's.
_CREATE = """
    with first as (
        insert into subscriptions (name, shard, position, epoch)
        select %(name)s, 0, %(position)s, %(epoch)s
        where not exists (select from subscriptions where name = %(name)s)
          and not exists (select from inline_projections where name = %(name)s)
        on conflict do nothing
        returning name, position, epoch
    )
    insert into subscriptions (name, shard, position, epoch)
    select name, shard, position, epoch from first cross join generate_series(1, %(shards)s - 1) shard
"""
_BOUND = "update subscriptions set within_seconds = %s where name = %s"
_REMOVE = "delete from subscriptions where name = %s"
_KEEP = """
    update subscriptions
    set owner = %s, owner_pid = pg_backend_pid(), epoch = epoch + 1, leased_until = clock_timestamp() + %s * interval '1 second'
    where name = %s
    returning shard, position, epoch
"""


async def set_up(connection: Connection, name: str, shards: int, *, begins: bool = True) -> int:
    """Make the shards before the first event, unless there are any. Returns how many there are.

    Without `begins` none are made, and there may be none.
    Raises ConfigurationError where it is inline: a position that nobody moves would hold up whoever goes by it.
    """
    if begins:
        await connection.execute(_CREATE, {"name": name, "position": 0, "epoch": 0, "shards": shards})
    count, is_inline = await (await connection.execute(_COUNT, {"name": name})).fetchone() or (0, False)
    if is_inline:
        problem = f"it is kept by whoever appends: `counteract projections rebuild {name}` makes it what it is here"
        raise ConfigurationError(f"subscription {name!r}", [problem])
    return int(count)


async def declare(connection: Connection, name: str, within: timedelta | None) -> None:
    """Put on record how far behind the subscription may be; None for no bound."""
    await connection.execute(_BOUND, (within and within.total_seconds(), name))


async def resharded(
    connection: Connection, name: str, shards: int, owner: UUID, seconds: float
) -> Sequence[Lease] | None:
    """Change the number of shards, once all of them are free and at the same position.

    Returns an empty sequence when it is done; where they are at different positions their leases, to bring them to the
    same; None while another process has one, or there are none.
    """
    async with connection.transaction():
        # Counted in the statement that locks them: meanwhile others may have made another number.
        rows = await (await connection.execute(_ALL_FREE, {"name": name, "owner": owner})).fetchall()
        before = rows[0][3] if rows else 0
        if not rows or len(rows) < before:
            return None
        if len({position for _, position, *_ in rows}) == 1:
            await connection.execute(_REMOVE, (name,))
            values = {"position": rows[0][1], "epoch": max(epoch for _, _, epoch, _ in rows) + 1}
            await connection.execute(_CREATE, {"name": name, "shards": shards} | values)
            return ()
        kept = await (await connection.execute(_KEEP, (owner, seconds, name))).fetchall()
        return [Lease(name, shard, before, position, epoch, owner, seconds) for shard, position, epoch in kept]
