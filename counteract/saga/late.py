"""Effects that came after their undo had passed, and were not undone again: recovery sees to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid5

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from counteract.commands import command_type
from counteract.errors import ConfigurationError
from counteract.lifecycle import FETCH_COMMAND, Found, LateEffect
from counteract.messages import Dispatch

_MOST = 3
_ATTEMPTS = RetryPolicy(maximum_attempts=_MOST, maximum_interval=timedelta(seconds=10))


async def undo_late(late: LateEffect) -> Found:
    """Send its undo once more, under an id of its own. What fails is left for the next round."""

    def said(what: str, why: str) -> Found:
        return Found(saga_id=late.saga_id, run_id=late.run_id, what="recovering" if what else "left", why=why)

    try:
        spec = command_type(late.command_type, late.service).spec
        if spec.compensation is None:
            return said(
                "",
                f"{late.key} took effect after it was to be impossible, and has no undo: see what is true, then "
                f"`counteract sagas close {late.saga_id}` puts on record that a person has seen to it",
            )
        command: dict[str, Any] = await workflow.execute_local_activity(
            FETCH_COMMAND,
            late.command_id,
            result_type=dict[str, Any],
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=_ATTEMPTS,
        )
        await workflow.execute_activity(
            spec.compensation,
            args=[command, _dispatch(late)],
            task_queue=late.service,
            start_to_close_timeout=spec.undo_attempt_timeout,
            # Beside the attempts a minute, in which a worker takes it: a round waits for nobody who is not there.
            schedule_to_close_timeout=_MOST * spec.undo_attempt_timeout + timedelta(minutes=1),
            retry_policy=_ATTEMPTS,
        )
    except (ConfigurationError, ActivityError) as error:
        return said(
            "", f"{late.key} took effect after its undo, and undoing it again failed: {error.__cause__ or error}"
        )
    return said("recovering", f"{late.key} had taken effect after its undo, and was undone again")


def _dispatch(late: LateEffect) -> Dispatch:
    return Dispatch(
        command_id=uuid5(late.command_id, f"late since {late.late_since}"),
        saga_id=late.saga_id,
        saga_type=late.saga_type,
        step=late.key,
        correlation_id=late.saga_id,
        causation_id=late.run_id,
        undoes=late.command_id,
    )
