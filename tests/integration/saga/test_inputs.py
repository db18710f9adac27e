"""Whatever comes in, from a client or from a handler, is answered: a saga neither hangs nor records what nobody can read."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from counteract.dev import EmbeddedTemporal
from counteract.lifecycle import sagas
from counteract.participants import Participants
from counteract.plugin import CounteractPlugin
from counteract.saga import SagaReport
from counteract.store import PostgresEventStore
from tests.travel import parcels
from tests.travel.parcel_saga import Parcel, SendParcel
from tests.travel.parcels import LOG

pytestmark = pytest.mark.integration


class Office:
    """Starts sagas and says how they ended."""

    def __init__(self, client: Client, store: PostgresEventStore, queue: str) -> None:
        self.client = client
        self.store = store
        self.queue = queue

    async def send(self, *given: Any, id: str | None = None) -> Any:  # noqa: A002 - as Temporal calls it
        name = id or f"parcel-{uuid4().hex[:12]}"
        return await self.client.start_workflow("SendParcel", args=given, id=name, task_queue=self.queue)

    async def failure(self, *given: Any) -> ApplicationError:
        handle = await self.send(*given)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result(rpc_timeout=timedelta(seconds=60))
        assert isinstance(failed.value.cause, ApplicationError)
        return failed.value.cause

    async def cause(self, **parcel: Any) -> str:
        error = await self.failure(Parcel(parcel=f"parcel-{uuid4().hex[:12]}", **parcel))
        assert error.type == "SagaCompensated", error
        return str(SagaReport.model_validate(error.details[0]).cause)


@pytest.fixture
async def office(temporal: EmbeddedTemporal, database_url: str) -> AsyncIterator[Office]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresEventStore.open(database_url))
        client = await Client.connect(temporal.address, plugins=[CounteractPlugin(store=store)])
        queue = f"parcels-{uuid4().hex[:8]}"
        workers = [
            *Participants(store, parcels).workers(client, graceful_shutdown_timeout=timedelta(seconds=1)),
            Worker(client, task_queue=queue, workflows=[SendParcel]),
        ]
        for worker in workers:
            await stack.enter_async_context(worker)
        yield Office(client, store, queue)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        pytest.param((), "SendParcel takes 1 to 2 inputs .*and was given 0", id="none"),
        pytest.param((Parcel(parcel="a"), True, 3), "and was given 3", id="one too many"),
        pytest.param((None,), "request is not valid", id="null"),
        pytest.param((b"a parcel",), "request is not valid", id="bytes"),
        pytest.param(({"parcl": "a"},), "parcel: Field required", id="another field"),
        pytest.param((Parcel(parcel="a"), "perhaps"), "bool is not valid", id="another type in second place"),
    ],
)
async def test_input_that_the_saga_does_not_take_ends_it_at_once(office: Office, given: Any, why: str) -> None:
    error = await office.failure(*given)

    assert error.type == "PayloadValidationError"
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(error.message)


async def test_an_optional_input_may_be_left_out(office: Office) -> None:
    assert await (await office.send({"parcel": "left-out"})).result() == "sent"


@pytest.mark.parametrize("label", ["a<nul>b", "a<half>b"])
async def test_text_that_cannot_be_stored_is_refused_before_its_step_is_armed(office: Office, label: str) -> None:
    error = await office.failure(Parcel(parcel=label, label=label))

    assert "the saga was undone: Weigh cannot be sent: holds " in error.message
    assert LOG[label] == ["packed", "unpacked"]


async def test_a_time_limit_of_a_call_that_no_server_takes_undoes_the_saga(office: Office) -> None:
    assert await office.cause(minutes=-1) == "Weigh cannot be sent: timeout is -60 s: give at least 1 ms"


async def test_a_retry_that_no_server_takes_undoes_the_saga(office: Office) -> None:
    assert "attempts is 0: give 1 or more" in await office.cause(attempts=0)


async def test_a_result_that_could_not_be_read_again_ends_its_step_at_the_first_attempt(office: Office) -> None:
    error = await office.failure(Parcel(parcel="not a number", weighs="NaN"))

    assert "Weigh ended without an answer: WrongResult: what tests.travel.parcels.weigh returned" in error.message
    assert LOG["not a number"] == ["packed", "weighed", "put back (unknown)", "unpacked"]


async def test_a_refusal_is_one_whatever_its_facts_are(office: Office) -> None:
    cause = await office.cause(hands="no")

    assert cause.startswith("no\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER} (")
    for fact in ("at='2026-01-01T00:00:00Z'", "share='Infinity'", "odd='odd \N{REPLACEMENT CHARACTER}'", "kinds=['a']"):
        assert fact in cause, cause


async def test_what_an_exception_says_is_on_no_record_and_in_no_log_but_its_place_is(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    handle = await office.send(Parcel(parcel="badly", hands="badly"))
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    assert isinstance(failed.value.cause, ApplicationError)
    assert (
        failed.value.cause.message
        == "the saga was undone: Hand ended without an answer: ApplicationError: RuntimeError"
    )
    events = await office.store.read_stream(sagas.stream(handle.id))
    assert [each.event_type for each in events] == ["SagaStarted", "SagaCompensated"]
    history = "".join(map(str, (await handle.fetch_history()).events))
    for told in (events[-1].data, history, caplog.text):
        assert "4111" not in told
    for told in (history, caplog.text):
        assert "raised in parcels.py, line" in told
        assert "in hand" in told


async def test_what_an_exception_says_is_told_to_whoever_asks_for_it(
    office: Office, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("counteract.participants")
    # To nobody else: it is no UTF-8, which a test's report has to be.
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    caplog.set_level(logging.DEBUG, logger.name)
    await office.cause(hands="badly")
    told = [each.exc_info[1] for each in caplog.records if each.exc_info]
    assert any("card 4111" in str(each) for each in told)
    caplog.clear()


async def test_a_summary_that_is_too_long_is_cut(office: Office) -> None:
    assert await (await office.send(Parcel(parcel="long", label="é" * 300))).result() == "sent"


async def test_a_signal_with_the_wrong_number_of_inputs_is_dropped(office: Office) -> None:
    handle = await office.send(Parcel(parcel="signal"), True)

    await handle.signal("stamp", args=[])
    await handle.signal("stamp", args=[1, 2])
    await handle.signal("stamp", args=[None])
    await handle.signal("stamp", args=["one"])
    await handle.signal("stamp", 1)

    assert await handle.result() == "sent"


async def test_an_update_with_the_wrong_number_of_inputs_is_refused(office: Office) -> None:
    handle = await office.send(Parcel(parcel="update"), True)

    for given in ([], [1, 2], [None], ["one"]):
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("stamped", args=given)
        assert isinstance(refused.value.cause, ApplicationError)
        assert refused.value.cause.type == "PayloadValidationError"

    assert await handle.execute_update("stamped", 1) == 1
    assert await handle.result() == "sent"
