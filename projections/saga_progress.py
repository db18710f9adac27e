"""One row per saga: where it is, and since when, for all that run and have run."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Integer, Text

from counteract import (
    Effect,
    Increment,
    Patch,
    Projection,
    Recorded,
    SagaCompensated,
    SagaCompleted,
    SagaResolved,
    SagaStarted,
    SagaStuck,
)

saga_progress = Projection(
    "saga-progress",
    # Its workflow id.
    Column("saga_id", Text, primary_key=True),
    Column("saga_type", Text),
    Column("status", Text),
    # A workflow id may be used again.
    Column("runs", Integer, nullable=False, default=0),
    Column("step", Text),
    Column("why", Text),
    Column("started_at", DateTime(timezone=True)),
    Column("changed_at", DateTime(timezone=True)),
    # By the log's positions: as far as other read models must have come to show what it did.
    Column("position", BigInteger),
    shards=2,
)


@saga_progress.on(SagaStarted)
def started(recorded: Recorded[SagaStarted]) -> list[Effect]:
    fields = {"saga_type": recorded.event.saga_type, "started_at": recorded.recorded_at}
    return [Increment(recorded.stream.aggregate_id, "runs"), _now(recorded, "RUNNING", **fields)]


@saga_progress.on(SagaCompleted)
def completed(recorded: Recorded[SagaCompleted]) -> Patch:
    return _now(recorded, "COMPLETED")


@saga_progress.on(SagaCompensated)
def compensated(recorded: Recorded[SagaCompensated]) -> Patch:
    return _now(recorded, "COMPENSATED", why=recorded.event.cause)


@saga_progress.on(SagaStuck)
def stuck(recorded: Recorded[SagaStuck]) -> Patch:
    return _now(recorded, "STUCK", step=recorded.event.step, why=recorded.event.why)


@saga_progress.on(SagaResolved)
def resolved(recorded: Recorded[SagaResolved]) -> Patch:
    return _now(recorded, "RUNNING")


def _now(recorded: Recorded[Any], status: str, **fields: Any) -> Patch:
    row = {"status": status, "step": None, "why": None, "changed_at": recorded.recorded_at}
    return Patch(recorded.stream.aggregate_id, {**row, "position": recorded.position, **fields})
