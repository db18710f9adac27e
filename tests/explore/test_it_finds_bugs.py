"""Exploration is worth what it finds: engines with a line removed, careless handlers, and sagas that stop halfway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType

from counteract.dev import EmbeddedTemporal
from counteract.errors import ConfigurationError
from counteract.lifecycle import SagaResolved
from counteract.messages import Command, Outcome
from counteract.participants import Participants
from counteract.participants.fence import FIND_COMMAND, Fence, Fenced, Known
from counteract.saga import dispatching, saga, stepping, tasks
from counteract.saga.chronicle import Chronicle
from counteract.saga.ledger import Ledger, Undoing
from counteract.saga.saga import Saga
from counteract.saga.stepping import Stepper
from counteract.store import PostgresEventStore
from counteract.testing import ExplorationFailed, Explored, explore
from tests.explore import kiosk
from tests.explore.kiosk import Sale, SaleRequest, Till
from tests.travel.trips import Trip, TripRequest

pytestmark = [pytest.mark.explore, pytest.mark.timeout(60)]

Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
async def client(temporal: EmbeddedTemporal) -> Client:
    return await Client.connect(temporal.address)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(database_url, pool_size=20) as store:
        yield store


def for_another_trip(command: Command[Any]) -> Command[Any]:
    """A correction that shows: what a script does does not depend on it."""
    return command.model_copy(update={"trip": "another"})


# Engines with a line removed.


def armed_after_dispatch(patch: pytest.MonkeyPatch) -> None:
    """A step comes into the ledger with its answer, as in hand-written stacks of undo."""
    once = Stepper._once

    async def forgetful(self: Stepper, step: Any, options: Any) -> Any:
        try:
            return await once(self, step, options)
        finally:
            if step.outcome is Outcome.UNKNOWN:
                self.ledger.steps.remove(step)

    patch.setattr(Stepper, "_once", forgetful)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """An undo looks whether there is something to undo, and leaves the way open for what comes later."""

    async def look(self: Fence, activity: str, queue: str, command: Any, dispatch: Any, *, if_never: str) -> Fenced:
        async with self.store.connection() as connection:
            row = await (await connection.execute(FIND_COMMAND, (dispatch.undoes,))).fetchone()
        return Fenced(Known.APPLIED, row[1]) if row and row[0] == "done" else Fenced(Known.NEVER, None)

    patch.setattr(Fence, "fence", look)


def undone_in_start_order(patch: pytest.MonkeyPatch) -> None:
    reverse = Ledger._in_undo_order
    patch.setattr(Ledger, "_in_undo_order", lambda self, steps: reverse(self, steps)[::-1])


def undo_swallowed(patch: pytest.MonkeyPatch) -> None:
    """A failing undo is tried once, and reported as done."""

    async def best_effort(self: Stepper, step: Any) -> None:
        with suppress(ActivityError):
            await self.dispatcher.undo(step, self.alert_after)
        step.undoing = Undoing.UNDONE

    patch.setattr(Stepper, "undo", best_effort)


def undo_not_remembered(patch: pytest.MonkeyPatch) -> None:
    """What an undo did is recorded under some new id each time, so that twice is twice."""
    record = Fence.record

    async def forgetful(self: Fence, activity: str, queue: str, command: Any, dispatch: Any, **answer: Any) -> Any:
        if dispatch.undoes:
            dispatch = dispatch.model_copy(update={"command_id": uuid4()})
        return await record(self, activity, queue, command, dispatch, **answer)

    patch.setattr(Fence, "record", forgetful)


def pivot_guessed(patch: pytest.MonkeyPatch) -> None:
    """No answer is taken for a no."""

    async def guess(self: Stepper, pivot: Any) -> Any:
        return SimpleNamespace(happened=False, result=None)

    patch.setattr(Stepper, "_settlement", guess)


def undo_while_the_step_runs(patch: pytest.MonkeyPatch) -> None:
    kinds = SimpleNamespace(WAIT_CANCELLATION_COMPLETED=ActivityCancellationType.TRY_CANCEL)
    patch.setattr(dispatching, "ActivityCancellationType", kinds)


def undo_can_be_cancelled(patch: pytest.MonkeyPatch) -> None:
    async def unprotected(work: Any) -> Any:
        return await work

    def always(self: Saga, why: Any) -> None:
        self._interruption = self._interruption or why
        if self._body:
            self._body.cancel()

    patch.setattr(saga, "to_the_end", unprotected)
    patch.setattr(Saga, "interrupt", always)


def cancellation_swallowed(patch: pytest.MonkeyPatch) -> None:
    """A step that completes although it was cancelled lets the saga forget that it was."""

    async def settled(flights: Sequence[Any], *, cancel: bool) -> list[Any]:
        try:
            return await tasks.settled(flights, cancel=cancel)
        except asyncio.CancelledError:
            return [flight.result() for flight in flights]

    patch.setattr(saga, "settled", settled)
    patch.setattr(Saga, "_raise_if_interrupted", lambda self: None)
    patch.setattr(Saga, "_is_stopped", lambda self: self._closing)


def skip_not_recorded(patch: pytest.MonkeyPatch) -> None:
    """The end of the saga says what was undone, and nothing of what was not."""
    keys = Ledger.keys
    patch.setattr(Ledger, "keys", lambda self, undoing: keys(self, undoing) if undoing is Undoing.UNDONE else ())


def skip_reported_as_undone(patch: pytest.MonkeyPatch) -> None:
    """Whatever a person decided: once the undo is over, it is over."""
    undo = Stepper.undo

    async def rounded_up(self: Stepper, step: Any) -> None:
        await undo(self, step)
        step.undoing = Undoing.UNDONE

    patch.setattr(Stepper, "undo", rounded_up)


def decision_not_recorded(patch: pytest.MonkeyPatch) -> None:
    """Who let the saga go on is nobody's business."""
    record = Chronicle.record

    async def selective(self: Chronicle, event: Any, **what: Any) -> None:
        if event is not SagaResolved:
            await record(self, event, **what)

    patch.setattr(Chronicle, "record", selective)


