"""`counteract migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from counteract.cli.output import say, say_script


def migrate(
    database_url: Annotated[str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="The database to migrate.")],
    store: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The store's name, if the database has several, each in a schema of its own. Given once, and kept.",
        ),
    ] = None,
    as_sql: Annotated[
        bool, typer.Option("--sql", help="Print what would be executed, for psql, and change nothing.")
    ] = False,
) -> None:
    """Bring the schema of the event store up to date, beside whoever uses it. Safe to run again: only what differs is touched."""
    from counteract.store.postgres.migrate import migrate as run
    from counteract.store.postgres.migrate import script

    if as_sql:
        say_script(script(database_url, name=store))
        return
    done = run(database_url, name=store)
    if done.newer:
        say(f"The database is at {done.newer}, which is newer than this release: nothing was changed.")
    else:
        say("The schema is up to date.")
