"""What faults do that end with a person: steps break, somebody is asked, and decides; or answers too late."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from counteract.errors import Rejected
from counteract.testing.exploration.fault_actions import Act, error, until_stopped
from counteract.testing.exploration.run import Encounter


async def break_down(encounter: Encounter) -> NoReturn:
    """Fail in a way that no repetition cures, and have a person decide to try again."""
    encounter.run.spawn(encounter.run.resolve(encounter, "retry"))
    raise error("explore: broken", final=True)


async def break_until_corrected(encounter: Encounter) -> NoReturn:
    encounter.run.spawn(encounter.run.resolve_corrected(encounter))
    raise error("explore: broken", final=True)


async def break_until_skipped(encounter: Encounter) -> NoReturn:
    encounter.run.spawn(encounter.run.resolve_skipped(encounter))
    raise error("explore: broken", final=True)


def keep_failing(decide: Callable[[Encounter], Coroutine[Any, Any, None]]) -> Act:
    """Fail at every attempt, in a way that may pass, until a person has decided."""

    async def act(encounter: Encounter) -> None:
        decided = [each.decision for each in encounter.run.decisions if each.step == encounter.place.step]
        if "retry" in decided and encounter.run.is_corrected(encounter):
            return
        if encounter.run.once(encounter.place):
            encounter.run.spawn(decide(encounter))
        raise error("explore: fails for long")

    return act


async def skip(encounter: Encounter) -> None:
    await encounter.run.resolve_skipped(encounter)


async def correct(encounter: Encounter) -> None:
    await encounter.run.resolve_corrected(encounter, at_once=False)


async def refuse_until_resolved(encounter: Encounter) -> NoReturn:
    encounter.run.spawn(encounter.run.resolve(encounter, "retry"))
    raise Rejected("explore: refused")


async def refuse_until_corrected(encounter: Encounter) -> NoReturn:
    encounter.run.spawn(encounter.run.resolve_corrected(encounter))
    raise Rejected("explore: refused")


async def refuse_until_skipped(encounter: Encounter) -> NoReturn:
    encounter.run.spawn(encounter.run.resolve_skipped(encounter))
    raise Rejected("explore: refused")


async def break_down_and_look(encounter: Encounter) -> None:
    """Break down, and see that the saga is not shown as stuck any more once somebody has decided."""
    if encounter.run.once((encounter.place, "broken")):
        await break_down(encounter)
    if await encounter.run.is_stuck(encounter.place.step):
        encounter.run.complain(f"{encounter.place} was decided on, is under way again, and is shown as stuck")


async def fail_until_asked(encounter: Encounter) -> None:
    """Fail until a person is asked, who is in no hurry: it passes by then."""
    if not await encounter.run.is_stuck(encounter.place.step):
        raise error("explore: fails for long")


async def hang_until_resolved(encounter: Encounter) -> None:
    """Fail once, so that somebody is asked, and then hang: what they decide puts an end to that."""
    if encounter.run.once((encounter.place, "failed")):
        raise error("explore: failed")
    if encounter.run.once((encounter.place, "hangs")):
        encounter.run.spawn(encounter.run.resolve(encounter, "retry"))
        await until_stopped(encounter)


def decide_too_late(step: str) -> Act:
    """Somebody answers after all what they were asked about a step that has come to its end since."""

    async def act(encounter: Encounter) -> None:
        if await encounter.run.takes_decision(step):
            encounter.run.complain(f"{step} had come to its end, and somebody could decide on it all the same")

    return act
