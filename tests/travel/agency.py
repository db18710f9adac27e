"""Services of the travel domain that do as they are told: real Temporal activities, without a store behind them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any
from weakref import WeakSet

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from counteract import Command, CounteractPlugin, Dispatch
from counteract.lifecycle import (
    CLAIM_SAGA,
    END_OPEN_RUN,
    FETCH_STATE,
    FIND_LATE,
    FIND_LOST,
    FIND_STEPS,
    RECORD_LIFECYCLE,
    SKIP_STEP,
    TAKE_UP_SAGA,
    Claimed,
    Ended,
    LateEffect,
    LifecycleRecord,
    Lost,
    Opened,
    Opening,
    Page,
    RecordedStep,
    Skip,
)
from tests.travel.booking import BookFlight, BookHotel, BookSauna, ChargeCard, SendTickets
from tests.travel.trips import Trip

Behaviour = Callable[[Any, Any], Awaitable[Any]]

# An activity hears of its cancellation with its heartbeat's answer.
CANCELLED_WITHIN = timedelta(milliseconds=400)

_beating: ContextVar[asyncio.Task[None]] = ContextVar("_beating")
_held = WeakSet[asyncio.Event]()

SERVICES: dict[str, list[tuple[str, type[Command[Any]]]]] = {
    "airline": [
        ("BookFlight", BookFlight),
        ("CancelFlight", BookFlight),
        ("SendTickets", SendTickets),
        ("SettleSendTickets", SendTickets),
    ],
    "hotel": [("BookHotel", BookHotel), ("CancelHotel", BookHotel), ("CancelSauna", BookSauna)],
    "bank": [("ChargeCard", ChargeCard), ("SettleChargeCard", ChargeCard)],
}


class Agency:
    """What the services are to do, and what they were asked for, per trip."""

    def __init__(self) -> None:
        self.client: Client
        self.log: dict[str, list[str]] = defaultdict(list)
        self.dispatches: dict[str, list[Dispatch]] = defaultdict(list)
        self.lifecycle: dict[str, list[LifecycleRecord]] = defaultdict(list)
        self.lost: list[Lost] = []
        self.may_look_for_lost = asyncio.Event()
        self.may_look_for_lost.set()
        self._scripts: dict[tuple[str, str], list[Behaviour]] = {}

    def script(self, trip: str, activity_type: str, *behaviours: Behaviour) -> None:
        """The behaviours of one activity type for one trip, one call each; the last one stays.

        A lifecycle event's name stands for its being recorded.
        """
        self._scripts[trip, activity_type] = list(behaviours)

    async def call(self, activity_type: str, command: Any, dispatch: Dispatch) -> Any:
        self.log[command.trip].append(activity_type)
        self.dispatches[command.trip].append(dispatch)
        behaviours = self._scripts.get((command.trip, activity_type), [succeed])
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        result = await behaviour(command, dispatch)
        self.log[command.trip].append(f"{activity_type} done")
        return result

    @activity.defn(name=RECORD_LIFECYCLE)
    async def record(self, record: LifecycleRecord) -> Opened | Ended | int:
        for behaviour in self._scripts.get((record.saga_id, record.event_type), ()):
            await behaviour(record, None)
        self.lifecycle[record.saga_id].append(record)
        if record.opening is not None:
            return self._opened(record.opening, is_new=True)
        if record.ending is not None:
            return Ended(position=0, state=record.ending.state)
        return len(self.lifecycle[record.saga_id])

    @activity.defn(name=TAKE_UP_SAGA)
    async def take_up(self, saga_id: str, opening: Opening) -> Opened:
        return self._opened(opening, is_new=False)

    def _opened(self, opening: Opening, *, is_new: bool) -> Opened:
        return Opened(
            position=0, is_new=is_new, run_id=opening.run_id, state="forward", epoch=1, this_run=opening.this_run
        )

    @activity.defn(name=FIND_STEPS)
    async def find_steps(self, saga_id: str, run_id: str, offset: int, limit: int) -> list[RecordedStep]:
        return []

    @activity.defn(name=FETCH_STATE)
    async def fetch_state(self, saga_id: str, run_id: str) -> str:
        return "forward"

    @activity.defn(name=SKIP_STEP)
    async def skip_step(self, skip: Skip) -> None: ...

    @activity.defn(name=FIND_LOST)
    async def find_lost(self, after: tuple[str, str, str] | None, include_forgotten: bool) -> Page:
        await self.may_look_for_lost.wait()
        return Page(lost=tuple(self.lost))

    @activity.defn(name=FIND_LATE)
    async def find_late(self) -> list[LateEffect]:
        return []

    @activity.defn(name=CLAIM_SAGA)
    async def claim(self, lost: Lost) -> Claimed:
        return Claimed(state="turning back", epoch=1)

    @activity.defn(name=END_OPEN_RUN)
    async def end_open_run(self, lost: Lost) -> None: ...

    def activities(self) -> Sequence[Any]:
        own = [self.record, self.take_up, self.find_steps, self.fetch_state, self.skip_step]
        return [*own, self.find_lost, self.find_late, self.claim, self.end_open_run]

    def activity_of(self, name: str, command: type[Command[Any]]) -> Any:
        async def execute(command: Any, dispatch: Any) -> Any:
            async with heartbeats():
                return await self.call(name, command, dispatch)

        execute.__annotations__ = {"command": command, "dispatch": Dispatch, "return": Any}
        return activity.defn(name=name)(execute)

    @asynccontextmanager
    async def open(self, address: str, sagas: str, *, workflows: Sequence[type] = (Trip,)) -> AsyncIterator[None]:
        """Workers for all services, and for sagas on the task queue `sagas`."""
        async with self.serve(address), Worker(self.client, task_queue=sagas, workflows=workflows):
            yield

    @asynccontextmanager
    async def serve(self, address: str) -> AsyncIterator[None]:
        """Workers for all services, and none for sagas."""
        self.client = await Client.connect(address, plugins=[CounteractPlugin(self)])
        async with AsyncExitStack() as stack:
            for queue, activities in SERVICES.items():
                made = [self.activity_of(name, command) for name, command in activities]
                worker = Worker(
                    self.client, task_queue=queue, activities=made, max_heartbeat_throttle_interval=CANCELLED_WITHIN
                )
                await stack.enter_async_context(worker)
            try:
                yield
            finally:
                # What a failed test left waiting would keep its worker from ever shutting down.
                for release in _held:
                    release.set()


@asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.1)

    beating = asyncio.create_task(beat())
    _beating.set(beating)
    try:
        yield
    finally:
        beating.cancel()


async def succeed(command: Any, dispatch: Dispatch) -> Any:
    if activity.info().activity_type.startswith(("Book", "Charge")):
        return {"reference": f"{dispatch.step} of {command.trip}"}
    if activity.info().activity_type.startswith("Settle"):
        return {"happened": False}
    return None


def refuse(reason: str) -> Behaviour:
    async def behaviour(command: Any, dispatch: Dispatch) -> Any:
        details = {"reason": reason, "data": {"trip": command.trip}}
        raise ApplicationError(reason, details, type="Rejected", non_retryable=True)

    return behaviour


def fail(message: str, *, final: bool = False) -> Behaviour:
    async def behaviour(command: Any, dispatch: Dispatch) -> Any:
        raise ApplicationError(message, non_retryable=final)

    return behaviour


def hang_until_cancelled(began: asyncio.Event) -> Behaviour:
    async def behaviour(command: Any, dispatch: Dispatch) -> Any:
        began.set()
        await asyncio.Event().wait()

    return behaviour


async def fall_silent(command: Any, dispatch: Dispatch) -> Any:
    """As a worker that is lost looks from the server: no heartbeat, and no answer in time."""
    _beating.get().cancel()
    await asyncio.sleep(1)


def answer(result: Any) -> Behaviour:
    async def behaviour(command: Any, dispatch: Dispatch) -> Any:
        return result

    return behaviour


def wait_for(release: asyncio.Event, began: asyncio.Event, then: Behaviour = succeed) -> Behaviour:
    """Goes on when released, and does not hear a cancellation."""
    _held.add(release)

    async def behaviour(command: Any, dispatch: Dispatch) -> Any:
        began.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return await then(command, dispatch)

    return behaviour
