"""What faults do: small pieces to be placed before, after or around a delivery or a handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NoReturn

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from counteract.errors import CommandFenced, Rejected
from counteract.messages import CommandKind
from counteract.testing.exploration.encounter import Encounter
from counteract.testing.exploration.faults import Around, Proceed

Act = Callable[[Encounter], Awaitable[Any]]

CANCELLATION_PATIENCE = 5.0
"""Seconds that a handler waits for the cancellation of its own activity, which comes with a heartbeat."""


def before(act: Act) -> Around:
    """Act instead of going on, if it raises, or else before going on."""

    async def around(encounter: Encounter, proceed: Proceed) -> Any:
        await act(encounter)
        return await proceed()

    return around


def after(act: Act) -> Around:
    """Act once it has happened."""

    async def around(encounter: Encounter, proceed: Proceed) -> Any:
        result = await proceed()
        await act(encounter)
        return result

    return around


async def fail(_: Encounter) -> NoReturn:
    raise _error("explore: failed")


async def break_down(encounter: Encounter) -> NoReturn:
    """Fail in a way that no repetition cures, and have a person decide to try again."""
    encounter.run.spawn(encounter.run.resolve(encounter, "retry"))
    raise _error("explore: broken", final=True)


async def break_until_corrected(encounter: Encounter) -> NoReturn:
    encounter.run.spawn(encounter.run.resolve_corrected(encounter))
    raise _error("explore: broken", final=True)


async def break_until_skipped(encounter: Encounter) -> NoReturn:
    encounter.run.spawn(encounter.run.resolve_skipped(encounter))
    raise _error("explore: broken", final=True)


async def refuse(_: Encounter) -> NoReturn:
    raise Rejected("explore: refused")


async def refuse_until_resolved(encounter: Encounter) -> NoReturn:
    encounter.run.spawn(encounter.run.resolve(encounter, "retry"))
    raise Rejected("explore: refused")


async def refuse_until_corrected(encounter: Encounter) -> NoReturn:
    encounter.run.spawn(encounter.run.resolve_corrected(encounter))
    raise Rejected("explore: refused")


async def refuse_until_skipped(encounter: Encounter) -> NoReturn:
    encounter.run.spawn(encounter.run.resolve_skipped(encounter))
    raise Rejected("explore: refused")


async def vanish(_: Encounter) -> NoReturn:
    """As if the worker were killed here: no answer, no heartbeat, nothing but the server's own clock."""
    activity.raise_complete_async()


async def cancel(encounter: Encounter) -> None:
    """Cancel the saga while this attempt is under way, which hears of it if it may be stopped."""
    await encounter.run.cancel()
    await _until_cancelled(encounter)


async def pass_deadline(encounter: Encounter) -> None:
    """Let the deadline pass while this attempt is under way."""
    await encounter.run.pass_deadline()
    await _until_cancelled(encounter)


async def cancel_unheard(encounter: Encounter) -> None:
    """Cancel the saga while this attempt is under way, which answers all the same."""
    await encounter.run.cancel()
    await _stay_deaf(encounter)


async def pass_deadline_unheard(encounter: Encounter) -> None:
    await encounter.run.pass_deadline()
    await _stay_deaf(encounter)


async def cancel_between(encounter: Encounter) -> None:
    """Cancel after this step has ended and before the next begins."""
    await encounter.run.pause()
    encounter.run.spawn(encounter.run.between_steps(encounter.run.cancel()))


async def pass_deadline_between(encounter: Encounter) -> None:
    await encounter.run.pause()
    encounter.run.spawn(encounter.run.between_steps(encounter.run.pass_deadline()))


async def twice(encounter: Encounter, proceed: Proceed) -> Any:
    """Delivered again as soon as it was answered."""
    first, second = await proceed(), await proceed()
    _compare(encounter, first, second)
    return first


async def twice_at_once(encounter: Encounter, proceed: Proceed) -> Any:
    """Delivered to two workers at the same time."""
    answers = await asyncio.gather(proceed(), proceed(), return_exceptions=True)
    failures = [each for each in answers if isinstance(each, BaseException)]
    if failures:
        raise failures[0]
    _compare(encounter, *answers)
    return answers[0]


async def again_after_the_end(encounter: Encounter, proceed: Proceed) -> Any:
    """Delivered again when the saga is long over."""
    answer = await proceed()

    async def again() -> None:
        await encounter.run.ended.wait()
        with suppress(CommandFenced, Rejected):
            _compare(encounter, answer, await proceed())

    encounter.run.spawn(again())
    return answer


async def lose_and_deliver_late(encounter: Encounter, proceed: Proceed) -> NoReturn:
    """The attempt is given up, and begins only after its undo (or settlement) has passed."""

    async def late() -> None:
        await hold(encounter)
        await _too_late(encounter, proceed)

    encounter.run.spawn(late())
    raise _error("explore: lost on the way", final=True)


async def give_up_while_held(encounter: Encounter, proceed: Proceed) -> NoReturn:
    """The attempt is given up while its handler is held somewhere, and goes on after its undo (or settlement)."""
    encounter.run.spawn(_too_late(encounter, proceed))
    with suppress(TimeoutError):
        await asyncio.wait_for(encounter.held.wait(), CANCELLATION_PATIENCE)
    raise _error("explore: lost on the way", final=True)


async def hold(encounter: Encounter) -> None:
    """Until the step's undo (or settlement) has passed."""
    encounter.held.set()
    await encounter.run.until_concluded(encounter.place.step)


async def _too_late(encounter: Encounter, proceed: Proceed) -> None:
    try:
        await proceed()
    except (CommandFenced, Rejected):
        return
    except Exception as error:  # whatever else it says, it says it to nobody: only its effects count
        encounter.run.complain(f"{encounter.place} failed oddly when it came late: {error!r}")
        return
    # A pivot that its settlement found to have happened may well be answered now.
    if encounter.command.kind is CommandKind.COMPENSATABLE:
        encounter.run.complain(f"{encounter.place} came after its undo, and was carried out and answered")


async def _until_cancelled(encounter: Encounter) -> None:
    if encounter.command.kind is CommandKind.COMPENSATABLE and not encounter.dispatch.undoes:
        await asyncio.sleep(CANCELLATION_PATIENCE)


async def _stay_deaf(encounter: Encounter) -> None:
    with suppress(asyncio.CancelledError):
        await _until_cancelled(encounter)


def _compare(encounter: Encounter, first: Any, second: Any) -> None:
    if first != second:
        encounter.run.complain(f"{encounter.place} was delivered twice and answered {first!r}, then {second!r}")


def _error(message: str, *, final: bool = False) -> ApplicationError:
    # Benign: the SDK does not log what is done on purpose.
    return ApplicationError(
        message, type="ExploredFault", non_retryable=final, category=ApplicationErrorCategory.BENIGN
    )
