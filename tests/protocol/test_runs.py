"""One test for each kind of run that a saga can have, and what the next one may rely on."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.common import RetryPolicy

from counteract.saga import Resolution
from tests.protocol.stage import Handle, Stage, being_settled, ending, until
from tests.travel.bank import Account
from tests.travel.reset import reset

pytestmark = pytest.mark.integration

TWICE = {
    "retry_policy": RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=50)),
    "run_timeout": timedelta(seconds=3),
}
"""A second attempt, once the first one's time is over."""


async def test_a_first_run(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "authorize", "pay", "pay back")

    assert await ending(saga) == "done"
    assert await stage.state(name) == "completed"
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompleted"]


async def test_a_retried_run_gets_the_answers_of_the_first_and_goes_on(stage: Stage, name: str) -> None:
    await stage.tour(name, "hold", "wait", otherwise=["hold", "pay"], options=TWICE)

    assert await ending(stage.handle(name)) == "done"
    assert await stage.money(name) == Account(40, {f"{name} 0": 60})
    assert await stage.state(name) == "completed"


async def test_a_retried_run_leaves_nothing_behind_that_it_does_not_come_by(stage: Stage, name: str) -> None:
    await stage.tour(name, "hold", "authorize", "wait", otherwise=["hold", "pay"], options=TWICE)

    assert await ending(stage.handle(name)) == "done"
    assert stage.effects_left() == 0


async def test_a_retried_run_that_turns_back_undoes_what_the_first_one_did(stage: Stage, name: str) -> None:
    await stage.tour(name, "hold", "authorize", "wait", otherwise=["refuse"], options=TWICE)

    assert await ending(stage.handle(name)) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    assert stage.effects_left() == 0


async def test_a_retried_run_past_the_pivot_does_not_complete_on_another_way(stage: Stage, name: str) -> None:
    steps = ["hold", "authorize", "pay", "wait"]
    await stage.tour(name, *steps, otherwise=["hold", "pay"], options=TWICE)

    assert await ending(stage.handle(name)) == "SagaIncomplete"
    assert await stage.state(name) == "past the pivot"
    assert stage.effects_left() == 1, "nothing is undone past the pivot"


async def test_a_run_after_a_reset_gets_the_answers_of_the_first_and_goes_on(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", otherwise=["hold", "pay"])
    await stage.applied(name, "HoldMoney")

    again = await reset(stage, saga.id)

    assert await ending(again) == "done"
    assert await stage.money(name) == Account(40, {f"{name} 0": 60})


async def test_a_saga_that_is_reset_twice_goes_on(stage: Stage, name: str) -> None:
    """The second reset keeps a history in which the first one took up the record."""
    saga = await stage.tour(name, "hold", "wait", "authorize", "wait")
    await stage.applied(name, "HoldMoney")
    again = await reset(stage, saga.id, behind="HoldMoney")
    await again.signal("go_on")
    assert await ending(again) == "done"

    last = await reset(stage, saga.id, behind="Authorize")

    assert await ending(last) == "done"
    assert await stage.state(name) == "completed"


async def test_a_run_that_continues_as_new_counts_on_what_the_one_before_did(stage: Stage, name: str) -> None:
    await stage.tour(name, "hold", "new run", "authorize", "new run", "pay")

    assert await ending(stage.handle(name)) == "done"
    assert await stage.sql("select epoch, state from sagas where saga_id = %s", name) == [(1, "completed")]


async def test_a_run_that_continues_as_new_undoes_what_the_one_before_did(stage: Stage, name: str) -> None:
    await stage.tour(name, "hold", "new run", "authorize", "refuse")

    assert await ending(stage.handle(name)) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    assert stage.effects_left() == 0


async def test_a_retry_of_a_run_that_continued_as_new_knows_what_the_ones_before_did(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "new run", "wait", otherwise=["refuse"], options=TWICE)

    assert await ending(stage.handle(saga.id)) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})


async def test_a_reset_of_the_first_of_several_runs_bars_what_the_last_one_sends(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "new run", "authorize", "wait", otherwise=["hold", "pay"])
    await stage.applied(name, "Authorize")

    again = await reset(stage, saga.id, run_id=saga.first_execution_run_id)

    assert await ending(again) == "done"
    assert stage.effects_left() == 0, "the last run's step is not left behind"


async def test_a_reset_after_the_saga_was_undone_does_not_go_on(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "new run", "authorize", "refuse")
    await ending(stage.handle(name))

    again = await reset(stage, saga.id, run_id=saga.first_execution_run_id)

    assert await ending(again) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompensated"]


async def test_a_reset_after_the_saga_completed_does_not_tell_that_it_is_stuck(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "authorize", "pay", otherwise=["hold", "refuse"])
    await ending(saga)

    again = await reset(stage, saga.id)

    assert await ending(again) == "SagaHasCompleted"
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompleted"]


