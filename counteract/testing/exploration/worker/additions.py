"""A step of exploration's own, which a signal or an update sends while a saga is under way."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from counteract.messages import Compensatable, Retry
from counteract.testing.exploration.faults import Place
from counteract.testing.exploration.run import Run
from counteract.testing.exploration.worker.attendant import Attended

ADD_BY_SIGNAL = "counteract-explore-add"
ADD_BY_UPDATE = "counteract-explore-add-and-wait"
ADDED = Place("ExploredAddition")
"""The place of the step that these send."""


class ExploredAddition(
    Compensatable[None],
    service="counteract-explore",
    compensation="UndoExploredAddition",
    retry=Retry(initial=timedelta(milliseconds=20)),
):
    """A command such as a signal's handler of the user's might send."""


def take_additions(attended: Attended, run: Run) -> None:
    """Set the two handlers in the workflow that runs. The signal's catches its step's errors, the update's does not."""

    async def add() -> None:
        try:
            await attended.saga.execute(ExploredAddition())
        except BaseException as error:
            run.additions.append(type(error).__name__)
            raise
        run.additions.append("")

    async def add_and_catch() -> None:
        try:
            await add()
        except Exception as error:
            workflow.logger.debug("not added: %r", error)

    workflow.set_signal_handler(ADD_BY_SIGNAL, add_and_catch)
    workflow.set_update_handler(ADD_BY_UPDATE, add)
