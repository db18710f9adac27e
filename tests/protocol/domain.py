"""A saga that carries out whatever plan it is given, with the bank's commands."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from counteract import Rejected, SagaIncomplete
from counteract.messages import Command
from counteract.saga import Park, SagaWorkflow
from tests.protocol.films import BuyTicket, Render
from tests.travel.bank import Authorize, Capture, HoldMoney, PayBack, PayHeldMoney, Reference, SendReceipt


class Plan(BaseModel):
    """What a tour does, step by step."""

    account: str
    steps: list[str]
    otherwise: list[str] | None = None
    """In a run that was begun by a reset, or by the workflow's retry policy."""
    child: Plan | None = None
    amounts: list[int] = [60]
    """What is held by each of its holds."""
    refunds: list[int] = [60]
    """What is paid back for a child; the last one in a further run, as after a change of the code."""
    deadline: float = 3600
    alert_after: float = 1
    parks: bool = False
    words: int = 0
    """How long it is where it is long."""
    own_id: bool = False
    """Its code makes an id of its own, as Temporal recommends."""
    polite: bool = False
    """Its code catches its own undoing, and returns."""
    idle: bool = False
    """Its code finds nothing to do, and opens no saga."""


@workflow.defn
class Tour(SagaWorkflow):
    """Carries out its plan."""

    def __init__(self) -> None:
        self.told = False
        self.through = False
        self.plan = Plan(account="", steps=[])

    @workflow.run
    async def run(self, plan: Plan) -> str:
        self.plan = plan
        if plan.idle:
            return "nothing to do"
        try:
            await self.carry_out(self._steps(plan))
        except (ApplicationError, SagaIncomplete):
            if not plan.polite:
                raise
            return "sorry"
        return "done"

    @workflow.signal
    def go_on(self) -> None:
        self.told = True

    @workflow.signal
    async def add(self, step: str) -> None:
        await self.execute(step)

    @workflow.update
    async def add_now(self, step: str) -> Any:
        return await self.execute(step)

    @workflow.signal
    async def fail_at_once(self) -> None:
        """As early as the saga takes note of it: while it is being opened."""
        await workflow.wait_condition(lambda: self._saga_run is not None and self._saga_run.under_way)
        raise ApplicationError("the new address is not valid", type="BadAddress")

    @workflow.query
    def is_through(self) -> bool:
        return self.through

    @workflow.query
    def ponder(self) -> None:
        """Its answer takes its time."""
        with workflow.unsafe.sandbox_unrestricted():
            time.sleep(0.7)

    @workflow.signal
    async def fail(self) -> None:
        raise ApplicationError("the new address is not valid", type="BadAddress")

    async def carry_out(self, steps: list[str]) -> None:
        park = Park(timeout=timedelta(minutes=1)) if self.plan.parks else None
        async with self.saga(
            deadline=timedelta(seconds=self.plan.deadline),
            alert_after=timedelta(seconds=self.plan.alert_after),
            on_failure=park,
        ):
            while steps:
                step, *steps = steps
                await self._step(step, steps)
            self.through = True

    async def execute(self, step: str) -> Any:
        assert self._saga is not None
        return await self._saga.execute(self._command(step))

    async def _step(self, step: str, rest: list[str]) -> None:
        match step:
            case "wait":
                await workflow.wait_condition(lambda: self.told)
            case "wait in spite of all":
                with contextlib.suppress(asyncio.CancelledError):
                    await workflow.wait_condition(lambda: self.told)
                await workflow.wait_condition(lambda: self.told)
            case "refuse":
                raise Rejected("changed its mind")
            case "new run" | "new run with a memo":
                memo = {"colour": "red"} if step.endswith("memo") else None
                further = self.plan.model_copy(update={"steps": rest, "refunds": [self._refund()]})
                workflow.continue_as_new(further, memo=memo)
            case "child" | "another child" | "child with an odd request":
                await self._child(step)
            case "race":
                await self._race()
            case "hold and authorize" | "many authorizations":
                await self._at_once(*step.split(" and ") if "and" in step.split() else ["authorize at length"] * 12)
            case _:
                await self._carry_out(step)

    async def _at_once(self, *steps: str) -> None:
        assert self._saga is not None
        await self._saga.parallel(*map(self._command, steps))

    async def _carry_out(self, step: str) -> None:
        assert self._saga is not None
        match step:
            case "child, until told":
                await self._child_until_told()
            case "impatient capture":
                await self._impatiently("capture")
            case "tolerant authorize":
                await self._saga.parallel(self._command("authorize"), tolerate_refusals=True)
            case "one by one":
                await self._saga.parallel(self._command("hold"), self._command("authorize"), at_once=1)
            case "patient render":
                await self._saga.execute(self._command("render"), attempt_timeout=timedelta(seconds=5))
            case _ if step.startswith("leave "):
                await self._leave_behind(step)
            case "forget":
                self._saga.execute(self._command("hold"))  # type: ignore[unused-coroutine] # the mistake
            case _:
                await self.execute(step)

    async def _leave_behind(self, step: str) -> None:
        assert self._saga is not None
        match step:
            case "leave a tolerant hold behind":
                self.other = asyncio.create_task(self._tolerantly("hold"))
                await asyncio.sleep(0)
            case "leave a group behind":
                self.rest = asyncio.create_task(self._at_once("hold", "authorize"))
            case "leave hold behind, and end":
                self.rest = asyncio.create_task(self._saga.execute(self._command("hold")))
            case _:
                self.rest = asyncio.create_task(self._in_the_background(step.split()[1:-1:2]))
                await asyncio.sleep(0)

    async def _in_the_background(self, steps: list[str]) -> None:
        for step in steps:
            await self.execute(step)

    async def _tolerantly(self, step: str) -> None:
        with contextlib.suppress(Rejected):
            await self.execute(step)

    async def _race(self) -> None:
        """The pivot waits in a task of its own for a single undo, while the saga's code fails elsewhere."""
        assert self._saga is not None
        too_much = HoldMoney(account=self.plan.account, trip="far", amount=1_000_000)
        with contextlib.suppress(Rejected):
            await self._saga.parallel(self._command("authorize"), too_much)
        await self.execute("hold")
        pivot = asyncio.create_task(self.execute("pay"))
        await workflow.wait_condition(lambda: self.told)
        assert not pivot.done()
        raise Rejected("something else")

    async def _child_until_told(self) -> None:
        """And goes on without its answer."""
        child = asyncio.create_task(self._child("child"))
        await workflow.wait_condition(lambda: self.told)
        child.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await child

    async def _impatiently(self, step: str) -> None:
        try:
            async with asyncio.timeout(0.2):
                await self.execute(step)
        except TimeoutError:
            raise Rejected("that took too long") from None

    async def _child(self, which: str) -> None:
        assert self._saga is not None
        # Nothing that could be written.
        request: Any = object() if which.endswith("odd request") else self.plan.child
        account = self.plan.child.account if self.plan.child else self.plan.account
        await self._saga.execute_child(
            Tour.run,
            request,
            id=f"{workflow.info().workflow_id}-{which}",
            compensation=PayBack(account=account + "x" * self.plan.words, amount=self._refund()),
        )

    def _refund(self) -> int:
        return self.plan.refunds[0 if self._is_first() else -1]

    def _steps(self, plan: Plan) -> list[str]:
        return plan.steps if self._is_first() or plan.otherwise is None else plan.otherwise

    def _is_first(self) -> bool:
        info = workflow.info()
        return info.run_id == info.original_execution_run_id and info.attempt == 1

    def _command(self, step: str) -> Command[Any]:
        account = self.plan.account
        trip = str(workflow.uuid4()) if self.plan.own_id else account
        held = sum(each.step.startswith("HoldMoney") for each in self._saga.report().steps) if self._saga else 0
        made: dict[str, Command[Any]] = {
            "authorize": Authorize(trip=trip),
            "authorize at length": Authorize(trip="x" * self.plan.words),
            "pay": PayHeldMoney(account=account, trip=trip),
            "capture": Capture(trip=trip),
            "pay back": PayBack(account=account, amount=1),
            "buy ticket": BuyTicket(trip=trip),
            "render": Render(account=account, seconds=1.5),
            "receipt": SendReceipt(trip=trip),
            "hold": HoldMoney(
                account=account, trip=f"{trip} {held}", amount=self.plan.amounts[held % len(self.plan.amounts)]
            ),
        }
        return made[step]


