"""Commands and their undos, as a saga would send them, without Temporal."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from counteract.messages import Command, Dispatch, Role
from counteract.participants import Participants
from counteract.participants.executor import Executor
from counteract.participants.fence import Fence
from counteract.participants.request import Request
from counteract.store import PostgresEventStore
from tests.travel import bank
from tests.travel.bank import Account, CardCompany, HoldMoney, accounts

HOLD = HoldMoney(account="ann", trip="rome", amount=60)


class Desk:
    """Sends commands as a saga would, straight to the executors."""

    def __init__(self, store: PostgresEventStore, company: CardCompany) -> None:
        self.store = store
        self.company = company
        participants = Participants(store, bank, resources=[company]).check(["accounts", "card"])
        resources = {CardCompany: company}
        self._executors = {each.command: Executor(each, Fence(store), resources) for each in participants}

    async def send(self, command: Command[Any], command_id: UUID, *, limit: float = 5.0) -> Any:
        return await self._executors[type(command)].forward(command, dispatch(command_id), limit=limit)

    async def undo(self, command: Command[Any], command_id: UUID) -> None:
        await self._executors[type(command)].undo(command, undo_of(command_id))

    async def settle(self, command: Command[Any], command_id: UUID) -> Any:
        name = str(command.spec.settlement)
        return await self._executors[type(command)].settle(name, command, undo_of(command_id))

    def executor(self, kind: type[Command[Any]]) -> Executor:
        return self._executors[kind]

    async def account(self, name: str = "ann") -> Account:
        return (await self.store.load(accounts, name)).state

    async def statuses(self) -> list[tuple[str, str]]:
        async with self.store.connection() as connection:
            rows = await connection.execute("select activity_type, status from commands order by recorded_at")
            return [(str(name), str(status)) for name, status in await rows.fetchall()]


def dispatch(command_id: UUID) -> Dispatch:
    return Dispatch(
        command_id=command_id, saga_id="s", saga_type="Trip", step="x", correlation_id="s", causation_id="r"
    )


def undo_of(command_id: UUID) -> Dispatch:
    undo_id = UUID(int=command_id.int ^ 1)
    return dispatch(undo_id).model_copy(update={"undoes": command_id})


def begins(command: Command[Any], sent: Dispatch) -> Request:
    """An external effect is asked for."""
    return Request(command.spec.name, command, sent, Role.FORWARD, external=True)
