"""A materialized view over a projection of totals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import func, select

from counteract.projections import MaterializedView, Projection, ProjectionRunner

OFTEN = timedelta(milliseconds=20)


def sums(projection: Projection, every: timedelta = OFTEN) -> MaterializedView:
    """How many counters have which total."""
    rows = projection.table
    query = select(rows.c.total, func.count().label("counters")).where(rows.c.counter != "100%").group_by(rows.c.total)
    return MaterializedView("sums", query, of=[projection], unique=["total"], every=every)


@asynccontextmanager
async def running(url: str, *projections: Projection | MaterializedView) -> AsyncIterator[None]:
    task = asyncio.create_task(ProjectionRunner(url, projections).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
