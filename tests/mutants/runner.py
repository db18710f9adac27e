"""Runs one exploration per mutant, on servers that they all share, and says which were noticed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from counteract.dev import EmbeddedPostgres, EmbeddedTemporal
from counteract.store.postgres.migrate import migrate
from tests.mutants.catalogue import ROOT, Listing, Mutant, Stale
from tests.mutants.copies import PACKAGE, copy_with
from tests.mutants.fork_server import Forks
from tests.mutants.trial import NOTICED, PASSED, UNSWAPPABLE, Verdict

TEMPLATE = "mutants_template"
ENOUGH = 0.95
"""The part of the mutants (without the equivalent ones) that exploration must notice."""
SHOWN = 110


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one mutant."""

    mutant: Mutant
    noticed: bool
    by: str
    seconds: float
    stale: bool = False

    @property
    def mark(self) -> str:
        if self.stale:
            return "[red]STALE[/]"
        if self.mutant.equivalent:
            return "[red]noticed, though explained[/]" if self.noticed else "equivalent"
        if self.mutant.missed and not self.noticed:
            return "missed"
        return "noticed" if self.noticed else "[red]MISSED[/]"


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of all mutants, each of which has a database of its own."""

    postgres: EmbeddedPostgres
    temporal: EmbeddedTemporal
    forks: Forks
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls) -> AsyncIterator[Servers]:
        async with EmbeddedPostgres() as postgres, EmbeddedTemporal(ui=False) as temporal, Forks.open() as forks:
            servers = cls(postgres, temporal, forks)
            await servers.execute(f"CREATE DATABASE {TEMPLATE}")
            await asyncio.to_thread(migrate, postgres.url_of(TEMPLATE))
            yield servers

    @contextlib.asynccontextmanager
    async def database(self, name: str, changed: str = "") -> AsyncIterator[str]:
        """A database with these SQL functions in the place of its own."""
        async with self.lock:
            await self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        url = self.postgres.url_of(name)
        try:
            if changed:
                # As migrations do: functions keep the path that they are made with.
                await self.execute(f"SET search_path = public, pg_temp;\n{changed}", url)
            yield url
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def execute(self, statement: str, url: str = "") -> None:
        url = url or self.postgres.url_of("postgres")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(statement.encode())


async def run_all(listing: Listing, *, seconds: float, at_once: int, quick: bool, baseline: bool) -> int:
    """Try all mutants, and print a line for each, and then the sum. Returns the exit code.

    With `baseline` the engine as it is comes first.
    """
    console = Console(width=170)
    left, outcomes = iter(enumerate(listing.mutants)), dict[int, Outcome]()
    started = time.monotonic()

    async def work(servers: Servers) -> None:
        for number, mutant in left:
            outcome = outcomes[number] = await _outcome(servers, mutant, number, seconds, quick)
            console.print(
                f"{outcome.mark:<10} {escape(mutant.id)} ({outcome.seconds:.1f} s): {escape(outcome.by[:SHOWN])}"
            )

    async with Servers.open() as servers:
        if baseline and (wrong := await _unchanged(servers, seconds)):
            console.print(f"[red]Nothing can be told from this:[/] the engine as it is does not pass. {escape(wrong)}")
            return 1
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work(servers))
    ordered = [outcomes[number] for number in sorted(outcomes)]
    console.print(_table(ordered))
    return _summed_up(ordered, console, time.monotonic() - started)


async def _unchanged(servers: Servers, seconds: float) -> str:
    """The findings about the engine as it is: empty, or every mutant would be noticed for them."""
    job = {"address": servers.temporal.address, "first": "", "of": "", "quick": False}
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        errors = Path(name) / "errors"
        async with servers.database("unchanged") as url:
            verdict = _read(await servers.forks.said(-1, job | {"url": url}, errors, seconds), errors, seconds)
    return "" if verdict.passed else verdict.by


async def _outcome(servers: Servers, mutant: Mutant, number: int, seconds: float, quick: bool) -> Outcome:
    started = time.monotonic()
    try:
        changed = mutant.applied(ROOT / PACKAGE)
    except Stale as stale:
        return Outcome(mutant, noticed=False, by=str(stale), seconds=0.0, stale=True)
    if quick and mutant.equivalent:
        return Outcome(mutant, noticed=False, by="", seconds=0.0)
    is_sql = mutant.file.endswith(".sql")
    job = {"address": servers.temporal.address, "first": mutant.tried, "of": mutant.of, "quick": quick}
    if not is_sql:
        job |= {"file": str(ROOT / PACKAGE / mutant.file), "changed": changed}
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        errors = Path(name) / "errors"
        async with servers.database(f"mutant_{number}", changed if is_sql else "") as url:
            said = await servers.forks.said(number, job | {"url": url}, errors, seconds)
            if said == UNSWAPPABLE:
                copy_with(mutant, Path(name))
                said = await _imported(Path(name), job | {"url": url, "changed": ""}, errors, seconds)
        verdict = _read(said, errors, seconds)
    return Outcome(mutant, verdict.noticed, verdict.by, time.monotonic() - started)


async def _imported(folder: Path, job: Mapping[str, object], errors: Path, seconds: float) -> str | None:
    """The output of a process that imports the changed engine; None where it takes longer than it may."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "RUST_LOG": "error"}
    with errors.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.mutants.trial", json.dumps(job)),
            cwd=folder,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), seconds)
        except TimeoutError:
            return None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
    return said.decode()


