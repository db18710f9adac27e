"""`counteract store …`: what the event store holds is what it should be."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counteract.cli.application import Modules, deciders, event_classes
from counteract.cli.archive import archive, restore
from counteract.cli.contracts import FOLDER, Folder, counted
from counteract.cli.keys import own_keys
from counteract.cli.output import name_of, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from counteract.store.checks.verify import Expected, Problem, Step
    from counteract.store.postgres.restored import Reader
    from counteract.store.postgres.vault import Vault

app = typer.Typer(no_args_is_help=True, help="Look after the event store.")
app.command()(archive)
app.command()(restore)


@dataclass
class _Findings:
    """The findings of a verification: of the problems only the first, and the count of all."""

    most: int
    events: int = 0
    position: int = 0
    snapshots: int = 0
    archived: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    shown: list[Problem] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Take in what one step of the verification has found."""
        self.events, self.position, self.snapshots = step.events, step.position, step.snapshots
        self.counts.update(each.trouble.value for each in step.problems)
        self.shown += step.problems[: self.most - len(self.shown)]

    def as_json(self, seconds: float) -> str:
        """All of it as one JSON document, with the seconds that it took."""
        return json.dumps(
            {
                "events": self.events,
                "position": self.position,
                "snapshots": self.snapshots,
                "archived": self.archived,
                "seconds": round(seconds, 3),
                "problems": self.counts,
                "shown": [_row(each) for each in self.shown],
            }
        )

    def lines(self, seconds: float) -> Iterable[str]:
        """All of it in lines for people, with the seconds that it took."""
        yield from map(str, self.shown)
        if rest := self.counts.total() - len(self.shown):
            yield f"… and {rest} more"
        found = ", ".join(f"{count} {trouble}" for trouble, count in self.counts.items()) or "no problems"
        looked_at = f"{counted(self.events, 'event')} and {counted(self.snapshots, 'snapshot')}"
        archived = f", {counted(self.archived, 'stream')} archived" if self.archived else ""
        yield f"{looked_at} in {seconds:.1f} s{archived}: {found}"


@app.callback()
def store() -> None:
    """Look after the event store."""


@app.command()
def verify(
    database_url: Annotated[
        str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="Where the event store is.", show_envvar=True)
    ],
    modules: Modules = None,
    folder: Folder = FOLDER,
    most: Annotated[int, typer.Option("--show", min=0, help="Name at most so many problems, and count the rest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Look at everything stored: no version missing, each event as its class and its contract say, snapshots as replayed.

    With COUNTERACT_MASTER_KEY personal data is opened and looked at too. 1 if anything is wrong.
    """
    findings = _Findings(most)
    seconds = asyncio.run(_verify(database_url, _expected(modules, folder), findings))
    for line in [findings.as_json(seconds)] if as_json else findings.lines(seconds):
        say(line)
    if findings.counts:
        raise typer.Exit(1)


@app.command()
def restored(
    database_url: Annotated[
        str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="Where the event store is.", show_envvar=True)
    ],
    beyond: Annotated[
        int, typer.Option(min=0, metavar="POSITION", help="A position that somebody is known to have seen.")
    ] = 0,
) -> None:
    """Say that the database has lost commits (a restore, a failover to a replica that was behind), before anybody appends.

    As its owner. New events then come after every position that was ever shown; what to rebuild is listed.
    """
    from counteract.store.postgres.restored import restored as leap

    done = asyncio.run(leap(database_url, beyond=beyond))
    say(f"the log ends with position {done.log}; new events come after {done.after}, and snapshots are taken anew")
    for each in done.ahead:
        say(f"{each.name} is at {each.position} and {_remedy(each)}")
    if done.ahead:
        say("do so now: a second run lists none of them")
    say(
        "rows outside this database (Redis, OpenSearch, files) may show lost events: `counteract projections drop` each, and run it"
    )
    say("sagas and reactions that were ahead: `counteract sagas recover` finds what they left")


def _remedy(ahead: Reader) -> str:
    from counteract.store.postgres.names import rebuilt
    from counteract.store.postgres.restored import Kind

    name = ahead.name
    match ahead.kind:
        case Kind.PROJECTION:
            return f"shows events that are lost: `counteract projections rebuild {name}`"
        case Kind.VIEW:
            return "shows events that are lost until what it reads is rebuilt, and its rows with that"
        case Kind.REACTION:
            return "has answered events that are lost: `counteract sagas recover` finds what they began"
        case Kind.REBUILD:
            return f"was not done: discarded, so `counteract projections rebuild {rebuilt(name)}` begins anew"
        case Kind.ELSEWHERE:
            return (
                f"has handled events that are lost: a projection to a sink is dropped (`counteract projections drop {name}`) and "
                "run again; what a subscriber of your own did with them only you know"
            )


async def _verify(url: str, expected: Expected, findings: _Findings) -> float:
    """Verify, and return the seconds that it took."""
    from time import monotonic

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from counteract.store.checks.verify import Verification

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = monotonic()
    async with Verification.open(url, expected, _vault()) as verification:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("position", total=None)
            async for step in verification.run():
                findings.add(step)
                progress.update(task, completed=step.position, total=verification.end)
        findings.archived = verification.archived
    return monotonic() - began


def _expected(modules: Sequence[str] | None, folder: Any) -> Expected:
    """The events and contracts to verify by: the application's, and the engine's own beside them."""
    from counteract.lifecycle import sagas
    from counteract.store.checks.verify import Expected
    from counteract.store.contracts.published import ENGINE_CONTRACTS, published_in

    classes = dict.fromkeys([*event_classes(modules), *sagas.event_classes])
    published = {**published_in(ENGINE_CONTRACTS), **published_in(folder)}
    return Expected(list(classes), published, list(dict.fromkeys([*deciders(modules), sagas])))


def _vault() -> Vault | None:
    from counteract.store.master_key import MasterKey
    from counteract.store.postgres.vault import Vault

    key = own_keys() or MasterKey.from_environment()
    return Vault(key) if key else None


def _row(problem: Problem) -> dict[str, Any]:
    return {
        "trouble": problem.trouble.value,
        "stream": name_of(problem.stream),
        "version": problem.version,
        "position": problem.position,
        "what": problem.what,
    }
