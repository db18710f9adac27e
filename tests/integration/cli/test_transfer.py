"""`counteract export` and `counteract import`, as a person at a shell uses them."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from counteract.store import ANY, PostgresEventStore
from counteract.store.archive.streams import Named, archive_streams
from tests.integration.cli.command import counteract
from tests.travel.bank import Deposited, accounts

pytestmark = [pytest.mark.integration, pytest.mark.program]


async def test_a_file_of_events_moves_them_to_another_database_once(
    app_url: str, event_store: PostgresEventStore, another_database_url: str, tmp_path: Path
) -> None:
    for name in ("ann", "bob", "ann"):
        await event_store.append(accounts.stream(name), [Deposited(amount=1)], expect=ANY)
    file = str(tmp_path / "events.jsonl")

    # The application's role may read, and so it may export.
    exported = await counteract("events", "export", file, database_url=app_url)
    first, again = [await counteract("events", "import", file, database_url=another_database_url) for _ in range(2)]

    assert (exported.returncode, exported.stdout, exported.stderr) == (0, "", "3 events exported\n")
    assert (first.stdout, first.stderr) == ("3 events imported, 0 were in already\n", "")
    assert again.stdout == "0 events imported, 3 were in already\n"
    listed = await counteract("events", "read", "--table", database_url=another_database_url)
    assert [row.split()[1:3] for row in listed.stdout.splitlines()] == [
        ["account/ann", "1"],
        ["account/bob", "1"],
        ["account/ann", "2"],
    ]


async def test_an_export_says_that_it_lacks_archived_events(
    app_url: str, database_url: str, event_store: PostgresEventStore, tmp_path: Path
) -> None:
    ann = accounts.stream("ann")
    await event_store.append(ann, [Deposited(amount=1)] * 3, expect=ANY)
    await archive_streams(database_url, Named([ann]), tmp_path / "old")

    exported = await counteract("events", "export", "-", database_url=app_url)
    later = await counteract("events", "export", "-", "--after", "2", database_url=app_url)

    assert exported.stderr.splitlines() == [
        "1 events exported",
        "without the events of 1 archived stream: to have them whole, restore and export again",
    ]
    assert later.stderr == "1 events exported\n"


async def test_a_dash_is_the_standard_output_and_input(
    app_url: str, event_store: PostgresEventStore, another_database_url: str
) -> None:
    await event_store.append(accounts.stream("ann"), [Deposited(amount=1)] * 3, expect=ANY)

    exported = await counteract("events", "export", "-", "--after", "1", database_url=app_url)
    imported = await counteract("events", "import", "-", database_url=another_database_url, given=exported.stdout)

    assert [json.loads(line)["version"] for line in exported.stdout.splitlines()] == [2, 3]
    assert imported.stdout == "2 events imported, 0 were in already\n"


async def test_a_stream_that_exists_is_refused_and_the_way_out_named(
    database_url: str, event_store: PostgresEventStore
) -> None:
    await event_store.append(accounts.stream("ann"), [Deposited(amount=1)], expect=ANY)
    named = {"event_id": str(uuid4()), "aggregate_type": "account", "aggregate_id": "ann"}
    other = json.dumps(named | {"event_type": "Deposited", "event_data": {"amount": 2}})

    refused = await counteract("events", "import", "-", database_url=database_url, given=other)
    continued = await counteract("events", "import", "-", "--continue", database_url=database_url, given=other)

    assert refused.returncode == 1
    assert refused.stderr.startswith("account/ann is at version 1, expected version 0: ")
    assert refused.stderr.endswith("or let the import append after them: --continue\n")
    assert continued.stdout == "1 events imported, 0 were in already\n"


async def test_bad_lines_are_named_in_place_of_a_traceback(database_url: str) -> None:
    refused = await counteract("events", "import", "-", database_url=database_url, given="\n{}\nnot json\n")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.splitlines() == [
        "these lines cannot be imported:",
        "line 2: Object missing required field `event_id`",
        "line 3: JSON is malformed: invalid character (byte 4)",
    ]


async def test_the_application_is_told_who_may_import(app_url: str) -> None:
    refused = await counteract("events", "import", "-", database_url=app_url, given="")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "connect as the owner, who also migrates, not as counteract_app" in refused.stderr


@pytest.mark.parametrize("command", ["export", "import"])
async def test_a_missing_database_is_asked_for(command: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("kept")
    refused = await counteract("events", command, str(file), database_url=None)

    assert (refused.returncode, refused.stderr) == (1, "which database? Give --database-url or set DATABASE_URL\n")
    assert file.read_text() == "kept"


@pytest.mark.parametrize("many", [1, 3000], ids=["in one write", "in several"])
async def test_an_export_that_the_disk_has_no_room_for_is_one_clear_line(
    app_url: str, event_store: PostgresEventStore, many: int
) -> None:
    await event_store.append(accounts.stream("ann"), [Deposited(amount=1)] * many, expect=ANY)
    refused = await counteract("events", "export", "/dev/full", database_url=app_url)
    assert refused.returncode == 1
    assert refused.stderr == "/dev/full: No space left on device. Correct that, and run the command again\n"


async def test_a_line_that_says_the_same_again_is_known_whatever_its_numbers(
    database_url: str, app_url: str, tmp_path: Path
) -> None:
    line = (
        f'{{"event_id": "{uuid4()}", "aggregate_type": "odd", "aggregate_id": "1", "event_type": "Odd", '
        f'"event_data": {{"n": {"1" * 5000}}}}}\n'
    )
    (tmp_path / "odd.jsonl").write_text(line * 2)
    done = await counteract("events", "import", str(tmp_path / "odd.jsonl"), database_url=database_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 events imported")
