"""Personal data is stored sealed, read open, and gone for every reader once its subject is forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import AfterValidator
from sqlalchemy import Column, Text, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract import FORGOTTEN, Event, Forgotten, Personal, Recorded
from counteract.errors import ConfigurationError, PersonalDataLocked
from counteract.projections import Projection, ProjectionRunner, Put
from counteract.store import ANY, NO_STREAM, MasterKey, PostgresEventStore, StoredEvent
from counteract.store.master_key import MASTER_KEY_VARIABLE
from counteract.store.postgres.connect import async_engine
from counteract.subscriptions import Subscriber, Subscription, reached
from tests.customers import ANN, BOB, EMAIL, MASTER_KEY, Registered, Upgraded, email_of, register

pytestmark = pytest.mark.integration


@asynccontextmanager
async def opened(
    url: str, master_key: MasterKey | None = MASTER_KEY, **options: Any
) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(url, pool_size=4, master_key=master_key, **options) as store:
        yield store


@pytest.fixture
async def store(app_url: str) -> AsyncIterator[PostgresEventStore]:
    async with opened(app_url) as store:
        yield store


def everything_stored(url: str) -> str:
    with psycopg.connect(url) as connection:
        tables = ("events", "personal_keys", "snapshots")
        return "".join(str(connection.execute(f"select * from {table}").fetchall()) for table in tables)


async def test_what_is_stored_shows_nothing_of_it_and_what_is_read_all(
    store: PostgresEventStore, database_url: str
) -> None:
    await register(store)
    stored = everything_stored(database_url)
    assert "example.com" not in stored
    assert "'plan': 'free'" in stored
    assert await email_of(store) == EMAIL
    for event in (*await store.read(), *await store.read_stream(ANN)):
        assert Registered.model_validate_json(event.data).phones == ("+1", "+2")


async def test_after_forgetting_every_read_shows_it_as_forgotten_and_the_rest_as_it_was(
    store: PostgresEventStore,
) -> None:
    await register(store, "ann")
    await register(store, "bob")
    assert await store.forget("ann") == 1
    assert await email_of(store, "ann") == FORGOTTEN
    assert await email_of(store, "bob") == "bob@example.com"
    for event in (*await store.read_stream(ANN), (await store.read())[0]):
        registered = Registered.model_validate_json(event.data)
        assert (registered.email, registered.phones, registered.plan) == (FORGOTTEN, FORGOTTEN, "free")


async def test_forgetting_again_or_a_stranger_destroys_nothing(store: PostgresEventStore) -> None:
    await register(store)
    await store.forget("ann")
    assert await store.forget("ann") == 0
    assert await store.forget("nobody") == 0


async def test_forgetting_changes_no_event(store: PostgresEventStore, database_url: str) -> None:
    await register(store)

    def rows() -> list[Any]:
        with psycopg.connect(database_url) as connection:
            return connection.execute("select *, xmin::text from events").fetchall()

    before = rows()
    await store.forget("ann")
    assert rows() == before


async def test_a_process_that_has_read_it_before_reads_it_as_forgotten_too(
    store: PostgresEventStore, app_url: str
) -> None:
    await register(store)
    async with opened(app_url) as other:
        assert await email_of(other) == EMAIL
        await store.forget("ann")
        assert await email_of(other) == FORGOTTEN
        await store.append(ANN, [Upgraded(plan="pro")], expect=ANY)
        assert await email_of(other) == FORGOTTEN


async def test_states_with_personal_data_are_in_no_snapshot(app_url: str) -> None:
    async with opened(app_url, snapshot_every=1) as store:
        await register(store)
        await store.append(ANN, [Upgraded(plan=str(number)) for number in range(200)], expect=ANY)
        assert await email_of(store) == EMAIL
        await store.forget("ann")
        assert await email_of(store) == FORGOTTEN
        with psycopg.connect(app_url) as connection:
            assert connection.execute("select count(*) from snapshots").fetchone() == (0,)


async def test_who_comes_back_gets_a_new_key_and_the_old_data_stays_forgotten(store: PostgresEventStore) -> None:
    await register(store)
    await store.forget("ann")
    await register(store)
    first, second = [Registered.model_validate_json(event.data) for event in await store.read_stream(ANN)]
    assert (first.email, second.email) == (FORGOTTEN, EMAIL)
    assert await store.forget("ann") == 1


async def test_an_append_that_is_repeated_is_known_as_the_same(store: PostgresEventStore, app_url: str) -> None:
    ids = [uuid4()]
    first = await register(store, ids=ids)
    assert await register(store, ids=ids) == first
    rotated = MasterKey.parse(f"{MasterKey.new()},{MasterKey.new()}")
    async with opened(app_url, rotated) as other:
        with pytest.raises(PersonalDataLocked):
            await register(other, ids=ids)
    assert len(await store.read()) == 1


async def test_what_was_read_as_forgotten_can_be_appended_again(store: PostgresEventStore) -> None:
    await register(store)
    await store.forget("ann")
    (event,) = await store.read_stream(ANN)
    await store.append(BOB, [Registered.model_validate_json(event.data)], expect=NO_STREAM)
    assert await email_of(store, "bob") == FORGOTTEN


async def test_processes_that_meet_a_new_subject_at_once_agree_on_a_key(app_url: str) -> None:
    async with opened(app_url) as first, opened(app_url) as second:
        await asyncio.gather(*(register(each) for each in (first, second) * 8))
        assert {Registered.model_validate_json(event.data).email for event in await first.read()} == {EMAIL}
        assert await second.forget("ann") == 1
        assert await email_of(first) == FORGOTTEN


async def test_events_that_hold_none_need_no_key(app_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MASTER_KEY_VARIABLE)
    async with opened(app_url, None) as store:
        await store.append(ANN, [Upgraded(plan="pro")], expect=ANY)
        assert len(await store.read()) == 1


async def test_without_the_master_key_nothing_personal_is_appended_or_read(
    store: PostgresEventStore, app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(store)
    monkeypatch.delenv(MASTER_KEY_VARIABLE)
    async with opened(app_url, None) as other:
        with pytest.raises(PersonalDataLocked, match="needs COUNTERACT_MASTER_KEY: `counteract personal new-key`"):
            await register(other, "bob")
        with pytest.raises(PersonalDataLocked, match="needs COUNTERACT_MASTER_KEY"):
            await email_of(other)
        with pytest.raises(PersonalDataLocked, match="needs COUNTERACT_MASTER_KEY"):
            await other.read()
        assert await other.forget("ann") == 1
        assert await email_of(other) == FORGOTTEN
    assert len(await store.read()) == 1


async def test_the_master_key_comes_from_the_environment(
    store: PostgresEventStore, app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = MasterKey.new()
    async with opened(app_url, MasterKey.parse(key)) as given:
        await register(given)
    monkeypatch.setenv(MASTER_KEY_VARIABLE, key)
    async with opened(app_url, None) as other:
        assert await email_of(other) == EMAIL
    monkeypatch.setenv(MASTER_KEY_VARIABLE, key[:-2])
    with pytest.raises(ConfigurationError, match="COUNTERACT_MASTER_KEY cannot be read"):
        async with opened(app_url, None):
            pass


async def test_another_master_key_opens_nothing_and_one_put_before_opens_all(
    store: PostgresEventStore, app_url: str
) -> None:
    old, new = MasterKey.new(), MasterKey.new()
    async with opened(app_url, MasterKey.parse(old)) as before:
        await register(before)
    async with opened(app_url, MasterKey.parse(new)) as wrong:
        with pytest.raises(PersonalDataLocked, match="sealed under another COUNTERACT_MASTER_KEY"):
            await email_of(wrong)
    async with opened(app_url, MasterKey.parse(f"{new},{old}")) as both:
        assert await email_of(both) == EMAIL


async def test_a_key_that_is_lost_is_not_called_forgotten(store: PostgresEventStore, database_url: str) -> None:
    await register(store)
    with psycopg.connect(database_url) as connection:
        connection.execute("delete from personal_keys")
    with pytest.raises(PersonalDataLocked, match=r"of Registered.email is not in personal_keys: restore the table"):
        await email_of(store)


class Forgetful(Subscriber):
    """Has seen the first, and makes the store forget the others."""

    name = "forgetful"

    def __init__(self, store: PostgresEventStore) -> None:
        self.store = store
        self.seen: list[str | Forgotten] = []

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        if not self.seen:
            # Time enough to read what comes next.
            await asyncio.sleep(0.2)
            await self.store.forget("ann")
        self.seen += [Registered.model_validate_json(each.data).email for each in events]


async def test_what_a_subscription_had_read_but_not_handed_over_is_forgotten_too(
    store: PostgresEventStore, app_url: str
) -> None:
    await register(store)
    last = await register(store)
    forgetful = Forgetful(store)
    subscription = Subscription(app_url, forgetful, batch_size=1, master_key=MASTER_KEY)
    running = asyncio.create_task(subscription.run())
    await reached(store, forgetful.name, last, timeout=20)
    running.cancel()
    await asyncio.wait([running])
    assert forgetful.seen == [EMAIL, FORGOTTEN]


async def test_a_projection_shows_it_and_built_anew_shows_it_as_forgotten(
    store: PostgresEventStore, database_url: str
) -> None:
    emails = Projection("emails", Column("customer", Text, primary_key=True), Column("email", Text))
    emails.ignores(Upgraded)

    @emails.on(Registered)
    def registered(recorded: Recorded[Registered]) -> Put:
        return Put(recorded.event.customer_id, {"email": str(recorded.event.email)})

    async def shown() -> Sequence[Any]:
        position = (await store.append(ANN, [Upgraded(plan="pro")], expect=ANY)).position
        runner = ProjectionRunner(database_url, [emails], master_key=MASTER_KEY)
        running = asyncio.create_task(runner.run())
        try:
            await runner.reached(position, timeout=20)
        finally:
            running.cancel()
            await asyncio.wait([running])
        async with engine.begin() as connection:
            return (await connection.execute(select(emails.table.c.email))).scalars().all()

    engine = async_engine(database_url)
    await register(store)
    assert await shown() == [EMAIL]
    await store.forget("ann")
    assert await shown() == [EMAIL]
    async with engine.begin() as connection:
        await connection.execute(text("drop table emails"))
    assert await shown() == ["(forgotten)"]
    await engine.dispose()


def refused(value: str) -> str:
    raise ValueError(f"{value!r} is no address")


async def test_a_validator_that_refuses_it_is_quoted_neither_where_its_event_is_parked_nor_in_the_log(
    store: PostgresEventStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Stricter(Event, name="Registered"):
        customer_id: str
        email: Annotated[Annotated[str, AfterValidator(refused)] | Forgotten, Personal("customer_id")]
        phones: Annotated[tuple[str, ...] | Forgotten, Personal("customer_id")] = ()
        plan: str = "free"

    emails = Projection("strict_emails", Column("customer", Text, primary_key=True))

    @emails.on(Stricter)
    def registered(recorded: Recorded[Stricter]) -> Put:
        return Put(recorded.event.customer_id, {})

    caplog.set_level(logging.INFO)
    position = await register(store)
    runner = ProjectionRunner(database_url, [emails], master_key=MASTER_KEY)
    running = asyncio.create_task(runner.run())
    try:
        await runner.reached(position, timeout=20)
    finally:
        running.cancel()
        await asyncio.wait([running])
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select error from parked_events").fetchall()
    assert "value_error" in str(rows)
    assert "is parked" in caplog.text
    assert EMAIL not in str(rows) + caplog.text
