"""`counteract store archive` and `counteract store restore`, as a person at a shell uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counteract.store import ANY, PostgresEventStore
from tests.counters import Counted, counter
from tests.integration.cli.command import counteract

pytestmark = [pytest.mark.integration, pytest.mark.program]

A, B = counter("a"), counter("b")


@pytest.fixture(autouse=True)
async def store(event_store: PostgresEventStore) -> PostgresEventStore:
    """With three events in the stream a and one in b."""
    await event_store.append(A, [Counted()] * 3, expect=ANY)
    await event_store.append(B, [Counted()], expect=ANY)
    return event_store


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "old.jsonl.gz")


async def test_a_named_stream_goes_to_a_file_and_comes_back(
    store: PostgresEventStore, database_url: str, file: str
) -> None:
    archived = await counteract("store", "archive", "--stream", "counter/a", "--to", file, database_url=database_url)
    assert (archived.returncode, archived.stderr) == (0, "")
    assert archived.stdout == "2 events of 1 stream archived in old.jsonl.gz: keep it\n"
    assert [each.stream for each in await store.read()] == [A, B]

    restored = await counteract("store", "restore", file, database_url=database_url)
    again = await counteract("store", "restore", file, database_url=database_url)
    assert restored.stdout == "2 events of 1 stream restored from old.jsonl.gz\n"
    assert again.stdout == ("0 events of 0 streams restored from old.jsonl.gz, 1 stream had never left or was back\n")
    assert [each.version for each in await store.read_stream(A)] == [1, 2, 3]


async def test_streams_of_a_category_go_when_they_have_been_idle_for_so_long(database_url: str, file: str) -> None:
    idle = ("store", "archive", "--category", "counter", "--to", file, "--idle-for")
    busy = await counteract(*idle, "365d", database_url=database_url)
    closed = await counteract(*idle, "0s", database_url=database_url)

    assert (busy.returncode, busy.stdout) == (
        0,
        "nothing to archive: no stream of more than one event has been idle for so long\n",
    )
    assert closed.stdout.startswith("2 events of 1 stream archived")


async def test_an_archiving_goes_on_with_its_file(database_url: str, file: str) -> None:
    await counteract("store", "archive", "--stream", "counter/a", "--to", file, database_url=database_url)
    taken = await counteract("store", "archive", "--stream", "counter/b", "--to", file, database_url=database_url)
    gone_on = await counteract("store", "archive", "--continue", "--to", file, database_url=database_url)

    assert taken.returncode == 1
    assert gone_on.stdout == "2 events of 1 stream archived in old.jsonl.gz: keep it\n"


async def test_a_stream_that_was_appended_to_since_is_said_to_have_stayed(
    store: PostgresEventStore, database_url: str, file: str
) -> None:
    await counteract("store", "archive", "--stream", "counter/a", "--to", file, database_url=database_url)
    await counteract("store", "restore", file, database_url=database_url)
    await store.append(A, [Counted()], expect=ANY)
    gone_on = await counteract("store", "archive", "--continue", "--to", file, database_url=database_url)

    assert gone_on.stdout.splitlines() == [
        "0 events of 0 streams archived in old.jsonl.gz: keep it",
        "1 stream stayed whole: appended to since the file was written",
    ]


async def test_verify_counts_what_is_archived(app_url: str, database_url: str, file: str, tmp_path: Path) -> None:
    await counteract("store", "archive", "--stream", "counter/a", "--to", file, database_url=database_url)
    verify = ("store", "verify", "--modules", "tests.counters", "--folder", str(tmp_path))
    published = await counteract(
        "contracts", "publish", "--modules", "tests.counters", "--folder", str(tmp_path), database_url=None
    )
    assert published.returncode == 0, published.stderr
    shown = await counteract(*verify, database_url=app_url)
    document = await counteract(*verify, "--json", database_url=app_url)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.endswith(" s, 1 stream archived: no problems\n")
    assert json.loads(document.stdout)["archived"] == 1


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--category", "counter"],
        ["--idle-for", "1d"],
        ["--continue", "--stream", "counter/a"],
        ["--category", "counter", "--stream", "counter/a"],
        ["--category", "counter", "--idle-for", "1d", "--stream", "counter/a"],
    ],
)
async def test_what_to_archive_is_said_once(database_url: str, file: str, options: list[str]) -> None:
    refused = await counteract("store", "archive", "--to", file, *options, database_url=database_url)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "archive what? Give --category with --idle-for, or --stream, or --continue\n"


@pytest.mark.parametrize("duration", ["365", "1y", "-1d", "1.5d"])
async def test_a_duration_is_explained(database_url: str, file: str, duration: str) -> None:
    refused = await counteract(
        "store", "archive", "--category", "counter", "--idle-for", duration, "--to", file, database_url=database_url
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"{duration!r} is no duration: write a number and d, h, m or s, as in 365d\n"


async def test_a_file_that_cannot_be_is_named_in_place_of_a_traceback(database_url: str, tmp_path: Path) -> None:
    lost = str(tmp_path / "missing" / "old")
    refused = await counteract("store", "archive", "--stream", "counter/a", "--to", lost, database_url=database_url)
    folder = await counteract("store", "restore", str(tmp_path), database_url=database_url)

    assert (refused.returncode, folder.returncode) == (1, 1)
    assert refused.stderr == f"{lost}: No such file or directory. Correct that, and run the command again\n"
    assert folder.stderr == f"{tmp_path}: Is a directory. Correct that, and run the command again\n"


async def test_the_application_is_told_who_archives(app_url: str, file: str) -> None:
    refused = await counteract("store", "archive", "--stream", "counter/a", "--to", file, database_url=app_url)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "connect as the owner, not as counteract_app" in refused.stderr
