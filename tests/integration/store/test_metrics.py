"""What an application that has set up an OpenTelemetry SDK gets to know of the event store."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
)

from counteract.errors import InvalidEvent, StoreUnavailable, WrongExpectedVersion
from counteract.messages import Dispatch, Role
from counteract.participants.answers import Answer
from counteract.participants.fence import Fence
from counteract.participants.request import Request
from counteract.store import ANY, NO_STREAM, ExactVersion, PostgresEventStore, StreamChange
from counteract.store.postgres.connect import connect
from counteract.store.postgres.high_water_mark import HighWaterMark
from counteract.subscriptions import Subscription, reached
from tests.connection_cuts import MARK, Cut, Relay
from tests.counters import Counted, counter
from tests.integration.saga.recoveries import begin, one_round, recovered
from tests.integration.subscriptions.fussy_subscriber import Fussy, write
from tests.travel.bank import HoldMoney
from tests.travel.world import World
from tests.writers import append

pytestmark = pytest.mark.integration

A = counter("a")

Point = NumberDataPoint | HistogramDataPoint
Collect = Callable[[str], Mapping[str, Point]]
Appends = Callable[[], Mapping[str, float]]
Delay = Callable[[], float]


@pytest.fixture(scope="module")
def sdk() -> InMemoryMetricReader:
    """A process takes one provider, and keeps it."""
    each_time_anew = AggregationTemporality.DELTA
    reader = InMemoryMetricReader({ObservableCounter: each_time_anew, Histogram: each_time_anew})
    set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    return reader


@pytest.fixture
def collect(sdk: InMemoryMetricReader) -> Collect:
    """A metric's points by their outcome, of what happened since the last time."""

    def points(name: str) -> Mapping[str, Point]:
        data = sdk.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return {
            str((point.attributes or {}).get("outcome")): point
            for metric in metrics
            if metric.name == name
            for point in metric.data.data_points
            if not isinstance(point, ExponentialHistogramDataPoint)
        }

    points("")
    return points


@pytest.fixture
def appends(collect: Collect) -> Appends:
    def counts() -> Mapping[str, float]:
        found = collect("counteract.store.appends")
        values = {outcome: point.value for outcome, point in found.items() if isinstance(point, NumberDataPoint)}
        return {outcome: value for outcome, value in values.items() if value}

    return counts


@pytest.fixture
def delay(collect: Collect) -> Delay:
    def seconds() -> float:
        point = collect("counteract.store.high_water_mark.delay")["None"]
        assert isinstance(point, NumberDataPoint)
        return point.value

    return seconds


async def test_appends_are_counted(event_store: PostgresEventStore, appends: Appends) -> None:
    for _ in range(3):
        await event_store.append(A, [Counted()], expect=ANY)
    assert appends() == {"appended": 3}


async def test_an_append_counts_once_however_many_events_and_streams_it_has(
    event_store: PostgresEventStore, appends: Appends
) -> None:
    await event_store.append_many([StreamChange(counter(name), 0, 0, [Counted()] * 5) for name in "ab"])
    assert appends() == {"appended": 1}


async def test_a_call_that_appends_nothing_is_none(event_store: PostgresEventStore, appends: Appends) -> None:
    await event_store.append(A, [], expect=NO_STREAM)
    assert appends() == {}


async def test_an_append_is_timed_in_seconds(event_store: PostgresEventStore, collect: Collect) -> None:
    await event_store.append(A, [Counted()], expect=ANY)
    point = collect("counteract.store.append.duration")["appended"]
    assert isinstance(point, HistogramDataPoint)
    assert point.count == 1
    assert 0.00001 < point.sum < 10
    assert point.explicit_bounds[-1] < 60, "the usual bounds are meant for milliseconds"


async def test_a_conflict_is_counted_as_one(event_store: PostgresEventStore, appends: Appends) -> None:
    with pytest.raises(WrongExpectedVersion):
        await event_store.append(A, [Counted()], expect=ExactVersion(7))
    assert appends() == {"conflict": 1}


async def test_what_cannot_be_stored_is_counted_as_refused(event_store: PostgresEventStore, appends: Appends) -> None:
    with pytest.raises(InvalidEvent):
        await event_store.append(A, [Counted(note="\x00")], expect=ANY)
    assert appends() == {"refused": 1}


async def test_a_lost_connection_is_counted_as_unavailable(app_url: str, tmp_path: Path, appends: Appends) -> None:
    async with Relay.before(app_url, tmp_path) as (relay, url), PostgresEventStore.open(url) as store:
        relay.cut_at = Cut.BEFORE
        with pytest.raises(StoreUnavailable):
            await store.append(A, [Counted(note=MARK)], expect=ANY)
    assert appends() == {"unavailable": 1}


