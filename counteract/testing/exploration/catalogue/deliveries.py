"""Faults of delivery: a command is delivered twice, or only after the step's undo or settlement."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

from temporalio.exceptions import ApplicationError

from counteract.errors import CommandFenced, RecordSaysOtherwise, Rejected
from counteract.messages import CommandKind
from counteract.testing.exploration.attempt import CURRENT, Attempt
from counteract.testing.exploration.catalogue.fault_actions import EXPLORED, error
from counteract.testing.exploration.faults import Proceed


async def twice(attempt: Attempt, proceed: Proceed) -> Any:
    """Deliver the command again as soon as it was answered."""
    first = await proceed()
    _compare(attempt, first, await _again(attempt, proceed))
    return first


async def twice_at_once(attempt: Attempt, proceed: Proceed) -> Any:
    """Deliver the command to two workers at the same time."""
    answers = await asyncio.gather(proceed(), proceed(), return_exceptions=True)
    failures = [each for each in answers if isinstance(each, BaseException)]
    if failures:
        raise failures[0]
    _compare(attempt, *answers)
    return answers[0]


async def again_after_the_end(attempt: Attempt, proceed: Proceed) -> Any:
    """Deliver the command again once the saga is over."""
    answer = await proceed()

    async def again() -> None:
        await attempt.run.ended.wait()
        with suppress(CommandFenced, Rejected):
            _compare(attempt, answer, await _again(attempt, proceed))
            _answered_too_late(attempt)

    attempt.run.spawn(again())
    return answer


async def lose_and_deliver_late(attempt: Attempt, proceed: Proceed) -> NoReturn:
    """Give the attempt up before it begins; it begins only after its undo (or settlement) has passed."""

    async def late() -> None:
        await hold(attempt)
        await _too_late(attempt, proceed)

    attempt.run.spawn(late())
    raise error("explore: lost on the way", final=True)


async def give_up_while_held(attempt: Attempt, proceed: Proceed) -> NoReturn:
    """Give the attempt up while its handler is held; the handler goes on after its undo (or settlement)."""
    attempt.run.spawn(_too_late(attempt, proceed))
    with suppress(TimeoutError):
        await asyncio.wait_for(attempt.held.wait(), attempt.run.pace.hearing)
    raise error("explore: lost on the way", final=True)


async def land_after_undo(attempt: Attempt, proceed: Proceed) -> NoReturn:
    """Have the effect come after the undo, unnoticed, as that of a thread or a queue which outlives the attempt."""

    async def late() -> None:
        await hold(attempt)
        CURRENT.set(replace(attempt, unnoticed=True))
        with suppress(Exception):
            await proceed()

    attempt.run.spawn(late())
    raise error("explore: its effect is still under way", final=True)


async def happen_late_and_fail(attempt: Attempt, proceed: Proceed) -> NoReturn:
    """Take effect after the undo, and fail, so that nobody hears of it."""
    await hold(attempt)
    await proceed()
    raise error("explore: failed after its effect")


async def hold(attempt: Attempt) -> None:
    """Wait until the step's undo (or settlement) has passed."""
    attempt.held.set()
    await attempt.run.until_concluded(attempt.place.step)


async def come_late(attempt: Attempt, proceed: Proceed) -> bool:
    """Go on although nobody waits for the answer any more. Returns whether the command was carried out and answered."""
    try:
        await proceed()
    except (CommandFenced, RecordSaysOtherwise, Rejected):
        return False
    except Exception as failure:  # whatever else it says, it says it to nobody: only its effects count
        if not (isinstance(failure, ApplicationError) and failure.type == EXPLORED):
            attempt.run.complain(f"{attempt.place} failed oddly when it came late: {failure!r}")
        return False
    return True


async def _too_late(attempt: Attempt, proceed: Proceed) -> None:
    if await come_late(attempt, proceed):
        _answered_too_late(attempt)


def _answered_too_late(attempt: Attempt) -> None:
    # A pivot that its settlement found to have happened may well be answered now, and so may what undoes a step.
    is_original = attempt.command.kind is CommandKind.COMPENSATABLE and not attempt.dispatch.undoes
    if is_original and attempt.place.step in attempt.run.barred:
        attempt.run.complain(f"{attempt.place} came after its undo, and was carried out and answered")


async def _again(attempt: Attempt, proceed: Proceed) -> Any:
    """Deliver the command once more: its answer is on record, so its handler should not decide anew."""
    before = attempt.decided
    answer = await proceed()
    if attempt.decided > before:
        attempt.run.complain(f"{attempt.place} was on record, and was decided anew when it was delivered again")
    return answer


def _compare(attempt: Attempt, first: Any, second: Any) -> None:
    if first != second:
        attempt.run.complain(f"{attempt.place} was delivered twice and answered {first!r}, then {second!r}")
