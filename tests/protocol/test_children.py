"""Sagas that are steps of others: the parent believes only the child's record."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError

from counteract.messages import command_id_of
from counteract.participants.children import child_settled
from counteract.saga import Resolution
from tests.protocol.domain import Plan, Tour
from tests.protocol.stage import Handle, Stage, ending, failed_tasks, until
from tests.travel.bank import Account
from tests.travel.reset import reset

pytestmark = pytest.mark.integration


def child(name: str, *steps: str, **more: Any) -> dict[str, Any]:
    return {"account": name, "steps": list(steps), **more}


async def test_a_parent_that_is_reset_does_not_run_its_child_twice(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "child", "wait", otherwise=["child", "pay"], child=child(name, "hold"))
    await stage.applied(name, "Tour")

    again = await reset(stage, saga.id)

    assert await ending(again) == "done"
    assert await stage.money(name) == Account(40, {f"{name} 0": 60})


async def test_a_parent_that_is_reset_and_turns_back_undoes_its_child_once(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "child", "wait", otherwise=["child", "refuse"], child=child(name, "hold"))
    await stage.applied(name, "Tour")

    again = await reset(stage, saga.id)

    assert await ending(again) == "SagaCompensated"
    assert (await stage.money(name)).available == 100, "what the child held was paid back"


async def test_a_child_that_catches_its_own_undoing_did_not_complete(stage: Stage, name: str) -> None:
    polite = child(name, "hold", "refuse", polite=True)
    saga = await stage.tour(name, "authorize", "child", child=polite)

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    assert stage.effects_left() == 0


async def test_a_child_that_opens_no_saga_has_completed_on_record(stage: Stage, name: str) -> None:
    """Its parent believes only the record."""
    saga = await stage.tour(name, "hold", "child", "pay", child=child(name, idle=True))

    assert await ending(saga) == "done"
    assert await stage.state(f"{name}-child") == "completed"


async def test_a_child_that_continues_as_new_with_a_memo_of_its_own_stays_a_child(stage: Stage, name: str) -> None:
    polite = child(name, "hold", "new run with a memo", "refuse", polite=True)
    saga = await stage.tour(name, "child", child=polite)
    assert await ending(saga) == "SagaCompensated"

    assert await ending(stage.handle(f"{name}-child")) == "SagaCompensated", "whatever its own code returns"


async def test_a_child_that_was_called_off_is_not_counted_on_by_a_further_run(stage: Stage, name: str) -> None:
    """It is over, and completed by its own record; and it was undone as a single step, for the code had gone on without it."""
    saga = await stage.tour(
        name, "child, until told", "capture", otherwise=["child", "capture"], child=child(name, "hold", "pay", "wait")
    )
    stage.post.delays = {"PayBack"}
    own = stage.handle(f"{name}-child")
    await until(lambda: _has_paid(stage, name))
    await saga.signal("go_on")
    await own.signal("go_on")
    await until(lambda: _is_being_undone(stage, name))
    await saga.signal("pause")
    stage.post.delays.clear()
    await until(lambda: _is_called_off(stage, name))

    again = await reset(stage, saga.id)
    # The signals that came before the reset come again.
    await again.signal("resume")
    await until(lambda: _is_open(own))
    await own.signal("go_on")

    assert await ending(again) == "SagaCompensated"
    assert (await stage.money(name)).available == 100
    assert not stage.company.captured


async def _has_paid(stage: Stage, name: str) -> bool:
    return await stage.sql("select 1 from sagas where saga_id = %s and state = 'past the pivot'", f"{name}-child") != []


async def _is_being_undone(stage: Stage, name: str) -> bool:
    report = await stage.handle(name).query("report")
    return any(each["undo"] == "running" for each in report["steps"])


async def _is_called_off(stage: Stage, name: str) -> bool:
    undone = "select 1 from commands where saga_id = %s and activity_type = 'PayBack' and status = 'done'"
    return await stage.sql(undone, name) != []


async def _is_open(saga: Handle) -> bool:
    return (await saga.describe()).status == WorkflowExecutionStatus.RUNNING


async def test_another_workflow_under_the_childs_id_is_not_taken_for_the_child(stage: Stage, name: str) -> None:
    await stage.client.start_workflow(
        Tour.run, Plan(account=name, steps=["wait"]), id=f"{name}-child", task_queue=stage.queue
    )
    saga = await stage.tour(name, "hold", "child", child=child(name, "authorize"))

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {}), "and nothing was paid back for what was never held"
    await stage.handle(f"{name}-child").terminate()


async def test_a_childs_workflow_that_is_used_again_is_not_taken_for_the_child(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "child", "wait", child=child(name, "authorize"))
    await stage.applied(name, "Tour")
    await stage.client.execute_workflow(
        Tour.run, Plan(account=name, steps=["authorize"]), id=f"{name}-child", task_queue=stage.queue
    )

    await saga.cancel()

    assert await ending(saga) == "CancelledError"
    assert (await stage.money(name)).available == 160, "the child had completed, and was undone by its command"


async def test_a_parent_that_is_terminated_is_recovered_with_its_child(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "child", "wait", child=child(name, "authorize"))
    await stage.applied(name, "Tour")
    await saga.terminate()

    assert await stage.recovered(saga) == "done"

    assert (await stage.money(name)) == Account(160, {})


async def test_a_step_that_was_one_child_is_refused_to_another(stage: Stage, name: str) -> None:
    """A reset after a change of the code that names the child's workflow."""
    saga = await stage.tour(name, "child", "wait", otherwise=["another child"], child=child(name, "hold"))
    await stage.applied(name, "Tour")

    again = await reset(stage, saga.id)

    assert await ending(again) == "SagaCompensated"
    assert (await stage.money(name)).available == 100, "one child held, and its undo paid back"


