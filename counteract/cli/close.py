"""`counteract sagas close`."""

from __future__ import annotations

import asyncio
import getpass
import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counteract.cli.events import DatabaseUrl
from counteract.cli.output import say
from counteract.cli.temporal import Address, Namespace, WorkflowId, connected, described, recovery_of, told
from counteract.errors import CounteractError

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from temporalio.client import Client, WorkflowExecutionDescription

_CLOSE = "select state, is_closed from close_saga_as(%s, %s, %s, %s, %s)"
# A workflow id may have been used more than once: one without an end comes first, and then one with an effect that
# came late.
_RUNS = """
    select s.run_id, s.state from sagas s where s.saga_id = %s and (s.namespace is null or s.namespace = %s)
    order by s.state in ('completed', 'compensated', 'never'), not exists (
        select from commands c where c.saga_id = s.saga_id collate "default" and c.run_id = s.run_id and c.late_since is not null
    ), s.began_at desc
"""


class Ending(StrEnum):
    """What is true of a saga that a person has finished."""

    COMPLETED = "completed"
    COMPENSATED = "compensated"


class CannotClose(CounteractError):
    """The saga is not one that a person can have finished: what there is to do instead stands in the message."""


def close_(
    workflow_id: WorkflowId,
    why: Annotated[str, typer.Option(help="How it was finished. Recorded.")],
    database_url: DatabaseUrl,
    who: Annotated[str | None, typer.Option(help="Recorded; by default the user's name.")] = None,
    as_: Annotated[
        Ending | None,
        typer.Option(
            "--as",
            help="What is true of it: all of it is done, or nothing of it is left. By default as its workflow ended.",
        ),
    ] = None,
    address: Address = None,
    namespace: Namespace = None,
) -> None:
    """Put on record that a person has finished a saga by hand, whose workflow has ended without doing so.

    Recovery and `counteract sagas resume` leave it alone from then on, effects of it that came late included. Nothing
    is undone, and nothing is sent.
    """
    said = as_.value if as_ else None
    asyncio.run(_close(workflow_id, who or getpass.getuser(), why, said, database_url, (address, namespace)))


async def close(
    connection: AsyncConnection[Any], saga_id: str, run_id: str, who: str, why: str, ending: str | None = None
) -> tuple[str, bool]:
    """The state that stands, and whether it is this call that closed the saga. `ending` is `completed` or `compensated`; by
    default it is what the record makes likely.
    """
    row = await (await connection.execute(_CLOSE, (saga_id, run_id, who, why, ending))).fetchone()
    if row is None:
        raise CannotClose(f"the record of {saga_id} is gone: `counteract sagas list` shows which sagas are known")
    return row[0], row[1]


async def _close(
    saga_id: str, who: str, why: str, ending: str | None, url: str, on: tuple[str | None, str | None]
) -> None:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated

    client = await connected(*on)
    async with told():
        last = await described(client, saga_id)
    with translated():
        async with await connect(url) as connection:
            run_id, state = await _recorded_run(connection, saga_id, client.namespace, _running(last))
            async with told():
                await _refuse_while_recovered(client, saga_id, run_id)
                has_completed = await _has_completed(client, saga_id, run_id)
            ending = ending_of(saga_id, state, ending, has_completed=has_completed)
            state, is_closed = await close(connection, saga_id, run_id, who, why, ending)
    if is_closed:
        say(f"{saga_id} is closed as {state}, by {who}: {why}")
    else:
        say(f"{saga_id} had ended already, as {state}: nothing was changed")


def ending_of(saga_id: str, state: str, said: str | None, *, has_completed: bool) -> str | None:
    """How a saga in this state is to end, by what the person says or by how its workflow ended. Raises CannotClose."""
    if state == "past the pivot" and said == Ending.COMPENSATED:
        raise CannotClose(
            f"{saga_id} is past its pivot, which took effect for good: it can only be closed as completed"
        )
    if said is None and has_completed and state != "turning back":
        return Ending.COMPLETED.value
    if said is None and state == "at the pivot":
        raise CannotClose(
            f"{saga_id} is at its pivot, of which it is not known whether it happened: see what is true, finish it, and say so "
            "with --as completed or --as compensated"
        )
    return said


async def _has_completed(client: Client, saga_id: str, run_id: str) -> bool:
    """Whether the last run of the saga's workflow came to its end, and showed it as completed."""
    from temporalio.client import WorkflowExecutionStatus

    from counteract.participants.recovery import last_run_of
    from counteract.saga.report import SAGA_STATUS, SagaStatus

    last = await last_run_of(client, saga_id, run_id)
    if last is None or last.status is not WorkflowExecutionStatus.COMPLETED:
        return False
    return last.typed_search_attributes.get(SAGA_STATUS) in (None, SagaStatus.COMPLETED)


def _running(last: WorkflowExecutionDescription | None) -> str | None:
    """The first run of the workflow, while it is open."""
    from temporalio.client import WorkflowExecutionStatus

    return last.raw_info.first_run_id if last and last.status is WorkflowExecutionStatus.RUNNING else None


async def _refuse_while_recovered(client: Client, saga_id: str, run_id: str) -> None:
    """What it has yet to undo it would undo, whatever the record says by then: a person may just have done that by
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


async def _recorded_run(
    connection: AsyncConnection[Any], saga_id: str, namespace: str, running: str | None
) -> tuple[str, str]:
    """The saga's run that is to be closed, as its record has it, and that record's state. Raises CannotClose."""
    runs = await (await connection.execute(_RUNS, (saga_id, namespace))).fetchall()
    if running and (running not in dict(runs) or runs[0][0] == running):
        raise CannotClose(
            f"{saga_id} is still running: decide about a stuck step with `counteract sagas resolve`, "
            f"or end it first with `temporal workflow terminate --workflow-id {saga_id}`"
        )
    if not runs:
        raise CannotClose(f"the store has no record of a saga {saga_id}: `counteract sagas list` shows which are known")
    run_id, state = runs[0]
    return run_id, state
