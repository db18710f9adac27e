"""The last of the twelve ways round the protocol's first draft: children, as their services and their records see them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from counteract.errors import Rejected
from counteract.messages import Role
from tests.protocol.runs import HOLD, PAY_BACK, Run, Town, refused
from tests.travel.bank import Account, PayBack

pytestmark = pytest.mark.integration


async def test_a_child_that_begins_after_it_was_settled_never_begins(town: Town, first: Run) -> None:
    parent = first.as_parent("Tour")
    assert await _settled(town, first) == "never"

    child = await town.begin(parent=parent, saga_id="child")

    assert child.state == "never"
    await refused("never", child.send(HOLD))


async def test_a_second_child_of_the_same_step_finds_what_the_first_one_did(town: Town, first: Run) -> None:
    parent = first.as_parent("Tour")
    child = await town.begin(parent=parent, saga_id="child")
    await child.send(HOLD)
    await child.complete("HoldMoney")

    second = await town.begin(parent=parent, saga_id="child")
    answer = await second.send(HOLD)

    assert (second.run_id, second.state) == (child.run_id, "completed")
    assert answer == {"reference": "2"}
    assert await town.account() == Account(40, {"rome": 60})


async def test_a_step_that_was_one_child_does_not_become_another(town: Town, first: Run) -> None:
    """Nothing but the id of the workflow tells them apart: its commands would be carried out a second time."""
    parent = first.as_parent("Tour")
    await town.begin(parent=parent, saga_id="child")

    assert (await town.begin(parent=parent, saga_id="another")).state == "reused"


async def test_a_child_does_not_begin_once_its_parent_has_turned_back(town: Town, first: Run) -> None:
    await first.undo(HOLD, Role.TURN)

    assert (await town.begin(parent=first.as_parent("Tour"), saga_id="child")).state == "never"


async def test_a_parent_does_not_complete_with_a_child_that_was_undone(town: Town, first: Run) -> None:
    child = await town.begin(parent=first.as_parent("Tour"), saga_id="child")
    await child.send(HOLD)
    await child.undo(HOLD, Role.TURN, sent=True)
    await child.compensated()

    assert (await first.complete()).state == "completed", "it does not count on the child"


async def _settled(town: Town, parent: Run) -> str:
    async with town.store.connection() as connection:
        settled = await connection.execute(
            "select state from settle_child(%s, 'child', 'Tour', 'default')", (parent.id_of("Tour"),)
        )
        ((state,),) = await settled.fetchall()
        return str(state)


async def test_a_saga_without_a_parent_takes_up_its_own_record_where_others_have_children(
    town: Town, first: Run
) -> None:
    await town.begin(parent=first.as_parent("Tour"), saga_id="child")

    other = await town.begin()
    again = await other.again()

    assert (other.state, other.epoch) == ("forward", 1)
    assert (again.run_id, again.epoch) == (other.run_id, 2)


async def test_a_refusal_of_what_undoes_a_child_is_no_answer(town: Town, first: Run) -> None:
    """There is no way back from an undo: whoever asks again later may be answered otherwise."""
    own, refusals = town.executors[PayBack], ["closed"]

    async def pay_back(command: PayBack, **wanted: Any) -> None:
        if refusals:
            raise Rejected(refusals.pop())
        await own.participant.handler.function(command, **wanted)

    handler = replace(own.participant.handler, function=pay_back)
    slow = replace(own, participant=replace(own.participant, handler=handler))
    dispatch = first.dispatch("Tour", Role.TURN)

    with pytest.raises(Rejected):
        await slow.forward(PAY_BACK, dispatch, limit=5)
    await slow.forward(PAY_BACK, dispatch, limit=5)

    assert (await town.account()).available == 105
