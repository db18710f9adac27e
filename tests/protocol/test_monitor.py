"""What real sagas leave in the tables is a trace of the protocol."""

from __future__ import annotations

import pytest

from counteract.testing.protocol import Trace, traces, violations
from tests.protocol.conftest import Stage, ending

pytestmark = pytest.mark.integration


async def _trace(stage: Stage, saga: str) -> Trace:
    (trace,) = await traces(stage.store, [saga])
    return trace


async def test_a_saga_that_completed_is_a_trace_of_the_protocol(stage: Stage, name: str) -> None:
    assert await ending(await stage.tour(name, "hold", "authorize", "pay", "pay back")) == "done"

    trace = await _trace(stage, name)
    assert (trace.record.state, violations(trace)) == ("completed", [])


async def test_a_saga_that_was_undone_is_a_trace_of_the_protocol(stage: Stage, name: str) -> None:
    stage.company.declines = True
    assert await ending(await stage.tour(name, "hold", "authorize", "pay")) == "SagaCompensated"

    trace = await _trace(stage, name)
    assert (trace.record.state, violations(trace)) == ("compensated", [])


async def test_a_pivot_over_a_step_that_was_undone_is_none(stage: Stage, name: str) -> None:
    assert await ending(await stage.tour(name, "hold", "pay")) == "done"
    await stage.sql(
        "update commands set undone_since = recorded_at where saga_id = %s and kind = 'compensatable'", name
    )

    broken = violations(await _trace(stage, name))
    assert broken == [
        "A7: the saga ended completed, and HoldMoney is half undone",
        "A7: PayHeldMoney was passed while HoldMoney was half undone",
    ]
