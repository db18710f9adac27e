"""What a person decides about a step that is being barred for an earlier decision: the last word counts."""

from __future__ import annotations

from typing import Any

import pytest

from counteract.saga import Resolution
from tests.protocol.stage import Handle, Stage, ending, until

pytestmark = pytest.mark.integration


async def being_barred(stage: Stage, name: str, **first: Any) -> Handle:
    """A pay-back that is stuck, and a person has decided; and nobody can find out what became of it."""
    stage.post.loses_orders = {"PayBack", "SettlePayBack"}
    saga = await stage.tour(name, "hold", "pay", "pay back")
    await stage.stuck(name)
    await decide(saga, **first)
    await until(lambda: _is_stuck_again(stage, name))
    return saga


async def decide(saga: Handle, **said: Any) -> None:
    await saga.execute_update("resolve", Resolution(step="PayBack", who="ann", why="so be it", **said))


async def _is_stuck_again(stage: Stage, name: str) -> bool:
    report = await stage.handle(name).query("report")
    return report["status"] == "STUCK" and (await stage.lifecycle(name)).count("SagaStuck") == 2


async def test_who_gives_up_a_step_that_another_command_was_to_replace_sends_none(stage: Stage, name: str) -> None:
    saga = await being_barred(stage, name, decision="retry", command={"account": name, "amount": 7})

    await decide(saga, decision="skip")
    stage.post.loses_orders.clear()

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 40


async def test_a_second_correction_takes_the_place_of_the_first(stage: Stage, name: str) -> None:
    saga = await being_barred(stage, name, decision="retry", command={"account": name, "amount": 7})

    await decide(saga, decision="retry", command={"account": name, "amount": 9})
    stage.post.loses_orders.clear()

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 49


async def test_who_says_again_to_give_up_need_not_wait_until_somebody_can_say_what_happened(
    stage: Stage, name: str
) -> None:
    saga = await being_barred(stage, name, decision="skip")

    await decide(saga, decision="skip")

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 40


async def test_to_try_again_is_to_ask_again(stage: Stage, name: str) -> None:
    saga = await being_barred(stage, name, decision="retry", command={"account": name, "amount": 7})

    stage.post.loses_orders.clear()
    await decide(saga, decision="retry")

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 47