async def test_a_caller_that_gives_up_is_counted_as_such(event_store: PostgresEventStore, appends: Appends) -> None:
    async with event_store.connection() as other, other.transaction():
        await append(other, "a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await event_store.append(A, [Counted()], expect=ANY)
    assert appends() == {"cancelled": 1}


async def test_a_mistake_in_the_call_is_counted_as_failed(event_store: PostgresEventStore, appends: Appends) -> None:
    with pytest.raises(ValueError, match="twice"):
        await event_store.append_many([StreamChange(A, 0, 0, [Counted()])] * 2)
    assert appends() == {"failed": 1}


async def test_what_a_command_appends_counts_too(event_store: PostgresEventStore, appends: Appends) -> None:
    command = HoldMoney(account="ann", trip="rome", amount=60)
    for changes in ([StreamChange(A, 0, 0, [Counted()])], [StreamChange(A, 1, 1)], []):
        dispatch = Dispatch(
            command_id=uuid4(), saga_id="s", saga_type="Trip", step="x", correlation_id="s", causation_id="r"
        )
        request = Request("HoldMoney", command, dispatch, Role.FORWARD, external=False)
        await Fence(event_store).record(request, Answer("done", "null", changes))
    assert appends() == {"appended": 1}


async def test_the_delay_is_the_time_for_which_an_open_append_has_been_seen(app_url: str, delay: Delay) -> None:
    async with await connect(app_url) as reader, await connect(app_url) as writer:
        mark = HighWaterMark(reader)
        async with writer.transaction():
            await append(writer, "a")
            await mark.advance()
            await asyncio.sleep(0.05)
            await mark.advance()
            assert 0.05 <= delay() < 5
        await mark.advance()
        assert delay() == 0


async def test_the_delay_goes_on_where_one_open_append_outlasts_another(app_url: str, delay: Delay) -> None:
    async with await connect(app_url) as reader, await connect(app_url) as first, await connect(app_url) as second:
        mark = HighWaterMark(reader)
        async with second.transaction():
            async with first.transaction():
                await append(first, "first")
                await mark.advance()
                await append(second, "second")
                await mark.advance()
                await asyncio.sleep(0.05)
            assert await mark.advance() == 1
            assert delay() >= 0.05


async def test_the_delay_goes_on_where_the_open_append_is_prepared(app_url: str, delay: Delay) -> None:
    async with await connect(app_url) as reader, await connect(app_url) as writer:
        mark = HighWaterMark(reader)
        await writer.execute("begin")
        await append(writer, "a")
        await mark.advance()
        await asyncio.sleep(0.05)
        await writer.execute("prepare transaction 'p'")
        await mark.advance()
        await writer.execute("rollback prepared 'p'")
        assert delay() >= 0.05


async def test_the_longest_delay_of_all_readers_is_reported(app_url: str, delay: Delay) -> None:
    async with await connect(app_url) as reader, await connect(app_url) as writer, writer.transaction():
        patient, late = HighWaterMark(reader), HighWaterMark(reader)
        await append(writer, "a")
        await patient.advance()
        await asyncio.sleep(0.05)
        await patient.advance()
        await late.advance()
        assert delay() >= 0.05 > late.delay


async def test_a_reader_that_is_gone_does_not_report_for_ever(app_url: str, delay: Delay) -> None:
    async with await connect(app_url) as reader, await connect(app_url) as writer, writer.transaction():
        gone, other = HighWaterMark(reader), HighWaterMark(reader)
        await append(writer, "a")
        await gone.advance()
        await asyncio.sleep(0.05)
        await gone.advance()
        await other.advance()
        del gone
        assert delay() == other.delay


async def test_a_reader_whose_connection_is_lost_waits_for_nothing(app_url: str) -> None:
    async with await connect(app_url) as reader, await connect(app_url) as writer, writer.transaction():
        await append(writer, "a")
        mark = HighWaterMark(reader)
        await mark.advance()
        await mark.advance()
        assert mark.delay > 0
        await writer.execute("select pg_terminate_backend(%s, 5000)", (reader.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            await mark.advance()
        assert mark.delay == 0


async def test_a_reader_that_has_given_up_waits_for_nothing(app_url: str) -> None:
    async with await connect(app_url) as reader, await connect(app_url) as writer, writer.transaction():
        await append(writer, "a")
        mark = HighWaterMark(reader)
        with pytest.raises(StoreUnavailable):
            await mark.settled(timeout=0.05)
        assert mark.delay == 0


def test_an_application_that_measures_nothing_does_not_load_the_sdk() -> None:
    program = "import sys, counteract.store; print('opentelemetry.sdk' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )


async def test_how_far_a_subscription_is_behind_and_what_it_parks_is_told(
    sdk: InMemoryMetricReader, event_store: PostgresEventStore, app_url: str
) -> None:
    def told(name: str) -> float:
        data = sdk.get_metrics_data()
        points = [
            point
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == f"counteract.subscription.{name}"
            for point in metric.data.data_points
            if (point.attributes or {}).get("subscription") == "fussy" and isinstance(point, NumberDataPoint)
        ]
        return max((point.value for point in points), default=0)

    fussy = Fussy(1)
    fussy.error = ConnectionRefusedError("the other side is down")
    running = asyncio.create_task(Subscription(app_url, fussy, within=timedelta(milliseconds=1), attempts=1).run())
    try:
        last = await write(event_store, A, A)
        async with asyncio.timeout(20):
            # A process that stood still for longer than its lease tells nothing of the shard until it has it again.
            while not (told("breaches") and told("lag") > 0):  # noqa: ASYNC110 - it happens in the subscription
                await asyncio.sleep(0.05)
        assert told("behind") in {1, 2}
        fussy.error = ValueError("too much")
        await reached(event_store, "fussy", last, timeout=20)
        async with asyncio.timeout(20):
            while told("lag"):  # noqa: ASYNC110 - it happens in the subscription
                await asyncio.sleep(0.05)
        assert told("parked") == 1
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_round_of_recovery_counts_what_it_looked_at_and_found(
    collect: Collect, world: World, trip: str
) -> None:
    def counted() -> list[float]:
        looked_at, found = collect("counteract.recovery.looked_at"), collect("counteract.recovery.found")
        return [getattr(each, "value", 0) for each in (looked_at.get("None"), found.get("lost"), found.get("left"))]

    before = counted()
    handle = await begin(world, trip)
    await handle.terminate("by a person")
    world.company.gate.set()

    await one_round(world)
    await recovered(world, handle)

    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 1, 0]
