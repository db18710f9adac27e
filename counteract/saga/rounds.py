"""One round of recovery: what it has found so far, and how it goes on in a further run where that is much."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from pydantic import Field
from temporalio import workflow
from temporalio.common import RetryPolicy

from counteract.lifecycle import FIND_LATE, FIND_LOST, FIND_WITHOUT_RECORD, Found, LateEffect, Lost, Page
from counteract.messages import Message
from counteract.saga.late import undo_late
from counteract.saga.tasks import at_most

MOST_BEGUN = 1000
"""Recoveries that one run begins: the server takes no more than 2000 open children of one workflow."""
MOST_TOLD = 500_000
"""Bytes of findings that are told one by one: a result may have two million."""
_LATE_AT_ONCE = 20
ASKING = RetryPolicy(maximum_interval=timedelta(minutes=1))
_LOOK: dict[str, Any] = {
    "result_type": Page,
    "start_to_close_timeout": timedelta(minutes=10),
    "heartbeat_timeout": timedelta(minutes=1),
    "retry_policy": ASKING,
}

Stage = Literal["lost", "without a record", "late", "over"]
_NEXT: dict[Stage, Stage] = {"lost": "without a record", "without a record": "late", "late": "over"}


class Progress(Message):
    """The progress of a round, for the run that continues it."""

    stage: Stage = "lost"
    after: tuple[str, ...] = ()
    """The place where the next page of this stage begins."""
    found: tuple[Found, ...] = ()
    told: int = 0
    """Bytes of what was found."""
    untold: dict[str, int] = Field(default_factory=dict)
    """The number of those found beyond that, by what was done about them."""


@dataclass(slots=True)
class Round:
    """Goes through the stages, a page at a time."""

    _include_forgotten: bool
    _restored_to: str | None
    _begin: Callable[[Lost], Awaitable[Found]]
    _stage: Stage
    _after: tuple[str, ...]
    _found: list[Found]
    _told: int
    _untold: Counter[str]
    _begun: int = field(default=0)

    @classmethod
    def after_run(
        cls,
        so_far: Progress,
        include_forgotten: bool,
        restored_to: str | None,
        begin: Callable[[Lost], Awaitable[Found]],
    ) -> Round:
        """The round as the run before has left it; `begin` begins the recovery of one lost saga."""
        found, untold = list(so_far.found), Counter(so_far.untold)
        return cls(include_forgotten, restored_to, begin, so_far.stage, so_far.after, found, so_far.told, untold)

    @property
    def progress(self) -> Progress:
        """The progress so far, for a further run."""
        return Progress(
            stage=self._stage, after=self._after, found=tuple(self._found), told=self._told, untold=dict(self._untold)
        )

    async def run(self) -> bool:
        """Go on with the round. False where it is to go on in a further run of the workflow, for it is not over."""
        while self._stage != "over":
            self._note(await self._page())
            if not self._after:
                self._stage = _NEXT[self._stage]
            if self._begun >= MOST_BEGUN or workflow.info().is_continue_as_new_suggested():
                return self._stage == "over"
        return True

    def result(self) -> list[Found]:
        """Each saga that was found, and one entry for all others of which the same was done."""
        more = [
            Found(
                saga_id="…",
                run_id="",
                what="left" if what == "left" else "recovering",
                why=f"{times} more",
                times=times,
            )
            for what, times in sorted(self._untold.items())
        ]
        return [*self._found, *more]

    async def _page(self) -> list[Found]:
        match self._stage:
            case "lost":
                after = self._after or None
                return await self._begin_all(FIND_LOST, [after, self._include_forgotten])
            case "without a record" if self._restored_to is not None:
                return await self._begin_all(FIND_WITHOUT_RECORD, [self._restored_to, *self._after[:1]])
            case "late":
                return await self._undo_late()
        self._after = ()
        return []

    async def _begin_all(self, look: str, arguments: Sequence[Any]) -> list[Found]:
        page: Page = await workflow.execute_activity(look, args=arguments, **_LOOK)
        # At once: each alone would take a task of this workflow.
        begun = await asyncio.gather(*map(self._begin, page.lost))
        self._begun += len(begun)
        self._after = tuple(page.after or ())
        return [*page.left, *begun]

    async def _undo_late(self) -> list[Found]:
        late = await workflow.execute_activity(
            FIND_LATE,
            args=list(self._after),
            result_type=list[LateEffect],
            start_to_close_timeout=timedelta(minutes=1),
            retry_policy=ASKING,
        )
        self._after = (late[-1].late_since, str(late[-1].command_id)) if late else ()
        return await at_most(_LATE_AT_ONCE, [partial(undo_late, each) for each in late])

    def _note(self, found: Sequence[Found]) -> None:
        for each in found:
            self._told += len(each.model_dump_json())
            if self._told <= MOST_TOLD:
                self._found.append(each)
            else:
                self._untold[each.what] += 1