def _read(said: str | None, errors: Path, seconds: float) -> Verdict:
    """The verdict in this output. A process that hangs has found nothing: nobody would be told."""
    if said is None:
        return Verdict(noticed=False, by=f"it hangs: not over after {seconds:.0f} s")
    for line in said.splitlines():
        kind, _, by = line.partition(" ")
        if kind in (NOTICED, PASSED):
            return Verdict(kind == NOTICED, by, passed=kind == PASSED)
    last = [*said.strip().splitlines(), *errors.read_text(errors="replace").strip().splitlines(), "without a word"]
    return Verdict(noticed=False, by=f"explore itself broke down: {last[0]}")


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="Single-line changes to the engine", title_justify="left")
    for name in ("id", "where", "", "noticed by"):
        table.add_column(name, overflow="fold")
    for each in outcomes:
        table.add_row(
            escape(each.mutant.id),
            escape(each.mutant.where),
            each.mark,
            escape(each.mutant.equivalent or (not each.noticed and each.mutant.missed) or each.by),
        )
    return table


def _summed_up(outcomes: list[Outcome], console: Console, seconds: float) -> int:
    counted = [each for each in outcomes if not each.mutant.equivalent and not each.stale]
    noticed = sum(each.noticed for each in counted)
    share = noticed / len(counted) if counted else 1.0
    explained = sum(each.mutant.equivalent is not None for each in outcomes)
    console.print(
        f"{noticed} of {len(counted)} noticed ({share:.1%}) in {seconds:.0f} s; {explained} equivalent, and explained"
    )
    wrong = list(_wrong(outcomes, share))
    for each in wrong:
        console.print(f"[red]{escape(each)}[/]")
    return 1 if wrong else 0


def _wrong(outcomes: list[Outcome], share: float) -> Iterator[str]:
    if share < ENOUGH:
        yield f"fewer than {ENOUGH:.0%} are noticed"
    for each in outcomes:
        if each.stale:
            yield f"{each.mutant.id} is stale: {each.by}"
        elif not (each.noticed or each.mutant.equivalent or each.mutant.missed):
            yield f"{each.mutant.id} is missed, and its entry does not say why"
        elif each.mutant.equivalent and each.noticed:
            yield f"{each.mutant.id} is explained as equivalent, and was noticed: {each.by}"
