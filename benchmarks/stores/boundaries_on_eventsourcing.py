"""Decisions by query with the library eventsourcing: its PostgreSQL recorder for them, with events encoded by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.dcb.postgres_tt import PostgresTTDCBFactory
from eventsourcing.persistence import IntegrityError
from eventsourcing.utils import Environment

from benchmarks.stores.boundaries import NOTE, PLACES, decided_by_threads
from benchmarks.stores.workload import METADATA, Answer


async def decide(env: Mapping[str, str], *, what: str, writers: int, decisions: int) -> Answer:
    factory = PostgresTTDCBFactory(Environment("boundaries", dict(env)))
    try:
        recorder = factory.dcb_recorder()

        def take(subject: str) -> None:
            query, places = DCBQuery([DCBQueryItem(["Taken"], [subject])]), 1 if what == "name" else PLACES
            data = json.dumps({"what": subject, "note": NOTE} | METADATA).encode()
            while True:
                found = recorder.read(query)
                assert len(list(found)) < places
                try:
                    recorder.append([DCBEvent("Taken", data, [subject])], DCBAppendCondition(query, found.head))
                except IntegrityError:
                    continue
                return

        await asyncio.to_thread(decided_by_threads, take, what=what, writers=writers, decisions=20 * writers)
        return await asyncio.to_thread(decided_by_threads, take, what=what, writers=writers, decisions=decisions)
    finally:
        factory.close()
