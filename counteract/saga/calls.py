"""The calls of a saga's code, awaited or not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from temporalio import workflow

from counteract.errors import SagaMisuse

R = TypeVar("R")


@dataclass(slots=True)
class Calls:
    """Notes calls: with a forgotten `await` the saga would complete without its steps."""

    _unbegun: list[Coroutine[Any, Any, Any]] = field(default_factory=list)
    """The calls that had yet to begin when the last one was made, which is among them."""

    def noted(self, call: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:
        """Note the call, and return it."""
        self._unbegun = [*filter(_is_unbegun, self._unbegun), call]
        return call

    async def refuse_unawaited(self) -> BaseException | None:
        """Raise SagaMisuse where a call was never begun. Returns what has stopped the saga meanwhile, if anything."""
        if any(map(_is_unbegun, self._unbegun)):
            try:
                # A task that was only just created has yet to begin.
                await asyncio.sleep(0)
            except asyncio.CancelledError as stopped:
                # The old branch, which left such a saga to recovery, can go once no workflow is kept that ended in it.
                if workflow.patched("counteract: a saga that is stopped as its code comes to its end is closed"):
                    return stopped
                raise
        forgotten = list(filter(_is_unbegun, self._unbegun))
        for each in forgotten:
            each.close()
        if forgotten:
            raise SagaMisuse(
                f"{len(forgotten)} steps were never begun: "
                "write `await` before saga.execute(...) and saga.parallel(...)"
            )
        return None


def _is_unbegun(call: Coroutine[Any, Any, Any]) -> bool:
    return inspect.getcoroutinestate(call) == inspect.CORO_CREATED
