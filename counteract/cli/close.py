"""`counteract sagas close`."""

from __future__ import annotations

import asyncio
import getpass
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counteract.cli.events import DatabaseUrl
from counteract.cli.output import say
from counteract.cli.temporal import Address, Namespace, WorkflowId, connected, described, recovery_of, told
from counteract.errors import CounteractError

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from temporalio.client import Client

_CLOSE = "select state, is_closed from close_saga(%s, %s, %s, %s)"
# A workflow id may have been used more than once: one without an end comes first, and then one with an effect that
# came late.
_RUNS = """
    select s.run_id from sagas s where s.saga_id = %s and (s.namespace is null or s.namespace = %s)
    order by s.state in ('completed', 'compensated', 'never'), not exists (
        select from commands c where c.saga_id = s.saga_id collate "default" and c.run_id = s.run_id and c.late_since is not null
    ), s.began_at desc
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

    Recovery and `counteract sagas resume` leave it alone from then on, effects of it that came late included. Nothing
    is undone, and nothing is sent.
    """
    asyncio.run(_close(workflow_id, who or getpass.getuser(), why, database_url, (address, namespace)))


async def close(connection: AsyncConnection[Any], saga_id: str, run_id: str, who: str, why: str) -> tuple[str, bool]:
    """Close the saga's record. Returns the state that stands, and whether it is this call that closed it.

    Raises CannotClose where the record is gone.
    """
    row = await (await connection.execute(_CLOSE, (saga_id, run_id, who, why))).fetchone()
    if row is None:
        raise CannotClose(f"the record of {saga_id} is gone: `counteract sagas list` shows which sagas are known")
    return row[0], row[1]


async def _close(saga_id: str, who: str, why: str, url: str, on: tuple[str | None, str | None]) -> None:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated

    client = await connected(*on)
    async with told():
        running = await _running(client, saga_id)
    with translated():
        async with await connect(url) as connection:
            run_id = await _recorded_run(connection, saga_id, client.namespace, running)
            async with told():
                await _refuse_while_recovered(client, saga_id, run_id)
            state, is_closed = await close(connection, saga_id, run_id, who, why)
    if is_closed:
        say(f"{saga_id} is closed as {state}, by {who}: {why}")
    else:
        say(f"{saga_id} had ended already, as {state}: nothing was changed")


async def _running(client: Client, saga_id: str) -> str | None:
    """The first run of the workflow, while it is open."""
    from temporalio.client import WorkflowExecutionStatus

    found = await described(client, saga_id)
    return found.raw_info.first_run_id if found and found.status is WorkflowExecutionStatus.RUNNING else None


async def _refuse_while_recovered(client: Client, saga_id: str, run_id: str) -> None:
    """Raise CannotClose while the saga is being recovered.

    Recovery would go on to undo what is left, whatever the record says by then: a person may just have done that by
    hand.
    """
    from temporalio.client import WorkflowExecutionStatus

    recovery = await recovery_of(client, saga_id, run_id)
    if recovery and recovery.status is WorkflowExecutionStatus.RUNNING:
        its_id = shlex.quote(recovery.id)
        raise CannotClose(
            f"{saga_id} is being recovered: `counteract sagas show {its_id}` shows how far, and a stuck step is decided about with "
            f"`counteract sagas resolve {its_id}`; or end it first with `temporal workflow terminate --workflow-id {its_id}`"
        )


async def _recorded_run(connection: AsyncConnection[Any], saga_id: str, namespace: str, running: str | None) -> str:
    """The run of the saga that is to be closed, as its record has it. Raises CannotClose."""
    runs = [run_id for (run_id,) in await (await connection.execute(_RUNS, (saga_id, namespace))).fetchall()]
    if running and (running not in runs or runs[0] == running):
        raise CannotClose(
            f"{saga_id} is still running: decide about a stuck step with `counteract sagas resolve`, "
            f"or end it first with `temporal workflow terminate --workflow-id {saga_id}`"
        )
    if not runs:
        raise CannotClose(f"the store has no record of a saga {saga_id}: `counteract sagas list` shows which are known")
    return str(runs[0])
