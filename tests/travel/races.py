"""Trips whose own code fails, waits or goes on while their steps are still in flight."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow

from counteract import Rejected, SagaWorkflow
from tests.travel.booking import BookFlight, BookHotel, ChargeCard, SendTickets


class Detour(SagaWorkflow):
    """Has a signal on which its code goes on."""

    def __init__(self) -> None:
        self.told = False

    @workflow.signal
    def go_on(self) -> None:
        self.told = True

    async def until_told(self) -> None:
        await workflow.wait_condition(lambda: self.told)


@workflow.defn
class FailsBesideThePivot(Detour):
    """Its code fails while the money is being taken."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            await asyncio.gather(saga.execute(ChargeCard(trip=trip)), self.changes_its_mind())

    async def changes_its_mind(self) -> None:
        await self.until_told()
        raise Rejected("changed my mind")


@workflow.defn
class FailsBehindThePivot(Detour):
    """Its code fails while a step that it went on without is being undone, with the pivot waiting for that."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            try:
                await saga.execute(BookHotel(trip=trip))
            except Exception:
                await asyncio.gather(saga.execute(ChargeCard(trip=trip)), self.changes_its_mind())

    async def changes_its_mind(self) -> None:
        await self.until_told()
        raise Rejected("changed my mind")


@workflow.defn
class FailsWhilePaused(Detour):
    """Its code fails while another part of it waits to be resumed."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            await self.until_told()
            other = asyncio.create_task(saga.execute(BookHotel(trip=trip)))
            await asyncio.sleep(0)
            assert not other.done()
            raise Rejected("changed my mind")


@workflow.defn
class LeavesStepsBehind(Detour):
    """Leaves the block while a task of its own still sends out steps."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:

            async def both() -> None:
                await saga.execute(BookFlight(trip=trip))
                await saga.execute(BookHotel(trip=trip))

            self.rest = asyncio.create_task(both())
            await asyncio.sleep(0)


@workflow.defn
class BooksInATaskGroup(Detour):
    """Uses asyncio's own means of doing things at once."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga, asyncio.TaskGroup() as group:
            group.create_task(saga.execute(BookFlight(trip=trip)))
            group.create_task(saga.execute(BookHotel(trip=trip)))


@workflow.defn
class WaitsForASignal(Detour):
    """Waits for something other than a step."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await self.until_told()
            await saga.execute(BookFlight(trip=trip))


@workflow.defn
class PreparesFirst(Detour):
    """Makes its saga long before it opens it."""

    @workflow.run
    async def run(self, trip: str) -> None:
        saga = self.saga()
        await self.until_told()
        async with saga:
            await saga.execute(BookFlight(trip=trip))


@workflow.defn
class GoesOnAfterARefusal(Detour):
    """Books both or, if that is refused, nothing, and charges anyway."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            with contextlib.suppress(Rejected):
                await saga.parallel(BookFlight(trip=trip), BookHotel(trip=trip))
            await saga.execute(ChargeCard(trip=trip))


@workflow.defn
class GivesUpWaiting(Detour):
    """Does without a hotel that takes too long to answer."""

    @workflow.run
    async def run(self, trip: str) -> str:
        async with self.saga() as saga:
            answer = "none"
            try:
                async with asyncio.timeout(0.3):
                    answer = (await saga.execute(BookHotel(trip=trip))).reference
            except TimeoutError:
                pass
            await saga.execute(ChargeCard(trip=trip))
            return answer


@workflow.defn
class WaitsAfterARefusedPivot(Detour):
    """Catches the pivot's refusal, and waits for something that does not come."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            try:
                await saga.execute(ChargeCard(trip=trip))
            except Rejected:
                await self.until_told()


@workflow.defn
class StartsOver(Detour):
    """Would have a second saga in a second run."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
        workflow.continue_as_new(trip)


@workflow.defn
class LosesPatience(Detour):
    """Shows as stuck after half a second."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga(alert_after=timedelta(seconds=0.5)) as saga:
            await saga.execute(BookFlight(trip=trip))
            await saga.execute(ChargeCard(trip=trip))
            await saga.execute(SendTickets(trip=trip))


WORKFLOWS = Detour.__subclasses__()
