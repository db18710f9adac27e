"""A process that keeps the diary, and may be stopped, for the tests of leases.

`python -m tests.integration.subscriptions.diary_process URL [SHARDS]`
"""

from __future__ import annotations

import asyncio
import sys

from counteract.subscriptions import Subscription
from tests.integration.subscriptions.diary import Diary

if __name__ == "__main__":
    url, shards = sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 1
    asyncio.run(Subscription(url, Diary("there"), shards=shards, lease=0.5, batch_size=5).run())
