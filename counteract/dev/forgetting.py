"""A database that loses its last commits, as a failover to an asynchronous copy or a restore makes it."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from counteract.dev.postgres import EmbeddedPostgres


@contextlib.asynccontextmanager
async def forgetting(postgres: EmbeddedPostgres) -> AsyncIterator[None]:
    """Run a block whose commits are gone once it has been left, in every database of the server; takes a second.

    Clients lose their connections, and find the server at the same address. Positions of the log are given out again.
    """
    copy = await postgres.back_up()
    yield
    shutil.rmtree(await postgres.put_back(copy))
