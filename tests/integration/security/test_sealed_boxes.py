"""A box opens where it was sealed and nowhere else: not in another event, stream or field, nor for another subject."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb
from pydantic import Field
from sqlalchemy import Column, Text

from counteract import Decider, Event, Forgotten, Personal, Recorded, StreamId
from counteract.errors import PersonalDataLocked, SealedByNewerRelease, UnreadableEvent
from counteract.projections import Projection, ProjectionRunner, Put, reached
from counteract.store import ANY, MasterKey, PostgresEventStore
from tests.customers import ANN, BOB, EMAIL, Registered, customers, email_of, register

pytestmark = pytest.mark.integration

ZEROS = "A" * 43 + "="
MASTER_KEY = MasterKey.parse(ZEROS)

# As the release before stored it, under the master key of zeros.
OLD_ID, OLD_KEY = UUID("0199c0de-0000-7000-8000-00000000000e"), UUID("0199c0de-0000-7000-8000-00000000000a")
OLD_WRAPPED = bytes.fromhex(
    "91eba958bc66fe36d2ded9a7467e04d6139774ee8830e8ebee39b3f69ea4caa02b84ff4891d05c40d1531df5b857ea0a1eae07804180157be8785414"
)
OLD_BOX = "NenvlBUPlc1c6kfPRZprGp+jLoTV4eATcu7f3ojamWQQyvjjVnYJoEeibFg5"


class Moved(Event):
    customer_id: str
    mail: Annotated[str | Forgotten, Personal("customer_id")] = Field(alias="e-mail")


movers: Decider[str | Forgotten | None, Moved] = Decider(
    "mover", initial=None, evolve=lambda _, event: event.mail, events=Moved
)


@pytest.fixture
async def store(app_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(app_url, master_key=MASTER_KEY) as store:
        yield store


def insert(owner: str, stream: StreamId, event_id: UUID, data: Any, event_type: str = "Registered") -> None:
    """As only the owner can."""
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(
            "insert into events (event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata) "
            "values (%s, %s, %s, 1, %s, 1, %s, '{}')",
            (event_id, *stream, event_type, Jsonb(data)),
        )


def stored(url: str) -> dict[str, Any]:
    with psycopg.connect(url) as connection:
        row = connection.execute("select event_data::text from events where event_type = 'Registered'").fetchone()
    assert row
    data: dict[str, Any] = json.loads(row[0])
    return data


@pytest.mark.parametrize("whose", ["ann", "bob"])
async def test_a_box_that_was_pasted_into_another_event_does_not_open(
    store: PostgresEventStore, app_url: str, database_url: str, whose: str
) -> None:
    await register(store, "ann")
    insert(database_url, BOB, uuid4(), stored(app_url) | {"customer_id": whose})
    with pytest.raises(PersonalDataLocked, match=r"Registered.(email|phones) was not sealed here with the key"):
        await email_of(store, "bob")
    assert await email_of(store, "ann") == EMAIL


async def test_a_box_that_was_moved_to_another_field_does_not_open(
    store: PostgresEventStore, app_url: str, database_url: str
) -> None:
    ids = [uuid4()]
    await register(store, "ann", ids)
    data = stored(app_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table events disable trigger all")
        swapped = data | {"email": data["phones"], "phones": data["email"]}
        connection.execute("update events set event_data = %s", (Jsonb(swapped),))
    with pytest.raises(PersonalDataLocked, match="it was moved or changed since"):
        await store.read_stream(ANN)


async def test_a_key_that_is_claimed_for_another_subject_opens_nothing(
    store: PostgresEventStore, database_url: str
) -> None:
    await register(store, "ann")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update personal_keys set subject = 'bob'")
    with pytest.raises(PersonalDataLocked, match="it was moved or changed since"):
        await email_of(store, "ann")


async def test_a_box_of_the_release_before_still_opens_and_is_forgotten_like_any(
    store: PostgresEventStore, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into personal_keys (key_id, subject, wrapped_key) values (%s, 'ann', %s)", (OLD_KEY, OLD_WRAPPED)
        )
    box = {"$sealed": {"key": str(OLD_KEY), "box": OLD_BOX}}
    insert(database_url, ANN, OLD_ID, {"customer_id": "ann", "email": box, "plan": "free"})
    assert await email_of(store) == EMAIL
    await register(store)
    assert [Registered.model_validate_json(each.data).email for each in await store.read()] == [EMAIL, EMAIL]
    assert await store.forget("ann") == 1
    assert isinstance(await email_of(store), Forgotten)


async def test_a_field_with_an_alias_is_sealed_under_that(store: PostgresEventStore, app_url: str) -> None:
    await store.append(movers.stream("ann"), [Moved(customer_id="ann", mail=EMAIL)], expect=ANY)
    with psycopg.connect(app_url) as connection:
        assert EMAIL not in str(connection.execute("select event_data::text from events").fetchall())
    assert (await store.load(movers, "ann")).state == EMAIL


_KEY = str(OLD_KEY)
NO_BOXES: dict[str, Any] = {
    "a text": "x",
    "null": None,
    "nothing": {},
    "no key": {"v": 2, "box": "AAAA"},
    "a key that is no id": {"v": 2, "key": "x", "box": "AAAA"},
    "a number as a key": {"v": 2, "key": 5, "box": "AAAA"},
    "a number as a box": {"v": 2, "key": _KEY, "box": 7},
    "no base64": {"v": 2, "key": _KEY, "box": "A"},
    "a version that was never": {"v": 0, "key": _KEY, "box": "AAAA"},
    "a version that is none": {"v": ["3"], "key": _KEY, "box": "AAAA"},
}


@pytest.mark.parametrize("box", NO_BOXES.values(), ids=NO_BOXES)
async def test_what_only_has_the_name_of_a_box_is_its_own_events_concern(
    store: PostgresEventStore, app_url: str, box: Any
) -> None:
    await register(store, "ann")
    append_as_the_role(app_url, {"customer_id": "bob", "email": {"$sealed": box}})
    assert [json.loads(each.data)["email"] for each in await store.read()] == [EMAIL, {"$sealed": box}]
    assert await email_of(store, "ann") == EMAIL
    with pytest.raises(UnreadableEvent, match="Registered v1 does not fit its class: email"):
        await email_of(store, "bob")


async def test_data_that_nobody_can_read_is_its_own_events_concern_beside_a_box_too(
    store: PostgresEventStore, app_url: str
) -> None:
    await register(store, "ann")
    deep: Any = []
    for _ in range(210):
        deep = [deep]
    append_as_the_role(app_url, {"customer_id": "bob", "email": {"$sealed": "x"}, "plan": deep})
    assert [each.stream for each in await store.read()] == [ANN, BOB]
    with pytest.raises(UnreadableEvent):
        await email_of(store, "bob")


def append_as_the_role(url: str, data: Any) -> None:
    """Past the client, which refuses the name."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "select append_event(%s, %s, 0, 0, gen_random_uuid(), 'Registered', 1::smallint, %s, '{}')",
            (*BOB, Jsonb(data)),
        )


