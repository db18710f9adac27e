"""Faults that interrupt a saga from outside: a cancellation, or its deadline, while a step runs or between two."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from temporalio.service import RPCError

from counteract.saga import SagaStatus
from counteract.testing.exploration.attempt import Attempt
from counteract.testing.exploration.catalogue.fault_actions import stay_deaf, until_cancelled
from counteract.testing.exploration.run import Run
from counteract.testing.exploration.surroundings import PAUSE

DEADLINE_SIGNAL = "counteract-explore-deadline"
"""The signal by which an explored saga is told that its deadline has passed."""


async def cancel(attempt: Attempt) -> None:
    """Cancel the saga while this attempt is under way; the attempt should be stopped, where it may be."""
    await send_cancellation(attempt.run)
    await until_cancelled(attempt)


async def pass_deadline(attempt: Attempt) -> None:
    """Let the deadline pass while this attempt is under way; the attempt should be stopped, where it may be."""
    await send_deadline(attempt.run)
    await until_cancelled(attempt)


async def cancel_unheard(attempt: Attempt) -> None:
    """Cancel the saga while this attempt is under way, and answer all the same."""
    await send_cancellation(attempt.run)
    await stay_deaf(attempt)


async def pass_deadline_unheard(attempt: Attempt) -> None:
    """Let the deadline pass while this attempt is under way, and answer all the same."""
    await send_deadline(attempt.run)
    await stay_deaf(attempt)


async def cancel_between(attempt: Attempt) -> None:
    """Cancel the saga after this step has ended and before the next one begins."""
    await _pause(attempt.run)
    attempt.run.spawn(_between_steps(attempt.run, send_cancellation(attempt.run)))


async def pass_deadline_between(attempt: Attempt) -> None:
    """Let the deadline pass after this step has ended and before the next one begins."""
    await _pause(attempt.run)
    attempt.run.spawn(_between_steps(attempt.run, send_deadline(attempt.run)))


async def send_cancellation(run: Run) -> None:
    """Cancel the saga, and return once its workflow has taken notice."""
    await _interrupt(run, run.handle.cancel())


async def send_deadline(run: Run) -> None:
    """Let the deadline pass, and return once the workflow has taken notice."""
    await _interrupt(run, run.handle.signal(DEADLINE_SIGNAL))


async def cancel_at_the_end(run: Run) -> None:
    """Cancel the saga in the midst of a workflow task, in which it cannot be asked anything; once in each run."""
    if run.once("cancelled at its end"):
        with suppress(RPCError):
            await run.handle.cancel()


async def _interrupt(run: Run, sent: Coroutine[Any, Any, None]) -> None:
    try:
        await sent
    except RPCError:
        run.is_missed = True
        return
    with suppress(RPCError):
        answer = await run.report()
        # It had come to its end by then, though its workflow had not.
        run.is_missed = answer is not None and answer.status is SagaStatus.COMPLETED


async def _pause(run: Run) -> None:
    await run.handle.signal("pause")
    run.is_paused = True
    run.begun_by_then = await run.begun()


async def _between_steps(run: Run, interruption: Coroutine[Any, Any, None]) -> None:
    """Interrupt the paused saga once nothing is in flight, then let it go on."""
    while not run.ended.is_set() and await run.is_in_flight():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(PAUSE)
    for step in (await run.begun()) - run.begun_by_then:
        run.complain(f"{step} began although the saga was paused")
    await interruption
    with suppress(RPCError):
        await run.handle.signal("resume")
        run.is_paused = False
