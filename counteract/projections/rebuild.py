"""Rebuilds: a projection's table is filled anew beside the live one, and takes its place in one step.

The new table has a schema and a subscription of its own, and so a checkpoint: a rebuild that is interrupted goes on
where it was. Several processes may share the work until it is nearly done. Meanwhile the live table is read, and kept
up to date as before. At the end the live subscription is held up for the moment that the new one takes to reach its
position; then tables and checkpoints change places in one transaction. A process that runs the projection notices that
its epoch has passed, and goes on with the new table.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, cast

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from counteract.errors import ConfigurationError, CounteractError, ProjectionBehind, StoreError
from counteract.projections.dependents import others_on, views_made_anew
from counteract.projections.grants import Rights
from counteract.projections.identifiers import plain, quoted
from counteract.projections.inline import is_inline, keep_inline, leave_inline
from counteract.projections.projection import Projection
from counteract.projections.renamed_events import refuse_renamed
from counteract.projections.runner import BATCH_SIZE, ProjectionSubscriber
from counteract.projections.shadow import begin, check_begun, discard, locked, remark_of, shadow_of
from counteract.projections.sinks.sink import Sink
from counteract.projections.table import drop_table, is_made_by, own_schema, refuse_elsewhere
from counteract.projections.turn import RebuildRuns, Turn, refuse_running, turn_of
from counteract.projections.views import MaterializedView, drop_view
from counteract.store import KeyWrapper, PostgresEventStore
from counteract.store.postgres.connect import Connection, async_engine, connect
from counteract.store.postgres.driver_errors import translated
from counteract.store.postgres.names import StoreName
from counteract.subscriptions import Subscription, position_of, reached

_logger = logging.getLogger("counteract.projections")

_CLOSE = 500
"""The number of events behind the live table from which on that one is held up until the new one has caught up."""
_HOLD_SECONDS = 20.0

_LOCK = text(
    "select coalesce(max(position), 0) from (select position from subscriptions where name = :name for update) locked"
)
# A member without a shard, or with one that is paused, counts too: it would go on, and make the table that it misses.
_OWNED = text("""
    select exists (
        select from subscriptions
        where name = :name and leased_until >= clock_timestamp() and exists (select from pg_stat_activity where pid = owner_pid)
    ) or exists (select from subscription_members where name = :name and alive_until >= clock_timestamp())
""")
_TAKE_OVER = text("update subscriptions set position = :position, epoch = epoch + 1 where name = :name")
# For a projection that has never been live.
_BEGIN = text("""
    insert into subscriptions (name, position)
    select :name, :position where not exists (select from subscriptions where name = :name)
""")
_LOCK_TIMEOUT = text("select set_config('lock_timeout', :timeout, true)")
_END = text("delete from subscriptions where name = :name")
_UNPARK = text("delete from parked_events where subscription = :name")
# The events come anew, and what somebody has decided about them still holds.
_KEEP_DISCARDED = text("""
    insert into parked_events (subscription, position, aggregate_type, aggregate_id, error, parked_at, discarded_at, discarded_why)
    select :shadow, position, aggregate_type, aggregate_id, error, parked_at, discarded_at, discarded_why
    from parked_events where subscription = :name and discarded_at is not null
    on conflict (subscription, position) do update
    set redrive = false, discarded_at = excluded.discarded_at, discarded_why = excluded.discarded_why
""")
_REMARK = "comment on table {} is '{}'"
_STILL_SHOWN = (
    "projection %r: somebody was forgotten while its rebuild went on, and may still show in its rows: "
    "`counteract projections rebuild %s` once more"
)
_PARKED = text("select count(*) from parked_events where subscription = :name and discarded_at is null")
_INHERIT = text("update parked_events set subscription = :name where subscription = :shadow")


class ProjectionRuns(CounteractError):
    """Another process runs the projection: stop that first."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a rebuild, in positions of the log."""

    position: int
    end: int


