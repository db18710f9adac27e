"""Runs of a saga, as its services and its record see them: what each sends, ends and takes up, without Temporal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from counteract.errors import RecordSaysOtherwise
from counteract.lifecycle import (
    Ended,
    Ending,
    LifecycleRecord,
    Opening,
    Parent,
    SagaCompensated,
    SagaCompleted,
    SagaStarted,
)
from counteract.messages import Command, Dispatch, Role, Standing, command_id_of
from counteract.participants import Participants
from counteract.participants.executor import Executor
from counteract.participants.fence import Fence
from counteract.participants.handlers import Handler
from counteract.participants.sagas import SagaRecords
from counteract.store import PostgresEventStore
from tests.travel import bank
from tests.travel.bank import Account, Authorize, Capture, CardCompany, HoldMoney, PayBack, PayHeldMoney, accounts

HOLD = HoldMoney(account="ann", trip="rome", amount=60)
AUTHORIZE = Authorize(trip="rome")
PAY = PayHeldMoney(account="ann", trip="rome")
CAPTURE = Capture(trip="rome")
PAY_BACK = PayBack(account="ann", amount=5)


class Town:
    """The bank and the card company, with their database."""

    def __init__(self, store: PostgresEventStore, company: CardCompany) -> None:
        self.store = store
        self.company = company
        self.records = SagaRecords(store)
        participants = Participants(store, bank, resources=[company]).check(["accounts", "card"])
        resources = {CardCompany: company}
        self.executors = {each.command: Executor(each, Fence(store), resources) for each in participants}

    def handle(self, command: type[Command[Any]], handler: Handler) -> None:
        """By another handler than the bank's."""
        executor = self.executors[command]
        self.executors[command] = replace(executor, participant=replace(executor.participant, handler=handler))

    async def begin(self, *, parent: Parent | None = None, saga_id: str | None = None) -> Run:
        """The first run of a saga."""
        run_id = uuid4().hex
        return await Run(self, saga_id or f"saga-{run_id[:8]}", run_id, run_id, epoch=0, parent=parent).taken_up()

    async def account(self) -> Account:
        return (await self.store.load(accounts, "ann")).state

    async def forget(self, table: str, saga: Run, condition: str = "true") -> None:
        """As a failover does that loses the last commits."""
        async with self.store.connection() as connection:
            await connection.execute(f"delete from {table} where saga_id = %s and {condition}", (saga.saga_id,))

    async def turn(self, saga: Run, state: str) -> None:
        """The record as it was before, likewise."""
        async with self.store.connection() as connection:
            await connection.execute("update sagas set state = %s where saga_id = %s", (state, saga.saga_id))


@dataclass(frozen=True)
class Run:
    """One run. Steps are known by their keys."""

    town: Town
    saga_id: str
    run_id: str
    """The first run's."""
    this_run: str
    epoch: int
    parent: Parent | None = None
    state: str = ""

    async def taken_up(self) -> Run:
        """The saga's record, made or taken up."""
        opening = Opening(run_id=self.run_id, this_run=self.this_run, saga_type="Tour", parent=self.parent)
        started = SagaStarted(saga_type="Tour", run_id=self.run_id)
        record = self._lifecycle("SagaStarted", started.model_dump(mode="json"))
        opened = await self.town.records.open(record, opening, started, "default")
        return replace(self, run_id=opened.run_id, epoch=opened.epoch, state=opened.state)

    async def again(self) -> Run:
        """A further run of the same saga: a retry, or one after a reset."""
        return await replace(self, this_run=uuid4().hex).taken_up()

    async def send(
        self, command: Command[Any], key: str | None = None, *, attempt: int = 1, done: Sequence[str] = ()
    ) -> Any:
        """`done`: for a pivot, the keys of the steps that it counts on."""
        counted = {"done": tuple(map(self.id_of, done)), "keys": tuple(done)}
        dispatch = self.dispatch(key or command.spec.name, Role.FORWARD, attempt=attempt, **counted)
        return await self._executor(command).forward(command, dispatch, limit=5)

    async def undo(self, command: Command[Any], role: Role = Role.UNDO, **known: bool) -> None:
        """`known`: what the run's history knows of the original (`sent`, `answered`)."""
        await self._executor(command).undo(command, self.undo_dispatch(command, role, **known))

    async def settle(self, command: Command[Any]) -> Any:
        dispatch = self.undo_dispatch(command, Role.SETTLE, sent=True)
        return await self._executor(command).settle(str(command.spec.settlement), command, dispatch)

    async def complete(self, *done: str) -> Ended:
        event = SagaCompleted(saga_type="Tour", run_id=self.run_id, steps=done)
        return await self._end("completed", event, done)

    async def compensated(self) -> Ended:
        event = SagaCompensated(saga_type="Tour", run_id=self.run_id, cause="c", undone=(), skipped=())
        return await self._end("compensated", event, ())

    async def recorded_state(self) -> str:
        async with self.town.store.connection() as connection:
            rows = await connection.execute("select state from sagas where saga_id = %s", (self.saga_id,))
            ((state,),) = await rows.fetchall()
            return str(state)

    def id_of(self, key: str) -> UUID:
        return command_id_of(self.saga_id, self.run_id, key)

    def dispatch(self, key: str, role: Role, *, attempt: int = 1, **more: Any) -> Dispatch:
        return Dispatch(
            command_id=self.id_of(key),
            saga_id=self.saga_id,
            saga_type="Tour",
            step=key,
            correlation_id=self.saga_id,
            causation_id=self.run_id,
            attempt=attempt,
            standing=Standing(namespace="default", epoch=self.epoch, who=self.this_run, role=role, **more),
        )

    def undo_dispatch(self, command: Command[Any], role: Role, **known: bool) -> Dispatch:
        forward = self.dispatch(command.spec.name, role, **known)
        own = self.id_of(f"undo {command.spec.name}")
        return forward.model_copy(update={"command_id": own, "undoes": forward.command_id})

    def as_parent(self, key: str) -> Parent:
        """For a child saga that is this step."""
        return Parent(
            command_id=self.id_of(key), saga_id=self.saga_id, run_id=self.run_id, epoch=self.epoch, key=key, command={}
        )

    def _executor(self, command: Command[Any]) -> Executor:
        return self.town.executors[type(command)]

    async def _end(self, state: Any, event: SagaCompleted | SagaCompensated, done: tuple[str, ...]) -> Ended:
        ending = Ending(
            run_id=self.run_id,
            saga_type="Tour",
            state=state,
            epoch=self.epoch,
            who=self.this_run,
            done=tuple(map(self.id_of, done)),
            keys=done,
        )
        record = self._lifecycle(type(event).event_type, event.model_dump(mode="json"), ending=ending)
        return await self.town.records.end(record, event, "default")

    def _lifecycle(self, kind: str, data: dict[str, object], ending: Ending | None = None) -> LifecycleRecord:
        # All ends share one name.
        name = kind if ending is None else "end"
        return LifecycleRecord(
            event_id=self.id_of(name), saga_id=self.saga_id, event_type=kind, data=data, ending=ending
        )


async def refused(state: str, sending: asyncio.Future[object] | object) -> None:
    """What is sent is refused, because the record says so."""
    with pytest.raises(RecordSaysOtherwise) as error:
        await sending  # type: ignore[misc]
    assert error.value.state == state
