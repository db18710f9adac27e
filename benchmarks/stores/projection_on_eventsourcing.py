"""The same rows by the library's projection runner: a transaction for each event, with its tracking."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL, Identifier

from benchmarks.stores.workload import Answer, balances_of


def project(application: type[Application[UUID]], deposited: type[Any], env: dict[str, str], url: str) -> Answer:
    table = f"balances_{uuid4().hex}"

    class View(PostgresTrackingRecorder):
        def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
            super().__init__(datastore, **kwargs)
            names = (Identifier(datastore.schema), Identifier(table))
            self.sql_create_statements.append(
                SQL(
                    "create table if not exists {0}.{1}"
                    " (account_id uuid primary key, balance bigint not null, deposits bigint not null)"
                ).format(*names)
            )
            self._upsert = SQL(
                "insert into {0}.{1} as b values (%s, %s, 1) on conflict (account_id)"
                " do update set balance = b.balance + excluded.balance, deposits = b.deposits + 1"
            ).format(*names)

        def add(self, account: UUID, amount: int, tracking: Tracking) -> None:
            with self.datastore.transaction(commit=True) as cursor:
                self._insert_tracking(cursor, tracking)
                cursor.execute(self._upsert, (account, amount), prepare=True)

    class Balances(Projection[View]):
        name = table
        topics = (get_topic(deposited),)

        def process_event(self, domain_event: Any, tracking: Tracking) -> None:
            self.view.add(domain_event.originator_id, domain_event.amount, tracking)

    began = time.perf_counter()
    with ProjectionRunner(application_class=application, projection_class=Balances, view_class=View, env=env) as runner:
        runner.wait(runner.app.recorder.max_notification_id(), timeout=600)
        elapsed = time.perf_counter() - began
    return {"elapsed": elapsed, "each": [], "count": asyncio.run(balances_of(url, table))}
