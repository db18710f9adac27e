"""`counteract replay`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counteract.cli.client import own_client
from counteract.cli.output import say, say_lines
from counteract.cli.temporal import Address, Namespace, Query, Sagas, connected, sagas_in
from counteract.errors import CounteractError

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowHistory

_DEFAULT_FOLDER = Path("tests/replay/histories")


def replay(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Recorded histories.")] = _DEFAULT_FOLDER,
    query: Query = None,
    sagas: Sagas = None,
    address: Address = None,
    namespace: Namespace = None,
) -> None:
    """Replay histories against today's code, comparing the order of steps and the arguments of each.

    Without --query the recorded ones in DIR, with it those of a live server that it selects.
    """
    failed = asyncio.run(_replay(folder, query, sagas_in(sagas), address, namespace))
    if failed:
        raise typer.Exit(1)


async def _replay(
    folder: Path, query: str | None, workflows: list[type], address: str | None, namespace: str | None
) -> int:
    from counteract.testing import ReplayFailed
    from counteract.testing import replay as run

    # Where the histories are files, a client is needed for its codec only.
    client = await connected(address, namespace, lazy=not query) if query or own_client() else None
    histories = _live(client, query) if client and query else _files(folder)
    count = failed = 0
    async for history in histories:
        count += 1
        try:
            await run(history, workflows, client=client)
            say(f"✓ {history.workflow_id}")
        except ReplayFailed as failure:
            failed += 1
            say_lines(f"✗ {failure}")
    if not count:
        raise CounteractError(f"no histories in {folder}: record some with `counteract record`")
    say(f"{count - failed} of {count} replay")
    return failed


async def _files(folder: Path) -> AsyncIterator[WorkflowHistory]:
    from counteract.testing import recorded

    for _, history in recorded(folder):
        yield history


async def _live(client: Client, query: str) -> AsyncIterator[WorkflowHistory]:
    async for execution in client.list_workflows(query):
        yield await client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history()
