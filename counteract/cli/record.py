"""`counteract record`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from counteract.cli.output import say
from counteract.cli.temporal import Address, Namespace, Query, connected, matching
from counteract.errors import CounteractError


def record(
    workflow_ids: Annotated[list[str] | None, typer.Argument(metavar="[WORKFLOW_ID]...")] = None,
    query: Query = None,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where to write one JSON file for each.")] = Path(
        "tests/replay/histories"
    ),
    address: Address = None,
    namespace: Namespace = None,
) -> None:
    """Record the histories of workflows, to replay them against later versions of the code."""
    asyncio.run(_record(workflow_ids or [], query, to, address, namespace))


async def _record(ids: list[str], query: str | None, to: Path, address: str | None, namespace: str | None) -> None:
    from temporalio.service import RPCError

    from counteract.testing import record as write

    client = await connected(address, namespace)
    chosen = [*ids, *([each async for each in matching(client, query)] if query else [])]
    if not chosen:
        raise CounteractError("no workflow to record: name workflow ids, or give a --query that selects some")
    for workflow_id in chosen:
        file = to / f"{_safe(workflow_id)}.json"
        try:
            history = await write(client, workflow_id, file)
        except RPCError as error:
            raise CounteractError(f"cannot record {workflow_id}: {error}") from error
        say(f"{file}  {len(history.events)} events")


def _safe(workflow_id: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in workflow_id)
