"""`counteract migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from counteract.errors import StoreError


def migrate(
    database_url: Annotated[str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="The database to migrate.")],
) -> None:
    """Bring the schema of the event store up to date. Safe to run again."""
    from sqlalchemy.exc import OperationalError

    from counteract.store.migrate import migrate as run

    try:
        run(database_url)
    except OperationalError as error:
        reason = str(error.orig).splitlines()[0]
        raise StoreError(f"Cannot reach the database: {reason}. Check DATABASE_URL.") from error
    print("The schema is up to date.")
