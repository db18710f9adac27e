"""What is too large for the server is refused before it gets there, with what to do about it."""

from __future__ import annotations

import pytest

from tests.protocol.stage import Stage, ending, failed_tasks, until
from tests.travel.bank import Account

pytestmark = pytest.mark.integration


async def test_a_child_whose_memo_would_be_too_large_is_not_begun_and_the_saga_turns_back(
    stage: Stage, name: str
) -> None:
    plan = {"account": f"{name}-child", "steps": ["authorize"]}
    saga = await stage.tour(name, "hold", "child", child=plan, words=1_100_000)

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    assert await stage.sql("select 1 from sagas where saga_id = %s", f"{name}-child") == []


async def test_a_saga_that_is_too_large_to_continue_as_new_waits_for_corrected_code(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, *["authorize at length"] * 3, "new run", words=690_000)

    async def is_told() -> bool:
        failures = [
            each.workflow_task_failed_event_attributes.failure.message async for each in saga.fetch_history_events()
        ]
        return any("takes along to its next run has 207" in each for each in failures)

    await until(is_told)
    await saga.terminate()


async def test_a_lost_saga_with_more_than_a_task_may_say_is_recovered(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, *["authorize at length"] * 4, "wait", words=1_500_000)
    await stage.applied(name, "Authorize#4")
    await saga.terminate()

    assert await stage.recovered(saga) == "done"
    assert stage.effects_left() == 0


async def test_a_group_with_more_than_a_task_may_say_is_undone(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "many authorizations", "refuse", words=400_000)

    assert await ending(saga) == "SagaCompensated"
    assert stage.effects_left() == 0
    assert await failed_tasks(saga) == []
