"""Finds lost sagas of which the store has no record: by the server's list of workflows, for there is no other place."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta

from temporalio import activity
from temporalio.client import Client, WorkflowExecution

from counteract.lifecycle import Lost, Page
from counteract.observability import count_looked_at
from counteract.participants.recovery import described, last_run_of
from counteract.store import PostgresEventStore

PAGE = 200
"""The most workflows of one page."""
_SKEW = timedelta(minutes=1)
"""The most by which the clocks of the server and the database may differ."""
# A workflow that was terminated, timed out or failed shows the status that its saga had.
_CLOSED = (
    "StartTime >= '{since}' and SagaStatus in ('RUNNING', 'COMPENSATING', 'STUCK') "
    "and ExecutionStatus in ('Terminated', 'TimedOut', 'Failed', 'Canceled') "
    "and WorkflowType not in ('RecoverLostSaga', 'RecoverSaga')"
)
_ON_RECORD = """
    select g.saga_id, g.run_id from unnest(%(sagas)s::text[], %(runs)s::text[]) as g (saga_id, run_id)
    join sagas s on s.saga_id = g.saga_id and s.run_id = g.run_id
"""


async def without_record(client: Client, store: PostgresEventStore, restored_to: str, token: str | None) -> Page:
    """The next page of the sagas that began after `restored_to` (ISO), came to no end, and are not on record.

    `token` comes from the page before.
    """
    since = (datetime.fromisoformat(restored_to) - _SKEW).isoformat()
    listed = client.list_workflows(
        _CLOSED.format(since=since),
        page_size=PAGE,
        next_page_token=base64.b64decode(token) if token else None,
    )
    await listed.fetch_next_page()
    found = listed.current_page or []
    count_looked_at(len(found))
    lost = [each for each in [await _lost(client, each) for each in found] if each is not None]
    known = await _on_record(store, lost)
    return Page(
        lost=tuple(each for each in lost if (each.saga_id, each.run_id) not in known),
        after=(base64.b64encode(listed.next_page_token).decode(), "", "") if listed.next_page_token else None,
    )


async def _lost(client: Client, workflow: WorkflowExecution) -> Lost | None:
    """The lost saga of a workflow, as its first run began it; None where another run followed, as after a reset."""
    if activity.in_activity():
        activity.heartbeat()
    own = await described(client, workflow.id, workflow.run_id)
    last = await last_run_of(client, workflow.id, own.raw_info.first_run_id) if own is not None else None
    if own is None or own.status is None or last is None or last.run_id != workflow.run_id:
        return None
    return Lost(
        saga_id=workflow.id,
        saga_type=workflow.workflow_type,
        run_id=own.raw_info.first_run_id,
        state="forward",
        how=own.status.name.lower().replace("_", " "),
        epoch=1,
        is_without_record=True,
    )


async def _on_record(store: PostgresEventStore, sagas: Sequence[Lost]) -> set[tuple[str, str]]:
    about = {"sagas": [each.saga_id for each in sagas], "runs": [each.run_id for each in sagas]}
    async with store.connection() as connection:
        return set(await (await connection.execute(_ON_RECORD, about)).fetchall())
