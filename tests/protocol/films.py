"""A service whose work takes its time, and takes as long to undo; and that sells tickets, which cannot be undone."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from counteract import Compensatable, Pivot, Retry
from counteract.participants import NeverHappened, Settle, Streams, Undo, compensates, handles, settles
from tests.travel.bank import CardCompany, Freed, Held, accounts


class Render(
    Compensatable[None],
    service="films",
    compensation="Unrender",
    attempt_timeout=timedelta(seconds=1),
    timeout=timedelta(seconds=10),
    retry=Retry(initial=timedelta(milliseconds=100)),
):
    """Takes as long as it says, and so does its undo."""

    account: str
    seconds: float


@handles(Render)
async def render(command: Render, streams: Streams) -> None:
    await asyncio.sleep(command.seconds)
    film = await streams.load(accounts, command.account)
    film.append(Held(trip="film", amount=1))


@compensates(Render)
async def unrender(undo: Undo[Render, None], streams: Streams) -> None:
    await asyncio.sleep(undo.command.seconds)
    film = await streams.load(accounts, undo.command.account)
    film.append(Freed(trip="film"))


class BuyTicket(Pivot[None], service="films"):
    """Paid with the card."""

    trip: str


@handles(BuyTicket, effect="external")
async def buy_ticket(command: BuyTicket) -> None:
    """Nobody asks for it in these tests but where it is refused."""


@settles(BuyTicket)
async def settle_ticket(settle: Settle[BuyTicket], company: CardCompany) -> NeverHappened:
    if not company.gate.is_set():
        raise ConnectionError("cannot say yet")
    return NeverHappened()
