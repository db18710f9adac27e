"""Finds the sagas that nobody carries on: a record without an end, and no open workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from counteract.lifecycle import Found, LateEffect, Lost, Page
from counteract.observability import count_looked_at
from counteract.store import PostgresEventStore

PAGE = 200
"""Records that one look brings: each is asked about at the server."""
LATE_PAGE = 500
_AT_ONCE = 20

OPEN_SAGAS = """
    select s.saga_id, s.saga_type, s.run_id, s.state, s.began_at::text, s.epoch, split_part(s.last_run, ' ', 1)
    from sagas s
    where s.state not in ('completed', 'compensated', 'never')
      and (s.namespace is null or s.namespace = %s)
      and (%s::text is null or (s.began_at, s.saga_id, s.run_id) > (%s::timestamptz, %s, %s))
    order by s.began_at, s.saga_id, s.run_id
    limit %s
"""
_ENDED = "select saga_id, run_id from heed_ends(%s::text[], %s::text[])"
# Half a minute: who has just marked it is about to undo it.
_LATE = """
    select c.saga_id, c.saga_type, c.run_id, c.step, c.command_id, c.activity_type, c.task_queue, c.late_since::text
    from commands c left join sagas s on s.saga_id = c.saga_id and s.run_id = c.run_id
    where c.late_since < clock_timestamp() - interval '30 seconds' and c.run_id is not null
      and (s.namespace is null or s.namespace = %s)
      and (%s::text is null or (c.late_since, c.command_id) > (%s::timestamptz, %s))
    order by c.late_since, c.command_id
    limit %s
"""
_STATUS = SearchAttributeKey.for_keyword("SagaStatus")
_OPEN_STATES = (None, WorkflowExecutionStatus.RUNNING)
FORGOTTEN = "forgotten by the server"


async def lost_page(
    client: Client, store: PostgresEventStore, after: Sequence[str] | None, *, include_forgotten: bool
) -> Page:
    """The next records without an end, each held against its workflow. One that cannot be judged harms no other."""
    async with store.connection() as connection:
        cursor = tuple(after or (None, None, None))
        rows = await (await connection.execute(OPEN_SAGAS, (client.namespace, cursor[0], *cursor, PAGE))).fetchall()
    count_looked_at(len(rows))
    gate = asyncio.Semaphore(_AT_ONCE)

    async def judged(row: Sequence[Any]) -> Lost | Found | None:
        async with gate:
            if activity.in_activity():
                activity.heartbeat()
            return await _judged(client, row, include_forgotten)

    looked = [each for each in await asyncio.gather(*map(judged, rows)) if each is not None]
    # What ended while it was looked at is neither lost nor left.
    ended = await _ended(store, [(each.saga_id, each.run_id) for each in looked])
    looked = [each for each in looked if (each.saga_id, each.run_id) not in ended]
    return Page(
        lost=tuple(each for each in looked if isinstance(each, Lost)),
        left=tuple(each for each in looked if isinstance(each, Found)),
        after=(rows[-1][4], rows[-1][0], rows[-1][2]) if len(rows) == PAGE else None,
    )


async def _ended(store: PostgresEventStore, sagas: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of them whose record has an end by now; also one that the release before wrote to the log alone."""
    if not sagas:
        return set()
    async with store.connection() as connection:
        ids, runs = map(list, zip(*sagas, strict=True))
        return set(await (await connection.execute(_ENDED, (ids, runs))).fetchall())


async def _judged(client: Client, row: Sequence[Any], include_forgotten: bool) -> Lost | Found | None:
    saga_id, saga_type, run_id, state, _, epoch, taken_up = row

    def left(why: str) -> Found:
        return Found(saga_id=saga_id, run_id=run_id, what="left", why=why)

    try:
        last = await last_run_of(client, saga_id, await _begun_by(client, saga_id, run_id, taken_up))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND and "workflow" not in error.message.lower():
            # A namespace that is not found says nothing about its workflows.
            raise
        return left(f"the server does not say what became of its workflow: {error.message}")
    if last is None:
        how = FORGOTTEN
        if not include_forgotten:
            return left("the server no longer knows its workflow: if it is the right server, --include-forgotten")
    elif last.status in _OPEN_STATES:
        return None
    else:
        how = str(last.status.name if last.status else "").lower().replace("_", " ")
    if how == "completed" and not _has_turned_back(last, state):
        return left(
            "its workflow has completed, and the store has no end on record, which it may have lost: see what is true, then "
            f"`counteract sagas close {saga_id}`"
        )
    return Lost(saga_id=saga_id, saga_type=saga_type, run_id=run_id, state=state, how=how, epoch=epoch)


