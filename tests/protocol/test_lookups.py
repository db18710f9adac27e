"""What is asked at a saga's end, in further runs and by the monitor is found by an index, however much there is of others."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from counteract.participants import sagas
from counteract.testing.protocol import trace

pytestmark = pytest.mark.integration

FAMILY = """
    insert into sagas (saga_id, run_id, saga_type, state, epoch, last_run, parent_saga_id, parent_run_id, parent_step,
                       parent_command)
    values ('parent', 'first', 'Tour', 'forward', 1, 'first', null, null, null, null),
           ('child', 'first', 'Tour', 'forward', 1, 'first', 'parent', 'first', 'Tour', gen_random_uuid())
"""
SCANNED = "select coalesce(sum(seq_scan), 0)::int from pg_stat_xact_user_tables where relname = 'commands'"
CONTRADICTIONS = """select contradictions('{"saga_id": "parent", "run_id": "first"}', false)"""


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (CONTRADICTIONS, None),
        (sagas._STEPS, {"saga": "parent", "run": "first", "offset": 0, "limit": 9, "skip": sagas._SKIP}),
        (trace._TRACES, [["parent", "child"]]),
    ],
    ids=["at the end", "in a further run", "by the monitor"],
)
async def test_commands_are_found_by_index(query: str, values: Any, database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(FAMILY)
        # Of a table as small as this one an index would be a detour.
        await connection.execute("set local enable_seqscan = off")

        rows = await (await connection.execute(query.encode(), values)).fetchall()
        scanned = await (await connection.execute(SCANNED)).fetchone()

    assert rows, "the child's step was looked at"
    assert scanned == (0,)
