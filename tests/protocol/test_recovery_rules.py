"""Recovery finds what is lost, whatever else is in the table, and takes nothing from a saga that goes on."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import ActivityEnvironment

from counteract.dev import EmbeddedTemporal
from counteract.lifecycle import Lost
from counteract.participants.lifecycle import Lifecycle
from counteract.participants.recovery import lost_page
from counteract.saga.recovery import recovery_id
from tests.protocol.domain import Lingering, Plan, Tour
from tests.protocol.stage import Stage, being_settled, ending, until
from tests.travel.bank import Account
from tests.travel.reset import reset

pytestmark = pytest.mark.integration


async def lost_saga(stage: Stage, name: str, *, saga_id: str | None = None) -> WorkflowHandle[Tour, str]:
    """One that holds money, and whose workflow was terminated."""
    plan = Plan(account=name, steps=["authorize", "wait"])
    saga = await stage.client.start_workflow(Tour.run, plan, id=saga_id or name, task_queue=stage.queue)
    await stage.applied(saga.id, "Authorize")
    await saga.terminate()
    return saga


async def test_a_saga_that_completes_while_it_is_looked_at_is_not_lost(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga = await stage.tour(name, "hold", "wait")
    await stage.applied(name, "HoldMoney")
    from counteract.participants import recovery

    ask = recovery.last_run_of

    async def from_afar(client: Client, saga_id: str, run_id: str) -> object:
        if saga_id == name:
            await saga.signal("go_on")
            await saga.result()
        return await ask(client, saga_id, run_id)

    monkeypatch.setattr(recovery, "last_run_of", from_afar)

    page = await lost_page(stage.client, stage.store, None, include_forgotten=True)

    assert name not in [each.saga_id for each in page.lost]
    assert name not in [each.saga_id for each in page.left]


async def test_what_a_stale_look_took_for_lost_is_not_claimed_once_it_has_gone_on(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "pay")
    assert await ending(saga) == "done"
    ((run_id,),) = await stage.sql("select run_id from sagas where saga_id = %s", name)
    lost = Lost(saga_id=name, saga_type="Tour", run_id=run_id, state="forward", how="terminated")

    await stage.client.execute_workflow("RecoverLostSaga", lost, id=f"recover {name}", task_queue=stage.queue)

    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompleted"]
    assert await stage.money(name) == Account(40, {f"{name} 0": 60})


async def test_a_claimed_saga_whose_workflow_runs_after_all_is_ended_and_undone(stage: Stage, name: str) -> None:
    """A reset came between the look and the claim."""
    saga = await stage.tour(name, "hold", "wait")
    await stage.applied(name, "HoldMoney")
    ((run_id,),) = await stage.sql("select run_id from sagas where saga_id = %s", name)
    lost = Lost(saga_id=name, saga_type="Tour", run_id=run_id, state="forward", how="terminated")

    await stage.client.execute_workflow("RecoverLostSaga", lost, id=f"recover {name}", task_queue=stage.queue)

    assert await ending(saga) == "TerminatedError"
    assert await stage.money(name) == Account(100, {})
    assert await stage.state(name) == "compensated"


async def test_past_its_pivot_a_saga_that_goes_on_after_all_is_left_alone(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "pay", "wait", "pay back")
    await stage.applied(name, "PayHeldMoney")
    ((run_id,),) = await stage.sql("select run_id from sagas where saga_id = %s", name)
    lost = Lost(saga_id=name, saga_type="Tour", run_id=run_id, state="past the pivot", how="terminated")

    await stage.client.execute_workflow("RecoverLostSaga", lost, id=f"recover {name}", task_queue=stage.queue)

    await saga.signal("go_on")
    assert await ending(saga) == "done"
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompleted"]


async def test_at_its_pivot_a_saga_that_goes_on_after_all_is_left_alone(stage: Stage, name: str) -> None:
    stage.company.unreachable = True
    saga = await stage.tour(name, "authorize", "capture")
    await until(lambda: _is_at_its_pivot(stage, name))
    ((run_id,),) = await stage.sql("select run_id from sagas where saga_id = %s", name)
    lost = Lost(saga_id=name, saga_type="Tour", run_id=run_id, state="at the pivot", how="terminated")

    await stage.client.execute_workflow("RecoverLostSaga", lost, id=f"recover {name}", task_queue=stage.queue)

    stage.company.unreachable = False
    assert await ending(saga) == "done"
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompleted"]


async def test_a_recovery_that_waits_for_the_pivot_leaves_the_saga_to_a_run_that_has_begun_meanwhile(
    stage: Stage, name: str
) -> None:
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "capture", otherwise=["hold", "capture", "wait"])
    await being_settled(stage, name)
    await saga.terminate()
    found = await stage.round()
    ((run_id,),) = await stage.sql("select run_id from sagas where saga_id = %s", name)
    recovery = stage.handle(recovery_id(name, run_id))
    assert name in [each.saga_id for each in found if each.what == "recovering"]

    async def asks() -> bool:
        events = (await recovery.fetch_history()).events
        return any(
            each.activity_task_scheduled_event_attributes.activity_type.name == "SettleCapture" for each in events
        )

    await until(asks)
    again = await reset(stage, name)
    stage.post.loses_orders.clear()
    stage.company.gate.set()

    assert await recovery.result() is None
    await again.signal("go_on")
    assert await ending(again) == "done"
    assert await stage.state(name) == "completed"


async def test_a_saga_that_has_ended_meanwhile_keeps_its_open_run(stage: Stage, name: str) -> None:
    """Between the claim and the look for an open run, and its code goes on after the saga."""
    saga = await stage.tour(name, "hold", "pay", flow=Lingering)
    await until(lambda: _is_completed(stage, name))
    ((run_id,),) = await stage.sql("select run_id from sagas where saga_id = %s", name)
    lost = Lost(saga_id=name, saga_type="Tour", run_id=run_id, state="past the pivot", how="terminated")

    assert await ActivityEnvironment(stage.client).run(Lifecycle(stage.store).end_open_run, lost), (
        "nothing is to be done"
    )

    await saga.signal("go_on")
    assert await ending(saga) == "done"


async def _is_completed(stage: Stage, name: str) -> bool:
    return await stage.sql("select 1 from sagas where saga_id = %s and state = 'completed'", name) != []


async def _is_at_its_pivot(stage: Stage, name: str) -> bool:
    return bool(await stage.sql("select 1 from sagas where saga_id = %s and state = 'at the pivot'", name))


async def test_a_recovery_claims_and_ends_the_open_run_before_it_reads_what_was_sent(stage: Stage, name: str) -> None:
    saga = await lost_saga(stage, name)
    await stage.recovered(saga)
    recovery = stage.handle(recovery_id(saga.id, str(saga.first_execution_run_id)))

    asked = [
        attributes.activity_type.name
        async for each in recovery.fetch_history_events()
        if (attributes := each.activity_task_scheduled_event_attributes).activity_type.name
    ]

    assert [name for name in asked if name != "FindUnrecorded"][:2] == ["ClaimSaga", "EndOpenRun"]
    assert asked.index("EndOpenRun") < len(asked) - 1 - asked[::-1].index("FindUnrecorded")


async def test_two_recoveries_at_once_undo_once(stage: Stage, name: str) -> None:
    saga = await lost_saga(stage, name)

    rounds = await asyncio.gather(stage.round(), stage.round())
    recovery = stage.handle(recovery_id(saga.id, str(saga.first_execution_run_id)))

    assert await ending(recovery) == "done"
    begun = [each for found in rounds for each in found if each.saga_id == name and each.what == "recovering"]
    assert len(begun) == 1
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompensated"]


async def test_a_saga_with_an_id_as_long_as_the_server_allows_is_recovered(stage: Stage, name: str) -> None:
    saga = await lost_saga(stage, name, saga_id=name.ljust(990, "x"))

    found = await stage.round()
    recovery = stage.handle(recovery_id(saga.id, str(saga.first_execution_run_id)))

    assert saga.id in [each.saga_id for each in found]
    assert await ending(recovery) == "done"
    assert stage.effects_left() == 0


@pytest.mark.parametrize(
    "spoilt",
    [
        "update commands set activity_type = 'NobodyKnowsIt' where saga_id = %s",
        "update commands set task_queue = 'nowhere' where saga_id = %s",
        "update commands set command = '{}' where saga_id = %s",
        "update commands set command = jsonb_build_object('trip', repeat('x', 3000000)) where saga_id = %s",
        "update commands set command = null where saga_id = %s",
    ],
    ids=["unknown type", "unknown service", "unreadable", "oversized", "not stored"],
)
async def test_one_saga_that_cannot_be_read_keeps_no_other_from_being_recovered(
    stage: Stage, name: str, spoilt: str
) -> None:
    bad = await lost_saga(stage, f"{name}-bad")
    await stage.sql(spoilt, bad.id)
    good = await lost_saga(stage, name)

    assert await stage.recovered(good) == "done"

    assert await stage.state(good.id) == "compensated"
    await _put_away(stage, bad)


async def test_a_saga_that_cannot_be_read_is_not_reported_as_undone(stage: Stage, name: str) -> None:
    saga = await lost_saga(stage, name)
    await stage.sql("update commands set activity_type = 'NobodyKnowsIt' where saga_id = %s", name)

    assert await stage.recovered(saga) == "UnreadableCommand"

    assert await stage.state(name) == "turning back"
    await _put_away(stage, saga)


async def test_a_lost_chain_of_runs_whose_id_was_used_again_is_recovered(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "new run", "authorize", "wait")
    await stage.applied(name, "Authorize")
    await stage.handle(name).terminate()
    again = await stage.client.start_workflow(
        Tour.run, Plan(account=name, steps=["wait"]), id=name, task_queue=stage.queue
    )
    first_run = str(saga.first_execution_run_id)

    await stage.round()

    assert await ending(stage.handle(recovery_id(name, first_run))) == "done"
    assert await stage.money(name) == Account(100, {})
    assert stage.effects_left() == 0
    await again.signal("go_on")
    assert await ending(again) == "done"


async def test_a_saga_of_another_namespace_is_not_a_recoverys_concern(
    stage: Stage, name: str, temporal: EmbeddedTemporal
) -> None:
    saga = await lost_saga(stage, name)
    stranger = await Client.connect(temporal.address, namespace=f"other-{uuid4().hex[:6]}")

    page = await lost_page(stranger, stage.store, None, include_forgotten=True)

    assert (page.lost, page.left) == ((), ())
    await stage.recovered(saga)


async def test_a_saga_that_is_reset_while_it_is_recovered_does_not_go_on(stage: Stage, name: str) -> None:
    stage.post.delays = {"Void"}
    saga = await lost_saga(stage, name)
    await stage.round()

    async def is_claimed() -> bool:
        return await stage.state(name) == "turning back"

    await until(is_claimed)
    again = await reset(stage, name)
    stage.post.delays = set()

    assert await ending(again) in ("SagaCompensated", "TerminatedError")
    assert await ending(stage.handle(recovery_id(name, str(saga.first_execution_run_id)))) == "done"
    assert stage.effects_left() == 0
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompensated"]


async def test_a_saga_that_was_terminated_past_its_pivot_has_ways_out(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "pay", "wait")
    await stage.applied(name, "PayHeldMoney")
    await saga.terminate()
    assert await stage.recovered(saga) == "SagaIncomplete"

    (left,) = [each for each in await stage.round() if each.saga_id == name]

    assert (left.what, "resume" in left.why, "close" in left.why) == ("left", True, True)
    again = await reset(stage, name, behind="PayHeldMoney")
    await again.signal("go_on")
    assert await ending(again) == "done"
    assert await stage.state(name) == "completed"


async def _put_away(stage: Stage, saga: WorkflowHandle[Tour, str]) -> None:
    """So that it is nobody's concern in the tests that follow."""
    run_id = str(saga.first_execution_run_id)
    await stage.sql("select close_saga(%s, %s, 'a test', 'over')", saga.id, run_id)
