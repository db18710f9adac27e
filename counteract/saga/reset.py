"""A saga that was reset: what its history calls done may have been undone since.

`temporal workflow reset` starts the saga again from an earlier point of its history. Commands that are sent again meet
the fence and get their recorded answers. Those that the kept history has behind it are not sent again, and if the saga
was undone in the meantime they have to be looked up. And those that the run before sent after that point are unknown to
the run that the reset began: should it end otherwise than forward, they are its concern all the same.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from temporalio import workflow
from temporalio.common import RetryPolicy

from counteract.commands import command_type
from counteract.errors import SagaReset
from counteract.lifecycle import FIND_SENT, FIND_UNDONE, LostStep
from counteract.messages import CommandKind, Outcome
from counteract.saga.dispatcher import Dispatcher
from counteract.saga.ledger import Ledger, Step


async def check_after_reset(ledger: Ledger, dispatcher: Dispatcher) -> None:
    """Raises SagaReset, before the next step of a saga that was reset, if a step that it counts on was undone."""
    if not _was_reset():
        return
    # While the kept history is replayed there was no such look-up; each step asks under a name of its own, because the
    # SDK keeps the first answer to a name.
    if not workflow.patched(f"counteract: look-up after reset, before step {len(ledger.steps) + 1}"):
        return
    believed = {
        dispatcher.id_of(f"undo {step.dispatch_key}"): step.key
        for step in ledger.steps
        # One that the saga itself has undone, and gone on without, is no surprise; a pivot that was settled as happened
        # looks like one that was undone.
        if step.kind is CommandKind.COMPENSATABLE and step.outcome is Outcome.APPLIED and not step.concluded
    }
    undone = await workflow.execute_local_activity(
        FIND_UNDONE,
        list(believed),
        result_type=list[UUID],
        start_to_close_timeout=timedelta(seconds=10),
    )
    if undone:
        raise SagaReset(sorted(believed[command_id] for command_id in undone))


async def adopt_from_earlier_runs(ledger: Ledger, dispatcher: Dispatcher) -> list[Step]:
    """Take over what earlier runs sent beyond the point of the reset, before a saga that was reset is undone.

    Returns their pivot, if there is one among it: what became of that says whether the saga may be undone at all.
    """
    # A compensation that the kept history has behind it had begun without asking.
    if not _was_reset() or not workflow.patched("counteract: what earlier runs sent"):
        return []
    sent = await workflow.execute_activity(
        FIND_SENT,
        dispatcher.run_id,
        result_type=list[LostStep],
        start_to_close_timeout=timedelta(seconds=10),
        retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=10)),
    )
    own = {step.key for step in ledger.steps}
    forgotten = [each for each in sent if each.key.partition("~")[0] not in own]
    adopted = [
        ledger.adopt(each.key, command_type(each.command_type, each.service).model_validate(each.command))
        for each in forgotten
    ]
    return [step for step in adopted if step.kind is CommandKind.PIVOT][:1]


def _was_reset() -> bool:
    info = workflow.info()
    return info.run_id != info.original_execution_run_id
