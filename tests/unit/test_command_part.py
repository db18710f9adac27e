"""Commands as parts, with programs of two lines."""

import os
import signal
from collections.abc import AsyncIterator

import pytest

from counteract.dev import PartCrashed, PartFailed, command
from counteract.dev.command import CommandPart
from counteract.dev.config import PartSettings
from counteract.dev.state import StateFolder

pytestmark = pytest.mark.unit


@pytest.fixture
async def logs() -> AsyncIterator[StateFolder]:
    folder = await StateFolder.open("test", None)
    yield folder
    folder.close()


def python(code: str, **settings: object) -> PartSettings:
    values = {"name": "Worker", "command": ["python", "-u", "-c", code], **settings}
    return PartSettings.model_validate(values)


def variables() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "SHOP_PORT": "81"}


async def test_a_part_is_up_when_it_has_printed_its_text(logs: StateFolder) -> None:
    code = "import pathlib, time; pathlib.Path('$FLAG').touch(); print('worker is ready'); time.sleep(60)"
    flag = logs.path / "flag"
    async with CommandPart(python(code, ready="is ready"), variables() | {"FLAG": str(flag)}, logs):
        assert flag.exists()


async def test_a_part_finds_the_python_of_this_environment_and_its_variables(logs: StateFolder) -> None:
    code = "import os, temporalio; print(os.environ['SHOP'], 'end'); import time; time.sleep(60)"
    part = CommandPart(python(code, ready="end", env={"SHOP": "http://shop:$SHOP_PORT"}), variables(), logs)
    async with part:
        assert (logs.path / "worker.log").read_text() == "http://shop:81 end\n"


async def test_a_part_that_ends_before_it_is_up_tells_its_last_word(logs: StateFolder) -> None:
    with pytest.raises(PartFailed, match=r"^Worker did not start: ValueError: no such queue\.$"):
        async with CommandPart(python("raise ValueError('no such queue')", ready="ready"), variables(), logs):
            pass


async def test_a_part_whose_configuration_is_wrong_tells_everything_that_is_wrong(logs: StateFolder) -> None:
    code = "from counteract.errors import ConfigurationError as E; raise E('it cannot start', ['no queue', 'no store'])"
    with pytest.raises(PartFailed, match=r"ConfigurationError: it cannot start:\n  - no queue\n  - no store\.$"):
        async with CommandPart(python(code, ready="ready"), variables(), logs):
            pass


async def test_an_interpreter_that_aborts_in_the_end_does_not_hide_why_it_ended(logs: StateFolder) -> None:
    code = "import sys; print('ValueError: no such queue'); sys.exit('Fatal Python error: PyGILState_Release')"
    with pytest.raises(PartFailed, match=r"^Worker did not start: ValueError: no such queue\.$"):
        async with CommandPart(python(code, ready="ready"), variables(), logs):
            pass


async def test_a_program_that_does_not_exist_is_named(logs: StateFolder) -> None:
    settings = PartSettings(name="Worker", command=["no-such-program"])
    with pytest.raises(PartFailed, match=r"^Worker did not start: no-such-program: No such file or directory\.$"):
        async with CommandPart(settings, variables(), logs):
            pass


async def test_a_part_that_is_not_up_in_time_is_given_up(logs: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "START_TIMEOUT", 0.1)
    with pytest.raises(PartFailed, match=r"was not ready within 0\.1 seconds"):
        async with CommandPart(python("import time; time.sleep(60)", ready="ready"), variables(), logs):
            pass


async def test_a_killed_part_is_restarted_only_so_often(logs: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "RESTART_DELAY", 0)
    said: list[str] = []
    settings = PartSettings(name="Worker", command=["bash", "-c", "kill -9 $$$$"], restart=True)
    async with CommandPart(settings, variables(), logs, say=said.append) as part:
        crash = await part.crashed()
    assert isinstance(crash, PartCrashed)
    assert crash.code == -signal.SIGKILL
    assert len(said) == 5
    assert all("restarted" in line for line in said)


async def test_a_part_that_fails_is_not_restarted(logs: StateFolder) -> None:
    async with CommandPart(python("raise SystemExit(3)", restart=True), variables(), logs) as part:
        crash = await part.crashed()
    assert isinstance(crash, PartCrashed)
    assert crash.code == 3


async def test_a_part_without_restart_crashes_when_it_is_killed(logs: StateFolder) -> None:
    settings = PartSettings(name="Worker", command=["bash", "-c", "kill -9 $$$$"])
    async with CommandPart(settings, variables(), logs) as part:
        assert str(await part.crashed()) == "Worker ended by itself: killed by SIGKILL."
