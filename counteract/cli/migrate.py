"""`counteract migrate`."""

from __future__ import annotations

from typing import Annotated

import typer


def migrate(
    database_url: Annotated[str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="The database to migrate.")],
) -> None:
    """Bring the schema of the event store up to date. Safe to run again."""
    from counteract.store.migrate import migrate as run

    run(database_url)
    print("The schema is up to date.")
