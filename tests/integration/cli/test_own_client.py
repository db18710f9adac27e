"""The commands of an application whose payloads the server cannot read: its own client, with its codec, is what they use."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import WorkflowHandle

from counteract.dev import EmbeddedTemporal
from tests.commands import counteract
from tests.travel.bank import Account
from tests.travel.bank_sagas import Errand, Outing, OutingRequest, Purchase
from tests.travel.world import World

pytestmark = [pytest.mark.integration, pytest.mark.program]

ROOT = Path(__file__).parents[3]
PYPROJECT = """
[tool.counteract]
client = "tests.travel.sealed_payloads:connect"
sagas = ["tests.travel.bank_sagas"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    return tmp_path


@pytest.fixture
def trip() -> str:
    return f"outing-{uuid4().hex[:12]}"


async def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await counteract(*arguments, folder=folder, environment=os.environ | {"PYTHONPATH": str(ROOT)})


async def begin(world: World, trip: str, saga: type, *, nap: float = 0) -> WorkflowHandle[Outing, list[str]]:
    request = OutingRequest(account="ann", trip=trip, amount=60, nap=nap)
    return await world.client.start_workflow(saga.__name__, request, id=trip, task_queue=world.queue)


async def until(handle: WorkflowHandle[Outing, list[str]], text: str) -> None:
    async with asyncio.timeout(15):
        while text not in str(await handle.query("report")):
            pass


async def test_a_stuck_saga_is_listed_shown_paused_and_resolved(
    sealed_world: World, temporal: EmbeddedTemporal, project: Path, trip: str
) -> None:
    sealed_world.post.loses_orders.add("SendReceipt")
    on = ("--address", temporal.address)
    handle = await begin(sealed_world, trip, Purchase)
    await until(handle, "STUCK")

    shown = await run(project, "sagas", "show", trip, *on)
    assert "stuck" in shown.stdout, shown
    async with asyncio.timeout(15):
        listed = await run(project, "sagas", "list", "--query", f"WorkflowId = '{trip}'", *on)
        while trip not in listed.stdout:  # the server's list is behind by a moment
            listed = await run(project, "sagas", "list", "--query", f"WorkflowId = '{trip}'", *on)
    assert (await run(project, "sagas", "pause", trip, *on)).stdout == f"{trip}: pause sent\n"
    assert "goes on now" in (await run(project, "sagas", "resume", trip, *on)).stdout
    skip = ("sagas", "resolve", trip, "SendReceipt", "skip", "--why", "by phone", *on)
    assert (await run(project, *skip)).stdout == f"{trip}: SendReceipt will be skipped\n"
    await handle.result()


async def test_a_saga_past_its_pivot_is_resumed(
    sealed_world: World, temporal: EmbeddedTemporal, project: Path, trip: str
) -> None:
    sealed_world.post.delays.add("SendReceipt")
    handle = await begin(sealed_world, trip, Purchase)
    await until(handle, "SendReceipt")
    await handle.terminate()
    sealed_world.post.delays.clear()

    said = await run(project, "sagas", "resume", trip, "--address", temporal.address)

    assert "goes forward again" in said.stdout, said
    assert await sealed_world.client.get_workflow_handle(trip).result() == "captured"


async def test_a_lost_saga_is_recovered(
    sealed_world: World, temporal: EmbeddedTemporal, project: Path, trip: str
) -> None:
    handle = await begin(sealed_world, trip, Errand, nap=60)
    await until(handle, "'applied'")
    await handle.terminate()

    queue = ("--task-queue", sealed_world.queue)
    said = await run(project, "sagas", "recover", *queue, "--address", temporal.address)

    assert said.stdout == f"recovering {trip}: its workflow was terminated\n1 lost sagas found\n", said
    async with asyncio.timeout(15):
        while await sealed_world.account() != Account(100, {}):
            pass


async def test_a_saga_is_recorded_and_replayed_from_its_file_without_a_server(
    sealed_world: World, temporal: EmbeddedTemporal, project: Path, trip: str
) -> None:
    await (await begin(sealed_world, trip, Outing)).result()

    recorded = await run(project, "record", trip, "--to", "histories", "--address", temporal.address)
    assert recorded.returncode == 0, recorded
    replayed = await run(
        project, "replay", "histories", "--sagas", "tests.travel.bank_sagas", "--address", "localhost:1"
    )

    assert replayed.stdout == f"✓ {trip}\n1 of 1 replay\n", replayed


async def test_live_histories_are_replayed(
    sealed_world: World, temporal: EmbeddedTemporal, project: Path, trip: str
) -> None:
    await (await begin(sealed_world, trip, Outing)).result()
    replay = ("replay", "--query", f"WorkflowId = '{trip}'", "--address", temporal.address)

    async with asyncio.timeout(15):
        replayed = await run(project, *replay)
        while "no histories" in replayed.stderr:  # the server's list is behind by a moment
            replayed = await run(project, *replay)

    assert replayed.stdout == f"✓ {trip}\n1 of 1 replay\n", replayed


async def test_without_the_codec_a_command_says_what_is_missing(
    sealed_world: World, temporal: EmbeddedTemporal, tmp_path: Path, trip: str
) -> None:
    await (await begin(sealed_world, trip, Outing)).result()

    shown = await run(tmp_path, "sagas", "show", trip, "--address", temporal.address)

    assert shown.returncode == 1
    assert "[tool.counteract] client" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


async def test_a_codec_that_cannot_read_a_saga_is_named(
    sealed_world: World, temporal: EmbeddedTemporal, project: Path, trip: str
) -> None:
    await (await begin(sealed_world, trip, Outing)).result()
    (project / "pyproject.toml").write_text(PYPROJECT.replace(":connect", ":connect_without_key"))

    shown = await run(project, "sagas", "show", trip, "--address", temporal.address)

    assert shown.stderr == (
        f"the report of {trip} cannot be read (ValueError: the key is lost): "
        "is the codec of [tool.counteract] client the one that its worker has?\n"
    )


async def test_the_doctor_uses_it_and_names_what_is_wrong_with_it(temporal: EmbeddedTemporal, project: Path) -> None:
    checked = json.loads((await run(project, "doctor", "--json", "--address", temporal.address)).stdout)["checks"]
    assert [each["verdict"] for each in checked if each["check"] == "temporal"] == ["ok"]

    (project / "pyproject.toml").write_text(PYPROJECT.replace(":connect", ":conect"))
    checked = json.loads((await run(project, "doctor", "--json", "--address", temporal.address)).stdout)["checks"]
    (found,) = [each for each in checked if each["check"] == "temporal"]
    assert found["what"].endswith("tests.travel.sealed_payloads has no conect: correct the name")
    assert found["remedy"] == "correct pyproject.toml, or what it names"
