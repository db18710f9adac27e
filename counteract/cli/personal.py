"""`counteract personal` and `counteract forget`: the master key of personal data, and the end of a person's."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from counteract.cli.showing import say

app = typer.Typer(no_args_is_help=True, help="The key of personal data.")


@app.callback()
def personal() -> None:
    """The key of personal data."""


@app.command("new-key")
def new_key() -> None:
    """Print a fresh COUNTERACT_MASTER_KEY. Keep it where the database's backups are not: who has both reads everything."""
    from counteract.store import MasterKey

    say(MasterKey.new())


def forget(
    subject: Annotated[str, typer.Argument(help="Whom: the value of the field that Personal(…) names.")],
    database_url: Annotated[
        str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="Where the event store is.", show_envvar=True)
    ],
) -> None:
    """Destroy a person's key: their personal data is shown as forgotten from now on, and nothing brings it back."""
    say(asyncio.run(_forget(database_url, subject)))


async def _forget(url: str, subject: str) -> str:
    from counteract.store import PostgresEventStore

    async with PostgresEventStore.open(url, pool_size=1) as store:
        if await store.forget(subject):
            return "forgotten: now rebuild the projections that show personal data"
        return "nobody was forgotten: no data is sealed for this subject, or its key was destroyed before"
