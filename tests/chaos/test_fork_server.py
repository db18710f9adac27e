"""What the storm starts is forked from a process with all imports, and is as mortal as any."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.market import ROOT
from tests.processes import all_gone, family, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux only")]

STARTER = """
import asyncio, os, sys
from pathlib import Path
from counteract.dev.process import Launch
from marketplace.chaos.fork_server import ForkedProcess

async def main():
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "0"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # Each with a log of its own: what one prints says nothing of the other.
    logs = [Path(f"{sys.argv[1]}-{number}") for number in range(2)]
    launches = [Launch(name="a server", command=command, log=log, env=env) for log in logs]
    killed, running = [await ForkedProcess.start(launch) for launch in launches]
    while not (killed.printed("Serving") and running.printed("Serving")):
        await asyncio.sleep(0.01)
    os.kill(killed.pid, 9)
    await killed.wait()
    print(running.pid, os.getsid(running.pid), running.has_ended, flush=True)
    await running.wait()

asyncio.run(main())
"""


@pytest.mark.program
def test_a_forked_program_dies_alone_and_with_whoever_started_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path / "log")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        pid, session, has_ended = starter.stdout.readline().split()
        members = family(starter.pid)

        starter.send_signal(signal.SIGKILL)

    assert session == pid, "Ctrl-C in a terminal does not reach it"
    assert has_ended == "False"
    assert int(pid) in members
    wait_until(lambda: all_gone(members), "everything is gone")
