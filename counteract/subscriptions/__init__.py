"""Subscriptions: each hands the events of the log, in the global order, to a subscriber.

    class Audit(Subscriber):
        name = "audit"

        async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
            await connection.execute(insert(audit_log), [{"position": each.position} for each in events])

    await Subscription(url, Audit()).run()

What goes through the connection happens exactly once, anything else at least once: docs/how-to/run-projections.md.
"""

from counteract.subscriptions.progress import position_of, reached
from counteract.subscriptions.subscriber import Subscriber
from counteract.subscriptions.subscription import Subscription
from counteract.subscriptions.terms import Polling

__all__ = ["Polling", "Subscriber", "Subscription", "position_of", "reached"]
