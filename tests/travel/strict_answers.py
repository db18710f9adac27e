"""A service whose answers are strict about their types."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, ConfigDict

from counteract import Compensatable, Dispatch, Undo, compensates, handles


class Seal(BaseModel):
    """Proof that something is locked away."""

    model_config = ConfigDict(strict=True)

    number: UUID


class LockAway(Compensatable[Seal], service="vault", compensation="HandOut"):
    """Put something into the vault."""

    trip: str


@handles(LockAway)
async def lock_away(command: LockAway, dispatch: Dispatch) -> Seal:
    return Seal(number=dispatch.command_id)


class Porter:
    """Knows what was handed out."""

    def __init__(self) -> None:
        self.handed_out: list[UUID] = []


@compensates(LockAway)
async def hand_out(undo: Undo[LockAway, Seal], porter: Porter) -> None:
    assert undo.result is not None
    porter.handed_out.append(undo.result.number)
