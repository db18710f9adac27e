"""Watches the saga's code: notes what it declares, and checks that it is given the answers that its commands got."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.workflow import ActivityHandle

from counteract.errors import Rejected
from counteract.messages import Command
from counteract.testing.exploration.run import Run


@dataclass(slots=True)
class Attended:
    """The saga of one workflow run, for exploration to reach."""

    saga: Any = None
    """The `Saga` that the workflow has opened; None until then."""


def attend(instance: Any, run: Run) -> Attended:
    """Watch the saga that this workflow is going to open, and return where it will be found."""
    make, attended = instance.saga, Attended()

    @functools.wraps(make)
    def saga(**options: Any) -> Any:
        if run.fault.deadline is not None and options.get("deadline") is not None:
            options["deadline"] = run.fault.deadline
        run.deadline = options.get("deadline")
        made = attended.saga = make(**options)
        answers = _Answered(run)
        made.execute = answers.compared(made.execute, one=True)
        made.parallel = answers.compared(made.parallel, one=False)
        return made

    instance.saga = saga
    return attended


class _Answered:
    """The answers of one saga's steps, on their way into its code."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def compared(self, call: Callable[..., Any], *, one: bool) -> Callable[..., Any]:
        """The same function of the saga, whose results are compared with the answers of the activities.

        `one` says that it takes one command and returns its result, and not a sequence of both.
        """

        @functools.wraps(call)
        async def comparing(*commands: Command[Any], **options: Any) -> Any:
            if not one and len(commands) > 1:
                self._run.together.append(commands)
            task = asyncio.current_task()
            before = task.cancelling() if task else 0
            try:
                given = await call(*commands, **options)
            except (Exception, asyncio.CancelledError):
                self._run.unanswered += commands
                raise
            if task and task.cancelling() > before:
                names = ", ".join(each.spec.name for each in commands)
                self._run.complain(
                    f"the saga's code was to be stopped while it awaited {names}, and was given the answer"
                )
            for command, result in zip(commands, [given] if one else given, strict=False):
                self._compare(command, result)
            return given

        return comparing

    def _compare(self, command: Command[Any], given: Any) -> None:
        known, answer = _answer(command, self._run.flights.get(id(command), []))
        if known and (isinstance(given, Rejected) or given != answer):
            self._run.complain(f"{command.spec.name} was answered {answer!r}, and the saga's code was given {given!r}")


def _answer(command: Command[Any], flights: Sequence[ActivityHandle[Any]]) -> tuple[bool, Any]:
    """Whether the answer is known, and the answer; it is not where there is no one activity that returned it."""
    if len(flights) != 1 or not flights[0].done() or flights[0].cancelled() or flights[0].exception():
        return False, None
    result = flights[0].result()
    if isinstance(result, RawValue):
        result = workflow.payload_converter().from_payload(result.payload, command.spec.result_type)
    return True, result
