"""A database that has lost its last commits, as after a failover: whoever knows better than the store goes by what it knows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import RetryPolicy

from counteract.participants import sent
from counteract.saga.recovery import recovery_id
from tests.protocol.stage import Stage, ending, until
from tests.travel.bank import Account

pytestmark = pytest.mark.integration


async def test_an_external_effect_that_only_the_saga_knows_of_is_undone(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "authorize", "wait", "refuse")
    await stage.applied(name, "Authorize")
    await stage.sql("delete from commands where saga_id = %s", name)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert stage.effects_left() == 0
    ((lost,),) = await stage.sql("select lost from commands where saga_id = %s and undoes is null", name)
    assert lost, "and the loss is on record"


async def test_a_saga_does_not_complete_on_a_step_that_the_store_has_lost(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "authorize", "wait")
    await stage.applied(name, "Authorize")
    await stage.sql("delete from commands where saga_id = %s", name)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert stage.effects_left() == 0


async def test_a_saga_does_not_pass_its_pivot_on_a_step_that_the_store_has_lost(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "authorize", "wait", "pay")
    await stage.applied(name, "Authorize")
    await stage.sql("delete from commands where saga_id = %s", name)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert stage.effects_left() == 0


@pytest.mark.parametrize("last", [[], ["pay"]], ids=["complete", "pass its pivot"])
async def test_a_saga_does_not_go_on_to_its_end_on_a_child_that_the_store_has_lost(
    stage: Stage, name: str, last: list[str]
) -> None:
    child = {"account": name, "steps": ["authorize"]}
    saga = await stage.tour(name, "hold", "child", "wait", *last, child=child)
    await stage.applied(name, "Tour")
    await stage.sql("delete from sagas where saga_id = %s", f"{name}-child")
    await stage.sql("delete from commands where saga_id = %s", f"{name}-child")

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(160, {}), "the child had completed, and was undone by its command"


async def test_past_the_pivot_a_lost_step_is_reported_and_nothing_is_undone(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "authorize", "pay", "wait")
    await stage.applied(name, "PayHeldMoney")
    await stage.sql("delete from commands where saga_id = %s", name)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaIncomplete"
    assert stage.effects_left() == 1
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaStuck"]


async def test_past_the_pivot_a_lost_step_is_not_tried_again_and_again_by_a_retry_policy(
    stage: Stage, name: str
) -> None:
    """No attempt could do better, and a saga that is open is nobody's to look at."""
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1)
    saga = await stage.tour(name, "authorize", "pay", "wait", options={"retry_policy": policy})
    await stage.applied(name, "PayHeldMoney")
    await stage.sql("delete from commands where saga_id = %s", name)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaIncomplete"
    assert (await saga.describe()).status is WorkflowExecutionStatus.FAILED


