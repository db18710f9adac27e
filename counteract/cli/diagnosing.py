"""What keeps sagas from going on, as far as the Temporal server knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from counteract.cli.application import declared
from counteract.cli.temporal import connected, sagas_in
from counteract.errors import CounteractError
from counteract.store.findings import Finding, ok, problem, skipped

if TYPE_CHECKING:
    from temporalio.client import Client

ANSWER_LIMIT = timedelta(seconds=10)
# Workers ask anew at least once a minute; the server remembers for five who asked.
FRESH = timedelta(minutes=2)
IN_FLIGHT = "ExecutionStatus = 'Running' AND SagaStatus IS NOT NULL"
_MOST_SAGAS = 1000


async def diagnose(address: str | None, namespace: str | None, task_queues: Sequence[str]) -> AsyncIterator[Finding]:
    """Looks at one thing after the other, and goes on whatever it finds. Changes nothing.

    `task_queues`: those that workers for sagas must listen on, beside those that sagas in flight are on.
    """
    try:
        async with asyncio.timeout(ANSWER_LIMIT.total_seconds()):
            client = await connected(address, namespace)
    except (CounteractError, TimeoutError) as error:
        what = str(error) or f"it did not answer within {ANSWER_LIMIT.seconds} s"
        yield problem("temporal", what.partition(": ")[0], "start it, or give --address or set TEMPORAL_ADDRESS")
        return
    yield await _answered("temporal", lambda: _server(client))
    yield await _answered("search attributes", lambda: _search_attributes(client))
    try:
        queues = await _known_queues(client, task_queues)
    except CounteractError as error:
        yield problem("workers", str(error), "correct [tool.counteract] sagas, or run this beside its pyproject.toml")
        return
    if not queues:
        yield skipped("workers", "no task queue is known", "give --task-queue, or set [tool.counteract] sagas")
    for queue, kind in queues:
        yield await _answered("workers", lambda queue=queue, kind=kind: _pollers(client, queue, kind))