async def test_a_newer_releases_box_may_have_no_key(store: PostgresEventStore, app_url: str) -> None:
    append_as_the_role(app_url, {"customer_id": "bob", "email": {"$sealed": {"v": 3}}})
    with pytest.raises(SealedByNewerRelease, match="sealed by a newer release: update this process"):
        await email_of(store, "bob")


async def test_what_a_newer_release_has_sealed_is_waited_for(
    store: PostgresEventStore, app_url: str, database_url: str
) -> None:
    await register(store, "ann")
    data = stored(app_url)
    data["email"]["$sealed"]["v"] = 3
    insert(database_url, BOB, uuid4(), data)
    with pytest.raises(SealedByNewerRelease, match="sealed by a newer release: update this process"):
        await email_of(store, "bob")
    emails = Projection("emails", Column("customer", Text, primary_key=True), Column("email", Text))

    @emails.on(Registered)
    def registered(recorded: Recorded[Registered]) -> Put:
        return Put(recorded.stream.aggregate_id, {"email": str(recorded.event.email)})

    emails.ignores(*[each for each in customers.event_classes if each is not Registered])
    running = asyncio.create_task(ProjectionRunner(app_url, [emails], master_key=MASTER_KEY).run())
    try:
        await reached(store, "emails", 1, timeout=20)
        await asyncio.sleep(0.5)
        with psycopg.connect(app_url) as connection:
            assert connection.execute("select count(*) from parked_events").fetchone() == (0,)
    finally:
        running.cancel()
        await asyncio.wait([running])
