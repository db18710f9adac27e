"""The command `counteract` in a process of its own, which is forked from one that has imported the modules before.

A command takes a tenth of a second, and its imports half a second of a processor. What a shell runs, imports and all,
is in the how-to guides and the tutorial, which are tests too.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

PATIENCE = 60.0
FILES = ("in", "out", "err")

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [
        "tests.commands",
        "counteract.cli.doctor",
        "counteract.cli.recover",
        "counteract.cli.traces",
        "counteract.cli.transfer",
        "counteract.plugin",
        "counteract.projections",
        "counteract.store.contracts.published",
        "counteract.store.postgres.event_store",
        "rich.table",
        "temporalio.client",
    ]
)


async def counteract(
    *arguments: str, environment: Mapping[str, str] | None = None, folder: Path | None = None, given: str = ""
) -> CompletedProcess[str]:
    """As `subprocess.run` with `env`, `cwd` and `input`. Raises TimeoutError, and ends it, when it takes a minute."""
    wanted = dict(os.environ if environment is None else environment)
    return await asyncio.to_thread(_run, arguments, wanted, str(folder or Path.cwd()), given)


def _run(arguments: tuple[str, ...], environment: dict[str, str], folder: str, given: str) -> CompletedProcess[str]:
    with TemporaryDirectory(prefix="counteract-command-") as streams:
        for name in FILES:
            Path(streams, name).write_text(given if name == "in" else "")
        process = _processes.Process(target=_become, args=(arguments, environment, folder, streams))
        process.start()
        try:
            process.join(PATIENCE)
            if process.exitcode is None:
                raise TimeoutError(f"counteract {' '.join(arguments)} did not end in {PATIENCE} seconds")
            said, error = (Path(streams, name).read_text() for name in FILES[1:])
            return CompletedProcess(("counteract", *arguments), process.exitcode, said, error)
        finally:
            process.kill()
            process.join()
            process.close()


def _become(arguments: tuple[str, ...], environment: dict[str, str], folder: str, streams: str) -> None:
    """In the new process: what an interpreter finds when it is started as `python -m counteract.cli`."""
    from counteract.cli import main

    for number, name in enumerate(FILES):
        os.dup2(os.open(Path(streams, name), os.O_RDWR | os.O_APPEND), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [str(Path(sys.modules["counteract.cli"].__path__[0], "__main__.py")), *arguments]
    main()
