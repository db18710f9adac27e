"""A store that somebody has tampered with, or that code no longer fits, is found out; a sound one is not accused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from counteract import Event
from counteract.messages import StreamId
from counteract.store import ANY, PostgresEventStore
from counteract.store.archive.streams import Named, archive_streams
from counteract.store.checks.verify import PAGE, Expected, Problem, Step, Trouble, Verification
from counteract.store.contracts.published import contract_of, key_of
from counteract.store.master_key import MasterKey
from counteract.store.postgres.vault import Vault
from tests.counters import Counted, CounterReset, Renamed, counter, counters
from tests.integration.store.verification import EXPECTED, Registered, customers, problems, steps

pytestmark = pytest.mark.integration


async def insert(
    owner: str,
    stream: StreamId,
    *versions: int,
    event_type: str = "Counted",
    schema_version: int = 1,
    data: Mapping[str, Any] | None = None,
) -> None:
    """As only the owner can."""
    async with await psycopg.AsyncConnection.connect(owner, autocommit=True) as connection:
        for version in versions:
            await connection.execute(
                "insert into events (event_id, aggregate_type, aggregate_id, version, event_type, schema_version, "
                "event_data, metadata) values (%s, %s, %s, %s, %s, %s, %s, '{}')",
                (uuid4(), *stream, version, event_type, schema_version, Jsonb(data or {})),
            )


async def change(owner: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(owner, autocommit=True) as connection:
        changed = await connection.execute(statement.encode())
        assert changed.rowcount == 1


async def test_an_empty_store_is_sound(app_url: str) -> None:
    assert [step async for step in steps(app_url)] == []


async def test_what_was_appended_is_sound_and_counted(app_url: str, event_store: PostgresEventStore) -> None:
    for name in ("a", "b"):
        await event_store.append(counter(name), [Counted(), Counted(note="x"), CounterReset()], expect=ANY)

    assert [step async for step in steps(app_url)] == [Step(6, 6, 0, [])]


async def test_events_are_looked_at_in_pages(app_url: str, database_url: str) -> None:
    await insert(database_url, counter("long"), *range(1, PAGE + 2))

    found = [step async for step in steps(app_url)]

    assert [(step.events, step.problems) for step in found] == [(PAGE, []), (PAGE + 1, [])]


async def test_missing_versions_are_named_where_the_stream_goes_on(app_url: str, database_url: str) -> None:
    await insert(database_url, counter("sound"), 1, 2, 3)
    await insert(database_url, counter("holes"), 1, 4, 5, 7)
    await insert(database_url, counter("headless"), 2)

    assert await problems(app_url) == [
        Problem(Trouble.HOLE, counter("headless"), 2, 8, "the stream does not begin with version 1"),
        Problem(Trouble.HOLE, counter("holes"), 4, 5, "after version 1"),
        Problem(Trouble.HOLE, counter("holes"), 7, 7, "after version 5"),
    ]


async def test_versions_that_are_stored_out_of_order_are_named(app_url: str, database_url: str) -> None:
    await insert(database_url, counter("a"), 1, 3, 2)

    assert await problems(app_url) == [
        Problem(Trouble.ORDER, counter("a"), 3, 2, "it stands before version 2, which has position 3")
    ]


@pytest.fixture
async def archived(database_url: str, event_store: PostgresEventStore, tmp_path: Path) -> StreamId:
    """Of its three versions only the last is in the store."""
    stream = counter("archived")
    await event_store.append(stream, [Counted()] * 3, expect=ANY)
    await archive_streams(database_url, Named([stream]), tmp_path / "old")
    return stream


@pytest.mark.usefixtures("archived")
async def test_a_stream_that_is_archived_is_counted_and_has_no_hole(app_url: str) -> None:
    async with Verification.open(app_url, EXPECTED, None) as verification:
        assert [step async for step in verification.run()] == [Step(1, 3, 0, [])]
        assert verification.archived == 1


async def test_a_hole_after_the_archived_versions_is_named(app_url: str, database_url: str, archived: StreamId) -> None:
    await insert(database_url, archived, 5)

    assert await problems(app_url) == [Problem(Trouble.HOLE, archived, 5, 4, "after version 3")]


async def test_a_stream_that_does_not_begin_where_its_archive_ends_is_named(
    app_url: str, database_url: str, archived: StreamId
) -> None:
    await change(database_url, "update archived_streams set last_version = 1")

    assert await problems(app_url) == [
        Problem(Trouble.HOLE, archived, 3, 3, "the stream does not begin with version 1"),
        Problem(Trouble.HOLE, archived, 2, None, "it is archived up to version 1, and the event after that is missing"),
    ]


async def test_a_snapshot_whose_events_are_archived_is_not_accused(
    app_url: str, database_url: str, tmp_path: Path
) -> None:
    async with PostgresEventStore.open(app_url, snapshot_every=2) as store:
        await store.append(counter("a"), [Counted()] * 2, expect=ANY)
        await store.load(counters, "a")
        await store.append(counter("a"), [Counted()], expect=ANY)
    await archive_streams(database_url, Named([counter("a")]), tmp_path / "old")

    assert await problems(app_url) == []


async def test_more_holes_than_fit_a_page_are_all_found(app_url: str, database_url: str) -> None:
    await insert(database_url, counter("a"), *range(2, 2 * PAGE + 6, 2))

    assert len(await problems(app_url)) == PAGE + 2


async def test_an_event_that_no_class_reads_is_named(app_url: str, event_store: PostgresEventStore) -> None:
    await event_store.append(counter("a"), [Counted(), Renamed(name="b")], expect=ANY)

    [unknown, unpublished] = await problems(app_url)

    assert unknown == Problem(
        Trouble.UNREADABLE, counter("a"), 2, 2, "no class is declared for the stored event Renamed v1"
    )
    assert (unpublished.trouble, unpublished.what) == (Trouble.CONTRACT, "no contract is published for Renamed v1")


async def test_data_that_fits_neither_class_nor_contract_is_named_without_itself(
    app_url: str, database_url: str
) -> None:
    await insert(database_url, counter("a"), 1, data={"amount": "secret"})

    [unreadable, contract] = await problems(app_url)

    assert unreadable.trouble is Trouble.UNREADABLE
    assert "amount: Input should be a valid integer" in unreadable.what
    assert contract.what == 'not as Counted.v1.json says: $.amount: it is not of type "integer"'
    assert "secret" not in f"{unreadable}{contract}"


async def test_data_that_a_patient_class_reads_still_has_to_keep_its_contract(app_url: str, database_url: str) -> None:
    await insert(database_url, counter("a"), 1, data={"amount": "7"})

    assert [each.trouble for each in await problems(app_url)] == [Trouble.CONTRACT]


async def test_an_old_version_is_held_to_its_own_contract_and_read_through_its_upcaster(
    app_url: str, database_url: str
) -> None:
    class Weighed(Event, version=2, upcasters={1: lambda data: {"grams": data["kilograms"] * 1000}}):
        grams: int

    old = {"type": "object", "properties": {"kilograms": {"type": "integer"}}, "required": ["kilograms"]}
    published = {key_of(Weighed): contract_of(Weighed), key_of(Weighed)._replace(version=1): old}
    await insert(database_url, counter("a"), 1, event_type="Weighed", data={"kilograms": 2})
    await insert(database_url, counter("a"), 2, event_type="Weighed", data={"weight": 2})
    await insert(database_url, counter("a"), 3, event_type="Weighed", schema_version=2, data={"grams": 2})

    found = await problems(app_url, Expected([Weighed], published, []))

    assert [(each.version, each.trouble) for each in found] == [(2, Trouble.UNREADABLE), (2, Trouble.CONTRACT)]


async def with_customer(url: str, key: str) -> None:
    async with PostgresEventStore.open(url, master_key=MasterKey.parse(key)) as store:
        event = Registered(customer="c-1", email="ann@example.org")
        await store.append(customers.stream("c-1"), [event], expect=ANY)


async def test_sealed_data_is_sound_with_and_without_the_key(app_url: str) -> None:
    key = MasterKey.new()
    await with_customer(app_url, key)

    assert await problems(app_url) == []
    assert await problems(app_url, vault=Vault(MasterKey.parse(key))) == []


async def test_sealed_data_that_cannot_be_opened_is_named_beside_the_rest(app_url: str, database_url: str) -> None:
    await with_customer(app_url, MasterKey.new())
    await insert(database_url, counter("a"), 1, data={"amount": "7"})

    found = await problems(app_url, vault=Vault(MasterKey.parse(MasterKey.new())))

    assert [(each.stream, each.trouble) for each in found] == [
        (customers.stream("c-1"), Trouble.UNREADABLE),
        (counter("a"), Trouble.CONTRACT),
    ]
    assert "was sealed under another COUNTERACT_MASTER_KEY" in found[0].what


@pytest.fixture
async def snapshot(app_url: str) -> str:
    """The stream of a counter at 3, of which there is a snapshot at its version 3."""
    async with PostgresEventStore.open(app_url, snapshot_every=3) as store:
        await store.append(counter("kept"), [Counted()] * 3, expect=ANY)
        await store.load(counters, "kept")
        await store.append(counter("kept"), [Counted()], expect=ANY)
    return "kept"


async def change_snapshots(owner: str, how: str) -> None:
    await change(owner, f"update snapshots set {how}")


@pytest.mark.usefixtures("snapshot")
async def test_a_snapshot_that_its_events_lead_to_is_sound_and_counted(app_url: str) -> None:
    assert [step async for step in steps(app_url)] == [Step(4, 4, 0, []), Step(4, 4, 1, [])]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("state = '4'", "the snapshot is not what its events lead to: delete it"),
        ("state = 'four'", "the snapshot cannot be read: delete it"),
        ("version = 9", "the snapshot is ahead of its stream, which ends with version 4: delete the snapshot"),
    ],
)
async def test_a_snapshot_that_is_wrong_is_named(
    app_url: str, database_url: str, snapshot: str, change: str, what: str
) -> None:
    await change_snapshots(database_url, change)

    [problem] = await problems(app_url)

    assert (problem.trouble, problem.stream, problem.what) == (Trouble.SNAPSHOT, counter(snapshot), what)


@pytest.mark.usefixtures("snapshot")
async def test_a_snapshot_of_other_code_is_left_aside(app_url: str, database_url: str) -> None:
    await change_snapshots(database_url, "state = '4', fingerprint = 'another'")

    assert await problems(app_url) == []


class Tally(Event):
    by_name: dict[str, int]


async def test_a_key_of_the_data_is_not_quoted(app_url: str, database_url: str) -> None:
    nothing_else = {"type": "object", "properties": {}, "additionalProperties": False}
    for published in (contract_of(Tally), nothing_else):
        await insert(
            database_url,
            StreamId("tally", str(len(published))),
            1,
            event_type="Tally",
            data={"by_name": {"ann.smith@example.com": "x"}, "Ann Smith": 1},
        )
        found = await problems(app_url, Expected((Tally,), {key_of(Tally): published}, []))
        assert found
        assert "Ann Smith" not in str(found)
        assert "ann.smith" not in str(found)
