"""A round of recovery that finds a lot, and one after the database was restored to an earlier time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from counteract.participants import recovery as looking
from counteract.participants import unknown
from counteract.saga import rounds
from counteract.saga.recovery import recovery_id
from tests.protocol.stage import Handle, Stage, ending, until

pytestmark = pytest.mark.integration


async def lost(stage: Stage, names: Sequence[str]) -> list[Handle]:
    """Sagas whose workflow was terminated."""
    sagas = [await stage.tour(name, "hold", "authorize", "wait") for name in names]
    for saga in sagas:
        await stage.applied(saga.id, "Authorize")
        await saga.terminate()
    return sagas


async def ends(stage: Stage, sagas: Sequence[Handle]) -> list[str]:
    """How their recoveries ended."""
    return [await ending(stage.handle(recovery_id(saga.id, str(saga.first_execution_run_id)))) for saga in sagas]


async def runs(stage: Stage, workflow_id: str) -> int:
    """How many runs the round has taken."""
    first = stage.client.get_workflow_handle(workflow_id)
    times, run_id = 1, (await first.describe()).run_id
    while run_id := await _followed(stage, workflow_id, run_id):
        times += 1
    return times


async def test_a_round_that_finds_much_goes_on_in_further_runs(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "PAGE", 2)
    monkeypatch.setattr(rounds, "MOST_BEGUN", 2)
    sagas = await lost(stage, [f"{name}-{at}" for at in range(5)])
    this = f"recover-{uuid4().hex[:8]}"

    found = await stage.round(id=this)

    assert await runs(stage, this) >= 3
    assert {each.saga_id for each in found if each.what == "recovering"} >= {saga.id for saga in sagas}
    assert await ends(stage, sagas) == ["done"] * 5


async def test_a_round_tells_of_no_more_than_a_result_can_hold(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "MOST_TOLD", 200)
    sagas = await lost(stage, [f"{name}-{at}" for at in range(3)])

    *_, last = await stage.round()

    assert (last.what, last.why) == ("recovering", "2 more")
    assert await ends(stage, sagas) == ["done"] * 3


async def test_late_effects_are_undone_several_at_a_time(stage: Stage, name: str) -> None:
    await late(stage, [f"{name}-{at}" for at in range(3)])
    this = f"recover-{uuid4().hex[:8]}"

    await stage.round(id=this)

    sent = []
    async for each in stage.handle(this).fetch_history_events():
        scheduled = each.activity_task_scheduled_event_attributes.activity_type.name
        completed = each.HasField("activity_task_completed_event_attributes")
        sent.append("sent" if scheduled == "Void" else "answered" if completed else "")
    assert [each for each in sent[sent.index("sent") :] if each][:3] == ["sent"] * 3
    assert sum(stage.company.voided.values()) == 6, "each was undone before, and is undone again"


async def test_a_late_effect_that_cannot_be_undone_keeps_no_other_from_it(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "LATE_PAGE", 1)
    bad, good = await late(stage, [f"{name}-bad", f"{name}-good"])
    await stage.sql("update commands set activity_type = 'Nobody' where saga_id = %s and step = 'Authorize'", bad.id)

    found = {each.saga_id: each.what for each in await stage.round()}

    assert (found[bad.id], found[good.id]) == ("left", "recovering")
    await stage.sql("update commands set late_since = null where saga_id = %s", bad.id)


async def test_a_lost_saga_without_a_record_is_found_by_the_servers_list(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown, "PAGE", 1)
    began = datetime.now(UTC).isoformat()
    saga, other = await lost(stage, [name, f"{name}-other"])
    await forget(stage, saga)

    await stage.round(False, began)

    assert await ends(stage, [saga, other]) == ["done", "done"]
    assert stage.effects_left() == 0
    assert await stage.state(name) == "compensated"


async def test_a_saga_without_a_record_is_left_alone_while_it_runs(stage: Stage, name: str) -> None:
    began = datetime.now(UTC).isoformat()
    saga = await stage.tour(name, "authorize", "wait")
    await stage.applied(name, "Authorize")
    await forget(stage, saga)

    found = await stage.round(False, began)

    assert name not in [each.saga_id for each in found]
    await saga.signal("go_on")
    assert await ending(saga) in ("done", "SagaCompensated"), "as the store and its own history have it"


async def test_a_lost_child_without_a_record_is_undone(stage: Stage, name: str) -> None:
    """Neither it nor its parent is known to the store any more."""
    began = datetime.now(UTC).isoformat()
    child = {"account": f"{name}-child", "steps": ["authorize", "wait"]}
    saga = await stage.tour(name, "hold", "child", child=child)
    await until(lambda: _is_authorized(stage, f"{name}-child"))
    # First the child: the end of its parent would have it undo itself.
    both = [stage.handle(f"{name}-child"), saga]
    for each in both:
        await each.terminate()
    for each in both:
        await forget(stage, each)

    await stage.round(False, began)

    assert await ends(stage, [saga]) == ["done"]
    assert stage.effects_left() == 0


async def test_a_child_that_had_completed_is_undone_although_its_record_was_lost(stage: Stage, name: str) -> None:
    child = {"account": f"{name}-child", "steps": ["authorize"]}
    saga = await stage.tour(name, "hold", "child", "wait", child=child)
    await stage.applied(name, "Tour")
    await forget(stage, stage.handle(f"{name}-child"))
    await saga.terminate()

    assert await stage.recovered(saga) == "done"

    assert (await stage.money(f"{name}-child")).available == 60, "its undo has paid it back"


async def late(stage: Stage, names: Sequence[str]) -> list[Handle]:
    """Sagas that were undone, and of which an effect came after its undo."""
    sagas = [await stage.tour(name, "authorize", "refuse") for name in names]
    for saga in sagas:
        assert await ending(saga) == "SagaCompensated"
        await stage.sql(
            "update commands set status = 'fenced', late_since = clock_timestamp() - interval '1 minute', undone_since = null"
            " where saga_id = %s and step = 'Authorize' and undoes is null",
            saga.id,
        )
    return sagas


async def forget(stage: Stage, saga: Handle) -> None:
    """All that the store has of it but the money of its account."""
    for table in ("commands", "sagas"):
        await stage.sql(f"delete from {table} where saga_id = %s", saga.id)


async def _is_authorized(stage: Stage, saga: str) -> bool:
    done = "select 1 from commands where saga_id = %s and step = 'Authorize' and status = 'done'"
    return bool(await stage.sql(done, saga))


async def _followed(stage: Stage, workflow_id: str, run_id: str) -> str:
    """The run that this one continues; nothing for the first."""
    async for event in stage.client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history_events():
        return str(event.workflow_execution_started_event_attributes.continued_execution_run_id)
    return ""
