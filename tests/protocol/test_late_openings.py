"""What comes before a run that continues a saga has opened it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.conftest import Handle, Stage, ending, until
from tests.protocol.domain import Late
from tests.travel.bank import Account

pytestmark = pytest.mark.integration


async def late(stage: Stage, name: str, *steps: str, **more: Any) -> Handle:
    """A tour that has held its money, and waits."""
    saga = await stage.tour(name, "hold", "wait", *steps, flow=Late, **more)
    await stage.applied(name, "HoldMoney")
    # Of whichever run is the last.
    return stage.handle(saga.id)


async def next_run(saga: Handle) -> None:
    """Told to go on, it continues as new."""
    last = (await saga.describe()).run_id
    await saga.signal("go_on")

    async def is_there() -> bool:
        return (await saga.describe()).run_id != last

    await until(is_there)


async def test_a_saga_that_was_paused_is_resumed_before_its_next_run_opens_it(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "pay")
    await saga.signal("pause")
    await next_run(saga)

    await saga.signal("resume")
    await saga.signal("go_on")

    assert await ending(saga) == "done"


async def test_a_pause_that_is_said_again_counts(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "pay")
    await saga.signal("pause")
    await next_run(saga)

    await saga.signal("resume")
    await saga.signal("pause")
    await saga.signal("go_on")

    await until(lambda: _is_paused(saga))
    await saga.signal("resume")
    assert await ending(saga) == "done"


async def _is_paused(saga: Handle) -> bool:
    report = await saga.query("report")
    return report is not None and report["paused"]