async def rebuild(
    url: str,
    projection: Projection,
    *,
    shards: int = 1,
    helpers: AbstractAsyncContextManager[object] | None = None,
    batch_size: int = BATCH_SIZE,
    master_key: KeyWrapper | None = None,
    lock_timeout: float = 10.0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Fill a projection's table anew, until the new one is live. Interrupted, it goes on from there when it is called
    again.

    With several `shards` other processes `take_part`, each in as many: `helpers` starts them, and ends them once the
    new table is nearly there. `lock_timeout` is how many seconds readers of the live table may keep it, while others
    wait behind it: StoreUnavailable is raised where they keep it longer. Raises RebuildRuns where another process
    rebuilds it, RebuildVoid where its checkpoint was removed (events came back from an archive, or were lost),
    ProjectionBehind where the new table cannot catch up with the live one, and ConfigurationError.
    """
    projection.check()
    if projection.sink:
        problem = (
            f"its rows are in {projection.sink}: give the new code a second name and place, and change the readers over when "
            f"it is there; or stop it and `counteract projections drop {projection.name}`, and it is filled anew"
        )
        raise ConfigurationError(f"projection {projection.name!r} has no rebuild", [problem])
    _check_shards(projection, shards)
    shadow = shadow_of(projection, await _store_name(url))
    filling = partial(_filling, url, shadow, batch_size=batch_size, master_key=master_key)
    async with turn_of(url, projection.name) as turn, PostgresEventStore.open(url, pool_size=2) as store:
        remark = await _prepare(url, projection, shadow, shards)
        if shards > 1:
            async with helpers or nullcontext(), _running(filling(shards=shards)) as running:
                await _nearly_there(store, shadow, turn, running, progress)
        async with _running(filling()) as running:
            end = await _nearly_there(store, shadow, turn, running, progress)
            await _caught_up(store, shadow, end)
            await turn.check()
            await _switch(url, store, projection, shadow, lock_timeout)
            progress(Progress(end, end))
        if await _remark_now(url, shadow) != remark:
            _logger.warning(_STILL_SHOWN, projection.name, projection.name)


async def take_part(
    url: str, projection: Projection, shards: int, *, batch_size: int = BATCH_SIZE, master_key: KeyWrapper | None = None
) -> NoReturn:
    """Take part in a rebuild that another process has begun, until this task is cancelled. Raises
    ConfigurationError.
    """
    _check_shards(projection, shards)
    shadow = shadow_of(projection, await _store_name(url))
    await _filling(url, shadow, shards=shards, batch_size=batch_size, master_key=master_key).run()


def _filling(
    url: str, shadow: Projection, *, shards: int = 1, batch_size: int, master_key: KeyWrapper | None
) -> Subscription:
    """A subscription that fills the new table, and neither makes it anew nor begins.

    Other code may have begun anew meanwhile, and what this one has filled may no longer count.
    """
    subscriber = ProjectionSubscriber(shadow)
    return Subscription(url, subscriber, shards=shards, batch_size=batch_size, master_key=master_key, begins=False)


async def _store_name(url: str) -> StoreName:
    with translated():
        async with await connect(url) as connection:
            return connection.store


def _check_shards(projection: Projection, shards: int) -> None:
    if not 1 <= shards <= projection.shards:
        problem = f"{shards} processes cannot share it: it has shards={projection.shards}"
        raise ConfigurationError(f"projection {projection.name!r}", [problem])


async def _nearly_there(
    store: PostgresEventStore,
    shadow: Projection,
    turn: Turn,
    running: asyncio.Task[None],
    progress: Callable[[Progress], None],
) -> int:
    """The end of the log, once the new table is close to it."""
    end = await store.high_water_mark()
    while (position := await position_of(store, shadow.name)) < end - _CLOSE:
        progress(Progress(position, end))
        await asyncio.wait([running], timeout=0.2)
        if running.done():
            await running
        await turn.check()
        await check_begun(store, shadow)
        end = await store.high_water_mark()
    return end


async def _caught_up(store: PostgresEventStore, shadow: Projection, position: int) -> None:
    try:
        await reached(store, shadow.name, position, timeout=_HOLD_SECONDS)
    except ProjectionBehind:
        await check_begun(store, shadow)
        raise


async def _prepare(url: str, projection: Projection, shadow: Projection, shards: int) -> str:
    """Make the new table ready; the remark on it."""
    with translated():
        async with async_engine(url, directly_for="a rebuild", poolclass=NullPool).begin() as connection:
            await connection.run_sync(refuse_elsewhere, projection.name, projection.table.name)
            await refuse_renamed(connection, projection)
            await _refuse_dependents(connection, projection)
            remark = await begin(connection, shadow, shards)
            await connection.execute(_KEEP_DISCARDED, {"name": projection.name, "shadow": shadow.name})
            return remark


async def _refuse_dependents(connection: AsyncConnection, live: Projection) -> None:
    """Raise ConfigurationError for objects on the live table, before the new one is filled for hours."""
    name = quoted(await connection.run_sync(own_schema), live.table.name)
    if found := await connection.run_sync(partial(others_on, table=name, beside_ours=True)):
        problem = (
            f"a rebuild puts another table in its place, and {', '.join(found)} depends on that of now: drop that, rebuild, "
            "and make it again"
        )
        raise ConfigurationError(f"projection {live.name!r} cannot be rebuilt", [problem])


async def _remark_now(url: str, shadow: Projection) -> str:
    with translated():
        async with async_engine(url, poolclass=NullPool).connect() as connection:
            return await remark_of(connection, shadow)


@asynccontextmanager
async def _running(subscription: Subscription) -> AsyncIterator[asyncio.Task[None]]:
    task: asyncio.Task[None] = asyncio.create_task(subscription.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _switch(
    url: str, store: PostgresEventStore, live: Projection, shadow: Projection, lock_timeout: float
) -> None:
    engine = async_engine(url, directly_for="a rebuild", poolclass=NullPool)
    with translated():
        async with engine.begin() as connection:
            position = await _held_up(connection, store, live)
            await _caught_up(store, shadow, position)
            # Locked as well, and no batch of it is under way any more: what it has done is committed.
            position = await locked(connection, shadow)
            await _refuse_overtaken(connection, live, shadow)
            await connection.execute(_LOCK_TIMEOUT, {"timeout": f"{lock_timeout:.3f}s"})
            await _exchange(connection, live, shadow)
            await connection.execute(_KEEP_DISCARDED, {"name": live.name, "shadow": shadow.name})
            await connection.execute(_UNPARK, {"name": live.name})
            if live.is_inline:
                await _refuse_parked(connection, live, shadow)
                await connection.execute(_END, {"name": live.name})
            else:
                await connection.execute(_TAKE_OVER, {"name": live.name, "position": position})
                await connection.execute(_BEGIN, {"name": live.name, "position": position})
            await connection.execute(_INHERIT, {"name": live.name, "shadow": shadow.name})
            await connection.execute(_END, {"name": shadow.name})


async def _held_up(connection: AsyncConnection, store: PostgresEventStore, live: Projection) -> int:
    """The position of the live table, which stays there until the transaction ends."""
    if not live.is_inline and not await is_inline(connection, live.name):
        return int((await connection.execute(_LOCK, {"name": live.name})).scalar_one())
    if live.is_inline:
        await keep_inline(connection, live.inlined())
    else:
        await leave_inline(connection, live.name)
    return await store.high_water_mark()


async def _refuse_overtaken(connection: AsyncConnection, live: Projection, shadow: Projection) -> None:
    """Raise RebuildRuns where other code has begun anew. The checkpoint is locked, without which no process makes the
    table.
    """
    if not await is_made_by(connection, shadow):
        raise RebuildRuns(
            f"{live.name!r}: while this rebuild was cut off from the database, another, by other code, has begun anew or is done. "
            "Run this again if its code is the one that is to be live"
        )


async def _refuse_parked(connection: AsyncConnection, live: Projection, shadow: Projection) -> None:
    parked = (await connection.execute(_PARKED, {"name": shadow.name})).scalar_one()
    if parked:
        problem = (
            f"{parked} events cannot be handled: see `counteract parked show '{shadow.name}'`, and correct the code"
        )
        raise ConfigurationError(f"inline projection {live.name!r}", [problem])


async def _exchange(connection: AsyncConnection, live: Projection, shadow: Projection) -> None:
    def exchange(connection: SyncConnection) -> None:
        schema = own_schema(connection)
        name = quoted(schema, live.table.name)
        filled = quoted(shadow.table.schema or "", shadow.table.name)
        rights = Rights(connection, name, shadow.table.columns.keys())
        with views_made_anew(connection, name):
            connection.exec_driver_sql(plain(f"drop table if exists {name}"))
            connection.exec_driver_sql(plain(f"alter table {filled} set schema {quoted(schema)}"))
            # The fingerprint of the code alone, which is all that the release before knows of.
            connection.exec_driver_sql(_REMARK.format(plain(name), live.fingerprint))
            rights.give(connection)

    await connection.run_sync(exchange)


async def drop(url: str, projection: Projection | MaterializedView) -> None:
    """Remove the rows, what is left of a rebuild, and all that is known of the subscription.

    Raises ProjectionRuns while a process runs it, RebuildRuns, StoreError for objects that depend on the rows, and
    ConfigurationError where the table is another role's.
    """
    with translated():
        async with async_engine(url, poolclass=NullPool).begin() as connection:
            await _refuse_owned(connection, projection.name)
            if not _sink_of(projection):
                await connection.run_sync(refuse_elsewhere, projection.name, projection.table.name)
            if isinstance(projection, Projection):
                await _discard_shadow(connection, projection)
            if await is_inline(connection, projection.name):
                await leave_inline(connection, projection.name)
            await connection.execute(_END, {"name": projection.name})
            await connection.execute(_UNPARK, {"name": projection.name})
            if sink := _sink_of(projection):
                await _erase(sink)
            else:
                await _drop_rows(connection, projection)


def _sink_of(projection: Projection | MaterializedView) -> Sink | None:
    return projection.sink if isinstance(projection, Projection) else None


async def _drop_rows(connection: AsyncConnection, projection: Projection | MaterializedView) -> None:
    name = quoted(await connection.run_sync(own_schema), projection.table.name)
    if found := await connection.run_sync(partial(others_on, table=name, beside_ours=False)):
        raise StoreError(f"{', '.join(found)} depends on the rows of {projection.name!r}: drop that first")
    if isinstance(projection, MaterializedView):
        await drop_view(connection, projection)
    else:
        await connection.run_sync(drop_table, projection.table)


async def drop_rebuild(url: str, projection: Projection) -> None:
    """Remove what is left of a rebuild that was interrupted. Raises as `drop`."""
    with translated():
        async with async_engine(url, poolclass=NullPool).begin() as connection:
            await _discard_shadow(connection, projection)


async def _discard_shadow(connection: AsyncConnection, projection: Projection) -> None:
    own = cast(Connection, (await connection.get_raw_connection()).driver_connection)
    await refuse_running(own, projection.name)
    shadow = shadow_of(projection, own.store)
    await _refuse_owned(connection, shadow.name)
    await discard(connection, shadow)


async def _refuse_owned(connection: AsyncConnection, name: str) -> None:
    if (await connection.execute(_OWNED, {"name": name})).scalar_one():
        raise ProjectionRuns(
            f"a process runs {name!r}: stop it first, for it would make the table anew; one that was killed is forgotten in ten seconds"
        )


async def _erase(sink: Sink) -> None:
    try:
        await sink.erase()
    finally:
        await sink.close()
