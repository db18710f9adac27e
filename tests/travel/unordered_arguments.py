"""A workflow whose activity is sent a set."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, Field
from temporalio import activity, workflow

TAGS = frozenset(f"tag {n}" for n in range(20))


class Suitcase(BaseModel):
    """What is in it has no order; what is written on it has."""

    tags: frozenset[str] = Field(serialization_alias="labels")
    lines: list[str] = ["Ann", "12 Main Street"]
    weight: int = 20


@activity.defn(name="CheckIn")
async def check_in(suitcase: dict[str, object]) -> None:
    """Take it."""


@workflow.defn
class Journey:
    """Check in one suitcase."""

    @workflow.run
    async def run(self) -> None:
        await self._check_in(Suitcase(tags=TAGS))

    async def _check_in(self, suitcase: Suitcase) -> None:
        await workflow.execute_activity("CheckIn", suitcase, start_to_close_timeout=timedelta(seconds=10))


@workflow.defn(name="Journey")
class HeavyJourney(Journey):
    """The same with a heavier suitcase that lacks a tag, and whose lines are the other way round."""

    @workflow.run
    async def run(self) -> None:
        tags = TAGS - {"tag 7"}
        await self._check_in(Suitcase(tags=tags, lines=["12 Main Street", "Ann"], weight=25))
