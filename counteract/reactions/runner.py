"""The runner of reactions: it does what they say at least once, under ids by which a repeat finds the first."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from counteract.errors import ConfigurationError
from counteract.messages import Recorded
from counteract.reactions.reaction import Action, Reaction, Send, StartSaga
from counteract.reactions.start import Beginning
from counteract.saga.send_command import SendCommand, SentCommand
from counteract.store import EventDecoder, KeyWrapper, StoredEvent
from counteract.subscriptions import Subscriber, Subscription
from counteract.subscriptions.faults import is_outage
from counteract.subscriptions.lookout import Lookout

_AT_ONCE = 16
_PATIENCE = 5.0
"""Seconds for one start: less than a lease, so that an absent Temporal is not taken for a process that stands still."""


class ReactionRunner:
    """Gives events to reactions, and their answers to Temporal. `client` needs the CounteractPlugin.

    A checkpoint moves once the server has acknowledged all that a batch started. While the server cannot be reached the
    runner waits. Events of one stream are answered in order, those of different streams concurrently.
    """

    def __init__(
        self,
        url: str,
        client: Client,
        reactions: Sequence[Reaction],
        *,
        batch_size: int = 100,
        master_key: KeyWrapper | None = None,
    ) -> None:
        counts = Counter(each.name for each in reactions)
        if twice := [f"{name!r} is there twice: give one of them name=" for name, count in counts.items() if count > 1]:
            raise ConfigurationError("the reactions", twice)
        lookout = Lookout(url)
        self._subscriptions = [
            Subscription(
                url, ReactionSubscriber(each, client), batch_size=batch_size, master_key=master_key, lookout=lookout
            )
            for each in reactions
        ]

    async def run(self) -> None:
        """Run until it is cancelled. Raises ConfigurationError; waits for everything else to get better."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for subscription in self._subscriptions:
                    tasks.create_task(subscription.run())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None


class ReactionSubscriber(Subscriber):
    """Asks one reaction, and starts what it says."""

    def __init__(self, reaction: Reaction, client: Client) -> None:
        self.name = f"reaction {reaction.name}"
        self._reaction = reaction
        self._client = client
        self._decoder = EventDecoder(reaction.events)
        self.event_types = self._decoder.event_types
        self._beginning = Beginning(self.name, self.event_types)
        self._answered: dict[bytes, int] = {}
        """The positions of answered events that may come again: a batch longer than its lease gets further each time.

        They go by the ids of the events: after a restore another event may have the position.
        """

    async def prepare(self, connection: AsyncConnection) -> None:
        """Let a new reaction begin behind what happened before it was there."""
        if self._reaction.from_ == "now":
            await self._beginning.make(connection)

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        """Return once everything is acknowledged. An outage is raised rather than an event's own failure."""
        self._answered = {each: position for each, position in self._answered.items() if position >= events[0].position}
        streams = defaultdict(list)
        for event in events:
            if event.id_bytes in self._answered or self._decoder.passes_by(event):
                continue
            streams[event.stream].append(event)
        turns = asyncio.Semaphore(_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as tasks:
                for each in streams.values():
                    tasks.create_task(self._in_order(each, turns))
        except* Exception as failed:
            # Tasks stand side by side in one group, so that none of these is a group itself.
            failures = cast("Sequence[Exception]", failed.exceptions)
            raise next(filter(is_outage, failures), failures[0]) from None

    async def _in_order(self, events: Sequence[StoredEvent], turns: asyncio.Semaphore) -> None:
        for stored in events:
            async with turns:
                recorded = self._decoder.decode(stored)
                for index, action in enumerate(await self._reaction.actions(recorded)):
                    await self._start(action, recorded, f"{self._reaction.name} {recorded.event_id} {index}")
                self._answered[stored.id_bytes] = stored.position

    async def _start(self, action: Action, recorded: Recorded[Any], derived: str) -> None:
        run, argument, workflow_id = _workflow_of(action, recorded, derived)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._client.start_workflow(
                    run,
                    argument,
                    id=workflow_id,
                    task_queue=action.task_queue,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                )
        except WorkflowAlreadyStartedError:
            return
        except TimeoutError:
            raise ConnectionError(f"Temporal does not answer within {_PATIENCE:.0f} seconds") from None
        except RuntimeError as error:
            # So a client that was made with lazy=True says that it cannot connect; it has no type of its own for it.
            if not str(error).startswith("Failed client connect"):
                raise
            raise ConnectionError("Temporal cannot be reached") from error
        except RPCError as error:
            # Of all that a server may answer, only this is about what was asked of it.
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise
            raise ConnectionError(f"Temporal cannot start workflows: {error.status.name.lower()}") from error


def _workflow_of(action: Action, recorded: Recorded[Any], derived: str) -> tuple[Any, Any, str]:
    """The workflow to run, its argument and its id."""
    if isinstance(action, Send):
        correlation = str(recorded.metadata.get("correlation_id") or recorded.event_id)
        sent = SentCommand.of(action.command, correlation_id=correlation, causation_id=str(recorded.event_id))
        return SendCommand.run, sent, derived
    return _run_of(action), action.argument, action.id or derived


def _run_of(start: StartSaga) -> Any:
    return getattr(start.saga, "run", start.saga) if isinstance(start.saga, type) else start.saga
