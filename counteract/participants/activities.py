"""Handlers as Temporal activities: named after the command, heartbeating, with errors that say whether to retry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from counteract.errors import (
    AppendTooLarge,
    CommandFenced,
    CommandIdReused,
    InvalidEvent,
    RecordSaysOtherwise,
    RefusalInDoubt,
    Rejected,
    UnreadableCommand,
)
from counteract.messages import Command, CommandKind, Dispatch
from counteract.participants.answers import WrongResult, facts_of
from counteract.participants.executor import Executor
from counteract.participants.failures import tellable

HANDLER_SHARE = 0.8
"""The part of an attempt's time that an external handler may use: the rest is for recording what it did."""

_FINAL = (CommandFenced, CommandIdReused, UnreadableCommand, WrongResult)
_FINAL_FORWARD = (*_FINAL, InvalidEvent, AppendTooLarge)
"""Asking again brings the same. An undo, or a step that must succeed, goes on all the same: corrected code may come."""

Run = Callable[[Any, Dispatch], Awaitable[Any]]


def activities_of(executor: Executor) -> list[Callable[..., Awaitable[Any]]]:
    """The activities of one command: forward, and its undo or settlement."""
    spec = executor.participant.command.spec

    async def forward(command: Command[Any], dispatch: Dispatch) -> Any:
        return await executor.forward(command, dispatch, limit=_attempt_seconds() * HANDLER_SHARE)

    final = _FINAL if spec.kind is CommandKind.RETRIABLE else _FINAL_FORWARD
    made = [_activity(spec.name, executor, forward, final)]
    if spec.compensation is not None:
        made.append(_activity(spec.compensation, executor, executor.undo))
    if spec.settlement is not None:
        name = spec.settlement

        async def settle(command: Command[Any], dispatch: Dispatch) -> Any:
            return await executor.settle(name, command, dispatch)

        made.append(_activity(name, executor, settle))
    return made


def _activity(
    name: str, executor: Executor, run: Run, final: tuple[type[Exception], ...] = _FINAL
) -> Callable[..., Awaitable[Any]]:
    async def execute(command: Any, dispatch: Any) -> Any:
        async with _heartbeats():
            attempt = activity.info().attempt
            told = dispatch if attempt == dispatch.attempt else dispatch.model_copy(update={"attempt": attempt})
            try:
                return await run(command, told)
            except Rejected as refusal:
                raise _refusal(Rejected.__name__, refusal) from None
            except RefusalInDoubt as doubt:
                raise _refusal(RefusalInDoubt.__name__, doubt.refusal) from None
            except RecordSaysOtherwise as error:
                raise ApplicationError(
                    str(error), error.state, type=RecordSaysOtherwise.__name__, non_retryable=True
                ) from tellable(error, name)
            except final as error:
                raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from tellable(
                    error, name
                )
            except Exception as error:
                failure = tellable(error, name)
                raise failure from failure.__cause__

    # The data converter reads the argument types off the function.
    execute.__annotations__ = {"command": executor.participant.command, "dispatch": Dispatch, "return": Any}
    return activity.defn(name=name)(execute)


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Heartbeat while the handler runs: without it no cancellation arrives, and a lost worker is noticed late."""
    timeout = activity.info().heartbeat_timeout
    if timeout is None:
        yield
        return
    beating = _Heart(timeout.total_seconds() / 3)
    try:
        yield
    finally:
        beating.stop()


class _Heart:
    """Beats until it is stopped: without a task, which would be begun and cancelled for each activity, and most are over before the
    first beat.
    """

    __slots__ = ("_loop", "_next", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_later(seconds, self._beat)

    def stop(self) -> None:
        self._next.cancel()

    def _beat(self) -> None:
        self._next = self._loop.call_later(self._seconds, self._beat)
        activity.heartbeat()


def _attempt_seconds() -> float:
    timeout = activity.info().start_to_close_timeout
    return timeout.total_seconds() if timeout else 10.0


def _refusal(kind: str, refusal: Rejected) -> ApplicationError:
    facts = facts_of(refusal)
    return ApplicationError(
        str(Rejected(facts["reason"], **facts["data"])),
        facts,
        type=kind,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )
