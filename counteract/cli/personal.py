"""`counteract personal …` and `counteract forget`: the master key of personal data, and the end of a person's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from counteract.cli.contracts import counted
from counteract.cli.keys import own_keys
from counteract.cli.output import say
from counteract.errors import ConfigurationError

if TYPE_CHECKING:
    from counteract.store import KeyWrapper
    from counteract.store.postgres.rewrap import Rewrapped

app = typer.Typer(no_args_is_help=True, help="The master key of personal data.")


@app.callback()
def personal() -> None:
    """The master key of personal data."""


@app.command("new-key")
def new_key() -> None:
    """Print a fresh COUNTERACT_MASTER_KEY. Keep it where the database's backups are not: who has both reads everything."""
    from counteract.store import MasterKey

    say(MasterKey.new())


@app.command()
def rewrap(
    database_url: Annotated[
        str,
        typer.Option(envvar="DATABASE_URL", metavar="URL", help="Where the event store is; as its owner."),
    ],
) -> None:
    """Put the keys of all persons under the new master key, so that the earlier one can go. Events stay as they are.

    First keep a copy of the new key, and put it before the earlier one, everywhere. Interrupted, run it again. 1 if keys are left.
    """
    done = asyncio.run(_rewrap(database_url))
    say(f"{counted(done.done, 'key')} rewrapped, {done.left} left")
    if done.locked:
        say(
            f"no master key at hand unwraps {', '.join(map(str, done.locked))}: put the one behind it that does, and run this again"
        )
    elif done.left:
        say("some were added meanwhile by processes that have the earlier key first: change those, and run this again")
    else:
        say("the earlier master key can go, once no process has it first any more")
    if done.left:
        raise typer.Exit(1)


def forget(
    subject: Annotated[str, typer.Argument(help="Whom: the value of the field that Personal(…) names.")],
    database_url: Annotated[
        str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="Where the event store is.", show_envvar=True)
    ],
) -> None:
    """Destroy a person's key: their personal data is shown as forgotten from now on, and nothing brings it back."""
    say(asyncio.run(_forget(database_url, subject)))


async def _rewrap(url: str) -> Rewrapped:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from counteract.store.postgres.rewrap import rewrap as run

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("keys", total=None)
        return await run(url, _master(), lambda now: bar.update(task, completed=now.done, total=now.done + now.left))


def _master() -> KeyWrapper:
    from counteract.store import MasterKey

    master = own_keys() or MasterKey.from_environment()
    if master is None:
        problem = "set COUNTERACT_MASTER_KEY to the new key and the earlier one, with a comma between"
        raise ConfigurationError("there is no master key", [problem])
    return master


async def _forget(url: str, subject: str) -> str:
    from counteract.store import PostgresEventStore

    async with PostgresEventStore.open(url, pool_size=1) as store:
        if await store.forget(subject):
            return "forgotten: now rebuild the projections that show personal data"
        return "nobody was forgotten: no data is sealed for this subject, or its key was destroyed before"