def correction_ignored(patch: pytest.MonkeyPatch) -> None:
    """What is tried again is what failed."""
    patch.setattr(stepping, "corrected", lambda step, decision: step.command)


def skipped_step_carried_out(patch: pytest.MonkeyPatch) -> None:
    """To skip and to try again are the same, as far as the engine knows."""
    once = Saga.stuck

    async def stuck(self: Saga, step: Any, why: str) -> Any:
        return (await once(self, step, why)).model_copy(update={"decision": "retry"})

    patch.setattr(Saga, "stuck", stuck)


@pytest.mark.parametrize(
    ("broken", "fault", "finding"),
    [
        (armed_after_dispatch, "BookHotel: answer lost", "BookHotel took effect and was never undone"),
        (no_fence, "BookHotel: arrives after its undo", "BookHotel took effect and was never undone"),
        (undone_in_start_order, "ChargeCard: refused", "the undo of BookFlight began before that of BookHotel"),
        (undo_swallowed, "undo BookHotel: broken, then resolved", "BookHotel took effect and was never undone"),
        (undo_not_remembered, "undo BookHotel: delivered twice", "BookHotel was undone 2 times"),
        (pivot_guessed, "ChargeCard: answer lost", "BookHotel was undone past the pivot ChargeCard"),
        (undo_while_the_step_runs, "BookHotel: cancelled during", "began while BookHotel was still in flight"),
        (undo_can_be_cancelled, "undo BookHotel: cancelled during", "BookFlight took effect and was never undone"),
        (cancellation_swallowed, "BookHotel: cancelled after", "the saga ended completed, not cancelled"),
        (skip_not_recorded, "undo BookHotel: broken, then skipped", "SagaCompensated does not list it as skipped"),
        (skip_reported_as_undone, "undo BookHotel: broken, then skipped", "SagaCompensated lists it as undone"),
        (decision_not_recorded, "undo BookHotel: broken, then skipped", "decided to skip BookHotel, which is not on"),
        (skipped_step_carried_out, "undo BookHotel: broken, then skipped", "undone although its undo was skipped"),
        (skipped_step_carried_out, "SendTickets: refused, then skipped", "took effect although it was skipped"),
        (correction_ignored, "undo BookHotel: broken, then corrected", "without the correction of its command"),
        (correction_ignored, "SendTickets: refused, then corrected", "without the correction of its command"),
    ],
)
async def test_an_engine_with_a_line_removed_is_found_out(
    broken: Break, fault: str, finding: str, client: Client, store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)

    with pytest.raises(ExplorationFailed) as failed:
        await explore(
            Trip,
            lambda run: TripRequest(trip=run),
            only=fault,
            correct=for_another_trip,
            store=store,
            client=client,
            limit=8,
        )

    assert finding in str(failed.value)
    assert f'explore(Trip, request, only="{fault}")' in str(failed.value)


# Handlers that are right as long as nothing goes wrong.


@pytest.mark.parametrize(
    ("handlers", "fault"),
    [
        (
            (kiosk.take_money_under_any_key, kiosk.give_money_back),
            "TakeMoney: happened, not recorded, then asked again",
        ),
        ((kiosk.take_money_undeclared, kiosk.give_money_back), "TakeMoney: delivered twice at once"),
        ((kiosk.take_money, kiosk.pay_a_coin), "undo TakeMoney: happened, not recorded, then asked again"),
    ],
)
async def test_a_careless_handler_is_found_out_by_the_invariant(
    handlers: tuple[Any, Any], fault: str, client: Client, store: PostgresEventStore
) -> None:
    till = Till()
    participants = Participants(store, *handlers, kiosk.hand_over, resources=[till])

    with pytest.raises(ExplorationFailed) as failed:
        await explore_sales(till, participants, client, only=fault)

    assert "the invariant does not hold" in str(failed.value)


async def test_careful_handlers_pass(client: Client, store: PostgresEventStore) -> None:
    till = Till()
    participants = Participants(store, kiosk.take_money, kiosk.give_money_back, kiosk.hand_over, resources=[till])

    await explore_sales(till, participants, client, only="*TakeMoney: *")


async def explore_sales(till: Till, participants: Participants, client: Client, *, only: str) -> None:
    def only_what_was_sold_is_paid(run: Explored) -> None:
        assert till.balance(run.id) == (run.ending == "completed")

    await explore(
        Sale,
        lambda run: SaleRequest(sale=run),
        participants=participants,
        client=client,
        invariant=only_what_was_sold_is_paid,
        only=only,
    )


# Sagas that stop halfway.


async def test_a_saga_whose_own_code_fails_past_its_pivot_is_found_out(
    client: Client, store: PostgresEventStore
) -> None:
    with pytest.raises(ExplorationFailed) as failed:
        await explore(Trip, lambda run: TripRequest(trip=run, fail_after_pivot=True), store=store, client=client)

    assert "the saga ended incomplete, not completed" in str(failed.value)


async def test_a_command_without_a_handler_is_named_at_once(client: Client, store: PostgresEventStore) -> None:
    participants = Participants(store, kiosk.take_money, kiosk.give_money_back, kiosk.hand_over, resources=[Till()])

    with pytest.raises(ConfigurationError, match="BookFlight has no handler"):
        await explore(Trip, lambda run: TripRequest(trip=run), participants=participants, client=client)
