"""What faults do: small pieces to be placed before, after or around a delivery or a handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

from temporalio import activity
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError

from counteract.errors import CommandFenced, RecordSaysOtherwise, Rejected, SagaClosed, WrongExpectedVersion
from counteract.messages import CommandKind
from counteract.saga import SagaStatus
from counteract.testing.exploration import aftermath
from counteract.testing.exploration.faults import Around, Proceed
from counteract.testing.exploration.run import ADD_BY_SIGNAL, ADD_BY_UPDATE, ADDED, CURRENT, Encounter

Act = Callable[[Encounter], Awaitable[Any]]

HANDLER_MARGIN = 0.9
"""Of an attempt's time: an external handler is to be stopped before."""

EXPLORED = "ExploredFault"
"""The type of the failures that are faults."""


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
    raise error("explore: failed")


async def outlast_the_deadline(encounter: Encounter) -> None:
    """Be under way when the saga's own timer strikes."""
    await _until_cancelled(encounter)


async def fail_beside_another(encounter: Encounter) -> NoReturn:
    """Fail for good once another step of the same group is under way."""
    with suppress(TimeoutError):
        await asyncio.wait_for(encounter.run.sibling.wait(), encounter.run.pace.hearing)
    raise error("explore: failed beside another", final=True)


async def be_stopped_with_another(encounter: Encounter) -> None:
    encounter.run.sibling.set()
    await _until_cancelled(encounter)


async def be_stopped_if_it_turns_back(encounter: Encounter) -> None:
    """Its code has them in tasks of its own: whether the failure of one is to stop the other, the saga shows."""
    encounter.run.sibling.set()
    await asyncio.sleep(encounter.run.pace.hearing)
    report = await encounter.run.report()
    if report is not None and report.status is SagaStatus.COMPENSATING:
        encounter.run.complain(f"{encounter.place} goes on, and the saga turns back")


async def take_too_long(encounter: Encounter) -> None:
    """Not come to an end before the attempt is over: what it does outside is to be recorded by then."""
    limit = activity.info().start_to_close_timeout
    if limit is not None:
        await asyncio.sleep(limit.total_seconds() * HANDLER_MARGIN)
        encounter.run.complain(f"{encounter.place} was not stopped in time to record what it did")


async def land_after_undo(encounter: Encounter, proceed: Proceed) -> NoReturn:
    """A thread or a queue outlives the attempt: the effect comes after the undo, and nobody is there to notice."""

    async def late() -> None:
        await hold(encounter)
        CURRENT.set(replace(encounter, unnoticed=True))
        with suppress(Exception):
            await proceed()

    encounter.run.spawn(late())
    raise error("explore: its effect is still under way", final=True)


async def refuse(encounter: Encounter) -> NoReturn:
    encounter.run.refused.append(encounter.dispatch.command_id)
    raise Rejected("explore: refused")


async def refuse_after_it_happened(encounter: Encounter, proceed: Proceed) -> NoReturn:
    """The first attempt takes effect and is not recorded; the next one is refused, which says nothing of the first."""
    if encounter.run.once((encounter.place, "happened")):
        await proceed()
        raise error("explore: failed")
    raise Rejected("explore: refused, though it had happened")


async def refuse_after_a_conflict(encounter: Encounter, proceed: Proceed) -> NoReturn:
    """It takes effect, another writer is faster at its stream, and what it decides then is a refusal: of what has happened."""
    if encounter.run.once((encounter.place, "happened")):
        await proceed()
        raise WrongExpectedVersion(encounter.place, expected="the version that was loaded", actual=1)
    raise Rejected("explore: refused, though it had happened")


async def have_it_forgotten(encounter: Encounter) -> None:
    """The store loses its last commits, after it had answered."""
    await encounter.forget()


async def vanish(encounter: Encounter) -> NoReturn:
    """As if the worker were killed here: no answer, no heartbeat, nothing but the server's own clock."""
    encounter.run.vanished.append(encounter.dispatch.command_id)
    activity.raise_complete_async()


async def terminate(encounter: Encounter) -> None:
    """End the workflow, of which its code hears nothing."""
    await encounter.run.terminate()


async def terminate_and_vanish(encounter: Encounter) -> NoReturn:
    """The workflow is ended and the service's worker killed, with the effect outside made and not recorded."""
    await encounter.run.terminate()
    await vanish(encounter)


async def terminate_and_come_late(encounter: Encounter, proceed: Proceed) -> Any:
    """Take effect once somebody has made sure of what became of it, or, if nobody does, once all is over."""
    await encounter.run.terminate()
    encounter.run.listening[encounter.place] += 1
    try:
        await hold(encounter)
        return await proceed()
    finally:
        encounter.run.listening[encounter.place] -= 1


async def reset_now(encounter: Encounter) -> None:
    """Begin the workflow anew from its last decision, while this attempt is under way."""
    await aftermath.reset(encounter.run, 0)


async def reset_to_the_beginning(encounter: Encounter) -> None:
    """Begin the workflow anew as if nothing had been decided but its first step."""
    await aftermath.reset(encounter.run, 1)


async def outlast_the_run(encounter: Encounter) -> None:
    """Be under way when the workflow's own time limit ends it."""
    limit = encounter.run.fault.run_timeout
    if limit is not None:
        await asyncio.sleep(limit.total_seconds())


