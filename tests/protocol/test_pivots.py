"""Two pivots of one saga, as its runs come by them: what becomes of one says nothing of the other, which may stand."""

from __future__ import annotations

import pytest

from counteract.errors import RecordSaysOtherwise
from counteract.messages import Role
from tests.protocol.runs import CAPTURE, HOLD, PAY, Run
from tests.protocol.stage import Stage, being_settled, ending, until
from tests.travel.reset import reset

pytestmark = pytest.mark.integration


async def captured(run: Run, key: str = "Capture", *done: str) -> None:
    """It took effect, and its answer was lost."""
    run.town.company.loses_answers = True
    with pytest.raises(ConnectionError):
        await run.send(CAPTURE, key, done=done)


async def refused_beside(run: Run) -> Run:
    """A further run, whose pivot is refused because that of the first may stand, and has been settled."""
    await run.send(HOLD)
    await captured(run, "Capture", "HoldMoney")
    again = await run.again()
    with pytest.raises(RecordSaysOtherwise):
        await again.send(PAY, done=["HoldMoney"])
    await again.settle(PAY)
    return again


async def test_what_becomes_of_the_other_pivot_does_not_lead_out_of_it(first: Run) -> None:
    await refused_beside(first)

    assert await first.recorded_state() == "at the pivot"


async def test_nothing_is_undone_behind_it_then(first: Run) -> None:
    last = await (await refused_beside(first)).again()

    with pytest.raises(RecordSaysOtherwise):
        await last.undo(HOLD, Role.UNDO, sent=True)


async def test_its_own_settlement_leads_out_of_it(first: Run) -> None:
    again = await refused_beside(first)
    first.town.company.captured.clear()

    await again.settle(CAPTURE)

    assert await first.recorded_state() == "forward"


async def test_the_late_settlement_of_an_earlier_one_does_not_lead_out_of_it(first: Run) -> None:
    again = await first.again()
    await captured(again, "Capture#2")

    await first.settle(CAPTURE)

    assert await first.recorded_state() == "at the pivot"


async def test_the_late_end_of_an_earlier_run_does_not_end_a_saga_that_is_at_its_pivot(first: Run) -> None:
    again = await first.again()
    await captured(again)

    ended = await first.compensated()

    assert (ended.state, await first.recorded_state()) == ("at the pivot", "at the pivot")


async def test_a_third_run_undoes_nothing_behind_the_pivot_of_the_first(stage: Stage, name: str) -> None:
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "capture", otherwise=["pay"])
    await being_settled(stage, name)
    again = await reset(stage, saga.id)

    async def is_refused() -> bool:
        return bool(await stage.sql("select 1 from commands where saga_id = %s and step = 'PayHeldMoney'", name))

    await until(is_refused)
    last = await reset(stage, again.id)
    stage.company.gate.set()

    assert await ending(last) == "SagaIncomplete"
    assert (await stage.money(name)).held == {f"{name} 0": 60}