@workflow.defn
class Unopened(SagaWorkflow):
    """Forgets to open its saga."""

    @workflow.run
    async def run(self, plan: Plan) -> str:
        await self.saga().execute(SendReceipt(trip=plan.account))
        return "done"


@workflow.defn
class Lingering(Tour):
    """Has something to do after its saga."""

    @workflow.run
    async def run(self, plan: Plan) -> str:
        self.plan = plan
        await self.carry_out(plan.steps)
        await workflow.wait_condition(lambda: self.told)
        return "done"


@workflow.defn
class Late(Tour):
    """A further run waits to be told before it opens its saga, or does something else."""

    @workflow.run
    async def run(self, plan: Plan) -> str:
        self.plan = plan
        if workflow.info().continued_run_id:
            try:
                await workflow.wait_condition(lambda: self.told)
            except asyncio.CancelledError:
                if not plan.polite:
                    raise
                return "sorry"
            match plan.steps:
                case ["return early", *_]:
                    return "early"
                case ["fail early", *_]:
                    raise ApplicationError("not today", type="TooLate")
                case ["another run", *rest]:
                    workflow.continue_as_new(plan.model_copy(update={"steps": rest}))
        return await super().run(plan)


@workflow.defn
class Booking(SagaWorkflow):
    """Answers with more than a word, if it is let."""

    @workflow.run
    async def run(self, plan: Plan) -> Reference:
        async with self.saga():
            if "wait" in plan.steps:
                await asyncio.Event().wait()
            raise Rejected("no room")


@workflow.defn
class Package(Tour):
    """Goes on with what its child has answered."""

    @workflow.run
    async def run(self, plan: Plan) -> str:
        async with self.saga(on_failure=Park(timeout=timedelta(minutes=1))) as saga:
            booked = await saga.execute_child(
                Booking.run,
                plan,
                id=f"{workflow.info().workflow_id}-child",
                compensation=PayBack(account=plan.account, amount=60),
            )
            await workflow.wait_condition(lambda: self.told)
            return booked.reference


@workflow.defn
class Grouped(Tour):
    """Has task groups around its steps: in handlers, and around the whole saga."""

    @workflow.run
    async def run(self, plan: Plan) -> str:
        self.plan = plan
        async with asyncio.TaskGroup() as group:
            group.create_task(self.carry_out(plan.steps))
        return "done"

    @workflow.signal
    async def add(self, step: str) -> None:
        await self._in_a_group(step)

    @workflow.update
    async def add_now(self, step: str) -> Any:
        await self._in_a_group(step)

    async def _in_a_group(self, steps: str) -> None:
        async with asyncio.TaskGroup() as group:
            for step in steps.split(" and "):
                group.create_task(self.execute(step))


FLOWS = [Tour, Unopened, Lingering, Late, Booking, Package, Grouped]
