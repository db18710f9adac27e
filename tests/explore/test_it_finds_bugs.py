"""Exploration finds engines with a line removed, careless handlers, and sagas that stop halfway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client

from counteract.dev import EmbeddedPostgres, EmbeddedTemporal
from counteract.dev.fixtures import fresh_database
from counteract.errors import ConfigurationError
from counteract.participants import Participants
from counteract.store import PostgresEventStore
from counteract.testing import ExplorationFailed, Explored, explore
from tests.explore import kiosk
from tests.explore.broken_engines import (
    Break,
    answers_out_of_order,
    armed_after_dispatch,
    asked_again_under_another_id,
    attributes_never_set,
    cancellation_swallowed,
    cause_made_up,
    correction_ignored,
    deadline_never_armed,
    decision_not_recorded,
    events_doubled,
    events_dropped,
    events_of_the_undo_doubled,
    events_of_the_undo_dropped,
    for_another_trip,
    handlers_treated_as_code,
    lost_sagas_overlooked,
    no_fence,
    pivot_guessed,
    siblings_not_stopped,
    skip_not_recorded,
    skip_reported_as_undone,
    skipped_step_carried_out,
    steps_not_listed,
    undo_can_be_cancelled,
    undo_not_remembered,
    undo_of_another_command,
    undo_told_nothing,
    undo_while_the_step_runs,
    undo_without_the_result,
    undone_in_start_order,
    undone_not_listed,
)
from tests.explore.kiosk import Sale, SaleRequest, Till
from tests.travel.parent_saga import Holiday, HolidayRequest
from tests.travel.trips import Trip, TripRequest

pytestmark = [pytest.mark.explore, pytest.mark.long, pytest.mark.timeout(60)]


# For all tests of this file: each explores sagas of its own, and a database for each would take a third of the time.


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(temporal: EmbeddedTemporal) -> Client:
    return await Client.connect(temporal.address)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(postgres: EmbeddedPostgres) -> AsyncIterator[PostgresEventStore]:
    async with fresh_database(postgres) as url, PostgresEventStore.open(url, pool_size=20) as store:
        yield store


async def explore_trips(store: PostgresEventStore, client: Client, fault: str) -> None:
    # Whether a fault strikes in the very moment in which it shows is up to the machine.
    for _ in range(3):
        await explore(
            Trip,
            lambda run: TripRequest(trip=run, flights=2, deadline=timedelta(hours=1)),
            only=fault,
            correct=for_another_trip,
            store=store,
            client=client,
            limit=6,
        )


@pytest.mark.parametrize(
    ("broken", "fault", "finding"),
    [
        (events_dropped, "BookFlight: delivered twice", "ExploredStepDone was appended to explored-saga/"),
        (events_doubled, "BookFlight: delivered twice", "ExploredStepDone is stored in explored-saga/"),
        (events_of_the_undo_dropped, "ChargeCard: refused", "ExploredStepUndone was appended to explored-saga/"),
        (events_of_the_undo_doubled, "ChargeCard: refused", "ExploredStepUndone is stored in explored-saga/"),
        (undo_of_another_command, "ChargeCard: refused", "the undo of BookHotel was given BookHotel(trip='another')"),
        (undo_without_the_result, "ChargeCard: refused", "the undo of BookHotel was given the result None"),
        (undo_told_nothing, "ChargeCard: refused", "was told that its outcome is unknown, and it is on record as done"),
        (undone_not_listed, "ChargeCard: refused", "SagaCompensated lists nothing as undone"),
        (cause_made_up, "ChargeCard: refused", "SagaCompensated gives 'something went wrong' as its cause"),
        (steps_not_listed, "BookFlight: delivered twice", "SagaCompleted does not list BookFlight"),
        (deadline_never_armed, "BookFlight: delivered twice", "the saga has a deadline of 1:00:00, and no timer waits"),
        (
            siblings_not_stopped,
            "BookFlight#2: failed while BookFlight runs",
            "was to be stopped, and never heard of it",
        ),
        (answers_out_of_order, "BookFlight: delivered twice", "and the saga's code was given"),
        (attributes_never_set, "BookFlight: delivered twice", "the search attribute SagaStatus is ''"),
        (lost_sagas_overlooked, "BookHotel: terminated during", "the saga did not come to an end"),
        (handlers_treated_as_code, "ChargeCard: a step is added by an update", "the saga did not come to an end"),
        (asked_again_under_another_id, "SendTickets: broken after its effect, then resolved", "took effect 2 times"),
        (
            armed_after_dispatch,
            "BookHotel: answer lost",
            "began before that of BookHotel, which started later, was over",
        ),
        (no_fence, "BookHotel: arrives after its undo", "BookHotel took effect and was never undone"),
        (undone_in_start_order, "ChargeCard: refused", "the undo of BookFlight began before that of BookHotel"),
        (undo_not_remembered, "undo BookHotel: delivered twice", "BookHotel was undone 2 times"),
        (pivot_guessed, "ChargeCard: answer lost", "BookHotel was undone past the pivot ChargeCard"),
        (undo_while_the_step_runs, "BookHotel: cancelled during", "may go on while the saga takes it for cancelled"),
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
        await explore_trips(store, client, fault)

    assert finding in str(failed.value)
    assert "explore(Trip, request, only=" in str(failed.value)


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
        ((kiosk.take_money, kiosk.give_back_what_there_is), "TakeMoney: its effect comes after its undo, unnoticed"),
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


# Sagas that stop halfway, or do not know what they do.


async def test_a_saga_that_is_not_deterministic_is_a_finding(client: Client, store: PostgresEventStore) -> None:
    with pytest.raises(ExplorationFailed) as failed:
        await explore(
            kiosk.FickleSale, lambda run: SaleRequest(sale=run), store=store, client=client, limit=15, fail_fast=True
        )

    assert "Nondeterminism error" in str(failed.value)


async def test_a_saga_whose_own_code_fails_past_its_pivot_is_found_out(
    client: Client, store: PostgresEventStore
) -> None:
    with pytest.raises(ExplorationFailed) as failed:
        await explore(Trip, lambda run: TripRequest(trip=run, fail_after_pivot=True), store=store, client=client)

    assert "the saga ended incomplete, not completed" in str(failed.value)


async def test_a_saga_with_a_child_is_told_that_it_cannot_be_explored(
    client: Client, store: PostgresEventStore
) -> None:
    with pytest.raises(ExplorationFailed, match=r"it starts Outing as a child, .* explore Outing by itself"):
        await explore(Holiday, lambda run: HolidayRequest(account=run, trip=run), store=store, client=client)


async def test_a_command_without_a_handler_is_named_at_once(client: Client, store: PostgresEventStore) -> None:
    participants = Participants(store, kiosk.take_money, kiosk.give_money_back, kiosk.hand_over, resources=[Till()])

    with pytest.raises(ConfigurationError, match="BookFlight has no handler"):
        await explore(Trip, lambda run: TripRequest(trip=run), participants=participants, client=client)
