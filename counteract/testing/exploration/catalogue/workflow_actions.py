"""What faults do to the workflow of a saga: end it, begin it anew, or have it send one step more."""

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
    """End the workflow, of which its code hears nothing."""
    with suppress(RPCError):
        await attempt.run.handle.terminate("explore: terminated")


async def terminate_and_vanish(attempt: Attempt) -> NoReturn:
    """The workflow is ended and the service's worker killed, with the effect outside made and not recorded."""
    await terminate(attempt)
    await vanish(attempt)


async def terminate_and_come_late(attempt: Attempt, proceed: Proceed) -> Any:
    """Take effect once somebody has made sure of what became of it, or, if nobody does, once all is over."""
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
    """Be under way when the workflow's own time limit ends it."""
    limit = attempt.run.fault.run_timeout
    if limit is not None:
        await asyncio.sleep(limit.total_seconds())


async def add_by_signal(attempt: Attempt) -> None:
    """A handler of a signal sends a step while this attempt is under way."""
    run, count = attempt.run, len(attempt.run.additions)
    await run.handle.signal(ADD_BY_SIGNAL)
    await aftermath.wait_for_addition(run, count + 1, run.pace.hearing)


async def add_by_update(attempt: Attempt) -> None:
    with suppress(WorkflowUpdateFailedError, RPCError, TimeoutError):
        async with asyncio.timeout(attempt.run.pace.hearing):
            await attempt.run.handle.execute_update(ADD_BY_UPDATE)


def in_vain(add: Act) -> Act:
    """The saga turns back by then: whoever asks for a step is told so."""

    async def act(attempt: Attempt) -> None:
        asked = len(attempt.run.additions)
        await add(attempt)
        for told in attempt.run.additions[asked:]:
            if told != SagaClosed.__name__:
                attempt.run.complain(f"a step that came as {attempt.place} began was told {told or 'an answer'}")

    return act


async def begin_addition(attempt: Attempt) -> None:
    """A handler of a signal sends a step, which is under way when the saga's code goes on."""
    await attempt.run.handle.signal(ADD_BY_SIGNAL)
    await attempt.run.until(ADDED.step)


async def take_a_while(attempt: Attempt) -> None:
    """As long as the saga may take to come to its next step."""
    attempt.run.moments[attempt.place.step].set()
    await asyncio.sleep(max(1.0, attempt.run.pace.seconds))
