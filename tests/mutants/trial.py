"""One mutant's process: explores the subjects with the engine that it has, until something is found."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from temporalio.client import Client

from counteract.errors import ConfigurationError
from counteract.store import MasterKey, PostgresEventStore
from counteract.testing import ExplorationFailed
from tests.mutants.fork_server import Unswappable, swap
from tests.mutants.subjects import SUBJECTS, Subject

NOTICED = "NOTICED"
PASSED = "PASSED"
UNSWAPPABLE = "UNSWAPPABLE"


class Verdict(NamedTuple):
    """Whether exploration noticed, and by what."""

    noticed: bool
    by: str
    passed: bool = False
    """It was explored to the end, and there is nothing to say."""


async def tried(address: str, url: str, *, first: str, of: str, quick: bool) -> Verdict:
    """The first finding of any subject.

    Exploration begins with the faults `first`, and with the subjects `of` if it names any.
    """
    client = await Client.connect(address)
    master_key = MasterKey.parse(MasterKey.new())
    async with PostgresEventStore.open(url, pool_size=20, master_key=master_key) as store:
        for subject, only in _order(first, of, quick=quick):
            try:
                await subject.explore(store, client, Console(file=StringIO()), only)
            except ConfigurationError:
                if not only:
                    raise
            except ExplorationFailed as failed:
                return Verdict(noticed=True, by=f"{failed.exploration.saga}, {first_finding(str(failed))}")
    return Verdict(noticed=False, by="", passed=True)


def _order(first: str, of: str, *, quick: bool) -> list[tuple[Subject, str | None]]:
    begin = [each for each in SUBJECTS if not of or each.name in of.split(" | ")]
    patterns = first.split(" | ") if first else []
    rest: list[tuple[Subject, str | None]] = [] if quick else [(each, None) for each in SUBJECTS]
    return [*((each, only) for only in patterns for each in begin), *rest]


def first_finding(message: str) -> str:
    """The fault and what was wrong, of an error that lists several."""
    _, *lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines[:2])


def run_job(job: Mapping[str, Any]) -> str:
    """The outcome of one mutant, as a line. The engine is changed here and now, if the job says how."""
    try:
        if job.get("changed"):
            swap(Path(job["file"]), job["changed"])
        verdict = asyncio.run(tried(job["address"], job["url"], first=job["first"], of=job["of"], quick=job["quick"]))
    except Unswappable:
        return UNSWAPPABLE
    except BaseException as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return f"{NOTICED if verdict.noticed else PASSED} {verdict.by}"


if __name__ == "__main__":
    import os

    print(run_job(json.loads(sys.argv[1])), flush=True)
    # Processes that use the SDK can abort at interpreter exit.
    os._exit(0)
