"""`counteract events`, as a person at a shell uses it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import psycopg
import pytest
from temporalio.client import WorkflowFailureError

from counteract import Event, Forgotten, Personal, StreamId
from counteract.dev.process import GuardedProcess, Launch
from counteract.store import ANY, PostgresEventStore
from tests.commands import counteract
from tests.travel.bank import Deposited, accounts
from tests.travel.bank_sagas import OutingRequest, Purchase
from tests.travel.parent_saga import Holiday, HolidayRequest, outing_of
from tests.travel.world import World

pytestmark = [pytest.mark.integration, pytest.mark.program]


async def events(*arguments: str, database_url: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    url = {"DATABASE_URL": database_url} if database_url else {}
    return await counteract("events", *arguments, environment=environment | url)


async def told(*arguments: str, url: str) -> list[Any]:
    """What it tells a program."""
    done = await events(*arguments, database_url=url)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


async def versions(*arguments: str, url: str) -> list[tuple[str, int]]:
    return [(each["aggregate_id"], each["version"]) for each in await told(*arguments, url=url)]


@pytest.fixture
async def banked(event_store: PostgresEventStore) -> PostgresEventStore:
    for account, amount in (("ann", 1), ("bob", 22), ("ann", 333)):
        await event_store.append(
            accounts.stream(account), [Deposited(amount=amount)], expect=ANY, metadata={"correlation_id": account}
        )
    await event_store.append(StreamId("vault", "1"), [Deposited(amount=4)], expect=ANY)
    return event_store


async def test_a_person_reads_lines(banked: PostgresEventStore, app_url: str) -> None:
    listed = await events("read", "--table", database_url=app_url)
    assert listed.stdout.splitlines() == [
        '1  account/ann  1  Deposited  {"amount": 1}',
        '2  account/bob  1  Deposited  {"amount": 22}',
        '3  account/ann  2  Deposited  {"amount": 333}',
        '4  vault/1      1  Deposited  {"amount": 4}',
    ]


async def test_a_program_reads_documents(banked: PostgresEventStore, app_url: str) -> None:
    first, *_ = await told("read", url=app_url)
    (stored, *_) = await banked.read()
    assert first == {
        "position": 1,
        "event_id": str(stored.event_id),
        "aggregate_type": "account",
        "aggregate_id": "ann",
        "version": 1,
        "event_type": "Deposited",
        "schema_version": 1,
        "event_data": {"amount": 1},
        "metadata": {"correlation_id": "ann"},
        "created_at": stored.recorded_at.isoformat(),
    }


async def test_what_is_read_can_be_narrowed(banked: PostgresEventStore, app_url: str) -> None:
    assert await versions("read", "account/ann", url=app_url) == [("ann", 1), ("ann", 2)]
    assert await versions("read", "account/ann", "--after", "1", url=app_url) == [("ann", 2)]
    assert await versions("read", "--category", "vault", url=app_url) == [("1", 1)]
    assert await versions("read", "--correlation", "bob", url=app_url) == [("bob", 1)]
    assert await versions("read", "--type", "Withdrawn", url=app_url) == []
    assert await versions("read", "--before", "3", url=app_url) == [("ann", 1), ("bob", 1)]
    assert await versions("read", "--backwards", "--limit", "2", url=app_url) == [("1", 1), ("ann", 2)]


async def test_more_than_a_page_is_read_both_ways(event_store: PostgresEventStore, app_url: str) -> None:
    await event_store.append(accounts.stream("ann"), [Deposited(amount=1)] * 2500, expect=ANY)
    forwards = [version for _, version in await versions("read", "--limit", "2300", url=app_url)]
    backwards = [version for _, version in await versions("read", "--backwards", url=app_url)]
    assert forwards == list(range(1, 2301))
    assert backwards == list(range(2500, 0, -1))


async def test_an_empty_store_has_nothing_to_list(app_url: str) -> None:
    listed = await events("read", database_url=app_url)
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "")


async def test_the_last_events_and_those_that_come_are_shown_until_ctrl_c(
    banked: PostgresEventStore, app_url: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "counteract.cli", "events", "tail", "-n", "1", "-f", "--table"]
    launch = Launch(
        name="tail",
        command=command,
        log=tmp_path / "log",
        env=os.environ | {"DATABASE_URL": app_url},
        stop_signal="SIGINT",
    )
    process = await GuardedProcess.start(launch)
    try:
        await printed(process, "vault/1")
        await banked.append(accounts.stream("eve"), [Deposited(amount=5)], expect=ANY)
        await printed(process, "account/eve")
        os.kill(process.pid, signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        await process.stop()
    assert [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()] == ["4", "5"]


async def printed(process: GuardedProcess, text: str) -> None:
    async with asyncio.timeout(20):
        while not process.printed(text):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.02)


async def test_one_event_is_shown_by_its_position_or_its_id(banked: PostgresEventStore, app_url: str) -> None:
    (stored,) = await banked.read(after=1, limit=1)
    by_position = await events("show", "2", database_url=app_url)
    by_id = await events("show", str(stored.event_id), database_url=app_url)
    assert json.loads(by_position.stdout)["event_data"] == {"amount": 22}
    assert by_id.stdout == by_position.stdout


async def test_a_state_is_shown_as_it_is_and_as_it_was(banked: PostgresEventStore, app_url: str) -> None:
    modules = ("--modules", "tests.travel.bank")
    between = (await banked.read())[1].recorded_at.isoformat()
    now = await events("state", "account/ann", *modules, database_url=app_url)
    assert now.stdout.splitlines()[0] == "account/ann, version 2"
    assert "334" in now.stdout
    for at in ("1", "@2", between):
        before = await events("state", "account/ann", "--at", at, *modules, database_url=app_url)
        assert before.stdout.splitlines()[0] == "account/ann, version 1"
        assert "334" not in before.stdout


async def test_personal_data_is_shown_as_it_is_stored(event_store: PostgresEventStore, app_url: str) -> None:
    class Registered(Event):
        customer_id: str
        email: Annotated[str | Forgotten, Personal("customer_id")]

    await event_store.append(StreamId("c", "1"), [Registered(customer_id="1", email="ann@example.com")], expect=ANY)
    for arguments in (["read"], ["tail"], ["show", "1"]):
        shown = await events(*arguments, database_url=app_url)
        assert "$sealed" in shown.stdout
        assert "ann@example.com" not in shown.stdout


async def test_the_story_of_a_saga_is_a_tree_of_causes(world: World, app_url: str) -> None:
    trip = f"trip-{uuid4().hex[:8]}"
    world.company.declines = True
    with pytest.raises(WorkflowFailureError):
        await world.outing(trip)
    nodes = await told("trace", trip, url=app_url)
    titles = [(each["depth"], each.get("event_type") or each["activity"]) for each in nodes]
    first_undo = next(each for each in nodes if each["kind"] == "command" and each["depth"] == 1)
    assert titles[0] == (0, "SagaStarted")
    assert titles[-1] == (0, "SagaCompensated")
    undone = next(each for each in nodes if each["id"] == first_undo["cause"])
    assert (undone["kind"], undone["depth"]) == ("command", 0)
    for each in nodes:
        if each["kind"] == "event" and each["depth"]:
            assert each["cause"] == each["metadata"]["causation_id"]
    drawn = await events("trace", trip, "--table", database_url=app_url)
    assert drawn.stdout.splitlines()[0] == trip
    assert "undone by" in drawn.stdout


@pytest.mark.parametrize(("charged", "what"), [(True, "happened"), (False, "never happened")])
async def test_a_pivot_whose_answer_was_lost_is_settled_and_not_undone(
    world: World, app_url: str, *, charged: bool, what: str
) -> None:
    trip = f"trip-{uuid4().hex[:8]}"
    world.company.loses_answers = charged
    world.post.loses_orders |= set() if charged else {"Capture"}
    handle = await world.client.start_workflow(
        Purchase.run, OutingRequest(account="ann", trip=trip, amount=60), id=trip, task_queue=world.queue
    )
    with suppress(WorkflowFailureError):
        await handle.result()

    drawn = await events("trace", trip, "--table", database_url=app_url)

    assert max(map(len, drawn.stdout.splitlines())) > 80, "nothing is cut where there is no terminal"
    assert f"settled as {what} by SettleCapture [done]" in drawn.stdout
    assert ("undone by" in drawn.stdout) is not charged


async def test_the_story_of_a_saga_lists_its_children_and_what_undid_them(world: World, app_url: str) -> None:
    trip = f"trip-{uuid4().hex[:8]}"
    request = HolidayRequest(account="ann", trip=trip, extra=1000)
    handle = await world.client.start_workflow(Holiday.run, request, id=trip, task_queue=world.queue)
    with suppress(WorkflowFailureError):
        await handle.result()

    nodes = await told("trace", trip, url=app_url)

    (child,) = [each for each in nodes if each["kind"] == "child"]
    assert (child["saga"], child["state"], child["depth"]) == (outing_of(trip), "completed", 0)
    assert [each["activity"] for each in nodes if each["cause"] == child["id"]] == ["PayBack"]


ODD = {"a number": '{"n": ' + "1" * 5000 + "}", "depth": '{"n": ' + "[" * 1100 + "]" * 1100 + "}"}
"""JSON that PostgreSQL takes from an import, and Python does not read."""


@pytest.fixture(params=ODD)
async def odd(request: pytest.FixtureRequest, banked: PostgresEventStore, database_url: str) -> str:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(
            "insert into events (event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata) "
            "values (gen_random_uuid(), 'account', 'odd', 1, 'Deposited', 1, %(odd)s, %(odd)s)",
            {"odd": ODD[request.param]},
        )
    return ODD[request.param]


@pytest.mark.parametrize("arguments", [["read"], ["tail"]], ids=" ".join)
async def test_what_python_cannot_read_is_shown_as_it_is_stored_and_in_the_way_of_nothing(
    arguments: list[str], odd: str, app_url: str
) -> None:
    listed = await events(*arguments, "--json", database_url=app_url)
    assert (listed.returncode, listed.stderr) == (0, "")
    *others, line = listed.stdout.splitlines()
    assert [json.loads(each)["event_data"] for each in others] == [{"amount": n} for n in (1, 22, 333, 4)]
    assert f'"event_data": {odd}, "metadata": {odd}' in line


async def test_one_event_that_python_cannot_read_is_shown_whole(odd: str, app_url: str) -> None:
    shown = await events("show", "5", database_url=app_url)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert odd.strip("{}") in shown.stdout


async def test_a_parked_event_that_python_cannot_read_is_shown_too(odd: str, database_url: str, app_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(
            "insert into parked_events (subscription, position, aggregate_type, aggregate_id, error) "
            "values ('totals', 5, 'account', 'odd', 'odd')"
        )
    shown = await counteract("parked", "show", "totals", "--json", environment=os.environ | {"DATABASE_URL": app_url})
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f'"event_data": {odd}' in shown.stdout


async def test_a_number_is_shown_with_every_digit_that_is_stored(
    event_store: PostgresEventStore, database_url: str, app_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(
            "insert into events (event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata) "
            "values (gen_random_uuid(), 'account', 'ann', 1, 'Deposited', 1, '{\"amount\": 0.1000000000000000055511}', '{}')"
        )
    listed = await events("read", "--json", database_url=app_url)
    assert '{"amount": 0.1000000000000000055511}' in listed.stdout
    shown = await events("show", "1", database_url=app_url)
    assert '"amount": 0.1000000000000000055511\n' in shown.stdout
    assert '"version": 1,\n' in shown.stdout


@pytest.mark.parametrize(
    ("group", "arguments"),
    [
        ("events", ["read", "order/\udcff"]),
        ("events", ["state", "account/\udcff", "--modules", "tests.travel.bank"]),
        ("parked", ["show", "totals", "order/\udcff"]),
        ("parked", ["redrive", "\udcff"]),
        ("forget", ["\udcff"]),
    ],
    ids=lambda value: " ".join(value).replace("\udcff", "?") if isinstance(value, list) else value,
)
async def test_an_argument_that_is_no_utf_8_is_one_clear_line(group: str, arguments: list[str], app_url: str) -> None:
    refused = await counteract(group, *arguments, environment=os.environ | {"DATABASE_URL": app_url})
    assert refused.returncode == 1
    assert "UTF-8" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["read", "ann"], "'ann' is no stream: write its type and its id, as in saga/order-1"),
        (["show", "7"], "there is no event 7: `counteract events read` shows positions, and ids as JSON"),
        (["show", "x"], "'x' is neither a position nor an event's id, which is a UUID"),
        (["trace", "nobody"], "nothing is known of 'nobody': neither a command nor an event has it"),
        (["state", "x/1", "--modules", "tests.travel.bank"], "no decider is for 'x'; there are account, saga"),
        (["state", "account/ann", "--at", "@x"], "--at @x: write a version (3), a position (@120) or a time"),
        (["state", "account/ann", "--at", "2026-01-31T12:00"], "--at 2026-01-31T12:00: write a version (3)"),
    ],
)
async def test_what_is_missing_or_wrong_is_one_clear_line(arguments: list[str], said: str, app_url: str) -> None:
    refused = await events(*arguments, database_url=app_url)
    assert refused.returncode == 1
    assert refused.stderr.startswith(said)
    assert len(refused.stderr.splitlines()) == 1


async def test_a_missing_database_is_asked_for() -> None:
    refused = await events("read", database_url=None)
    assert refused.returncode == 2
    assert "DATABASE_URL" in refused.stderr
