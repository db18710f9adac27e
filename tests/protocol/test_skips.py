"""What a person gave up binds whoever carries the saga on: a further run, and a recovery."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.common import RetryPolicy

from counteract.lifecycle import SagaCompensated, SagaCompleted, sagas
from counteract.messages import command_id_of
from counteract.saga import Resolution
from tests.protocol.domain import Package, Plan, Tour
from tests.protocol.stage import Handle, Stage, ending, until
from tests.travel.bank import Account
from tests.travel.reset import reset

pytestmark = pytest.mark.integration

BY_HAND = {"reference": "by hand"}


def skipping(step: str, result: object = None) -> Resolution:
    return Resolution(step=step, decision="skip", who="ann", why="by hand", result=result)


async def half_undone(stage: Stage, name: str, *, child: bool = False, **options: object) -> Handle:
    """A saga that turns back: a person has skipped the undo of its last step, and the one of its first step is stuck."""
    last, undo = ("child", "PayBack") if child else ("authorize", "Void")
    stage.post.loses_orders = {undo, "FreeMoney"}
    plan = {"account": f"{name}-child", "steps": ["authorize"]} if child else None
    saga = await stage.tour(name, "hold", last, "refuse", child=plan, options=options)
    step = "Tour" if child else "Authorize"
    await _asked_about(stage, name, step)
    await saga.execute_update("resolve", skipping(step))
    await _asked_about(stage, name, "HoldMoney")
    return saga


async def compensated(stage: Stage, name: str) -> SagaCompensated:
    """The saga's last event."""
    *_, last = await stage.store.read_stream(sagas.stream(name))
    return SagaCompensated.model_validate_json(last.data)


async def test_a_recovery_does_not_begin_an_undo_again_that_a_person_skipped(stage: Stage, name: str) -> None:
    saga = await half_undone(stage, name)
    await saga.terminate()
    stage.post.loses_orders = set()

    assert await stage.recovered(saga) == "done"

    assert stage.company.asked == [], "its compensation is not called"
    said = await compensated(stage, name)
    assert (said.undone, said.skipped) == (("HoldMoney",), ("Authorize",))


@pytest.mark.parametrize("behind", ["", "Authorize"], ids=["unknown to its history", "known to its history"])
async def test_a_run_after_a_reset_does_not_begin_an_undo_again_that_a_person_skipped(
    stage: Stage, name: str, behind: str
) -> None:
    await half_undone(stage, name)
    stage.post.loses_orders = {"Void"}

    again = await reset(stage, name, behind=behind)

    assert await ending(again) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    said = await compensated(stage, name)
    assert (said.undone, said.skipped) == (("HoldMoney",), ("Authorize",))


async def test_a_retried_run_does_not_begin_an_undo_again_that_a_person_skipped(stage: Stage, name: str) -> None:
    twice = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=10))
    await half_undone(stage, name, retry_policy=twice, run_timeout=timedelta(seconds=6))
    stage.post.loses_orders = {"Void"}

    assert await ending(stage.handle(name)) == "SagaCompensated"

    said = await compensated(stage, name)
    assert (said.undone, said.skipped) == (("HoldMoney",), ("Authorize",))


async def test_a_recovery_does_not_undo_a_child_whose_undo_a_person_skipped(stage: Stage, name: str) -> None:
    saga = await half_undone(stage, name, child=True)
    await saga.terminate()
    stage.post.loses_orders = set()

    assert await stage.recovered(saga) == "done"

    assert (await stage.money(f"{name}-child")).available == 0
    assert (await compensated(stage, name)).skipped == ("Tour",)


async def test_a_recovery_lists_what_the_lost_run_had_undone(stage: Stage, name: str) -> None:
    stage.post.loses_orders = {"FreeMoney"}
    saga = await stage.tour(name, "hold", "authorize", "refuse")
    await _asked_about(stage, name, "HoldMoney")
    await saga.terminate()
    stage.post.loses_orders = set()

    assert await stage.recovered(saga) == "done"

    assert (await compensated(stage, name)).undone == ("HoldMoney", "Authorize")


