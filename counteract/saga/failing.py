"""What the saga's own code may raise, and what it means."""

from __future__ import annotations

import asyncio

from temporalio import workflow


def is_saga_failure(error: BaseException) -> bool:
    """Neither a bug nor the end of the coroutine itself: the worker may drop a workflow that was terminated."""
    if isinstance(error, asyncio.CancelledError):
        return True
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_saga_failure, error.exceptions))
    return isinstance(error, Exception) and workflow.is_failure_exception(error)


def first(failure: BaseException | None) -> BaseException | None:
    """Of the failures that a task group collected, the first."""
    return first(failure.exceptions[0]) if isinstance(failure, BaseExceptionGroup) else failure


def describe(failure: BaseException) -> str:
    return str(failure) or type(failure).__name__
