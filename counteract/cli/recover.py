"""`counteract sagas recover`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

import typer

from counteract.cli.output import say
from counteract.cli.temporal import Address, Namespace, connected, told

SCHEDULE = "recover-sagas"


def recover(
    every: Annotated[
        int | None, typer.Option(metavar="SECONDS", min=10, help="Keep doing so, as a Temporal Schedule.")
    ] = None,
    include_forgotten: Annotated[
        bool,
        typer.Option(help="Also sagas whose workflow the server no longer knows. Make sure it is the right server."),
    ] = False,
    restored_to: Annotated[
        datetime | None,
        typer.Option(
            help="After the database was restored to this time (UTC): also sagas that began later, of which it knows nothing. "
            "Make sure it is the right database.",
        ),
    ] = None,
    task_queue: Annotated[str, typer.Option(help="That of the workers that run sagas.")] = "sagas",
    address: Address = None,
    namespace: Namespace = None,
) -> None:
    """Undo the sagas whose workflow was terminated, timed out or lost. Safe to run again, and beside running sagas."""
    if every and restored_to:
        raise typer.BadParameter("is for once, and not with --every", param_hint="--restored-to")
    if every:
        asyncio.run(_schedule(timedelta(seconds=every), include_forgotten, task_queue, address, namespace))
    else:
        since = [restored_to.replace(tzinfo=restored_to.tzinfo or UTC).isoformat()] if restored_to else []
        asyncio.run(_recover([include_forgotten, *since], task_queue, address, namespace))


async def _recover(arguments: Sequence[Any], task_queue: str, address: str | None, namespace: str | None) -> None:
    client = await connected(address, namespace)
    async with told():
        found: list[Any] = await client.execute_workflow(
            "RecoverSagas", args=arguments, id=f"recover-sagas-{uuid4().hex[:8]}", task_queue=task_queue
        )
    for line in _told(found):
        say(line)


def _told(found: Sequence[Any]) -> Iterator[str]:
    """A line for each saga, and one with their number. Workers of an earlier release give the ids alone."""
    sagas = [each if isinstance(each, dict) else {"saga_id": each, "what": "recovering"} for each in found]
    for each in sagas:
        yield f"{each['what']} {each['saga_id']}{': ' + each['why'] if each.get('why') else ''}"
    left = sum(each.get("times", 1) for each in sagas if each["what"] == "left")
    yield f"{sum(each.get('times', 1) for each in sagas)} lost sagas found{f', {left} of them left' if left else ''}"


async def _schedule(
    every: timedelta, include_forgotten: bool, task_queue: str, address: str | None, namespace: str | None
) -> None:
    from temporalio.client import (
        Schedule,
        ScheduleActionStartWorkflow,
        ScheduleAlreadyRunningError,
        ScheduleIntervalSpec,
        ScheduleSpec,
        ScheduleUpdate,
        ScheduleUpdateInput,
    )

    client = await connected(address, namespace)
    action = ScheduleActionStartWorkflow("RecoverSagas", include_forgotten, id=SCHEDULE, task_queue=task_queue)
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)])

    def changed(found: ScheduleUpdateInput) -> ScheduleUpdate:
        """Change the schedule. All else that somebody has set, a pause for instance, stays."""
        return ScheduleUpdate(replace(found.description.schedule, action=action, spec=spec))

    async with told():
        try:
            await client.create_schedule(SCHEDULE, Schedule(action=action, spec=spec))
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(SCHEDULE).update(changed)
    say(f"the schedule {SCHEDULE} runs every {every}")
