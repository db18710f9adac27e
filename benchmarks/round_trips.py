"""Counts what one step costs the database: round trips and statements, at the driver, where they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection, AsyncCursor
from psycopg.pq import PipelineStatus

from benchmarks.engines import trip_services
from benchmarks.engines.trip import BookFlight
from counteract.messages import Dispatch
from counteract.participants import Participants
from counteract.participants.executor import Executor
from counteract.participants.fence import Fence
from counteract.store import PostgresEventStore


@dataclass(slots=True)
class Cost:
    """The cost of one step."""

    step: str
    statements: int = 0
    round_trips: int = 0


async def counted(url: str) -> list[Cost]:
    """The costs of a step and of its undo, each after another one of its kind, when statements are prepared."""
    async with PostgresEventStore.open(url) as store:
        participants = Participants(store, trip_services).check()
        participant = next(each for each in participants if each.command is BookFlight)
        executor = Executor(participant, Fence(store), {})
        await _there_and_back(executor, Cost("warm-up"), Cost("warm-up"))
        step, undo = Cost("a step that appends one event"), Cost("its undo, which appends one event")
        await _there_and_back(executor, step, undo)
        return [step, undo]


async def _there_and_back(executor: Executor, step: Cost, undo: Cost) -> None:
    saga = uuid4().hex
    command = BookFlight(trip=saga)
    dispatch = Dispatch(
        command_id=uuid4(), saga_id=saga, saga_type="Trip", step="BookFlight", correlation_id=saga, causation_id=saga
    )
    with counting(step):
        await executor.forward(command, dispatch, limit=10)
    with counting(undo):
        await executor.undo(command, dispatch.model_copy(update={"command_id": uuid4(), "undoes": dispatch.command_id}))


_counted: ContextVar[Cost | None] = ContextVar("_counted", default=None)


@contextmanager
def counting(cost: Cost) -> Iterator[None]:
    """Count what this task sends, and not the process's occasional NOTIFY, which is no part of any step.

    Every statement counts, and those of one pipeline share a round trip.
    """
    execute, pipeline = AsyncCursor.execute, AsyncConnection.pipeline

    async def counted_execute(self: Any, *arguments: Any, **options: Any) -> Any:
        if own := _counted.get():
            own.statements += 1
            own.round_trips += self.connection.info.pipeline_status == PipelineStatus.OFF
        return await execute(self, *arguments, **options)

    def counted_pipeline(self: Any) -> Any:
        if own := _counted.get():
            own.round_trips += 1
        return pipeline(self)

    token = _counted.set(cost)
    AsyncCursor.execute, AsyncConnection.pipeline = counted_execute, counted_pipeline  # type: ignore[method-assign]
    try:
        yield
    finally:
        AsyncCursor.execute, AsyncConnection.pipeline = execute, pipeline  # type: ignore[method-assign]
        _counted.reset(token)
