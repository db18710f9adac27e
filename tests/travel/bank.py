"""Accounts, and a bank that is slow to answer: a participant with a store and one without."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import assert_never
from uuid import UUID

from pydantic import BaseModel, PositiveInt

from counteract import (
    Compensatable,
    Decider,
    Dispatch,
    Event,
    Happened,
    NeverHappened,
    Outcome,
    Pivot,
    Rejected,
    Retriable,
    Retry,
    Settle,
    Streams,
    Undo,
    compensates,
    handles,
    settles,
)


class Deposited(Event):
    """Money came in."""

    amount: int


class Held(Event):
    """Money was set aside for a trip."""

    trip: str
    amount: int


class Freed(Event):
    """What was set aside is available again."""

    trip: str


class Paid(Event):
    """What was set aside is gone."""

    trip: str


AccountEvent = Deposited | Held | Freed | Paid


@dataclass(frozen=True)
class Account:
    """A customer's money."""

    available: int = 0
    held: dict[str, int] = field(default_factory=dict)


def evolve(account: Account, event: AccountEvent) -> Account:
    match event:
        case Deposited(amount=amount):
            return replace(account, available=account.available + amount)
        case Held(trip=trip, amount=amount):
            return Account(account.available - amount, {**account.held, trip: amount})
        case Freed(trip=trip):
            rest = {other: amount for other, amount in account.held.items() if other != trip}
            return Account(account.available + account.held[trip], rest)
        case Paid(trip=trip):
            return Account(account.available, {other: held for other, held in account.held.items() if other != trip})
        case _:
            assert_never(event)


accounts = Decider("account", initial=Account(), evolve=evolve, events=AccountEvent)


class Reference(BaseModel):
    """What a bank answers."""

    reference: str


class HoldMoney(Compensatable[Reference], service="accounts", compensation="FreeMoney"):
    """Set money aside."""

    account: str
    trip: str
    amount: PositiveInt


class PayHeldMoney(Pivot[Reference], service="accounts"):
    """Spend what was set aside."""

    account: str
    trip: str


class PayBack(Retriable[None], service="accounts", attempt_timeout=timedelta(seconds=2)):
    """Give back what was spent."""

    account: str
    amount: PositiveInt


class Authorize(
    Compensatable[Reference],
    service="card",
    compensation="Void",
    timeout=timedelta(seconds=2),
    retry=Retry(initial=timedelta(milliseconds=100)),
):
    """Ask a card company."""

    trip: str


class Capture(Pivot[Reference], service="card"):
    """Take the money from the card."""

    trip: str


class SendReceipt(Retriable[None], service="card"):
    """Say what was taken."""

    trip: str


@handles(HoldMoney)
async def hold_money(command: HoldMoney, streams: Streams) -> Reference:
    account = await streams.load(accounts, command.account)
    if command.amount > account.state.available:
        raise Rejected("not enough money", available=account.state.available)
    account.append(Held(trip=command.trip, amount=command.amount))
    return Reference(reference=f"{account.version + 1}")


@compensates(HoldMoney)
async def free_money(undo: Undo[HoldMoney, Reference], streams: Streams) -> None:
    account = await streams.load(accounts, undo.command.account)
    account.append(Freed(trip=undo.command.trip))


@handles(PayHeldMoney)
async def pay_held_money(command: PayHeldMoney, streams: Streams) -> Reference:
    account = await streams.load(accounts, command.account)
    account.append(Paid(trip=command.trip))
    return Reference(reference="paid")


@handles(PayBack)
async def pay_back(command: PayBack, streams: Streams) -> None:
    account = await streams.load(accounts, command.account)
    account.append(Deposited(amount=command.amount))


class CardCompany:
    """A provider outside: it keeps the first answer for a key, and can be made to be slow or to lose its answers."""

    def __init__(self) -> None:
        self.authorized: Counter[UUID] = Counter()
        self.voided: Counter[UUID] = Counter()
        self.captured: set[UUID] = set()
        self.asked: list[tuple[str, Outcome]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()
        self.loses_answers = False
        self.declines = False
        self.unreachable = False
        self.stopped = asyncio.Event()

    async def call(self, done: Counter[UUID], key: UUID) -> None:
        self.reached.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        done[key] = 1
        if self.loses_answers:
            raise ConnectionError("no answer")


@handles(Authorize, effect="external")
async def authorize(command: Authorize, dispatch: Dispatch, company: CardCompany) -> Reference:
    if company.declines:
        raise Rejected("declined")
    await company.call(company.authorized, dispatch.command_id)
    return Reference(reference=f"authorized {command.trip}")


@compensates(Authorize)
async def void(undo: Undo[Authorize, Reference], company: CardCompany) -> None:
    company.asked.append((undo.result.reference if undo.result else "", undo.outcome))
    if company.authorized[undo.command_id]:
        company.voided[undo.command_id] += 1


@handles(Capture, effect="external")
async def capture(command: Capture, streams: Streams, dispatch: Dispatch, company: CardCompany) -> Reference:
    if company.unreachable:
        raise ConnectionError("nobody there")
    company.captured.add(dispatch.command_id)
    if company.loses_answers:
        raise ConnectionError("no answer")
    account = await streams.load(accounts, command.trip)
    account.append(Deposited(amount=1))
    return Reference(reference="captured")


@settles(Capture)
async def settle_capture(
    settle: Settle[Capture], streams: Streams, company: CardCompany
) -> Happened[Reference] | NeverHappened:
    if not company.gate.is_set():
        company.reached.set()
        raise ConnectionError("cannot say yet")
    if settle.command_id not in company.captured:
        return NeverHappened()
    account = await streams.load(accounts, settle.command.trip)
    account.append(Deposited(amount=1))
    return Happened(Reference(reference="captured after all"))


@handles(SendReceipt)
async def send_receipt(command: SendReceipt) -> None:
    pass