async def test_a_saga_whose_record_was_lost_goes_on_and_ends_once(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", "pay", "pay back")
    await stage.applied(name, "HoldMoney")
    await stage.sql("delete from sagas where saga_id = %s", name)

    await saga.signal("go_on")

    assert await ending(saga) == "done"
    assert await stage.state(name) == "completed"


async def test_a_saga_whose_record_was_lost_turns_back(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", "refuse")
    await stage.applied(name, "HoldMoney")
    await stage.sql("delete from sagas where saga_id = %s", name)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    assert await stage.state(name) == "compensated"


async def test_a_saga_that_completed_is_not_recovered_although_the_store_lost_its_end(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold")
    assert await ending(saga) == "done"
    await stage.sql("alter table events disable trigger user")
    await stage.sql("delete from events where aggregate_id = %s and event_type = 'SagaCompleted'", name)
    await stage.sql("alter table events enable trigger user")
    await stage.sql("update sagas set state = 'forward' where saga_id = %s", name)

    found = [each for each in await stage.round() if each.saga_id == name]

    assert [each.what for each in found] == ["left"]
    assert "close" in found[0].why
    assert (await stage.money(name)).held == {f"{name} 0": 60}
    await stage.sql("update sagas set state = 'completed' where saga_id = %s", name)


async def test_a_saga_that_had_turned_back_never_goes_forward_again(stage: Stage, name: str) -> None:
    """The store forgot the turn, and the claim of whoever was undoing."""
    saga = await stage.tour(name, "hold", "authorize", "wait")
    await stage.applied(name, "Authorize")
    stage.post.delays = {"FreeMoney"}
    await saga.cancel()

    await until(lambda: _voided(stage))
    await stage.sql("update sagas set state = 'forward' where saga_id = %s", name)
    stage.post.delays = set()

    assert await ending(saga) == "CancelledError"
    assert await stage.state(name) == "compensated"
    assert await stage.money(name) == Account(100, {})


async def _voided(stage: Stage) -> bool:
    return stage.effects_left() == 0


async def test_recovery_undoes_an_effect_that_only_the_history_knows_of(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "authorize", "wait")
    await stage.applied(name, "Authorize")
    await saga.terminate("by a person")
    await stage.sql("delete from commands where saga_id = %s", name)

    await stage.recovered(saga)

    assert stage.effects_left() == 0
    assert await stage.state(name) == "compensated"


async def test_recovery_finds_out_about_a_pivot_that_only_the_history_knows_of(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "capture", "wait")
    await stage.applied(name, "Capture")
    await saga.terminate("by a person")
    await stage.sql("delete from commands where saga_id = %s and activity_type = 'Capture'", name)
    await stage.sql("update sagas set state = 'forward' where saga_id = %s", name)

    assert await stage.recovered(saga) == "SagaIncomplete"

    assert await stage.state(name) == "past the pivot"
    assert (await stage.money(name)).held, "nothing is undone behind it"


async def test_recovery_finds_out_about_the_pivot_first_however_much_the_store_has_forgotten(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent, "_MOST_BYTES", 1)
    saga = await stage.tour(name, "authorize", "hold", "capture", "wait")
    await stage.applied(name, "Capture")
    await saga.terminate("by a person")
    await stage.sql("delete from commands where saga_id = %s", name)
    await stage.sql("update sagas set state = 'forward' where saga_id = %s", name)

    assert await stage.recovered(saga) == "SagaIncomplete"

    assert await stage.state(name) == "past the pivot"
    assert stage.effects_left() == 1, "nothing is undone behind it"


@pytest.mark.parametrize("most_bytes", [1, 1_000_000])
async def test_recovery_undoes_what_the_store_has_forgotten_the_latest_first(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    monkeypatch.setattr(sent, "_MOST_BYTES", most_bytes)
    saga = await stage.tour(name, "authorize", "hold", "wait")
    await stage.applied(name, "HoldMoney")
    await saga.terminate("by a person")
    await stage.sql("delete from commands where saga_id = %s", name)

    assert await stage.recovered(saga) == "done"

    recovery = stage.handle(recovery_id(name, str(saga.first_execution_run_id)))
    scheduled = [each.activity_task_scheduled_event_attributes async for each in recovery.fetch_history_events()]
    undone = [each.activity_id for each in scheduled if each.activity_id.startswith("undo ")]
    assert undone == ["undo HoldMoney", "undo Authorize"]


async def test_recovery_undoes_a_forgotten_child_whose_undo_was_under_way(stage: Stage, name: str) -> None:
    stage.post.delays = {"PayBack"}
    saga = await stage.tour(name, "child", "refuse", child={"account": name, "steps": ["authorize"]})

    async def is_being_undone() -> bool:
        report = await stage.handle(name).query("report")
        return any(each["undo"] == "running" for each in report["steps"])

    await until(is_being_undone)
    await saga.terminate("by a person")
    await stage.sql("delete from sagas where saga_id = %s", f"{name}-child")
    stage.post.delays = set()

    assert await stage.recovered(saga) == "done"

    assert await stage.money(name) == Account(160, {})


async def test_so_does_a_run_that_comes_to_its_end_all_the_same(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "capture", "wait")
    await stage.applied(name, "Capture")
    await stage.sql("delete from commands where saga_id = %s and activity_type = 'Capture'", name)
    await stage.sql("update sagas set state = 'forward' where saga_id = %s", name)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaIncomplete"
    assert await stage.state(name) == "past the pivot"
    assert (await stage.money(name)).held, "nothing is undone behind it"


@pytest.mark.parametrize("state", ["forward", "turning back"])
async def test_a_saga_that_was_undone_is_recovered_although_its_code_returned(
    stage: Stage, name: str, state: str
) -> None:
    saga = await stage.tour(name, "authorize", "refuse", polite=True)
    assert await ending(saga) == "done"
    await stage.sql("alter table events disable trigger user")
    await stage.sql("delete from events where aggregate_id = %s and event_type = 'SagaCompensated'", name)
    await stage.sql("alter table events enable trigger user")
    await stage.sql("delete from commands where saga_id = %s and undoes is not null", name)
    await stage.sql("update commands set undone_since = null where saga_id = %s", name)
    await stage.sql("update sagas set state = %s where saga_id = %s", state, name)

    assert await stage.recovered(saga) == "done"
    assert await stage.state(name) == "compensated"
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompensated"]