async def test_a_child_that_its_parent_began_anew_is_not_lost_while_it_runs(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "child", child=child(name, "hold", "wait"), parks=True)
    first = f"{name}-child"
    await until(lambda: _has_held(stage, first))
    await stage.handle(first).terminate()
    await stage.stuck(name)
    await reset(stage, saga.id)
    await until(lambda: _is_taken_up_again(stage, first))

    found = await stage.round()

    assert first not in [each.saga_id for each in found]
    await stage.handle(first).signal("go_on")
    assert await ending(stage.handle(name)) == "done"


async def _has_held(stage: Stage, saga: str) -> bool:
    return bool(await stage.sql("select 1 from commands where saga_id = %s", saga))


async def _is_taken_up_again(stage: Stage, saga: str) -> bool:
    return bool(await stage.sql("select 1 from sagas where saga_id = %s and epoch = 2", saga))


async def test_a_child_is_undone_as_it_was_begun_although_the_code_has_changed(stage: Stage, name: str) -> None:
    child = {"account": f"{name}-child", "steps": ["authorize"]}
    steps = ["hold", "child", "wait"]
    again = ["hold", "child", "refuse"]
    await stage.tour(name, *steps, otherwise=again, child=child, refunds=[60, 6])
    await stage.applied(name, "Tour")

    run = await reset(stage, name)

    assert await ending(run) == "SagaCompensated"
    assert (await stage.money(f"{name}-child")).available == 60


@pytest.mark.parametrize("again", [["hold", "child", "new run"], ["hold", "new run", "child", "new run"]])
async def test_a_child_is_undone_as_it_was_begun_by_a_run_that_continues_as_new(
    stage: Stage, name: str, again: list[str]
) -> None:
    child = {"account": f"{name}-child", "steps": ["authorize"]}
    await stage.tour(name, "hold", "child", "wait", otherwise=[*again, "refuse"], child=child, refunds=[60, 6])
    await stage.applied(name, "Tour")

    await reset(stage, name)

    assert await ending(stage.handle(name)) == "SagaCompensated"
    assert (await stage.money(f"{name}-child")).available == 60


async def test_a_child_whose_undo_a_person_corrects_is_undone_so(stage: Stage, name: str) -> None:
    child = {"account": f"{name}-child", "steps": ["authorize"]}
    again = ["hold", "child", "refuse"]
    await stage.tour(name, "hold", "child", "wait", otherwise=again, child=child)
    await stage.applied(name, "Tour")
    stage.post.loses_orders = {"PayBack"}
    run = await reset(stage, name)
    await stage.stuck(name)
    stage.post.loses_orders = set()
    command = {
        "saga_type": "Tour",
        "saga_id": f"{name}-child",
        "undo_type": "PayBack",
        "undo": {"account": f"{name}-child", "amount": 7},
    }

    await run.execute_update(
        "resolve", Resolution(step="Tour", decision="retry", who="ann", why="seven", command=command)
    )

    assert await ending(run) == "SagaCompensated"
    assert (await stage.money(f"{name}-child")).available == 7


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"undo_type": "Payback"}, "no command Payback is known"),
        ({"undo": {"amount": -1}}, "account: Field required"),
        ({"undo_type": "HoldMoney", "undo": {"account": "ann", "trip": "rome", "amount": 7}}, "must be Retriable"),
        ({"undo": {"account": "a\u0000", "amount": 7}}, "u0000"),
        ({"undo": {"account": "x" * 1_000_000, "amount": 7}}, "more than 1000000"),
        ({"saga_type": "Tuor"}, "is a Tour, and stays one"),
        ({"saga_id": "another"}, "what has begun"),
    ],
    ids=[
        "no such command",
        "an invalid one",
        "one that is not retriable",
        "one unstorable",
        "one too large",
        "another type",
        "another id",
    ],
)
async def test_a_correction_that_could_not_undo_a_child_is_refused(
    stage: Stage, name: str, wrong: dict[str, Any], why: str
) -> None:
    stage.post.loses_orders = {"PayBack"}
    own = f"{name}-child"
    saga = await stage.tour(name, "hold", "child", "refuse", child=child(own, "authorize"))
    await stage.stuck(name)
    stage.post.loses_orders = set()
    right = {"saga_type": "Tour", "saga_id": own, "undo_type": "PayBack", "undo": {"account": own, "amount": 7}}

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await saga.execute_update("resolve", _corrected_to(right | wrong))
    await saga.execute_update("resolve", _corrected_to(right))

    assert why in str(refused.value.cause)
    assert await ending(saga) == "SagaCompensated"
    assert (await stage.money(own)).available == 7


