"""The part of people, played by exploration: they decide about stuck steps, and do by hand what they had skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError

from counteract.errors import ConfigurationError
from counteract.messages import Command
from counteract.saga import Resolution
from counteract.testing.exploration.surroundings import PAUSE

if TYPE_CHECKING:
    from counteract.testing.exploration.attempt import Attempt
    from counteract.testing.exploration.run import Run

Correct = Callable[[Command[Any]], Command[Any]]


def unchanged(command: Command[Any]) -> Command[Any]:
    """A correction that leaves the command as it is."""
    return command


@dataclass(frozen=True, slots=True)
class People:
    """The people who decide about stuck steps."""

    correct: Correct
    """The command that they send in the place of one that is stuck."""
    answer: Callable[[type[Command[Any]]], Any]
    """The value that a step which they skip is taken to have returned."""


async def resolve(attempt: Attempt, decision: Literal["retry", "skip"], **more: Any) -> None:
    """Decide what becomes of the attempt's step as soon as it is stuck."""
    run, step = attempt.run, attempt.place.step
    resolution = Resolution(step=step, decision=decision, who="explore", why="the fault has passed", **more)
    while not run.ended.is_set():
        try:
            await run.handle.execute_update("resolve", resolution)
        except WorkflowUpdateFailedError:
            await asyncio.sleep(PAUSE)
        except RPCError:
            return
        else:
            run.decisions.append(resolution)
            if decision == "skip":
                run.skipped.append(attempt)
            return


async def resolve_corrected(attempt: Attempt, *, at_once: bool = True) -> None:
    """Have the step tried again with another command.

    With `at_once`, a later attempt without the correction is a violation; otherwise attempts at the command as it was
    may still be on their way.
    """
    corrected = attempt.run.around.people.correct(attempt.command)
    if at_once:
        attempt.run.corrected[attempt.place] = corrected
    await resolve(attempt, "retry", command=corrected.model_dump(mode="json"))


async def resolve_skipped(attempt: Attempt) -> None:
    """Have the saga go on without the step, or without its undo."""
    result, command = None, type(attempt.command)
    if not attempt.dispatch.undoes:
        try:
            result = command.spec.result.dump_python(attempt.run.around.people.answer(command), mode="json")
        except ConfigurationError as error:
            await attempt.run.give_up(str(error))
    await resolve(attempt, "skip", result=result)


async def takes_decision(run: Run, step: str) -> bool:
    """Whether the saga lets somebody decide on this step now."""
    resolution = Resolution(step=step, decision="retry", who="explore", why="too late")
    try:
        await run.handle.execute_update("resolve", resolution)
    except (WorkflowUpdateFailedError, RPCError):
        return False
    return True


def is_corrected(attempt: Attempt) -> bool:
    """Whether this attempt carries the command that somebody decided on: others may still be on their way."""
    sent = [each.command for each in attempt.run.decisions if each.step == attempt.place.step]
    return all(each is None or each == attempt.command.model_dump(mode="json") for each in sent)


def expect_corrected(attempt: Attempt) -> None:
    """Note a violation if the attempt that begins does not carry the correction of its command, where there is one."""
    wanted = attempt.run.corrected.get(attempt.place, attempt.command)
    if wanted != attempt.command:
        attempt.run.complain(f"{attempt.place} was tried again without the correction of its command")


async def see_to_what_was_skipped(run: Run, steps: Collection[str]) -> list[str]:
    """Do by hand, of these steps, those that somebody had the saga skip. Returns what went wrong with that."""
    wrong = []
    for attempt in (each for each in run.skipped if each.place.step in steps):
        try:
            await attempt.see_to_it()
        except Exception as error:  # whatever it is, it is what a person would have met
            wrong.append(f"{attempt.place} was skipped, and cannot be done by hand either: {error!r}")
    return wrong
