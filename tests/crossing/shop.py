"""A shop whose workers are of two releases at once: written so that either runs it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import assert_never
from uuid import UUID, uuid4

from counteract import Compensatable, Decider, Event, Pivot, Rejected, Retriable, Retry
from counteract.participants import (
    Dispatch,
    Happened,
    NeverHappened,
    Settle,
    Streams,
    Undo,
    compensates,
    handles,
    settles,
)

PATIENT = Retry(initial=timedelta(milliseconds=200))


class GoodsSetAside(Event):
    """Something was taken from the shelf for an order."""

    amount: int


class GoodsPutBack(Event):
    """It is on the shelf again."""


class GoodsSold(Event):
    """It is the customer's."""


class GoodsReturned(Event):
    """The customer has brought it back."""


class GoodsSent(Event):
    """It is on its way."""


ShelfEvent = GoodsSetAside | GoodsPutBack | GoodsSold | GoodsReturned | GoodsSent


@dataclass(frozen=True)
class Shelf:
    """What became of one order's goods."""

    aside: int = 0


def evolve(shelf: Shelf, event: ShelfEvent) -> Shelf:
    match event:
        case GoodsSetAside(amount=amount):
            return Shelf(shelf.aside + amount)
        case GoodsPutBack() | GoodsSold() | GoodsReturned() | GoodsSent():
            return Shelf()
        case _:
            assert_never(event)


shelves = Decider("shelf", initial=Shelf(), evolve=evolve, events=ShelfEvent)


class SetAside(Compensatable[None], service="shelves", compensation="PutBack"):
    """Take something from the shelf."""

    order: str
    amount: int = 1


class Sell(Pivot[None], service="shelves"):
    """It is the customer's."""

    order: str


class Send(Retriable[None], service="shelves", retry=PATIENT):
    """Only while the shop knows the address."""

    order: str


class TakeBack(Retriable[None], service="shelves", retry=PATIENT):
    """Undoes an order that was completed."""

    order: str


class AskCard(Compensatable[None], service="cards", compensation="LetCardGo", retry=PATIENT):
    """Ask a card company. `manner`: fine, declined, silent (it does it and does not answer) or slow."""

    order: str
    manner: str


class TakeMoney(Pivot[None], service="cards", retry=PATIENT):
    """The same as a pivot."""

    order: str
    manner: str


@dataclass(frozen=True)
class CardCompany:
    """A provider outside, for several processes: a folder with a file for each key that has taken effect, or never will."""

    folder: Path

    async def do(self, key: UUID, order: str, manner: str) -> None:
        if manner == "declined":
            raise Rejected("declined")
        if manner == "slow":
            await asyncio.sleep(1.5)
        self.say(key, f"done {order}")
        if self.what(key).startswith("barred"):
            raise Rejected("too late")
        if manner == "silent":
            raise ConnectionError("no answer")

    def undo(self, key: UUID, order: str) -> None:
        """Bars it where it has not been done."""
        self.say(key, f"barred {order}")
        if self.what(key).startswith("done"):
            (self.folder / f"undone {key}").touch()

    def what(self, key: UUID) -> str:
        return (self.folder / f"key {key}").read_text()

    def say(self, key: UUID, what: str) -> None:
        """The first word counts. Written elsewhere first: nobody is to read half a word."""
        draft = self.folder / f"draft {uuid4()}"
        draft.write_text(what)
        with suppress(FileExistsError):
            (self.folder / f"key {key}").hardlink_to(draft)
        draft.unlink()


@handles(SetAside)
async def set_aside(command: SetAside, streams: Streams) -> None:
    if command.amount > 1:
        raise Rejected("there is only one")
    (await streams.load(shelves, command.order)).append(GoodsSetAside(amount=command.amount))


@compensates(SetAside)
async def put_back(undo: Undo[SetAside, None], streams: Streams) -> None:
    (await streams.load(shelves, undo.command.order)).append(GoodsPutBack())


@handles(Sell)
async def sell(command: Sell, streams: Streams) -> None:
    (await streams.load(shelves, command.order)).append(GoodsSold())


@handles(Send)
async def send(command: Send, streams: Streams, company: CardCompany) -> None:
    if (company.folder / f"no-address {command.order}").exists():
        raise Rejected("no address")
    (await streams.load(shelves, command.order)).append(GoodsSent())


@handles(TakeBack)
async def take_back(command: TakeBack, streams: Streams) -> None:
    (await streams.load(shelves, command.order)).append(GoodsReturned())


@handles(AskCard, effect="external")
async def ask_card(command: AskCard, dispatch: Dispatch, company: CardCompany) -> None:
    await company.do(dispatch.command_id, command.order, command.manner)


@compensates(AskCard)
async def let_card_go(undo: Undo[AskCard, None], company: CardCompany) -> None:
    company.undo(undo.command_id, undo.command.order)


@handles(TakeMoney, effect="external")
async def take_money(command: TakeMoney, dispatch: Dispatch, company: CardCompany) -> None:
    await company.do(dispatch.command_id, command.order, command.manner)


@settles(TakeMoney)
async def settle_take_money(settle: Settle[TakeMoney], company: CardCompany) -> Happened[None] | NeverHappened:
    company.say(settle.command_id, f"barred {settle.command.order}")
    return Happened(None) if company.what(settle.command_id).startswith("done") else NeverHappened()
