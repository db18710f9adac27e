"""`counteract sagas close`."""

from __future__ import annotations

import asyncio
import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counteract.cli.events import DatabaseUrl
from counteract.cli.showing import say
from counteract.cli.temporal import Address, Namespace, WorkflowId, connected, told
from counteract.errors import CounteractError

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from temporalio.client import Client

_CLOSE = "select * from close_saga(%s, %s, %s, %s)"
_FIRST_RUN = """
    select event_data ->> 'run_id' from events
    where aggregate_type = 'saga' and aggregate_id = %s and event_type = 'SagaStarted' order by version desc limit 1
"""


class CannotClose(CounteractError):
    """The saga is not one that a person can have finished: what there is to do instead stands in the message."""


def close_(
    workflow_id: WorkflowId,
    why: Annotated[str, typer.Option(help="How it was finished. Recorded.")],
    database_url: DatabaseUrl,
    who: Annotated[str | None, typer.Option(help="Recorded; by default the user's name.")] = None,
    address: Address = None,
    namespace: Namespace = None,
) -> None:
    """Put on record that a person has finished a saga by hand, whose workflow has ended without doing so.

    Recovery and `counteract sagas resume` leave it alone from then on. Nothing is undone, and nothing is sent.
    """
    asyncio.run(_close(workflow_id, who or getpass.getuser(), why, database_url, (address, namespace)))


async def close(connection: AsyncConnection[Any], saga_id: str, run_id: str, who: str, why: str) -> Any:
    """The row that the store answers with."""
    return await (await connection.execute(_CLOSE, (saga_id, run_id, who, why))).fetchone()


async def _close(saga_id: str, who: str, why: str, url: str, on: tuple[str | None, str | None]) -> None:
    from counteract.store.connecting import connect
    from counteract.store.translating import translated

    client = await connected(*on)
    async with told():
        run_id = await _ended_run(client, saga_id)
    with translated():
        async with await connect(url) as connection:
            await close(connection, saga_id, run_id or await _recorded_run(connection, saga_id), who, why)
    say(f"{saga_id} is closed, by {who}: {why}")


async def _ended_run(client: Client, saga_id: str) -> str | None:
    """The first run of the workflow; None where the server has forgotten it. Raises CannotClose while one is open."""
    from temporalio.client import WorkflowExecutionStatus
    from temporalio.service import RPCError, RPCStatusCode

    try:
        description = await client.get_workflow_handle(saga_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    if description.status is WorkflowExecutionStatus.RUNNING:
        raise CannotClose(
            f"{saga_id} is still running: decide about a stuck step with `counteract sagas resolve`, "
            f"or end it first with `temporal workflow terminate --workflow-id {saga_id}`"
        )
    return description.raw_info.first_run_id


async def _recorded_run(connection: AsyncConnection[Any], saga_id: str) -> str:
    found = await (await connection.execute(_FIRST_RUN, (saga_id,))).fetchone()
    if found is None:
        raise CannotClose(
            f"no saga {saga_id} is known, neither to the server nor to the store: `counteract sagas list` shows which are"
        )
    return str(found[0])
