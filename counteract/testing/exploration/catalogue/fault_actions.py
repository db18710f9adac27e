"""What faults do to an attempt: small pieces, to be placed before, after or around a delivery or a handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NoReturn

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from counteract.errors import Rejected, WrongExpectedVersion
from counteract.messages import CommandKind
from counteract.saga import SagaStatus
from counteract.testing.exploration.attempt import Attempt
from counteract.testing.exploration.faults import Around, Proceed

Act = Callable[[Attempt], Awaitable[Any]]

HANDLER_MARGIN = 0.9
"""Of an attempt's time: an external handler is to be stopped before."""

EXPLORED = "ExploredFault"
"""The type of the failures that are faults."""


def before(act: Act) -> Around:
    """Act instead of going on, if it raises, or else before going on."""

    async def around(attempt: Attempt, proceed: Proceed) -> Any:
        await act(attempt)
        return await proceed()

    return around


def after(act: Act) -> Around:
    """Act once it has happened."""

    async def around(attempt: Attempt, proceed: Proceed) -> Any:
        result = await proceed()
        await act(attempt)
        return result

    return around


def error(message: str, *, final: bool = False) -> ApplicationError:
    """What a fault fails with."""
    # Benign: the SDK does not log what is done on purpose.
    return ApplicationError(message, type=EXPLORED, non_retryable=final, category=ApplicationErrorCategory.BENIGN)


async def fail(_: Attempt) -> NoReturn:
    raise error("explore: failed")


async def vanish(attempt: Attempt) -> NoReturn:
    """As if the worker were killed here: no answer, no heartbeat, nothing but the server's own clock."""
    attempt.run.vanished.append(attempt.dispatch.command_id)
    activity.raise_complete_async()


async def refuse(attempt: Attempt) -> NoReturn:
    attempt.run.refused.append(attempt.dispatch.command_id)
    raise Rejected("explore: refused")


async def refuse_after_it_happened(attempt: Attempt, proceed: Proceed) -> NoReturn:
    """The first attempt takes effect and is not recorded; the next one is refused, which says nothing of the first."""
    if attempt.run.once((attempt.place, "happened")):
        await proceed()
        raise error("explore: failed")
    raise Rejected("explore: refused, though it had happened")


async def refuse_after_a_conflict(attempt: Attempt, proceed: Proceed) -> NoReturn:
    """It takes effect, another writer is faster at its stream, and what it decides then is a refusal: of what has happened."""
    if attempt.run.once((attempt.place, "happened")):
        await proceed()
        raise WrongExpectedVersion(attempt.place, expected="the version that was loaded", actual=1)
    raise Rejected("explore: refused, though it had happened")


async def take_too_long(attempt: Attempt) -> None:
    """Not come to an end before the attempt is over: what it does outside is to be recorded by then."""
    limit = activity.info().start_to_close_timeout
    if limit is not None:
        await asyncio.sleep(limit.total_seconds() * HANDLER_MARGIN)
        attempt.run.complain(f"{attempt.place} was not stopped in time to record what it did")


async def have_it_forgotten(attempt: Attempt) -> None:
    """The store loses its last commits, after it had answered."""
    await attempt.forget()


async def fail_beside_another(attempt: Attempt) -> NoReturn:
    """Fail for good once another step of the same group is under way."""
    with suppress(TimeoutError):
        await asyncio.wait_for(attempt.run.sibling.wait(), attempt.run.pace.hearing)
    raise error("explore: failed beside another", final=True)


async def be_stopped_with_another(attempt: Attempt) -> None:
    attempt.run.sibling.set()
    await until_cancelled(attempt)


async def be_stopped_if_it_turns_back(attempt: Attempt) -> None:
    """Its code has them in tasks of its own: whether the failure of one is to stop the other, the saga shows."""
    attempt.run.sibling.set()
    await asyncio.sleep(attempt.run.pace.hearing)
    report = await attempt.run.report()
    if report is not None and report.status is SagaStatus.COMPENSATING:
        attempt.run.complain(f"{attempt.place} goes on, and the saga turns back")


async def outlast_the_deadline(attempt: Attempt) -> None:
    """Be under way when the saga's own timer strikes."""
    await until_cancelled(attempt)


async def until_stopped(attempt: Attempt) -> None:
    """Listen for the cancellation of this very attempt."""
    attempt.run.listening[attempt.place] += 1
    try:
        await asyncio.sleep(attempt.run.pace.hearing)
    finally:
        attempt.run.listening[attempt.place] -= 1
    attempt.run.complain(f"{attempt.place} was to be stopped, and never heard of it")


async def until_cancelled(attempt: Attempt) -> None:
    if attempt.command.kind is CommandKind.COMPENSATABLE and not attempt.dispatch.undoes:
        await until_stopped(attempt)


async def stay_deaf(attempt: Attempt) -> None:
    with suppress(asyncio.CancelledError):
        await until_cancelled(attempt)
