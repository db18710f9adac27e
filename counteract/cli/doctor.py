"""`counteract doctor`: what keeps an installation from working, and what to do about it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from counteract.cli.application import declared, setting
from counteract.cli.keys import own_keys
from counteract.cli.output import say_document, say_parts
from counteract.cli.temporal import Address, Namespace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from counteract.store.checks.finding import Finding

_STYLES = {"ok": "green", "advice": "yellow", "problem": "bold red", "skipped": "dim"}
_VERDICT_WIDTH, _CHECK_WIDTH = 7, 17


def doctor(
    database_url: Annotated[
        str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="Where the event store is.")
    ] = "",
    temporal: Annotated[
        bool | None,
        typer.Option(
            "--temporal/--no-temporal",
            help="Look at the Temporal server too; by default if there is an address, or sagas or a client are named in pyproject.toml.",
        ),
    ] = None,
    task_queue: Annotated[
        list[str] | None,
        typer.Option(
            help="One that workers for sagas must listen on; by default those of the sagas in flight. Can be repeated."
        ),
    ] = None,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="An append that is under way for longer is stuck.")
    ] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    address: Address = None,
    namespace: Namespace = None,
) -> None:
    """Look for what keeps the event store and the sagas from working. Changes nothing. 1 if there is a problem.

    Connect as the application does: its rights and its settings are looked at too.
    """
    if temporal is None:
        named = declared("sagas") or setting("client")
        temporal = bool(address or task_queue or "TEMPORAL_ADDRESS" in os.environ or named)
    findings = _examined(database_url, patience, temporal=temporal, on=(address, namespace, task_queue or ()))
    found = asyncio.run(_told(findings, shown=not as_json))
    is_well = all(each.verdict != "problem" for each in found)
    if as_json:
        say_document({"ok": is_well, "checks": [asdict(each) for each in found]})
    if not is_well:
        raise typer.Exit(1)


async def _examined(
    url: str, patience: float, *, temporal: bool, on: tuple[str | None, str | None, Sequence[str]]
) -> AsyncIterator[Finding]:
    from counteract.store.checks import doctor as database
    from counteract.store.checks.finding import problem

    if url:
        async for each in database.diagnose(url, patience=patience, master=own_keys()):
            yield each
    else:
        yield problem("database", "which database?", "give --database-url or set DATABASE_URL")
    if temporal:
        from counteract.cli import diagnosing as server

        async for each in server.diagnose(*on):
            yield each


async def _told(findings: AsyncIterator[Finding], *, shown: bool) -> Sequence[Finding]:
    """All findings, each shown as soon as it is there: some take seconds."""
    found = []
    async for each in findings:
        found.append(each)
        if shown:
            _show(each)
    return found


def _show(finding: Finding) -> None:
    verdict = finding.verdict.ljust(_VERDICT_WIDTH)
    say_parts((verdict, _STYLES[finding.verdict]), (f"  {finding.check.ljust(_CHECK_WIDTH)}  {finding.what}", ""))
    if finding.remedy:
        say_parts((f"{' ' * _VERDICT_WIDTH}  → {finding.remedy}", ""))
