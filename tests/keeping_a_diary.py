"""`python -m tests.keeping_a_diary URL`: a process that may be stopped, for the tests of leases."""

from __future__ import annotations

import asyncio
import sys

from counteract.subscriptions import Subscription
from tests.integration.test_leases import Diary

if __name__ == "__main__":
    asyncio.run(Subscription(sys.argv[1], Diary("there"), lease=0.5, batch_size=5).run())
