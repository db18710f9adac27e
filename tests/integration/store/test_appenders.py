"""Who keeps others from appending is seen, whichever way they append."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import counteract.store.postgres
from counteract.store import ANY, PostgresEventStore, Query
from counteract.store.checks.open_appends import TAKES_TURNS, open_appends
from counteract.store.expect import StreamChange
from counteract.store.postgres.connect import connect
from tests.counters import Counted, counter

A, B = counter("a"), counter("b")
# As an append takes it in the schema `public`.
_TAKE_TURN = "select pg_advisory_xact_lock(hashtextextended('a', hashtextextended('counter', 0)))"
_SCRIPTS = {
    each.stem: each.read_text() for each in (Path(counteract.store.postgres.__file__).parent / "sql").glob("*.sql")
}

Append = Callable[[PostgresEventStore], Awaitable[object]]


def of_two_streams(store: PostgresEventStore) -> Awaitable[object]:
    return store.append_many([StreamChange(each, 0, 9, [Counted()]) for each in (A, B)])


async def on_terms(store: PostgresEventStore) -> None:
    found = await store.find(Query.of(Counted, tags=["x"]))
    await store.append(A, [Counted()], expect=ANY, unless=found.since)


@pytest.mark.integration
@pytest.mark.parametrize(
    "append",
    [
        lambda store: store.append(A, [Counted()], expect=ANY),
        lambda store: store.append(A, [Counted(), Counted()], expect=ANY),
        of_two_streams,
        on_terms,
    ],
    ids=["one event", "several events", "two streams", "on terms"],
)
async def test_a_session_that_only_has_a_turn_is_seen(store: PostgresEventStore, app_url: str, append: Append) -> None:
    async with await connect(app_url) as idle, await connect(app_url) as observer:
        await idle.execute("begin")
        await idle.execute(_TAKE_TURN)
        waiting = asyncio.ensure_future(append(store))
        async with asyncio.timeout(10):
            while not (seen := await open_appends(observer)):
                assert not waiting.done()
                await asyncio.sleep(0.05)
            assert [(each.pid, each.keeps_waiting, each.has_appended) for each in seen][:1] == [
                (idle.info.backend_pid, 1, False)
            ]
            await idle.execute("rollback")
            await waiting


@pytest.mark.unit
def test_every_function_that_takes_turns_is_known() -> None:
    takes = {name for name, script in _SCRIPTS.items() if "pg_advisory_xact_lock" in script}
    assert takes
    while more := {name for name in _SCRIPTS.keys() - takes if calls(name, takes)}:
        takes |= more
    # They are called by the others alone.
    takes -= {"take_turns", "put_in_stream", "put_in_streams"}
    pattern = TAKES_TURNS.replace(r"\m", r"\b")
    assert [name for name in sorted(takes) if not re.search(pattern, f"select * from {name}(")] == []


def calls(name: str, functions: set[str]) -> bool:
    body = _SCRIPTS[name].partition("as $$")[2]
    return any(re.search(rf"\b{each}\s*\(", body) for each in functions)
