"""A saga that was reset: what its history calls done may have been undone since.

`temporal workflow reset` starts the saga again from an earlier point of its history. Commands that are sent again meet
the fence and get their recorded answers. Those that the kept history has behind it are not sent again, and if the saga
was undone in the meantime they have to be looked up.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from temporalio import workflow

from counteract.errors import SagaReset
from counteract.lifecycle import FIND_UNDONE
from counteract.messages import Outcome
from counteract.saga.dispatching import Dispatcher
from counteract.saga.ledger import Ledger


async def check_after_reset(ledger: Ledger, dispatcher: Dispatcher) -> None:
    """Before a step of a saga that was reset. Raises SagaReset if a step that it counts on was undone."""
    info = workflow.info()
    if info.run_id == info.original_execution_run_id:
        return
    # While the kept history is replayed there was no such look-up; each step asks under a name of its own, because the
    # SDK keeps the first answer to a name.
    if not workflow.patched(f"counteract: look-up after reset, before step {len(ledger.steps) + 1}"):
        return
    believed = {
        dispatcher.id_of(step.dispatch_key): step.key for step in ledger.steps if step.outcome is Outcome.APPLIED
    }
    undone = await workflow.execute_local_activity(
        FIND_UNDONE,
        list(believed),
        result_type=list[UUID],
        start_to_close_timeout=timedelta(seconds=10),
    )
    if undone:
        raise SagaReset(sorted(believed[command_id] for command_id in undone))