def _has_turned_back(run: WorkflowExecutionDescription | None, state: str) -> bool:
    """Whether the saga of a completed run is one that its code returned from as if nothing had happened: it was to be undone."""
    shown = run.typed_search_attributes.get(_STATUS) if run else None
    return state == "turning back" or shown in ("COMPENSATING", "COMPENSATED", "STUCK")


async def last_run_of(client: Client, saga_id: str, run_id: str) -> WorkflowExecutionDescription | None:
    """The last of the runs that began with `run_id`; None where the server knows none of them.

    The workflow id may have been used again since: then the chain is followed from run to run.
    """
    found = await described(client, saga_id, None)
    if found is None or found.raw_info.first_run_id == run_id:
        return found
    async for each in client.list_workflows(f"WorkflowId = '{_quoted(saga_id)}'"):
        one = await described(client, saga_id, each.run_id)
        if one is None or one.raw_info.first_run_id != run_id:
            continue
        # Newest first, as the server lists them: a run that another one follows is not the last.
        if one.status is not WorkflowExecutionStatus.CONTINUED_AS_NEW:
            return one
    return None


async def last_run_on_record(
    client: Client, store: PostgresEventStore, saga_id: str, run_id: str
) -> WorkflowExecutionDescription | None:
    """The same, of whichever workflow took up the saga's record last."""
    async with store.connection() as connection:
        rows = await connection.execute(
            "select split_part(last_run, ' ', 1) from sagas where saga_id = %s and run_id = %s", (saga_id, run_id)
        )
        found = await rows.fetchone()
    return await last_run_of(client, saga_id, await _begun_by(client, saga_id, run_id, found[0] if found else run_id))


async def _begun_by(client: Client, saga_id: str, run_id: str, taken_up: str) -> str:
    """The first run of the workflow that carries the saga on. A child that its parent begins anew goes on under the record
    of the one before, whose own runs are over."""
    if taken_up in (run_id, ""):
        return run_id
    taken = await described(client, saga_id, taken_up)
    return taken.raw_info.first_run_id if taken else run_id


async def end_open_run(
    client: Client, store: PostgresEventStore, saga_id: str, run_id: str, *, is_claimed: bool
) -> bool:
    """Whether an open run carries the saga on, as one does that a reset began in between. The run of a claimed saga is ended
    instead.
    """
    last = await last_run_on_record(client, store, saga_id, run_id)
    if last is None or last.status not in _OPEN_STATES:
        return False
    if not is_claimed:
        return True
    try:
        handle = client.get_workflow_handle(saga_id, run_id=last.run_id)
        await handle.terminate("its saga was taken for lost, and is being undone")
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    return False


async def late_effects(
    store: PostgresEventStore, namespace: str, late_since: str | None = None, command_id: UUID | None = None
) -> list[LateEffect]:
    """Effects that came after their undo, and that nobody has undone again: the next ones after these."""
    async with store.connection() as connection:
        where = (namespace, late_since, late_since, command_id, LATE_PAGE)
        rows = await (await connection.execute(_LATE, where)).fetchall()
    names = list(LateEffect.model_fields)
    return [LateEffect(**dict(zip(names, row, strict=True))) for row in rows]


async def described(client: Client, saga_id: str, run_id: str | None) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(saga_id, run_id=run_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or "workflow" not in error.message.lower():
            raise
        return None


def _quoted(workflow_id: str) -> str:
    return workflow_id.replace("\\", "\\\\").replace("'", "\\'")
