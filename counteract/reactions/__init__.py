"""Reactions: choreography beside orchestration. An event starts sagas, or sends commands.

    @reacts_to(PaymentCaptured)
    def ship(captured: PaymentCaptured) -> Send:
        return Send(CreateShipment(order_id=captured.order_id), task_queue="sagas")

    await ReactionRunner(url, client, [ship]).run()

Which ids the workflows have, and what is done twice: docs/how-to/react-to-events.md.
"""

from counteract.reactions.reaction import Reaction, Send, StartSaga, reacts_to
from counteract.reactions.runner import ReactionRunner
from counteract.saga.send_command import SendCommand

__all__ = ["Reaction", "ReactionRunner", "Send", "SendCommand", "StartSaga", "reacts_to"]
