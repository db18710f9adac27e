"""Those of one process who have lost a race take turns at the next attempt: they would only lose it to one another again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary, WeakValueDictionary

PATIENCE = 1.0
"""Seconds after which somebody goes without a turn: whoever has it may hang, or wait for something that waits for this one."""

_Locks = WeakValueDictionary[Hashable, asyncio.Lock]

_HAS_ONE: ContextVar[bool] = ContextVar("this task has a turn", default=False)
# A lock belongs to one event loop.
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, _Locks] = WeakKeyDictionary()


@asynccontextmanager
async def in_turn(what: Hashable) -> AsyncIterator[None]:
    """One after another, in the order in which they came, as long as that is no long wait.

    Whoever has a turn takes no other one for what is decided within it.
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
