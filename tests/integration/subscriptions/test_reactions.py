"""Reactions on the real servers: an event starts a saga, or sends a command, once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal
from uuid import UUID, uuid4

import pytest
from temporalio.client import Client

from counteract.dev.ports import free_port
from counteract.errors import ConfigurationError
from counteract.messages import Recorded
from counteract.plugin import CounteractPlugin
from counteract.reactions import Reaction, ReactionRunner, Send, StartSaga, reacts_to
from counteract.saga.send_command import SendCommand, SentCommand
from counteract.store.postgres.connect import async_engine
from counteract.subscriptions import position_of
from counteract.subscriptions.lease import start_over
from tests.counters import Counted, CounterReset
from tests.integration.subscriptions.running_reactions import count, running, until
from tests.travel.bank import Account, HoldMoney, accounts
from tests.travel.bank_sagas import Errand, OutingRequest
from tests.travel.world import World

pytestmark = [pytest.mark.integration, pytest.mark.readside]


async def caught_up(world: World, reaction: Reaction) -> None:
    last = await world.store.high_water_mark()

    async def holds() -> bool:
        return await position_of(world.store, f"reaction {reaction.name}") >= last

    await until(holds)


def hold(world: World, *, from_: Literal["now", "start"] = "start") -> Reaction:
    @reacts_to(Counted, name=f"hold-{uuid4().hex[:8]}", from_=from_)
    async def set_aside(counted: Counted) -> Send:
        command = HoldMoney(account="ann", trip=f"trip-{counted.amount}", amount=counted.amount)
        return Send(command, task_queue=world.queue)

    return set_aside


async def answered(world: World, reaction: Reaction, event_id: UUID) -> None:
    await world.client.get_workflow_handle(f"{reaction.name} {event_id} 0").result()


async def test_a_command_is_carried_out(world: World, app_url: str) -> None:
    reaction = hold(world)
    event_id = await count(world, amount=7)

    async with running(app_url, world.client, reaction):
        await caught_up(world, reaction)
        await answered(world, reaction, event_id)

    assert await world.account() == Account(93, {"trip-7": 7})


async def test_an_event_that_is_delivered_again_starts_nothing(world: World, app_url: str) -> None:
    reaction = hold(world)
    event_id = await count(world, amount=7)
    async with running(app_url, world.client, reaction):
        await caught_up(world, reaction)
        await answered(world, reaction, event_id)
        first = await world.client.get_workflow_handle(f"{reaction.name} {event_id} 0").describe()

    engine = async_engine(app_url)
    async with engine.begin() as connection:
        await start_over(connection, f"reaction {reaction.name}")
    await engine.dispose()
    async with running(app_url, world.client, reaction):
        await caught_up(world, reaction)

    again = await world.client.get_workflow_handle(f"{reaction.name} {event_id} 0").describe()
    assert again.run_id == first.run_id
    assert await world.account() == Account(93, {"trip-7": 7})


async def test_a_command_that_is_sent_again_after_temporal_forgot_it_takes_effect_once(
    world: World, app_url: str
) -> None:
    sent = SentCommand.of(HoldMoney(account="ann", trip="trip-7", amount=7), correlation_id="c", causation_id="e")
    for _ in range(2):
        await world.client.execute_workflow(SendCommand.run, sent, id=f"again {app_url}", task_queue=world.queue)

    held = [each for each in await world.store.read_stream(accounts.stream("ann")) if each.event_type == "Held"]
    assert len(held) == 1


async def test_a_new_reaction_leaves_the_past_alone(world: World, app_url: str) -> None:
    reaction = hold(world, from_="now")
    await count(world, amount=7)

    async with running(app_url, world.client, reaction):
        await caught_up(world, reaction)
        event_id = await count(world, amount=8)
        await caught_up(world, reaction)
        await answered(world, reaction, event_id)

    assert await world.account() == Account(92, {"trip-8": 8})


async def test_a_saga_is_started_with_an_id_of_its_own_choice(world: World, app_url: str, trip: str) -> None:
    @reacts_to(Counted, name=trip, from_="start")
    def begin(recorded: Recorded[Counted]) -> list[StartSaga]:
        request = OutingRequest(account="ann", trip=trip, amount=recorded.event.amount)
        return [StartSaga(Errand, request, task_queue=world.queue, id=trip)]

    await count(world, amount=5)
    await count(world, amount=6)
    async with running(app_url, world.client, begin):
        await caught_up(world, begin)
        await world.client.get_workflow_handle(trip).result()

    assert await world.account() == Account(95, {trip: 5}), "the first one stands"


async def test_events_of_one_stream_are_answered_in_order(world: World, app_url: str) -> None:
    asked: list[int] = []

    @reacts_to(Counted, name=f"order-{uuid4().hex[:8]}", from_="start")
    async def note(counted: Counted) -> None:
        await asyncio.sleep(0.05 if counted.amount == 1 else 0)
        asked.append(counted.amount)

    for amount in range(1, 6):
        await count(world, amount=amount)
    await count(world, stream="another", amount=9)
    async with running(app_url, world.client, note):
        await caught_up(world, note)

    assert asked == [9, 1, 2, 3, 4, 5], "and the other stream has not waited"


async def test_a_connection_that_is_lost_is_waited_for(
    world: World, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    reaction, port = hold(world), free_port()
    address = world.client.service_client.config.target_host
    async with forwarding(port, address):
        client = await Client.connect(f"127.0.0.1:{port}", plugins=[CounteractPlugin()])
    event_id = await count(world, amount=7)

    async with running(app_url, client, reaction):
        await asyncio.sleep(7)
        assert await position_of(world.store, f"reaction {reaction.name}") == 0
        async with forwarding(port, address):
            await caught_up(world, reaction)
            await answered(world, reaction, event_id)

    assert [each.levelname for each in caplog.records if each.name == "counteract.subscriptions"] == ["WARNING"]


async def test_while_temporal_cannot_be_reached_it_waits_and_says_so_once(
    world: World, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    reaction, port = hold(world), free_port()
    event_id = await count(world, amount=7)
    away = await Client.connect(f"127.0.0.1:{port}", lazy=True, plugins=[CounteractPlugin()])

    with caplog.at_level(logging.INFO, "counteract.subscriptions"):
        async with running(app_url, away, reaction):
            await asyncio.sleep(2)
            assert await position_of(world.store, f"reaction {reaction.name}") == 0
            async with forwarding(port, world.client.service_client.config.target_host):
                await caught_up(world, reaction)
                await answered(world, reaction, event_id)

    assert sum("waits" in each.message for each in caplog.records) == 1
    assert await world.account() == Account(93, {"trip-7": 7})


def test_a_parameter_that_is_no_event_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="which is no Event"):

        @reacts_to(Counted)
        def wrong(number: int) -> None: ...


def test_a_parameter_of_another_event_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not what it reacts to"):

        @reacts_to(Counted)
        def wrong(event: CounterReset) -> None: ...


def test_a_beginning_that_is_neither_now_nor_the_start_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="it begins at 'now' or at the 'start'"):

        @reacts_to(Counted, from_="yesterday")  # type: ignore[arg-type]
        def wrong(event: Counted) -> None: ...


async def test_two_reactions_of_one_name_are_refused(world: World, app_url: str) -> None:
    reaction = hold(world)
    with pytest.raises(ConfigurationError, match="is there twice"):
        ReactionRunner(app_url, world.client, [reaction, reaction])


@asynccontextmanager
async def forwarding(port: int, address: str) -> AsyncIterator[None]:
    host, _, target = address.removeprefix("http://").rpartition(":")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while part := await reader.read(2**16):
                writer.write(part)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(host, int(target))
        open_.update((writer, to_server))
        await asyncio.gather(copy(reader, to_server), copy(from_server, writer))

    open_: set[asyncio.StreamWriter] = set()
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for writer in open_:
            writer.close()
