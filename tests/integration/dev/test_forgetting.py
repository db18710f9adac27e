"""A PostgreSQL that loses its last commits, and one whose copy takes over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from counteract.dev import EmbeddedPostgres
from counteract.dev.forgetting import forgetting

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """One of its own, for it loses more than a test may that shares it."""
    async with EmbeddedPostgres() as server:
        await do(server, "create table notes (note text)")
        yield server


async def do(server: EmbeddedPostgres, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection:
        await connection.execute(statement.encode())


async def notes(server: EmbeddedPostgres) -> list[str]:
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection:
        return [note for (note,) in await (await connection.execute("select note from notes")).fetchall()]


async def test_what_is_committed_meanwhile_is_forgotten_and_what_was_before_is_not(server: EmbeddedPostgres) -> None:
    await do(server, "insert into notes values ('before')")

    async with forgetting(server):
        await do(server, "insert into notes values ('meanwhile')")

    assert await notes(server) == ["before"]


async def test_after_it_has_forgotten_it_can_be_written_to_and_forget_again(server: EmbeddedPostgres) -> None:
    async with forgetting(server):
        pass
    await do(server, "insert into notes values ('afterwards')")
    async with forgetting(server):
        await do(server, "insert into notes values ('meanwhile')")

    assert await notes(server) == ["afterwards"]


async def test_what_was_replaced_can_still_be_looked_at(server: EmbeddedPostgres) -> None:
    copy = await server.back_up()
    await do(server, "insert into notes values ('meanwhile')")

    async with EmbeddedPostgres(await server.put_back(copy)) as replaced:
        assert await notes(replaced) == ["meanwhile"]