async def test_an_undo_of_a_child_that_does_not_fit_its_class_any_more_waits_for_a_person(
    stage: Stage, name: str
) -> None:
    own = f"{name}-child"
    again = ["hold", "child", "refuse"]
    await stage.tour(name, "hold", "child", "wait", otherwise=again, child=child(own, "authorize"))
    await stage.applied(name, "Tour")
    older = """update sagas set child = jsonb_set(child, '{undo}', '{"amount": 7}') where saga_id = %s"""
    await stage.sql(older, own)
    run = await reset(stage, name)
    await stage.stuck(name)

    right = {"saga_type": "Tour", "saga_id": own, "undo_type": "PayBack", "undo": {"account": own, "amount": 7}}
    await run.execute_update("resolve", _corrected_to(right))

    assert await ending(run) == "SagaCompensated"
    assert (await stage.money(own)).available == 7


def _corrected_to(command: dict[str, Any]) -> Resolution:
    return Resolution(step="Tour", decision="retry", who="ann", why="seven", command=command)


async def test_a_child_that_begins_when_its_parent_does_not_go_forward_does_nothing(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", "child", child=child(name, "authorize"))
    await stage.applied(name, "HoldMoney")
    await stage.sql("update sagas set state = 'turning back' where saga_id = %s", name)

    await saga.signal("go_on")

    assert await ending(stage.handle(name)) == "SagaCompensated"
    assert await ending(stage.handle(f"{name}-child")) == "SagaCompensated"
    assert await stage.lifecycle(f"{name}-child") == []
    assert await stage.state(f"{name}-child") == "never"
    assert stage.company.asked == [], "it was not even tried"


async def test_a_child_that_was_settled_before_it_began_does_nothing(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", "child", child=child(name, "authorize"))
    await stage.applied(name, "HoldMoney")
    step = command_id_of(name, str(saga.first_execution_run_id), "Tour")
    await stage.sql("select settle_child(%s, %s, 'Tour', 'default')", step, f"{name}-child")

    await saga.signal("go_on")

    assert await ending(stage.handle(name)) == "SagaCompensated"
    assert await ending(stage.handle(f"{name}-child")) == "SagaCompensated"
    assert await stage.lifecycle(f"{name}-child") == []
    assert await stage.money(name) == Account(100, {})


async def test_a_child_of_an_earlier_saga_of_the_same_id_is_none_of_this_one(stage: Stage, name: str) -> None:
    assert await ending(await stage.tour(name, "child", child=child(name, "authorize"))) == "done"

    happened = await child_settled(stage.client, stage.store, f"{name}-child", name, "Tour", uuid4())

    assert happened is False
    assert stage.effects_left() == 1


async def test_a_child_that_is_stuck_past_its_pivot_is_not_told_as_undone(stage: Stage, name: str) -> None:
    """Whatever its own code made of that."""
    polite = child(name, "hold", "pay", "refuse", polite=True)
    await stage.tour(name, "authorize", "child", child=polite)
    own = stage.handle(f"{name}-child")
    await until(lambda: _has_paid(stage, name))

    assert await ending(own) == "SagaIncomplete"
    await stage.handle(name).terminate()


async def test_a_request_that_cannot_be_written_is_refused_and_the_saga_turns_back(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "child with an odd request")

    assert await ending(saga) == "SagaCompensated"
    assert await failed_tasks(saga) == []
    assert await stage.money(name) == Account(100, {})
