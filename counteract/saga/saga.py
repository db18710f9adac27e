"""The saga as its author sees it: steps go forward through it, and leaving it early undoes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from temporalio import workflow

from counteract.errors import Rejected, SagaMisuse
from counteract.messages import Command, Retriable, Retry
from counteract.saga.calls import Calls
from counteract.saga.children import ChildCall, child_saga
from counteract.saga.dispatcher import Options, Park
from counteract.saga.failure import is_saga_failure
from counteract.saga.report import SagaReport
from counteract.saga.run import SagaRun
from counteract.saga.tasks import AT_ONCE

_MOST_AT_ONCE = 1500
"""Below the server's limit of 2000 pending activities, with room for undos and the saga's own."""

A = TypeVar("A")
R = TypeVar("R")


class Saga:
    """The one saga of a workflow, which `SagaWorkflow.saga()` makes: an async context manager, with its steps inside.

    Every step that can be undone, and may have happened, is undone before the workflow ends where the block is left by
    a failure, or the saga is cancelled or past its deadline. Behind the pivot nothing is undone any more.
    """

    def __init__(self, run: SagaRun) -> None:
        self._run = run
        self._calls = Calls()

    def execute(
        self,
        command: Command[R],
        *,
        attempt_timeout: timedelta | None = None,
        timeout: timedelta | None = None,
        retry: Retry | None = None,
        on_failure: Park | None = None,
    ) -> Coroutine[Any, Any, R]:
        """Send one command to its service and return the answer.

        Raises `Rejected` for a refusal, which proves that nothing happened, and `StepFailed` where no answer came (the
        step may have happened, and will be undone). A retriable command raises neither: it is tried until it succeeds.
        """
        options = Options(attempt_timeout=attempt_timeout, timeout=timeout, retry=retry, on_failure=on_failure)
        return self._calls.noted(self._run_one(command, options))

    @overload
    def parallel(
        self, *commands: Command[R], tolerate_refusals: Literal[False] = False, at_once: int = AT_ONCE
    ) -> Coroutine[Any, Any, list[R]]: ...

    @overload
    def parallel(
        self, *commands: Command[R], tolerate_refusals: Literal[True], at_once: int = AT_ONCE
    ) -> Coroutine[Any, Any, list[R | Rejected]]: ...

    def parallel(
        self, *commands: Command[Any], tolerate_refusals: bool = False, at_once: int = AT_ONCE
    ) -> Coroutine[Any, Any, list[Any]]:
        """Send several commands at once; the answers come in the order of the commands.

        At the first failure the others are asked to stop, and it is raised once they have; should the saga catch it and
        go on, what they did is undone before the pivot or the end. With `tolerate_refusals` a refusal is no failure: it
        stands in the place of the answer. `at_once` of them are in flight at the most: a workflow of Temporal's may
        have no more than 2000 activities pending.
        """
        if not 1 <= at_once <= _MOST_AT_ONCE:
            raise SagaMisuse(f"at_once={at_once}: a saga can have 1 to {_MOST_AT_ONCE} steps in flight")
        options = Options(tolerates_refusals=tolerate_refusals, at_once=at_once)
        return self._calls.noted(self._run.flights.run(commands, options))

    def execute_child(
        self,
        child: Callable[[Any, A], Awaitable[R]],
        request: A,
        *,
        id: str,  # noqa: A002 - as Temporal calls it
        compensation: Retriable[Any],
        task_queue: str | None = None,
        on_failure: Park | None = None,
    ) -> Coroutine[Any, Any, R]:
        """Run another saga (`Booking.run`) as one step of this one, under the workflow id `id`, and return its result.

        It undoes itself where it fails, which this saga gets as `Rejected`. Once it has completed, `compensation`
        undoes it, tried until it succeeds. Cancellation reaches it like any step. Raises `StepFailed` where it ended
        otherwise, terminated for instance; its own record then says whether there is anything to undo.
        """
        call = ChildCall(child, request, task_queue)
        options = Options(child=call, on_failure=on_failure)
        return self._calls.noted(self._run_one(child_saga(child, id, compensation), options))

    @property
    def should_continue_as_new(self) -> bool:
        """Whether the workflow's history has grown long.

        If so, `workflow.continue_as_new(...)` between two steps has the saga go on with a new history.
        """
        return workflow.info().is_continue_as_new_suggested()

    def report(self) -> SagaReport:
        """The saga's status and steps, as the query `report` answers."""
        return self._run.display.report()

    @property
    def position(self) -> int:
        """A position of the log that all events of the saga are at or below, once it has completed; 0 before.

        Whoever waits until a projection has reached it reads what the saga has done.
        """
        return self._run.endings.position

    async def __aenter__(self) -> Self:
        await self._run.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not is_saga_failure(error):
            return  # A bug, an eviction or a new run: the workflow goes on later, here or elsewhere.
        if error is None:
            error = await self._calls.refuse_unawaited()
        await self._run.close(error)

    async def _run_one(self, command: Command[Any], options: Options) -> Any:
        (result,) = await self._run.flights.run([command], options)
        return result
