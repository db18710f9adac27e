"""Turns within a process: writers that have lost a race go one after the other, or they would lose it to one another
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary, WeakValueDictionary

PATIENCE = 1.0
"""Seconds after which a writer goes without a turn: the one that has it may hang, or wait for something that waits for
this one.
"""

_Locks = WeakValueDictionary[Hashable, asyncio.Lock]

_HAS_ONE: ContextVar[bool] = ContextVar("this task has a turn", default=False)
# A lock belongs to one event loop.
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, _Locks] = WeakKeyDictionary()


@asynccontextmanager
async def in_turn(what: Hashable) -> AsyncIterator[None]:
    """Wait for a turn at `what`, in the order of arrival, for PATIENCE seconds at most.

    A task that has a turn waits for no other one within it.
    """
    if _HAS_ONE.get():
        yield
        return
    locks = _locks.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    lock = locks.setdefault(what, asyncio.Lock())
    if not await _acquired(lock):
        yield
        return
    token = _HAS_ONE.set(True)
    try:
        yield
    finally:
        _HAS_ONE.reset(token)
        lock.release()


async def _acquired(lock: asyncio.Lock) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            return await lock.acquire()
    except TimeoutError:
        return False
