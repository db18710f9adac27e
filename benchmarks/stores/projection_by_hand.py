"""The same rows by statements written for this purpose: 5000 events at a time, summed, and written in one statement."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import Any

from psycopg import AsyncConnection

from benchmarks.stores.workload import Answer, Deposited, balances_of

_CREATE = """
    create table balances_by_hand (account_id text primary key, balance bigint not null, deposits bigint not null);
    create table balances_checkpoint (position bigint not null);
    insert into balances_checkpoint values (0);
"""
_DROP = "drop table balances_by_hand, balances_checkpoint"
_READ = f"""
    select position, aggregate_id, event_data::text from events
    where position > %s and event_type = '{Deposited.event_type}' order by position limit 5000
"""
_WRITE = """
    insert into balances_by_hand as b
    select * from unnest(%s::text[], %s::bigint[], %s::bigint[])
    on conflict (account_id) do update set balance = b.balance + excluded.balance, deposits = b.deposits + excluded.deposits
"""
_MOVE = "update balances_checkpoint set position = %s where position = %s"


async def project(url: str) -> Answer:
    async with await AsyncConnection.connect(url, autocommit=True, prepare_threshold=0) as connection:
        await connection.execute(_CREATE, prepare=False)
        began = time.perf_counter()
        position = 0
        while rows := await (await connection.execute(_READ, (position,))).fetchall():
            sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
            for _, account, data in rows:
                balance = sums[account]
                balance[0] += json.loads(data)["amount"]
                balance[1] += 1
            position = await _write(connection, sums, position, rows[-1][0])
        elapsed = time.perf_counter() - began
        count = await balances_of(url, "balances_by_hand")
        await connection.execute(_DROP)
    return {"elapsed": elapsed, "each": [], "count": count}


async def _write(connection: AsyncConnection[Any], sums: dict[str, list[int]], position: int, to: int) -> int:
    accounts = list(sums)
    async with connection.transaction():
        moved = await connection.execute(_MOVE, (to, position))
        assert moved.rowcount == 1
        values = (accounts, [sums[each][0] for each in accounts], [sums[each][1] for each in accounts])
        await connection.execute(_WRITE, values)
    return to
