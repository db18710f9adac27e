"""Faults that change the course of a saga's workflow: they end it, begin it anew, or have it send one step more."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, NoReturn

from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError

from counteract.errors import SagaClosed
from counteract.testing.exploration import aftermath
from counteract.testing.exploration.attempt import Attempt
from counteract.testing.exploration.catalogue.deliveries import hold
from counteract.testing.exploration.catalogue.fault_actions import Act, vanish
from counteract.testing.exploration.faults import Proceed
from counteract.testing.exploration.worker.additions import ADD_BY_SIGNAL, ADD_BY_UPDATE, ADDED


async def terminate(attempt: Attempt) -> None:
    """Terminate the workflow, of which its code hears nothing."""
    with suppress(RPCError):
        await attempt.run.handle.terminate("explore: terminated")


async def terminate_and_vanish(attempt: Attempt) -> NoReturn:
    """Terminate the workflow and kill the service's worker, with the external effect made and not recorded."""
    await terminate(attempt)
    await vanish(attempt)


async def terminate_and_come_late(attempt: Attempt, proceed: Proceed) -> Any:
    """Terminate the workflow, and take effect only once the step has been undone or settled, or all is over."""
    await terminate(attempt)
    attempt.run.listening[attempt.place] += 1
    try:
        await hold(attempt)
        return await proceed()
    finally:
        attempt.run.listening[attempt.place] -= 1


async def reset_now(attempt: Attempt) -> None:
    """Begin the workflow anew from its last decision, while this attempt is under way."""
    await aftermath.reset(attempt.run, 0)


async def reset_to_the_beginning(attempt: Attempt) -> None:
    """Begin the workflow anew as if nothing had been decided but its first step."""
    await aftermath.reset(attempt.run, 1)


async def outlast_the_run(attempt: Attempt) -> None:
    """Be under way when the workflow's run times out."""
    limit = attempt.run.fault.run_timeout
    if limit is not None:
        await asyncio.sleep(limit.total_seconds())


async def add_by_signal(attempt: Attempt) -> None:
    """Have a signal's handler send a step while this attempt is under way."""
    run, count = attempt.run, len(attempt.run.additions)
    await run.handle.signal(ADD_BY_SIGNAL)
    await aftermath.wait_for_addition(run, count + 1, run.pace.hearing)


async def add_by_update(attempt: Attempt) -> None:
    """Have an update's handler send a step while this attempt is under way."""
    with suppress(WorkflowUpdateFailedError, RPCError, TimeoutError):
        async with asyncio.timeout(attempt.run.pace.hearing):
            await attempt.run.handle.execute_update(ADD_BY_UPDATE)


def in_vain(add: Act) -> Act:
    """Add a step while the saga turns back, and check that it is refused for that reason."""

    async def act(attempt: Attempt) -> None:
        asked = len(attempt.run.additions)
        await add(attempt)
        for told in attempt.run.additions[asked:]:
            if told != SagaClosed.__name__:
                attempt.run.complain(f"a step that came as {attempt.place} began was told {told or 'an answer'}")

    return act


async def begin_addition(attempt: Attempt) -> None:
    """Have a signal's handler send a step that is still under way when the saga's code goes on."""
    await attempt.run.handle.signal(ADD_BY_SIGNAL)
    await attempt.run.until(ADDED.step)


async def take_a_while(attempt: Attempt) -> None:
    """Take as long as the saga may need to come to its next step."""
    attempt.run.moments[attempt.place.step].set()
    await asyncio.sleep(max(1.0, attempt.run.pace.seconds))
