"""The processes and lock files that a PostgreSQL server leaves behind when it does not end well."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil  # comes with the wheel of PostgreSQL: import this module only where that is installed


def end_stragglers(data: Path) -> None:
    """Kill the processes that outlived a killed server: they hold its memory, and a busy one does not notice."""
    stragglers = [process for process in psutil.process_iter() if _works_in(data, process)]
    for process in stragglers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stragglers, timeout=10)


def _works_in(data: Path, process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "postgres" and Path(process.cwd()) == data
    return False


def remove_stale_locks(*files: Path) -> None:
    """Remove lock files whose process is no PostgreSQL.

    PostgreSQL takes any live process with the recorded number for its predecessor, and numbers are reused.
    """
    for file in files:
        with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
            if psutil.Process(int(file.read_text().split()[0])).name() != "postgres":
                file.unlink()
