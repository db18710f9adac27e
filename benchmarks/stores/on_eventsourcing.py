"""The library eventsourcing: its PostgreSQL recorder, and its repository where states are loaded.

What it appends is encoded by hand, which its own application layer does at a greater cost.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent
from psycopg.conninfo import conninfo_to_dict

from benchmarks.stores.boundaries_on_eventsourcing import decide
from benchmarks.stores.projection_on_eventsourcing import project
from benchmarks.stores.workload import EVENT, METADATA, PAGE, POOL_SIZE, Answer, repeated, written_by_threads

_TOPIC = "benchmarks.stores.on_eventsourcing:Deposited"
_CONTENT = EVENT.model_dump() | METADATA


class Account(Aggregate):
    class Deposited(Aggregate.Event):
        amount: int
        note: str

    def __init__(self) -> None:
        self.balance = 0

    @event(Deposited)
    def deposit(self, amount: int, note: str) -> None:
        self.balance += amount


class Accounts(Application[UUID]):
    pass


class OnEventsourcing:
    def __init__(self, url: str, *, functions: bool) -> None:
        found = conninfo_to_dict(url)
        self._streams: dict[int, list[UUID]] = {}
        self._url = url
        self._env = {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": str(found["dbname"]),
            "POSTGRES_HOST": str(found["host"]),
            "POSTGRES_USER": str(found["user"]),
            "POSTGRES_PASSWORD": "",
            "POSTGRES_POOL_SIZE": str(POOL_SIZE),
            "POSTGRES_ENABLE_DB_FUNCTIONS": "yes" if functions else "no",
        }
        self._application = Accounts(self._env)

    @classmethod
    @asynccontextmanager
    async def running(cls, env: Any, *, functions: bool = False) -> AsyncIterator[OnEventsourcing]:
        store = cls(env["EVENTSOURCING_URL"], functions=functions)
        try:
            yield store
        finally:
            store._application.close()

    async def append(self, *, writers: int, events: int, appends: int) -> Answer:
        recorder = self._application.recorder

        def write(stream: UUID, version: int) -> None:
            ids = recorder.insert_events(
                [
                    StoredEvent(stream, number, _TOPIC, json.dumps(_CONTENT).encode())
                    for number in range(version + 1, version + events + 1)
                ]
            )
            assert len(ids or ()) == events

        await asyncio.to_thread(written_by_threads, write, writers=writers, events=events, appends=20 * writers)
        return await asyncio.to_thread(written_by_threads, write, writers=writers, events=events, appends=appends)

    async def decide(self, *, what: str, writers: int, decisions: int) -> Answer:
        return await decide(self._env, what=what, writers=writers, decisions=decisions)

    async def spread(self, *, number: int, events: int) -> None:
        accounts = [Account() for _ in range(number)]
        for _ in range(events):
            # A few at a time: its recorder sends many in one go, and can wait forever for a server that waits for it.
            for first in range(0, number, 100):
                some = accounts[first : first + 100]
                for account in some:
                    account.deposit(EVENT.amount, EVENT.note)
                self._application.save(*some)

    async def project(self) -> Answer:
        return await asyncio.to_thread(project, Accounts, Account.Deposited, self._env, self._url)

    async def choose(self, *, number: int, events: int) -> None:
        """They are made for it."""
        self._streams[events] = []
        for _ in range(number):
            account = Account()
            # A few at a time: what many take in one go grows with their square.
            while account.version < events:
                for _ in range(min(100, events - account.version)):
                    account.deposit(EVENT.amount, EVENT.note)
                self._application.save(account)
            self._streams[events].append(account.id)

    async def load(self, *, events: int, loads: int) -> Answer:
        names = cycle(self._streams[events])

        async def load() -> None:
            assert self._application.repository.get(next(names)).version == events

        await repeated(load, len(self._streams[events]))
        return await repeated(load, loads)

    async def subscribe(self) -> Answer:
        """Read the whole log as the library hands it to a follower."""

        def follow() -> int:
            recorder, count = self._application.recorder, 0
            end = recorder.max_notification_id() or 0
            with recorder.subscribe(gt=0) as subscription:
                for notification in subscription:
                    count += 1
                    if notification.id >= end:
                        break
            return count

        began = time.perf_counter()
        count = await asyncio.to_thread(follow)
        return {"elapsed": time.perf_counter() - began, "each": [], "count": count}

    async def read(self) -> Answer:
        recorder = self._application.recorder
        began, count, after = time.perf_counter(), 0, 0
        while found := recorder.select_notifications(after, PAGE, inclusive_of_start=False):
            count += len(found)
            after = found[-1].id
        return {"elapsed": time.perf_counter() - began, "each": [], "count": count}
