"""`counteract projections`, as a person at a shell uses it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from counteract.projections.rebuild import ProjectionRuns, drop
from counteract.projections.runner import ProjectionSubscriber
from counteract.store import PostgresEventStore
from counteract.subscriptions import Subscription, reached
from counteract.subscriptions.administration import set_paused
from tests.integration.projections.command import projections
from tests.integration.projections.rebuilds import MANY, PATIENCE, count, interrupt, running, totals, write

pytestmark = [pytest.mark.integration, pytest.mark.program]

MODULE = """
from tests.integration.projections.rebuilds import totals

totals_now = totals()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "read_models.py").write_text(MODULE)
    (tmp_path / "pyproject.toml").write_text('[tool.counteract]\nprojections = ["read_models"]\n')
    return tmp_path


async def test_how_far_a_projection_is_is_listed_and_it_is_paused_and_resumed(
    event_store: PostgresEventStore, app_url: str, project: Path
) -> None:
    async def standing() -> dict[str, object]:
        listed = await projections("list", url=app_url, folder=project)
        (document,) = [json.loads(line) for line in listed.stdout.splitlines()]
        return {key: document[key] for key in ("name", "status", "position", "behind")}

    async with running(app_url, totals()):
        await reached(event_store, "totals", await write(event_store, 3), timeout=PATIENCE)
        assert await standing() == {"name": "totals", "status": "running", "position": 3, "behind": 0}
        assert (await projections("pause", "totals", url=app_url, folder=project)).returncode == 0
        last = await write(event_store, 2)
        assert await standing() == {"name": "totals", "status": "paused", "position": 3, "behind": 2}
        assert (await projections("resume", "totals", url=app_url, folder=project)).returncode == 0
        await reached(event_store, "totals", last, timeout=PATIENCE)
    assert await standing() == {"name": "totals", "status": "no process has it", "position": 5, "behind": 0}
    table = await projections("list", "--table", url=app_url, folder=project)
    assert "no process has it" in table.stdout


async def test_one_is_rebuilt_and_dropped_by_its_name(
    event_store: PostgresEventStore, app_url: str, project: Path
) -> None:
    async with running(app_url, totals()):
        await reached(event_store, "totals", await write(event_store, 3), timeout=PATIENCE)
        rebuilt = await projections("rebuild", "totals", url=app_url, folder=project)
        assert (rebuilt.returncode, rebuilt.stdout) == (0, "totals is rebuilt and live\n")
        kept = await projections("drop", "totals", url=app_url, folder=project)
        assert kept.returncode == 1
        assert kept.stderr.startswith("a process runs 'totals': stop it first")
    dropped = await projections("drop", "totals", url=app_url, folder=project)
    assert (dropped.returncode, dropped.stderr) == (0, "")
    assert (await projections("list", url=app_url, folder=project)).stdout == ""


async def test_what_is_left_of_a_rebuild_is_dropped_by_the_name_that_is_listed(
    event_store: PostgresEventStore, app_url: str, project: Path
) -> None:
    await count(event_store, "a", MANY)
    await interrupt(app_url, totals())
    dropped = await projections("drop", "totals@rebuild", url=app_url, folder=project)
    assert (dropped.returncode, dropped.stderr) == (0, "")
    assert (await projections("list", url=app_url, folder=project)).stdout == ""


@pytest.mark.parametrize("paused", [True, False])
async def test_one_is_not_dropped_while_a_process_stands_by_for_it(
    event_store: PostgresEventStore, app_url: str, paused: bool
) -> None:
    subscription = Subscription(app_url, ProjectionSubscriber(totals()), lease=0.6)
    serving = asyncio.create_task(subscription.run())
    await reached(event_store, "totals", await write(event_store, 3), timeout=PATIENCE)
    async with event_store.connection() as connection:
        if paused:
            await set_paused(connection, "totals", paused=True)
            # Nobody renews what is paused.
            await asyncio.sleep(1.0)
        else:
            # As between two owners.
            await connection.execute("update subscriptions set owner = null, owner_pid = null, leased_until = null")
        with pytest.raises(ProjectionRuns, match="a process runs 'totals'"):
            await drop(app_url, totals())
    serving.cancel()
    await asyncio.wait([serving])
    await drop(app_url, totals())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rebuild", "total"], "there is no projection 'total' in the code; there are totals"),
        (["pause", "x"], "there is no subscription 'x': `counteract projections list` shows what there is"),
    ],
)
async def test_what_is_wrong_is_one_clear_line(arguments: list[str], said: str, app_url: str, project: Path) -> None:
    refused = await projections(*arguments, url=app_url, folder=project)
    assert (refused.returncode, refused.stderr.strip()) == (1, said)
