"""What the tests of the protocol look at and pull at: the bank, its tours, and their record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from temporalio.client import WorkflowFailureError, WorkflowHandle

from counteract.lifecycle import Found
from counteract.store import ANY
from tests.protocol.domain import Plan, Tour
from tests.travel.bank import Account, Deposited, accounts
from tests.travel.world import World

Handle = WorkflowHandle[Any, Any]


class Stage(World):
    """What the tests of the protocol look at and pull at."""

    async def tour(
        self,
        account: str,
        *steps: str,
        options: dict[str, Any] | None = None,
        flow: type[Tour] = Tour,
        **more: Any,
    ) -> Handle:
        """A tour that has been started, under the name of its account."""
        await self.store.append(accounts.stream(account), [Deposited(amount=100)], expect=ANY)
        plan = Plan(account=account, steps=list(steps), **more)
        return await self.client.start_workflow(flow.run, plan, id=account, task_queue=self.queue, **(options or {}))

    def handle(self, saga: str) -> Handle:
        """Of whichever run is the last."""
        return self.client.get_workflow_handle(saga)

    async def money(self, account: str) -> Account:
        return (await self.store.load(accounts, account)).state

    async def state(self, saga: str) -> str:
        ((state,),) = await self.sql("select state from sagas where saga_id = %s order by began_at desc limit 1", saga)
        return str(state)

    async def sql(self, query: str, *arguments: Any) -> list[Any]:
        async with self.store.connection() as connection:
            done = await connection.execute(query, arguments)
            return await done.fetchall() if done.description else []

    async def applied(self, saga: str, step: str) -> None:
        """Wait until the saga's own report says so."""

        async def is_applied() -> bool:
            report = await self.handle(saga).query("report")
            steps = report["steps"] if report else []
            return any(each["step"] == step and each["outcome"] == "applied" for each in steps)

        await until(is_applied)

    async def begun(self, saga: str, step: str) -> None:
        async def has_begun() -> bool:
            return any(each["step"] == step for each in (await self.handle(saga).query("report"))["steps"])

        await until(has_begun)

    async def stuck(self, saga: str) -> None:
        async def is_stuck() -> bool:
            report = await self.handle(saga).query("report")
            return report is not None and report["status"] == "STUCK"

        await until(is_stuck)

    async def round(self, *arguments: Any, id: str | None = None) -> list[Found]:  # noqa: A002 - as Temporal calls it
        """One round of recovery."""
        found: list[Found] = await self.client.execute_workflow(
            "RecoverSagas",
            args=arguments,
            id=id or f"recover-{uuid4().hex[:8]}",
            task_queue=self.queue,
            result_type=list[Found],
        )
        return found

    async def recovered(self, handle: Handle) -> str:
        """A round, and how the recovery of this saga ended."""
        found = await self.round()
        assert handle.id in [each.saga_id for each in found if each.what == "recovering"], found
        run_id = (
            await self.sql("select run_id from sagas where saga_id = %s order by began_at desc limit 1", handle.id)
        )[0][0]
        return await ending(self.handle(f"recover {handle.id} {run_id}"))

    def effects_left(self) -> int:
        """Authorisations that the card company holds and nobody has voided."""
        return len(set(self.company.authorized) - set(self.company.voided))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - it happens in a worker
            await asyncio.sleep(0.03)


async def ending(handle: Handle) -> str:
    """How a workflow ended, in a word or two."""
    try:
        async with asyncio.timeout(60):
            await handle.result()
    except WorkflowFailureError as error:
        return str(getattr(error.cause, "type", None) or type(error.cause).__name__)
    return "done"


async def being_settled(stage: Stage, name: str) -> None:
    """Its pivot took effect, its answer was lost, and the provider cannot say yet what became of it."""
    await until(lambda: _has_captured(stage))
    stage.company.gate.clear()
    stage.post.loses_orders = {"Capture"}

    async def is_fenced() -> bool:
        rows = await stage.sql("select status from commands where saga_id = %s and step = 'Capture'", name)
        return rows == [("fenced",)]

    await until(is_fenced)


async def _has_captured(stage: Stage) -> bool:
    return bool(stage.company.captured)


async def failed_tasks(saga: Handle) -> list[str]:
    """Why workflow tasks failed."""
    return [
        each.workflow_task_failed_event_attributes.failure.message
        async for each in saga.fetch_history_events()
        if each.HasField("workflow_task_failed_event_attributes")
    ]
