"""What a parent finds out about a child of whose end it has not heard: by the child's record, by its workflow where there is none."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from temporalio.exceptions import ApplicationError

from counteract.lifecycle import PARENT, Parent
from counteract.messages import command_id_of
from counteract.participants.children import child_settled
from tests.protocol.domain import Plan, Tour
from tests.protocol.stage import Handle, Stage, ending, until
from tests.travel.bank import Account

pytestmark = pytest.mark.integration


def child(name: str, *steps: str) -> dict[str, Any]:
    return {"account": name, "steps": list(steps)}


def step_of(saga: Handle) -> UUID:
    """The command by which the saga began its child."""
    return command_id_of(saga.id, str(saga.first_execution_run_id), "Tour")


async def settled(stage: Stage, saga: Handle) -> bool:
    return await child_settled(stage.client, stage.store, f"{saga.id}-child", saga.id, "Tour", step_of(saga))


async def at_its_wait(stage: Stage, saga: Handle, step: str) -> Handle:
    """The saga's child, once this step of it has taken effect."""

    async def is_begun() -> bool:
        return bool(await stage.sql("select 1 from sagas where parent_command = %s", step_of(saga)))

    await until(is_begun)
    await stage.applied(f"{saga.id}-child", step)
    return stage.handle(f"{saga.id}-child")


async def test_a_child_whose_record_was_made_anew_without_its_parent_is_undone(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "child", "wait", child=child(name, "authorize", "wait"))
    outing = await at_its_wait(stage, saga, "Authorize")
    await stage.sql("delete from sagas where saga_id = %s", outing.id)
    await outing.signal("go_on")
    await stage.applied(name, "Tour")
    await saga.terminate()

    assert await stage.recovered(saga) == "done"

    assert await stage.money(name) == Account(160, {}), "the child had completed, and was undone by its command"


async def test_a_child_without_a_record_that_is_past_its_pivot_is_waited_for(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "child", child=child(name, "hold", "pay", "wait"))
    outing = await at_its_wait(stage, saga, "PayHeldMoney")
    await stage.sql("delete from sagas where saga_id = %s", outing.id)

    with pytest.raises(ApplicationError, match="still open"):
        await settled(stage, saga)
    await outing.signal("go_on")

    assert await ending(stage.handle(outing.id)) == "done"
    assert (await settled(stage, saga), await settled(stage, saga)) == (True, True), "however often it is asked"
    assert await ending(saga) == "done"


@pytest.mark.parametrize(("steps", "happened"), [(["authorize"], True), (["authorize", "refuse"], False)])
async def test_a_child_that_a_worker_of_the_release_before_carried_out_is_asked_by_its_own_record(
    stage: Stage, name: str, steps: list[str], happened: bool
) -> None:
    saga = await stage.tour(name, "child", child=child(name, *steps))
    await ending(saga)
    await stage.sql(
        "update sagas set state = 'forward', epoch = 0, parent_command = null, parent_saga_id = null where saga_id = %s",
        f"{name}-child",
    )

    assert await settled(stage, saga) is happened

    await stage.sql(
        "select from heed_ends(array[%s], array(select run_id from sagas where saga_id = %s))", *[f"{name}-child"] * 2
    )


async def test_a_lost_child_whose_record_names_no_parent_is_to_be_recovered_first(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "child", child=child(name, "authorize", "wait"))
    outing = await at_its_wait(stage, saga, "Authorize")
    await stage.sql("update sagas set parent_command = null, parent_saga_id = null where saga_id = %s", outing.id)
    await outing.terminate()

    with pytest.raises(ApplicationError, match="to be recovered"):
        await settled(stage, saga)
    await stage.recovered(stage.handle(outing.id))

    assert await settled(stage, saga) is False
    assert await ending(saga) == "SagaCompensated"


async def test_a_child_that_no_worker_has_begun_is_not_waited_for(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "wait")
    parent = Parent(
        command_id=step_of(saga),
        saga_id=name,
        run_id=str(saga.first_execution_run_id),
        epoch=1,
        key="Tour",
        command={},
    )
    outing = await stage.client.start_workflow(
        Tour.run,
        Plan(account=name, steps=["authorize"]),
        id=f"{name}-child",
        task_queue="nobody",
        memo={PARENT: parent},
    )

    assert await settled(stage, saga) is False

    assert await stage.state(outing.id) == "never"
    await outing.terminate()
    await saga.signal("go_on")
    assert await ending(saga) == "done"


async def test_a_child_of_a_later_saga_of_the_same_id_is_not_disturbed(stage: Stage, name: str) -> None:
    first = await stage.tour(name, "child", child=child(name, "authorize"))
    assert await ending(first) == "done"
    later = await stage.tour(name, "child", child=child(name, "authorize", "wait"))
    outing = await at_its_wait(stage, later, "Authorize")

    assert await settled(stage, first) is True

    await outing.signal("go_on")
    assert await ending(later) == "done"


async def test_nor_is_it_where_the_earlier_sagas_child_is_not_on_record(stage: Stage, name: str) -> None:
    first = await stage.tour(name, "hold")
    assert await ending(first) == "done"
    later = await stage.tour(name, "child", child=child(name, "authorize", "wait"))
    outing = await at_its_wait(stage, later, "Authorize")

    assert await settled(stage, first) is False

    await outing.signal("go_on")
    assert await ending(later) == "done"
