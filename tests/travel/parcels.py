"""A service that is told what to answer: well, or what cannot be stored."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from counteract import Compensatable, Pivot, Rejected, Retry, Undo, compensates, handles

LOG: defaultdict[str, list[str]] = defaultdict(list)
"""What the service did, by the parcel."""

QUICK = Retry(initial=timedelta(milliseconds=50), maximum=timedelta(milliseconds=100), attempts=3)


class Weight(BaseModel):
    kilos: float


class Pack(Compensatable[str], service="parcels", compensation="Unpack"):
    parcel: str


class Weigh(Compensatable[Weight], service="parcels", compensation="PutBack", retry=QUICK):
    parcel: str
    label: str = ""
    answers: str = "well"

    def summary(self) -> str:
        return self.label


class Hand(Pivot[None], service="parcels", retry=QUICK):
    parcel: str
    answers: str = "well"


COMPLAINT = "the printer said NAK\x00 \ud800, card 4111"
"""Not where it is raised, for a traceback shows that line."""


class Odd:
    def __repr__(self) -> str:
        return "odd \x00"


@handles(Pack)
async def pack(command: Pack) -> str:
    LOG[command.parcel].append("packed")
    return command.parcel


@compensates(Pack)
async def unpack(undo: Undo[Pack, str]) -> None:
    LOG[undo.command.parcel].append("unpacked")


@handles(Weigh, effect="external")
async def weigh(command: Weigh) -> Any:
    LOG[command.parcel].append("weighed")
    return {"kilos": math.nan if command.answers == "NaN" else 1.5}


@compensates(Weigh)
async def put_back(undo: Undo[Weigh, Weight]) -> None:
    LOG[undo.command.parcel].append(f"put back ({undo.outcome})")


@handles(Hand)
async def hand(command: Hand) -> None:
    match command.answers:
        case "no":
            raise Rejected("no\x00 \ud800", at=datetime(2026, 1, 1, tzinfo=UTC), share=math.inf, odd=Odd(), kinds={"a"})
        case "badly":
            raise RuntimeError(COMPLAINT)
    LOG[command.parcel].append("handed over")
