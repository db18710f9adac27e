"""The store keeps consistency boundaries as the library eventsourcing wants them kept: its suite of tests passes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from eventsourcing.dcb.tests import DCBRecorderTestCase

from counteract.store import EventStore, PostgresEventStore
from counteract.testing import InMemoryEventStore
from tests.dcb import Recorder, recording

pytestmark = pytest.mark.contract


@asynccontextmanager
async def in_memory() -> AsyncIterator[EventStore]:
    yield InMemoryEventStore()


@pytest.fixture(params=["postgres", "memory"])
def recorder(request: pytest.FixtureRequest) -> Iterator[Recorder]:
    if request.param == "memory":
        with recording(in_memory) as recorder:
            yield recorder
    else:
        url = request.getfixturevalue("app_url")
        with recording(lambda: PostgresEventStore.open(url)) as recorder:
            yield recorder


def test_it_appends_and_reads_as_a_recorder_of_theirs(recorder: Recorder) -> None:
    DCBRecorderTestCase()._test_append_read(recorder)


def test_it_is_followed_as_a_recorder_of_theirs(recorder: Recorder) -> None:
    DCBRecorderTestCase()._test_append_subscribe(recorder)
