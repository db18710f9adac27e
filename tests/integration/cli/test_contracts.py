"""`counteract contracts` and `counteract store verify`, as a person at a shell and a pipeline use them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from counteract.store import ANY, PostgresEventStore
from tests import commands
from tests.counters import Counted, CounterReset, Renamed, counter

pytestmark = [pytest.mark.integration, pytest.mark.program]

ROOT = Path(__file__).parents[3]
COUNTERS = ("--modules", "tests.counters")


async def counteract(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return await commands.counteract(*arguments, environment=environment, folder=ROOT)


async def verify(url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    await counteract("contracts", "publish", *COUNTERS, "--folder", str(folder))
    return await counteract("store", "verify", "--database-url", url, *COUNTERS, "--folder", str(folder), *options)


async def test_the_marketplaces_contracts_are_kept() -> None:
    checked = await counteract("contracts", "check")

    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.endswith(" contracts kept\n")


async def test_a_contract_that_is_not_kept_ends_with_an_error_code(tmp_path: Path) -> None:
    refused = await counteract("contracts", "check", *COUNTERS, "--folder", str(tmp_path))

    assert refused.returncode == 1
    assert "Counted v1: it is not published\n  → run `counteract contracts publish`\n" in refused.stdout


async def test_what_is_not_published_yet_is_a_difference(tmp_path: Path) -> None:
    shown = await counteract("contracts", "diff", *COUNTERS, "--folder", str(tmp_path))

    assert (shown.returncode, shown.stdout) == (0, "Counted v1  new\nCounterReset v1  new\nRenamed v1  new\n")


async def test_a_sound_store_is_verified_by_the_applications_own_role(
    app_url: str, event_store: PostgresEventStore, tmp_path: Path
) -> None:
    await event_store.append(counter("a"), [Counted(), CounterReset(), Renamed(name="b")], expect=ANY)

    verified = await verify(app_url, tmp_path)

    assert (verified.returncode, verified.stderr) == (0, "")
    assert verified.stdout.startswith("3 events and 0 snapshots in ")
    assert verified.stdout.endswith(" s: no problems\n")


@pytest.fixture
async def strangers(event_store: PostgresEventStore) -> None:
    """Three events that the marketplace knows nothing of."""
    await event_store.append(counter("a"), [Counted()] * 3, expect=ANY)


@pytest.mark.usefixtures("strangers")
async def test_the_first_problems_are_named_and_the_rest_counted(app_url: str) -> None:
    verified = await counteract("store", "verify", "--database-url", app_url, "--show", "2")

    assert verified.returncode == 1
    unreadable, contract, rest, summary = verified.stdout.splitlines()
    assert unreadable == (
        "unreadable: counter/a, version 1, position 1: no class is declared for the stored event Counted v1"
    )
    assert contract == "contract: counter/a, version 1, position 1: no contract is published for Counted v1"
    assert rest == "… and 4 more"
    assert summary.endswith(": 3 unreadable, 3 contract")


@pytest.mark.usefixtures("strangers")
async def test_a_machine_gets_one_document(app_url: str) -> None:
    verified = await counteract("store", "verify", "--database-url", app_url, "--show", "1", "--json")

    found = json.loads(verified.stdout)
    assert verified.returncode == 1
    assert found.pop("seconds") >= 0
    assert found == {
        "events": 3,
        "position": 3,
        "snapshots": 0,
        "archived": 0,
        "problems": {"unreadable": 3, "contract": 3},
        "shown": [
            {
                "trouble": "unreadable",
                "stream": "counter/a",
                "version": 1,
                "position": 1,
                "what": "no class is declared for the stored event Counted v1",
            }
        ],
    }
