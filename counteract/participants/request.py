"""One command as a saga asks one of its participant's activities for it: to be carried out, undone or settled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from pydantic_core import PydanticSerializationError, to_json

from counteract.messages import Command, Dispatch, Role, Standing


@dataclass(frozen=True, slots=True)
class Request:
    """A command, its dispatch, and the activity that both came to."""

    activity: str
    """The name of the activity: the command's own, or that of its undo or its settlement."""
    command: Command[Any]
    """The original, where this is an undo or a settlement."""
    dispatch: Dispatch
    role: Role
    """`FORWARD`, `UNDO` or `SETTLE`; which undo it is, the dispatch says."""
    external: bool
    """Whether the command has its effect outside."""

    @property
    def is_corrected(self) -> bool:
        """A person put this command in the place of the recorded one."""
        return self.dispatch.standing is not None and self.dispatch.standing.corrected

    @property
    def kind_of_undo(self) -> Role | None:
        """`UNDO` or `TURN` where the saga says so; also of a command that undoes a child saga, and comes forward."""
        standing = self.dispatch.standing
        return standing.role if standing is not None and standing.role in (Role.UNDO, Role.TURN) else None

    @property
    def content(self) -> str | None:
        """The command as JSON. None for what PostgreSQL cannot store, where an undo must not depend on it."""
        return _json(self.command) if self.role is Role.FORWARD else _json_or_nothing(self.command)

    def told(self, **known: Any) -> Self:
        """The request with these fields of its dispatch changed."""
        return replace(self, dispatch=self.dispatch.model_copy(update=known))

    def step(self, began: datetime | None = None) -> str:
        """The step as the SQL functions are told of it, one JSON object. `began` is when its undo did."""
        dispatch, spec = self.dispatch, self.command.spec
        about: dict[str, Any] = {
            "command_id": dispatch.command_id,
            "saga_id": dispatch.saga_id,
            "run_id": dispatch.causation_id,
            "saga_type": dispatch.saga_type,
            "step": dispatch.step,
            "kind": self.command.kind,
            "activity_type": self.activity,
            "original_type": spec.name,
            "task_queue": spec.service,
            "undoes": dispatch.undoes,
            "role": self.role if self.role is Role.SETTLE else self.kind_of_undo or self.role,
            "attempt": dispatch.attempt,
            "external": self.external,
            "server_since": dispatch.server_since,
            "began": began,
        }
        if dispatch.standing is not None:
            about |= _of_sender(dispatch.standing, is_pivot=self.command.kind == "pivot")
        return to_json(about).decode()


def _of_sender(standing: Standing, *, is_pivot: bool) -> dict[str, Any]:
    """Where the sender stands; with a pivot, also what it counts on."""
    about: dict[str, Any] = {"namespace": standing.namespace, "epoch": standing.epoch, "who": standing.who}
    about |= {"sent": standing.sent, "answered": standing.answered}
    if is_pivot:
        about |= {"done": standing.done, "keys": standing.keys}
        about |= {"children": standing.children, "skipped": standing.skipped}
        about |= {"child_keys": standing.child_keys, "child_ids": standing.child_ids}
    return about


def _json(value: Any) -> str:
    return to_json(value).decode()


def _json_or_nothing(command: Command[Any]) -> str | None:
    try:
        text = _json(command)
    except PydanticSerializationError:
        return None
    return None if "\\u0000" in text.replace("\\\\", "") else text
