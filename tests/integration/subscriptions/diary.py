"""A subscriber that writes down what it gets, in which process."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.store import StoredEvent
from counteract.subscriptions import Subscriber


class Diary(Subscriber):
    """Writes down what it gets, and which one of them got it."""

    name = "diary"

    def __init__(self, who: str = "") -> None:
        self.who = who

    async def prepare(self, connection: AsyncConnection) -> None:
        await connection.execute(text("select pg_advisory_xact_lock(1)"))
        await connection.execute(
            text(
                "create table if not exists counteract_app.diary (line serial, position bigint, stream text, version int, who text)"
            )
        )

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        await connection.execute(
            text("insert into diary (position, stream, version, who) values (:position, :stream, :version, :who)"),
            [
                {"position": each.position, "stream": str(each.stream), "version": each.version, "who": self.who}
                for each in events
            ],
        )
