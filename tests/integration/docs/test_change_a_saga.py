"""docs/how-to/change-a-saga.md: its commands are run in order, on a marketplace of their own, and its claims are tried."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import ValidationError
from temporalio.client import WorkflowHistory

from counteract import Retry
from counteract.dev import EmbeddedPostgres, EmbeddedTemporal
from counteract.participants.fence import stored_command
from counteract.testing import ReplayFailed, record, replay
from domain.checkout import Receipt
from tests.market import ROOT, Market, open_market
from tests.travel.agency import Agency
from tests.travel.booking import BookFlight
from tests.travel.changed_sagas import AnotherDeadlineAndResult, HotelFirstFromNowOn, Nap, NoDeadline
from tests.travel.trips import Trip, TripRequest

pytestmark = [pytest.mark.integration, pytest.mark.program]

PAGE = (ROOT / "docs" / "how-to" / "change-a-saga.md").read_text(encoding="utf-8")
SETTING = re.compile(r"[A-Z_]+=")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


class Reader:
    """Does what the page says, in a folder of the project whose recordings are its own."""

    def __init__(self, market: Market, folder: Path) -> None:
        self._market = market
        self._folder = folder
        for name in ("docs", "pyproject.toml"):
            (folder / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "tests" / "replay" / "histories", folder / "tests" / "replay" / "histories")

    async def follow(self, command: str) -> str:
        """A worker stays. Anything else must end well, if need be once the server has heard of the worker."""
        words = [word.replace(".venv/bin", str(Path(sys.executable).parent)) for word in shlex.split(command)]
        settings = dict(word.split("=", 1) for word in itertools.takewhile(SETTING.match, words))
        words = words[len(settings) :]
        if "worker.py" in words:
            self._market.env.update(settings)
            await self._market.run(settings["TEMPORAL_WORKER_BUILD_ID"], str(ROOT / "worker.py"), *words[2:])
            return ""
        async with asyncio.timeout(30):
            while (run := await asyncio.to_thread(self._run, words)).returncode:
                assert "set-current" in command or "set-ramping" in command, f"{command}\n{run.stdout}{run.stderr}"
                await asyncio.sleep(0.2)
        return run.stdout

    async def receipt(self, workflow_id: str) -> Receipt:
        handle = self._market.client.get_workflow_handle(workflow_id, result_type=Receipt)
        receipt: Receipt = await handle.result()
        return receipt

    def _run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        env = self._market.env
        return subprocess.run(words, cwd=self._folder, env=env, capture_output=True, text=True, check=False, timeout=30)


@pytest.fixture
async def reader(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Reader]:
    services = ("stock", "orders", "payments", "shipments")
    async with EmbeddedTemporal(ui=False) as temporal, open_market(postgres, temporal, tmp_path, *services) as market:
        (tmp_path / "project").mkdir()
        yield Reader(market, tmp_path / "project")


async def test_the_commands_of_the_page_do_what_it_says(reader: Reader) -> None:
    said = {command: await reader.follow(command) for command in COMMANDS}

    def answer(*words: str) -> str:
        [found] = [answer for command, answer in said.items() if all(word in command for word in words)]
        return found

    assert len(said) == len(COMMANDS)
    assert re.search(r"CurrentVersionBuildID +v2", answer("describe "))
    assert re.search(r"DrainageStatus +draining", answer("describe-version"))
    assert "checkout-o-1" in answer("temporal workflow list", "marketplace:v1")
    assert "1 of 1 replay" in answer("counteract replay --query")
    assert "checkout-o-1.json" in answer("counteract record")
    assert (await reader.receipt("checkout-o-1")).order_id == "o-1"


@pytest.fixture
async def history(temporal: EmbeddedTemporal, tmp_path: Path) -> WorkflowHistory:
    """Of a trip on the code of today."""
    agency, trip = Agency(), f"trip-{uuid4().hex[:12]}"
    async with agency.open(temporal.address, "changed-trips"):
        request = TripRequest(trip=trip, deadline=timedelta(minutes=5))
        await agency.client.execute_workflow(Trip.run, request, id=trip, task_queue="changed-trips")
        return await record(agency.client, trip, tmp_path / "trip.json")


async def test_what_the_page_calls_safe_of_a_command_replays(
    history: WorkflowHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = dataclasses.replace(
        BookFlight.spec,
        service="another airline",
        attempt_timeout=timedelta(seconds=7),
        timeout=timedelta(hours=7),
        retry=Retry(initial=timedelta(seconds=7), attempts=7),
    )
    monkeypatch.setattr(BookFlight, "spec", changed)
    monkeypatch.setattr(BookFlight, "summary", lambda _: "Another summary.")

    await replay(history, [Trip])


@pytest.mark.parametrize("changed", [AnotherDeadlineAndResult, HotelFirstFromNowOn])
async def test_what_the_page_calls_safe_of_a_saga_replays(history: WorkflowHistory, changed: type) -> None:
    await replay(history, [changed])


@pytest.mark.parametrize("changed", [NoDeadline, Nap])
async def test_what_the_page_calls_unsafe_does_not_replay(history: WorkflowHistory, changed: type) -> None:
    with pytest.raises(ReplayFailed, match="Nondeterminism"):
        await replay(history, [changed])


def test_a_recorded_command_without_a_new_field_is_read_with_its_default() -> None:
    assert stored_command(BookFlight, {"trip": "t-1"}) == BookFlight(trip="t-1", seats=1)


def test_an_old_handler_refuses_a_field_that_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        BookFlight.model_validate({"trip": "t-1", "meal": "none"})
