"""One command, sent outside of any saga: a workflow that does nothing else keeps trying until it is answered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy, VersioningBehavior

from counteract.commands import check_storable, content_of, summary_of
from counteract.messages import Command, Dispatch, Message, command_id_of

REACTION = "reaction"
"""The text in place of a run's id: the command's id follows from the workflow's alone, so the fence knows a repeat even
when Temporal has forgotten the workflow."""


class SentCommand(Message):
    """The command and what its activity needs; the worker of the workflow need not know its class."""

    command_type: str
    service: str
    attempt_timeout: timedelta
    retry_initial: timedelta
    retry_backoff: float
    retry_maximum: timedelta
    command: dict[str, Any]
    summary: str | None
    correlation_id: str
    causation_id: str

    @classmethod
    def of(cls, command: Command[Any], *, correlation_id: str, causation_id: str) -> SentCommand:
        """The command with its own settings. Raises InvalidCommand for one that its service could not store."""
        check_storable(command)
        spec = command.spec
        return cls(
            command_type=spec.name,
            service=spec.service,
            attempt_timeout=spec.attempt_timeout,
            retry_initial=spec.retry.initial,
            retry_backoff=spec.retry.backoff,
            retry_maximum=spec.retry.maximum,
            command=content_of(command),
            summary=summary_of(command),
            correlation_id=correlation_id,
            causation_id=causation_id,
        )


@workflow.defn
class SendCommand:
    """Sends one command. Fails where it is refused; otherwise retries until it has taken effect."""

    @workflow.run
    async def run(self, sent: SentCommand) -> Any:
        """Send the command, and return what its handler returned."""
        workflow_id = workflow.info().workflow_id
        dispatch = Dispatch(
            command_id=command_id_of(workflow_id, REACTION, sent.command_type),
            saga_id=workflow_id,
            saga_type="SendCommand",
            step=sent.command_type,
            correlation_id=sent.correlation_id,
            causation_id=sent.causation_id,
        )
        return await workflow.execute_activity(
            sent.command_type,
            args=[sent.command, dispatch],
            activity_id=sent.command_type,
            task_queue=sent.service,
            start_to_close_timeout=sent.attempt_timeout,
            heartbeat_timeout=sent.attempt_timeout / 2,
            # No limit to the attempts: nobody stands behind it who could undo what may have happened.
            retry_policy=RetryPolicy(
                initial_interval=sent.retry_initial,
                backoff_coefficient=sent.retry_backoff,
                maximum_interval=sent.retry_maximum,
            ),
            summary=sent.summary,
        )


@workflow.defn(name="SendCommand", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class SendCommandWithCurrentVersion(SendCommand):
    """`SendCommand`, for workers that have a version."""

    @workflow.run
    async def run(self, sent: SentCommand) -> Any:
        """Do as `SendCommand.run`."""
        return await super().run(sent)
