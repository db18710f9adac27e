"""One mutant's process: explores the subjects with whatever engine it imports, until something is found."""

from __future__ import annotations

import asyncio
import sys
from io import StringIO
from typing import NamedTuple

NOTICED = "NOTICED"
PASSED = "PASSED"


class Verdict(NamedTuple):
    """Whether exploration noticed, and by what."""

    noticed: bool
    by: str


async def tried(address: str, url: str, *, to_migrate: bool, first: str, quick: bool) -> Verdict:
    """The first finding of any subject. With the faults `first`, if it has such, each subject begins."""
    from rich.console import Console
    from temporalio.client import Client

    from counteract.errors import ConfigurationError
    from counteract.store import MasterKey, PostgresEventStore
    from counteract.store.migrate import migrate
    from counteract.testing import ExplorationFailed
    from tests.mutants.subjects import SUBJECTS

    if to_migrate:
        await asyncio.to_thread(migrate, url)
    client = await Client.connect(address)
    master_key = MasterKey.parse(MasterKey.new())
    async with PostgresEventStore.open(url, pool_size=20, master_key=master_key) as store:
        begin = [(each, first) for each in SUBJECTS if first]
        for subject, only in [*begin, *((each, None) for each in SUBJECTS if not quick)]:
            try:
                await subject(store, client, Console(file=StringIO()), only)
            except ConfigurationError:
                if not only:
                    raise
            except ExplorationFailed as failed:
                return Verdict(noticed=True, by=f"{failed.exploration.saga}, {first_finding(str(failed))}")
    return Verdict(noticed=False, by="")


def first_finding(message: str) -> str:
    """The fault and what was wrong, of an error that lists several."""
    _, *lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines[:2])


def main() -> None:
    address, url, migrating, first, quick = sys.argv[1:]
    noticed, by = asyncio.run(tried(address, url, to_migrate=bool(migrating), first=first, quick=bool(quick)))
    print(NOTICED if noticed else PASSED, by, flush=True)


if __name__ == "__main__":
    import os

    try:
        main()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}".partition("\n")[0], file=sys.stderr, flush=True)
        os._exit(1)
    # Processes that use the SDK can abort at interpreter exit.
    os._exit(0)
