"""Faults that end with a person: a step breaks, somebody is asked, and decides, or answers too late."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from counteract.errors import Rejected
from counteract.testing.exploration.attempt import Attempt
from counteract.testing.exploration.catalogue.fault_actions import Act, error, until_stopped
from counteract.testing.exploration.people import (
    is_corrected,
    resolve,
    resolve_corrected,
    resolve_skipped,
    takes_decision,
)


async def break_down(attempt: Attempt) -> NoReturn:
    """Fail in a way that no repetition cures, and have a person decide to try again."""
    attempt.run.spawn(resolve(attempt, "retry"))
    raise error("explore: broken", final=True)


async def break_until_corrected(attempt: Attempt) -> NoReturn:
    """Fail in a way that no repetition cures, and have a person try again with another command."""
    attempt.run.spawn(resolve_corrected(attempt))
    raise error("explore: broken", final=True)


async def break_until_skipped(attempt: Attempt) -> NoReturn:
    """Fail in a way that no repetition cures, and have a person skip the step."""
    attempt.run.spawn(resolve_skipped(attempt))
    raise error("explore: broken", final=True)


def keep_failing(decide: Callable[[Attempt], Coroutine[Any, Any, None]]) -> Act:
    """Fail at every attempt, in a way that may pass, until a person has decided."""

    async def act(attempt: Attempt) -> None:
        decided = [each.decision for each in attempt.run.decisions if each.step == attempt.place.step]
        if "retry" in decided and is_corrected(attempt):
            return
        if attempt.run.once(attempt.place):
            attempt.run.spawn(decide(attempt))
        raise error("explore: fails for long")

    return act


async def skip(attempt: Attempt) -> None:
    """A decision for `keep_failing`: skip the step."""
    await resolve_skipped(attempt)


async def correct(attempt: Attempt) -> None:
    """A decision for `keep_failing`: try again with another command; attempts at the first one may still come."""
    await resolve_corrected(attempt, at_once=False)


async def refuse_until_resolved(attempt: Attempt) -> NoReturn:
    """Refuse the command, and have a person decide to try again."""
    attempt.run.spawn(resolve(attempt, "retry"))
    raise Rejected("explore: refused")


async def refuse_until_corrected(attempt: Attempt) -> NoReturn:
    """Refuse the command, and have a person try again with another one."""
    attempt.run.spawn(resolve_corrected(attempt))
    raise Rejected("explore: refused")


async def refuse_until_skipped(attempt: Attempt) -> NoReturn:
    """Refuse the command, and have a person skip the step."""
    attempt.run.spawn(resolve_skipped(attempt))
    raise Rejected("explore: refused")


async def break_down_and_look(attempt: Attempt) -> None:
    """Break down; at the next attempt check that the step is not shown as stuck any more."""
    if attempt.run.once((attempt.place, "broken")):
        await break_down(attempt)
    if await attempt.run.is_stuck(attempt.place.step):
        attempt.run.complain(f"{attempt.place} was decided on, is under way again, and is shown as stuck")


async def fail_until_asked(attempt: Attempt) -> None:
    """Fail until a person has been asked, and succeed before the person has decided."""
    if not await attempt.run.is_stuck(attempt.place.step):
        raise error("explore: fails for long")


async def hang_until_resolved(attempt: Attempt) -> None:
    """Fail once, so that a person is asked, and then hang until the decision ends the attempt."""
    if attempt.run.once((attempt.place, "failed")):
        raise error("explore: failed")
    if attempt.run.once((attempt.place, "hangs")):
        attempt.run.spawn(resolve(attempt, "retry"))
        await until_stopped(attempt)


def decide_too_late(step: str) -> Act:
    """Have a person decide about a step that has come to its end since: the saga should refuse the decision."""

    async def act(attempt: Attempt) -> None:
        if await takes_decision(attempt.run, step):
            attempt.run.complain(f"{step} had come to its end, and somebody could decide on it all the same")

    return act