async def test_a_run_after_a_reset_goes_on_without_the_step_that_a_person_skipped(stage: Stage, name: str) -> None:
    stage.company.declines = True
    saga = await stage.tour(name, "hold", "authorize", "wait", "pay", parks=True)
    await stage.stuck(name)
    await saga.execute_update("resolve", skipping("Authorize", BY_HAND))
    await until(lambda: _skipped(stage, name))
    stage.company.declines = False

    again = await reset(stage, name, behind="HoldMoney")
    await again.signal("go_on")

    assert await ending(again) == "done"
    assert not stage.company.authorized
    *_, last = await stage.store.read_stream(sagas.stream(name))
    assert SagaCompleted.model_validate_json(last.data).steps == ("HoldMoney", "PayHeldMoney")


async def test_a_recovery_leaves_a_step_alone_that_a_person_skipped(stage: Stage, name: str) -> None:
    """It may have happened: what became of it is the person's concern."""
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "authorize", "wait", parks=True)
    await stage.stuck(name)
    await saga.execute_update("resolve", skipping("Authorize", BY_HAND))
    await until(lambda: _skipped(stage, name))
    await saga.terminate()

    assert await stage.recovered(saga) == "done"

    assert not stage.company.voided
    assert (await compensated(stage, name)).skipped == ("Authorize",)


@pytest.mark.parametrize("refused", [False, True], ids=["as it was", "once corrected"])
async def test_a_run_after_a_reset_goes_on_without_the_retriable_that_a_person_skipped(
    stage: Stage, name: str, *, refused: bool
) -> None:
    stage.post.loses_orders = {"PayBack"}
    saga = await stage.tour(name, "pay", "pay back", "wait")
    await _asked_about(stage, name, "PayBack")
    if refused:
        await saga.execute_update("resolve", _of_seven(name))
        await _asked_about(stage, name, "PayBack", times=2)
    await saga.execute_update("resolve", skipping("PayBack"))
    await until(lambda: _skipped(stage, name))
    stage.post.loses_orders = set()

    again = await reset(stage, name, behind="PayHeldMoney")
    await again.signal("go_on")

    assert await ending(again) == "done"
    assert (await stage.money(name)).available == 100


async def test_a_retriable_that_was_corrected_before_a_reset_counts_although_it_is_skipped_after_it(
    stage: Stage, name: str
) -> None:
    await _paid_back_as_corrected(stage, name)

    again = await reset(stage, name, behind="PayHeldMoney")
    await _asked_about(stage, name, "PayBack", times=2)
    await again.execute_update("resolve", skipping("PayBack"))
    await again.signal("go_on")

    await _counts_what_was_paid_back(stage, again)


async def test_so_it_does_where_nobody_can_say_what_became_of_what_had_been_corrected(stage: Stage, name: str) -> None:
    await _paid_back_as_corrected(stage, name)
    stage.post.loses_orders = {"SettlePayBack"}

    again = await reset(stage, name, behind="PayHeldMoney")
    for asked in (2, 3):
        await _asked_about(stage, name, "PayBack", times=asked)
        await again.execute_update("resolve", skipping("PayBack"))
    await again.signal("go_on")

    assert await ending(again) == "done"
    assert (await stage.money(name)).available == 107
    *_, last = await stage.store.read_stream(sagas.stream(name))
    assert SagaCompleted.model_validate_json(last.data).steps == ("PayHeldMoney", "PayBack")


async def _paid_back_as_corrected(stage: Stage, name: str) -> None:
    """A saga past its pivot whose next step a person has corrected, and that waits behind it."""
    stage.post.loses_orders = {"PayBack"}
    saga = await stage.tour(name, "pay", "pay back", "wait")
    await _asked_about(stage, name, "PayBack")
    stage.post.loses_orders = set()
    await saga.execute_update("resolve", _of_seven(name))
    await stage.applied(name, "PayBack")


async def _counts_what_was_paid_back(stage: Stage, saga: Handle) -> None:
    assert await ending(saga) == "done"
    assert (await stage.money(saga.id)).available == 107
    *_, last = await stage.store.read_stream(sagas.stream(saga.id))
    assert SagaCompleted.model_validate_json(last.data).steps == ("PayHeldMoney", "PayBack")


async def test_a_run_after_a_reset_does_not_begin_a_child_again_that_a_person_skipped(stage: Stage, name: str) -> None:
    saga = await _skipped_child(stage, name, "refuse")

    again = await reset(stage, saga.id, behind="HoldMoney")
    await again.signal("go_on")

    assert await ending(again) == "done"
    assert (await stage.lifecycle(name)).count("SagaStuck") == 1, "nobody is asked again"
    assert (await stage.lifecycle(f"{name}-child")).count("SagaStarted") == 1


