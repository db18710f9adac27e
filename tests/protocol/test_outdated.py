"""A run that is over leaves a look at the record behind, which comes late: of all runs, the one whose code still runs is the last."""

from __future__ import annotations

import pytest

from tests.protocol.conftest import Stage, ending
from tests.travel.bank import Account

pytestmark = pytest.mark.integration

LATE_LOOK = "update sagas set epoch = epoch + 1, last_run = 'a run that is over' where saga_id = %s"


async def test_a_late_look_of_a_run_that_is_over_does_not_stop_the_one_that_goes_on(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", "pay", "pay back")
    await stage.applied(name, "HoldMoney")
    await stage.sql(LATE_LOOK, name)

    await saga.signal("go_on")

    assert await ending(saga) == "done"
    assert await stage.state(name) == "completed"


async def test_nor_does_it_keep_it_from_turning_back(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", "refuse")
    await stage.applied(name, "HoldMoney")
    await stage.sql(LATE_LOOK, name)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