async def test_a_recovered_saga_is_undone(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "authorize", "wait")
    await stage.applied(name, "Authorize")
    await saga.terminate()

    assert await stage.recovered(saga) == "done"

    assert await stage.money(name) == Account(100, {})
    assert stage.effects_left() == 0
    assert await stage.state(name) == "compensated"


async def test_a_recovery_finds_out_about_a_pivot_before_it_decides(stage: Stage, name: str) -> None:
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "capture")
    await until(lambda: _has_begun(stage, name, "Capture"))
    await saga.terminate()

    assert await stage.recovered(saga) == "SagaIncomplete"

    assert await stage.state(name) == "past the pivot"
    assert (await stage.money(name)).held == {f"{name} 0": 60}


async def test_a_recovery_finds_out_about_a_pivot_that_was_about_to_be_settled(stage: Stage, name: str) -> None:
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "capture")
    await being_settled(stage, name)
    await saga.terminate()
    stage.company.gate.set()

    assert await stage.recovered(saga) == "SagaIncomplete"

    assert await stage.state(name) == "past the pivot"
    assert (await stage.money(name)).held == {f"{name} 0": 60}


async def test_so_does_a_run_that_turns_back_before_it_comes_by_that_pivot(stage: Stage, name: str) -> None:
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "capture", otherwise=["refuse"])
    await being_settled(stage, name)

    again = await reset(stage, saga.id)
    stage.company.gate.set()

    assert await ending(again) == "SagaIncomplete"
    assert await stage.state(name) == "past the pivot"
    assert (await stage.money(name)).held == {f"{name} 0": 60}


async def test_no_other_pivot_takes_effect_while_that_one_may_stand(stage: Stage, name: str) -> None:
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "capture", otherwise=["hold", "pay"])
    await being_settled(stage, name)

    again = await reset(stage, saga.id)
    stage.company.gate.set()

    assert await ending(again) == "SagaIncomplete"
    assert (await stage.money(name)).held == {f"{name} 0": 60}, "it is paid once"


async def with_another_pivot_in_doubt(stage: Stage, name: str) -> Handle:
    """Beside one that took effect a further run has another one, which was refused for that, and is being settled."""
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "capture", otherwise=["hold", "buy ticket"])
    await being_settled(stage, name)
    again = await reset(stage, saga.id)

    async def is_fenced() -> bool:
        rows = await stage.sql("select status from commands where saga_id = %s and step = 'BuyTicket'", name)
        return rows == [("fenced",)]

    await until(is_fenced)
    return again


async def test_a_recovery_finds_out_about_each_of_two_pivots(stage: Stage, name: str) -> None:
    again = await with_another_pivot_in_doubt(stage, name)
    await again.terminate()
    stage.company.gate.set()

    assert await stage.recovered(stage.handle(name)) == "SagaIncomplete"

    assert await stage.state(name) == "past the pivot"
    assert (await stage.money(name)).held == {f"{name} 0": 60}


async def test_a_recovery_undoes_a_saga_whose_pivot_never_happened(stage: Stage, name: str) -> None:
    stage.company.unreachable = True
    saga = await stage.tour(name, "hold", "capture")
    await until(lambda: _has_begun(stage, name, "Capture"))
    await saga.terminate()

    assert await stage.recovered(saga) == "done"

    assert await stage.money(name) == Account(100, {})


async def test_a_child_completes_with_its_parent(stage: Stage, name: str) -> None:
    child = {"account": name, "steps": ["authorize"]}
    saga = await stage.tour(name, "hold", "child", "pay", child=child)

    assert await ending(saga) == "done"
    assert await stage.state(f"{name}-child") == "completed"


async def test_two_runs_at_once_take_effect_once(stage: Stage, name: str) -> None:
    """The run that a reset ended still has its worker; what it had under way lands beside the new one's."""
    stage.company.gate.clear()
    saga = await stage.tour(name, "hold", "authorize", "pay")
    async with asyncio.timeout(30):
        await stage.company.reached.wait()

    again = await reset(stage, saga.id, behind="HoldMoney")
    await asyncio.sleep(0.3)
    stage.company.gate.set()

    assert await ending(again) == "done"
    assert list(stage.company.authorized.values()) == [1]
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompleted"]


async def _has_begun(stage: Stage, saga: str, step: str) -> bool:
    return bool(await stage.sql("select 1 from commands where saga_id = %s and step = %s", saga, step))


async def test_a_run_after_a_reset_comes_by_what_a_person_had_corrected_and_goes_on(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", otherwise=["hold", "pay"], amounts=[1000], parks=True)
    await stage.stuck(name)
    await saga.execute_update("resolve", _with_less(name))
    await stage.applied(name, "HoldMoney")

    again = await reset(stage, saga.id)
    await stage.stuck(name)
    await again.execute_update("resolve", _with_less(name))

    assert await ending(again) == "done"
    assert (await stage.money(name)).available == 90


def _with_less(name: str) -> Resolution:
    less = {"account": name, "trip": f"{name} 0", "amount": 10}
    return Resolution(step="HoldMoney", decision="retry", who="ann", why="too much", command=less)