async def test_a_run_after_a_reset_does_not_begin_a_child_that_a_person_skipped_before_it_had_begun(
    stage: Stage, name: str
) -> None:
    """Its id was another workflow's, and is free by now."""
    own = Plan(account=name, steps=["wait"])
    stranger = await stage.client.start_workflow(Tour.run, own, id=f"{name}-child", task_queue=stage.queue)
    saga = await _skipped_child(stage, name, "authorize")
    await stranger.terminate()

    again = await reset(stage, saga.id, behind="HoldMoney")
    await again.signal("go_on")

    assert await ending(again) == "done"
    assert not stage.company.authorized


async def test_a_child_that_begins_after_a_person_skipped_it_does_nothing(stage: Stage, name: str) -> None:
    own = Plan(account=name, steps=["wait"])
    stranger = await stage.client.start_workflow(Tour.run, own, id=f"{name}-child", task_queue=stage.queue)
    saga = await _skipped_child(stage, name, "authorize")
    run_id = str(saga.first_execution_run_id)

    settled = await stage.sql(
        "select state, is_new from settle_child(%s, %s, 'Tour', 'default')",
        command_id_of(name, run_id, "Tour"),
        f"{name}-child",
    )

    assert settled == [("never", False)], "its record is there, and tells it so"
    await stranger.terminate()
    await saga.terminate()


async def _skipped_child(stage: Stage, name: str, step: str) -> Handle:
    """A saga that goes on without its child, and waits before its pivot."""
    plan = {"account": f"{name}-child", "steps": [step]}
    saga = await stage.tour(name, "hold", "child", "wait", "pay", child=plan, parks=True)
    await stage.stuck(name)
    await saga.execute_update("resolve", skipping("Tour", "by hand"))
    await until(lambda: _skipped(stage, name))
    return saga


@pytest.mark.parametrize("result", [None, {"number": 7}], ids=["none", "another"])
async def test_a_child_is_not_skipped_without_such_a_result_as_it_declares(
    stage: Stage, name: str, result: object
) -> None:
    saga = await stage.tour(name, flow=Package)
    await stage.stuck(name)

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await saga.execute_update("resolve", skipping("Booking", result))

    assert "is not valid" in str(refused.value.cause)
    await saga.terminate()


async def test_a_parent_goes_on_with_what_its_skipped_child_is_taken_to_have_returned(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, flow=Package)
    await stage.stuck(name)

    await saga.execute_update("resolve", skipping("Booking", BY_HAND))
    await saga.signal("go_on")

    assert await ending(saga) == "done"
    assert await saga.result() == "by hand"


async def test_so_does_its_run_after_a_reset(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "wait", flow=Package)
    await until(lambda: _is_open(stage, f"{name}-child"))
    await stage.handle(f"{name}-child").terminate()
    await stage.stuck(name)
    await saga.execute_update("resolve", skipping("Booking", BY_HAND))
    await until(lambda: _skipped(stage, name))

    again = await reset(stage, name)
    await again.signal("go_on")

    assert await ending(again) == "done"
    assert await again.result() == "by hand"


async def _is_open(stage: Stage, saga: str) -> bool:
    return await stage.sql("select 1 from sagas where saga_id = %s", saga) != []


async def test_a_result_to_go_on_with_that_cannot_be_stored_is_refused(stage: Stage, name: str) -> None:
    stage.company.declines = True
    saga = await stage.tour(name, "authorize", parks=True)
    await stage.stuck(name)

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await saga.execute_update("resolve", skipping("Authorize", {"reference": "a\u0000b"}))

    assert "u0000" in str(refused.value.cause)
    await saga.terminate()


def _of_seven(name: str) -> Resolution:
    seven = {"account": name, "amount": 7}
    return Resolution(step="PayBack", decision="retry", who="ann", why="seven", command=seven)


async def _asked_about(stage: Stage, name: str, step: str, *, times: int = 1) -> None:
    """Wait until a person is asked to decide about it."""

    async def is_stuck() -> bool:
        told = await stage.store.read_stream(sagas.stream(name))
        asked = [each for each in told if each.event_type == "SagaStuck" and f'"{step}"' in each.data]
        return len(asked) >= times

    await until(is_stuck)


async def _skipped(stage: Stage, name: str) -> bool:
    report = await stage.handle(name).query("report")
    return any(each["skipped"] for each in report["steps"])
