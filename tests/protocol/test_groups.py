"""Task groups of asyncio's around steps: what they raise is a failure like the one that they collected."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.protocol.domain import Grouped
from tests.protocol.stage import Stage, ending, failed_tasks, until
from tests.travel.bank import Account

pytestmark = pytest.mark.integration


async def test_a_refusal_in_an_updates_group_is_its_callers_and_the_saga_goes_on(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", flow=Grouped)
    await stage.applied(name, "HoldMoney")
    stage.company.declines = True

    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await saga.execute_update("add_now", "authorize")
    await saga.signal("go_on")

    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "Rejected"
    assert await ending(saga) == "done"
    assert await failed_tasks(saga) == []


async def test_a_refusal_in_a_signals_group_turns_the_saga_back(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", flow=Grouped)
    await stage.applied(name, "HoldMoney")
    stage.company.declines = True

    await saga.signal("add", "authorize")

    assert await ending(saga) == "SagaCompensated"
    assert await failed_tasks(saga) == []
    assert await stage.money(name) == Account(100, {})
    assert "TaskGroup" not in (await saga.query("report"))["cause"], "it says what was refused"


async def test_a_signals_group_that_comes_past_the_pivot_is_too_late_and_no_failure(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "pay", "wait", flow=Grouped)
    await stage.applied(name, "PayHeldMoney")

    await saga.signal("add", "authorize and hold")
    await saga.signal("go_on")

    assert await ending(saga) == "done"
    assert await failed_tasks(saga) == []


async def test_a_saga_within_a_task_group_ends_as_it_would_without(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "refuse", flow=Grouped)

    assert await ending(saga) == "SagaCompensated"
    assert await failed_tasks(saga) == []
    assert await stage.money(name) == Account(100, {})


async def test_a_new_run_asked_for_within_a_task_group_fails_the_task_in_words(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "new run", flow=Grouped)

    async def is_told() -> bool:
        return any("continue as new outside of a task group" in each for each in await failed_tasks(saga))

    await until(is_told)
    await saga.terminate()