async def add_by_signal(encounter: Encounter) -> None:
    """A handler of a signal sends a step while this attempt is under way."""
    run, count = encounter.run, len(encounter.run.additions)
    await run.handle.signal(ADD_BY_SIGNAL)
    await aftermath.wait_for_addition(run, count + 1, run.pace.hearing)


def in_vain(add: Act) -> Act:
    """The saga turns back by then: whoever asks for a step is told so."""

    async def act(encounter: Encounter) -> None:
        asked = len(encounter.run.additions)
        await add(encounter)
        for told in encounter.run.additions[asked:]:
            if told != SagaClosed.__name__:
                encounter.run.complain(f"a step that came as {encounter.place} began was told {told or 'an answer'}")

    return act


async def begin_addition(encounter: Encounter) -> None:
    """A handler of a signal sends a step, which is under way when the saga's code goes on."""
    await encounter.run.handle.signal(ADD_BY_SIGNAL)
    await encounter.run.until(ADDED.step)


async def take_a_while(encounter: Encounter) -> None:
    """As long as the saga may take to come to its next step."""
    encounter.run.moments[encounter.place.step].set()
    await asyncio.sleep(max(1.0, encounter.run.pace.seconds))


async def add_by_update(encounter: Encounter) -> None:
    with suppress(WorkflowUpdateFailedError, RPCError, TimeoutError):
        async with asyncio.timeout(encounter.run.pace.hearing):
            await encounter.run.handle.execute_update(ADD_BY_UPDATE)


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
    first = await proceed()
    _compare(encounter, first, await _again(encounter, proceed))
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
            _compare(encounter, answer, await _again(encounter, proceed))
            _answered_too_late(encounter)

    encounter.run.spawn(again())
    return answer


async def lose_and_deliver_late(encounter: Encounter, proceed: Proceed) -> NoReturn:
    """The attempt is given up, and begins only after its undo (or settlement) has passed."""

    async def late() -> None:
        await hold(encounter)
        await _too_late(encounter, proceed)

    encounter.run.spawn(late())
    raise error("explore: lost on the way", final=True)


async def give_up_while_held(encounter: Encounter, proceed: Proceed) -> NoReturn:
    """The attempt is given up while its handler is held somewhere, and goes on after its undo (or settlement)."""
    encounter.run.spawn(_too_late(encounter, proceed))
    with suppress(TimeoutError):
        await asyncio.wait_for(encounter.held.wait(), encounter.run.pace.hearing)
    raise error("explore: lost on the way", final=True)


async def happen_late_and_fail(encounter: Encounter, proceed: Proceed) -> NoReturn:
    """The effect is there, after its undo, and nobody hears of it: its attempt fails."""
    await hold(encounter)
    await proceed()
    raise error("explore: failed after its effect")


async def hold(encounter: Encounter) -> None:
    """Until the step's undo (or settlement) has passed."""
    encounter.held.set()
    await encounter.run.until_concluded(encounter.place.step)


async def come_late(encounter: Encounter, proceed: Proceed) -> bool:
    """Whether it was carried out and answered, though nobody hears of it."""
    try:
        await proceed()
    except (CommandFenced, RecordSaysOtherwise, Rejected):
        return False
    except Exception as failure:  # whatever else it says, it says it to nobody: only its effects count
        if not (isinstance(failure, ApplicationError) and failure.type == EXPLORED):
            encounter.run.complain(f"{encounter.place} failed oddly when it came late: {failure!r}")
        return False
    return True


async def _too_late(encounter: Encounter, proceed: Proceed) -> None:
    if await come_late(encounter, proceed):
        _answered_too_late(encounter)


def _answered_too_late(encounter: Encounter) -> None:
    # A pivot that its settlement found to have happened may well be answered now, and so may what undoes a step.
    is_original = encounter.command.kind is CommandKind.COMPENSATABLE and not encounter.dispatch.undoes
    if is_original and encounter.place.step in encounter.run.barred:
        encounter.run.complain(f"{encounter.place} came after its undo, and was carried out and answered")


async def until_stopped(encounter: Encounter) -> None:
    """Listen for the cancellation of this very attempt."""
    encounter.run.listening[encounter.place] += 1
    try:
        await asyncio.sleep(encounter.run.pace.hearing)
    finally:
        encounter.run.listening[encounter.place] -= 1
    encounter.run.complain(f"{encounter.place} was to be stopped, and never heard of it")


async def _until_cancelled(encounter: Encounter) -> None:
    if encounter.command.kind is CommandKind.COMPENSATABLE and not encounter.dispatch.undoes:
        await until_stopped(encounter)


async def _stay_deaf(encounter: Encounter) -> None:
    with suppress(asyncio.CancelledError):
        await _until_cancelled(encounter)


async def _again(encounter: Encounter, proceed: Proceed) -> Any:
    """The answer is on record: nobody decides anew."""
    before = encounter.decided
    answer = await proceed()
    if encounter.decided > before:
        encounter.run.complain(f"{encounter.place} was on record, and was decided anew when it was delivered again")
    return answer


def _compare(encounter: Encounter, first: Any, second: Any) -> None:
    if first != second:
        encounter.run.complain(f"{encounter.place} was delivered twice and answered {first!r}, then {second!r}")


def error(message: str, *, final: bool = False) -> ApplicationError:
    """What a fault fails with."""
    # Benign: the SDK does not log what is done on purpose.
    return ApplicationError(message, type=EXPLORED, non_retryable=final, category=ApplicationErrorCategory.BENIGN)
