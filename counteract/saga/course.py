"""The course of a saga: forward, stopped, ending, over."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from counteract.saga.failure import Interruption
from counteract.saga.report import SagaStatus

IN_HANDLER: ContextVar[bool] = ContextVar("the task belongs to the handler of a signal or an update", default=False)


@dataclass(slots=True)
class Course:
    """Flags and reasons: where the saga stands, as its own run knows it."""

    phase: SagaStatus = SagaStatus.RUNNING
    cause: str | None = None
    interruption: Interruption | None = None
    handler_failure: BaseException | None = None
    """The failure of a signal's handler once there was no way back: reported when the saga has gone forward."""
    pending: list[tuple[Interruption, BaseException | None]] = field(default_factory=list)
    """Interruptions of which the record has yet to say whether they come in time."""
    paused: bool = False
    is_open: bool = False
    """This run has taken up the saga's record: what is sent is held against it."""
    is_closing: bool = False
    is_over: bool = False

    @property
    def is_held(self) -> bool:
        """Whether no further step is to begin for now."""
        return self.paused or bool(self.pending)

    @property
    def is_completed(self) -> bool:
        """Whether the saga has gone forward to its end."""
        return self.phase is SagaStatus.COMPLETED

    def stop(self, why: Interruption, cause: str) -> None:
        """Note why the saga is stopped. The first reason stands."""
        self.interruption = self.interruption or why
        self.cause = self.cause or cause
