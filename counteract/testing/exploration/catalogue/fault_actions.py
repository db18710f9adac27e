"""Actions of faults on one attempt, to be placed before, after or around its delivery or its handler."""

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

_HANDLER_MARGIN = 0.9
"""The part of an attempt's time by which an external handler should have been stopped."""

EXPLORED = "ExploredFault"
"""The type of the failures that are faults."""


def before(act: Act) -> Around:
    """The act comes first; if it raises, the attempt goes no further."""

    async def around(attempt: Attempt, proceed: Proceed) -> Any:
        await act(attempt)
        return await proceed()

    return around


def after(act: Act) -> Around:
    """The act comes last, once the attempt has taken effect."""

    async def around(attempt: Attempt, proceed: Proceed) -> Any:
        result = await proceed()
        await act(attempt)
        return result

    return around


def error(message: str, *, final: bool = False) -> ApplicationError:
    """The failure of an attempt that a fault strikes; a `final` one is not retried."""
    # Benign: the SDK does not log what is done on purpose.
    return ApplicationError(message, type=EXPLORED, non_retryable=final, category=ApplicationErrorCategory.BENIGN)


async def fail(_: Attempt) -> NoReturn:
    """Fail in a way that may pass."""
    raise error("explore: failed")


async def vanish(attempt: Attempt) -> NoReturn:
    """Go silent, as a worker that is killed: no answer and no heartbeat, so that only the server's timeouts tell."""
    attempt.run.vanished.append(attempt.dispatch.command_id)
    activity.raise_complete_async()


async def refuse(attempt: Attempt) -> NoReturn:
    """Refuse the command."""
    attempt.run.refused.append(attempt.dispatch.command_id)
    raise Rejected("explore: refused")


async def refuse_after_it_happened(attempt: Attempt, proceed: Proceed) -> NoReturn:
    """Take effect at the first attempt, without a record; refuse the next one, which says nothing of the first."""
    if attempt.run.once((attempt.place, "happened")):
        await proceed()
        raise error("explore: failed")
    raise Rejected("explore: refused, though it had happened")


async def refuse_after_a_conflict(attempt: Attempt, proceed: Proceed) -> NoReturn:
    """Take effect, lose the race for its stream to another writer, and then refuse what has already happened."""
    if attempt.run.once((attempt.place, "happened")):
        await proceed()
        raise WrongExpectedVersion(attempt.place, expected="the version that was loaded", actual=1)
    raise Rejected("explore: refused, though it had happened")


async def take_too_long(attempt: Attempt) -> None:
    """Outlast the attempt. An external handler should be stopped before, so that what it did can be recorded."""
    limit = activity.info().start_to_close_timeout
    if limit is not None:
        await asyncio.sleep(limit.total_seconds() * _HANDLER_MARGIN)
        attempt.run.complain(f"{attempt.place} was not stopped in time to record what it did")


async def have_it_forgotten(attempt: Attempt) -> None:
    """Have the store lose the command's record after it was answered, as a failover may."""
    await attempt.forget()


async def fail_beside_another(attempt: Attempt) -> NoReturn:
    """Fail for good once another step of the same group is under way."""
    with suppress(TimeoutError):
        await asyncio.wait_for(attempt.run.sibling.wait(), attempt.run.pace.hearing)
    raise error("explore: failed beside another", final=True)


async def be_stopped_with_another(attempt: Attempt) -> None:
    """Wait for the cancellation that the failure of another step of the group should bring."""
    attempt.run.sibling.set()
    await until_cancelled(attempt)


async def be_stopped_if_it_turns_back(attempt: Attempt) -> None:
    """Be under way while another step fails, and check that the saga does not turn back meanwhile.

    The saga's code has such steps in tasks of its own: whether the failure of one stops the other, it decides.
    """
    attempt.run.sibling.set()
    await asyncio.sleep(attempt.run.pace.hearing)
    report = await attempt.run.report()
    if report is not None and report.status is SagaStatus.COMPENSATING:
        attempt.run.complain(f"{attempt.place} goes on, and the saga turns back")


async def outlast_the_deadline(attempt: Attempt) -> None:
    """Be under way when the saga's own deadline passes."""
    await until_cancelled(attempt)


async def until_stopped(attempt: Attempt) -> None:
    """Wait for the cancellation of this attempt, and note a violation if it does not come."""
    attempt.run.listening[attempt.place] += 1
    try:
        await asyncio.sleep(attempt.run.pace.hearing)
    finally:
        attempt.run.listening[attempt.place] -= 1
    attempt.run.complain(f"{attempt.place} was to be stopped, and never heard of it")


async def until_cancelled(attempt: Attempt) -> None:
    """Wait for the cancellation of this attempt, where it may be stopped: before the pivot, and if it is no undo."""
    if attempt.command.kind is CommandKind.COMPENSATABLE and not attempt.dispatch.undoes:
        await until_stopped(attempt)


async def stay_deaf(attempt: Attempt) -> None:
    """Wait as `until_cancelled`, and answer all the same."""
    with suppress(asyncio.CancelledError):
        await until_cancelled(attempt)
