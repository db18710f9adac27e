"""A rolling upgrade from the release before, under load: the schema first, then worker by worker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from psycopg import AsyncConnection
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from counteract.dev import EmbeddedPostgres, EmbeddedTemporal
from counteract.dev.fixtures import as_application, execute
from counteract.dev.process import GuardedProcess, Launch
from counteract.plugin import CounteractPlugin
from tests.commands import counteract
from tests.crossing.release_before import ROOT, unpack_release_before

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(600)]

QUEUE = "crossing"
CARDS = ("fine", "declined", "slow", "silent")
CUSTOMERS = 6
PIVOTS = ("", "fine", "silent")

Handle = WorkflowHandle[Any, Any]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A saga that waits through what is to come, and how it is to end after `then` has been done about it."""

    workflow: str
    then: str
    ends: str
    waits_before: str = "pivot"
    reached: str = "AskCard"
    more: Mapping[str, Any] = field(default_factory=dict)


WAITING = {
    "own-pivot": Waiting("Sale", "open", "completed"),
    "outside-pivot": Waiting("Sale", "open", "completed", more={"pivot": "silent"}),
    "cancelled": Waiting("Sale", "cancel", "compensated"),
    "stuck": Waiting("Sale", "resolve", "completed", waits_before="", reached="Sell"),
    "months": Waiting("Subscription", "open", "completed", waits_before="month 2", more={"months": 3}),
    "months-undone": Waiting(
        "Subscription", "open", "compensated", "month 3", "AskCard#2", more={"months": 3, "amount_after": 2}
    ),
    "gift": Waiting("Gift", "open child", "completed", reached=""),
    "gift-undone": Waiting("Gift", "open child", "compensated", reached="", more={"amount_after": 2}),
    "lost": Waiting("Sale", "recover", "compensated"),
    "lost-outside-pivot": Waiting(
        "Sale", "resume", "completed", waits_before="Send", reached="TakeMoney", more={"pivot": "fine"}
    ),
    "lost-past-pivot": Waiting("Sale", "resume", "completed", waits_before="Send", reached="Sell"),
}


@dataclass
class Shop:
    """The shop, its processes, and all sagas that were begun."""

    client: Client
    address: str
    owner_url: str
    env: Mapping[str, str]
    folder: Path
    waiting: dict[str, Waiting] = field(default_factory=dict)
    load: list[str] = field(default_factory=list)
    processes: list[GuardedProcess] = field(default_factory=list)
    begun_before: int = 0
    """So many of the load when the schema was migrated."""
    recovery: str = ""
    """What a last round says."""

    def paths(self, release: str) -> str:
        """With the release's engine first; the shop itself is the same for either."""
        first = [str(self.folder / "before")] if release == "before" else []
        return os.pathsep.join([*first, str(ROOT)])

    async def migrate(self, release: str) -> None:
        command = [sys.executable, "-P", "-m", "counteract.cli", "migrate", "--database-url", self.owner_url]
        env = {**self.env, "PYTHONPATH": self.paths(release)}
        done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    async def worker(self, release: str) -> GuardedProcess:
        name = f"{release}-{len(self.processes)}"
        process = await GuardedProcess.start(
            Launch(
                name=name,
                command=[sys.executable, "-P", str(ROOT / "tests/crossing/worker.py"), str(self.folder / "cards")],
                log=self.folder / f"{name}.log",
                env={**self.env, "PYTHONPATH": self.paths(release)},
            )
        )
        self.processes.append(process)
        engine = self.folder / "before" if release == "before" else ROOT
        async with asyncio.timeout(60):
            while not process.printed(f"ready with {engine}/counteract"):
                assert not process.has_ended, process.reason()
                await asyncio.sleep(0.05)
        return process

    async def begin(self, workflow: str, order: str, **more: Any) -> Handle:
        return await self.client.start_workflow(workflow, {"order": order, **more}, id=order, task_queue=QUEUE)

    async def begin_waiting(self, when: str) -> None:
        """One of each kind, each as far as it gets."""
        await asyncio.gather(
            *(self._begin_waiting(f"{name}-{when}-{uuid4().hex[:6]}", w) for name, w in WAITING.items())
        )

    async def _begin_waiting(self, order: str, waiting: Waiting) -> None:
        self.waiting[order] = waiting
        if waiting.then == "resolve":
            (self.folder / "cards" / f"no-address {order}").touch()
        handle = await self.begin(waiting.workflow, order, waits_before=waiting.waits_before, **waiting.more)
        if waiting.workflow == "Gift":
            handle = self.client.get_workflow_handle(f"{order}-bought")
        await until_applied(handle, waiting.reached or "AskCard")
        if waiting.then == "resolve":
            await until_report(handle, lambda report: report["status"] == "STUCK")
        if waiting.then in ("recover", "resume"):
            await handle.terminate("somebody meant another one")

    async def conclude(self, order: str, waiting: Waiting) -> None:
        """What a person does about it, now that there is only the new release."""
        handle = self.client.get_workflow_handle(order)
        match waiting.then:
            case "open":
                await handle.signal("open")
            case "open child":
                await self.client.get_workflow_handle(f"{order}-bought").signal("open")
            case "cancel":
                await handle.cancel()
            case "resolve":
                (self.folder / "cards" / f"no-address {order}").unlink()
                await self.sagas("resolve", order, "Send", "retry", "--why", "we have found the address")
            case "resume":
                await self._resume(order)
                await handle.signal("open")

    async def _resume(self, order: str) -> None:
        """As soon as the round of recovery that came before is through with it."""
        async with asyncio.timeout(60):
            done = await counteract("sagas", "resume", order, "--address", self.address)
            while "ask again" in done.stderr:
                done = await counteract("sagas", "resume", order, "--address", self.address)
        assert done.returncode == 0, done.stderr

    async def sagas(self, *words: str) -> str:
        done = await counteract("sagas", *words, "--address", self.address)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    async def fetch(self, statement: str) -> list[Any]:
        async with await AsyncConnection.connect(self.owner_url) as connection:
            return await (await connection.execute(statement.encode())).fetchall()


async def until_applied(handle: Handle, step: str) -> None:
    def holds(report: Any) -> bool:
        outcomes = {each["step"]: each["outcome"] for each in report["steps"]}
        return outcomes.get(step) == "applied"

    await until_report(handle, holds)


async def until_report(handle: Handle, holds: Callable[[Any], bool]) -> None:
    last: Any = None
    for _ in range(240):
        try:
            last = await handle.query("report")
        except Exception as error:
            last = error
        else:
            if last is not None and holds(last):
                return
        await asyncio.sleep(0.25)
    raise AssertionError(f"{handle.id} does not get on: {last}")


@asynccontextmanager
async def under_load(shop: Shop) -> AsyncIterator[None]:
    """Customers, each of whom buys again as soon as the last sale has ended, of every kind."""

    async def customer() -> None:
        while True:
            number = len(shop.load)
            order = f"load-{number}-{uuid4().hex[:6]}"
            shop.load.append(order)
            handle = await shop.begin("Sale", order, card=CARDS[number % 4], pivot=PIVOTS[number % 3])
            with suppress(WorkflowFailureError):
                await handle.result()

    customers = [asyncio.create_task(customer()) for _ in range(CUSTOMERS)]
    try:
        yield
    finally:
        for each in customers:
            each.cancel()
        await asyncio.gather(*customers, return_exceptions=True)
    assert all(each.cancelled() for each in customers)
    # Whoever was stopped on the way to the server may not have come there.
    came = [await has_begun(shop, order) for order in shop.load]
    shop.load[:] = [order for order, is_there in zip(shop.load, came, strict=True) if is_there]


async def has_begun(shop: Shop, order: str) -> bool:
    try:
        await shop.client.get_workflow_handle(order).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def crossed(
    postgres: EmbeddedPostgres, temporal: EmbeddedTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shop]:
    """The shop after the upgrade, with everything decided that was waiting."""
    folder = tmp_path_factory.mktemp("crossing")
    (folder / "cards").mkdir()
    unpack_release_before(folder / "before")
    await execute(postgres, "create database crossing")
    url = postgres.url_of("crossing")
    env = {**os.environ, "TEMPORAL_ADDRESS": temporal.address, "PYTHONUNBUFFERED": "1"}
    client = await Client.connect(temporal.address, plugins=[CounteractPlugin()])
    shop = Shop(client, temporal.address, url, env, folder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(execute, postgres, "drop database crossing with (force)")
        stack.push_async_callback(_stop, shop)
        await shop.migrate("before")
        shop.env = {**env, "DATABASE_URL": as_application(postgres, url)}
        await _cross(shop)
        yield shop


async def _cross(shop: Shop) -> None:
    old = [await shop.worker("before"), await shop.worker("before")]
    async with under_load(shop):
        await shop.begin_waiting("before")
        await shop.migrate("now")
        shop.begun_before = len(shop.load)
        await shop.begin_waiting("migrated")
        await shop.worker("now")
        await shop.begin_waiting("mixed")
        await old[0].stop()
        await shop.worker("now")
        await asyncio.sleep(3)
        await old[1].stop()
        await asyncio.sleep(5)
    await shop.sagas("recover", "--task-queue", QUEUE)
    await asyncio.gather(*(shop.conclude(order, waiting) for order, waiting in shop.waiting.items()))


async def _stop(shop: Shop) -> None:
    for process in shop.processes:
        await process.stop()


async def outcome(shop: Shop, order: str) -> str:
    """How its workflow ended, once it has. One that stays terminated is another workflow's concern."""
    handle = shop.client.get_workflow_handle(order)
    async with asyncio.timeout(60):
        try:
            await handle.result()
        except WorkflowFailureError as failure:
            if getattr(failure.cause, "type", "") == "SagaCompensated":
                return "compensated"
        status = (await handle.describe()).status
    assert status is not None
    return "compensated" if status is WorkflowExecutionStatus.CANCELED else status.name.lower()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outcomes(crossed: Shop) -> Mapping[str, str]:
    orders = [*crossed.load, *crossed.waiting]
    ended = dict(zip(orders, await asyncio.gather(*(outcome(crossed, each) for each in orders)), strict=True))
    lost = [order for order, waiting in crossed.waiting.items() if waiting.then == "recover"]
    for _ in range(120):
        rows = await crossed.fetch("select aggregate_id from events where event_type = 'SagaCompensated'")
        if {order for (order,) in rows} >= set(lost):
            break
        await asyncio.sleep(0.5)
    crossed.recovery = await crossed.sagas("recover", "--task-queue", QUEUE)
    return ended


async def test_every_saga_that_waited_through_the_upgrade_ends_as_it_should(
    crossed: Shop, outcomes: Mapping[str, str]
) -> None:
    wanted = {
        order: "terminated" if waiting.then == "recover" else waiting.ends for order, waiting in crossed.waiting.items()
    }

    assert {order: outcomes[order] for order in crossed.waiting} == wanted


async def test_every_saga_of_the_load_completes_or_is_undone(crossed: Shop, outcomes: Mapping[str, str]) -> None:
    assert {outcomes[order] for order in crossed.load} == {"completed", "compensated"}


async def ends_on_record(shop: Shop) -> dict[str, str]:
    found = await shop.fetch(
        "select aggregate_id, event_type from events where event_type in ('SagaCompleted', 'SagaCompensated')"
    )
    assert [order for order, count in Counter(order for order, _ in found).items() if count > 1] == []
    return {order: event.removeprefix("Saga").lower() for order, event in found}


async def test_each_saga_has_one_end_on_record_and_it_is_the_one_of_its_workflow(
    crossed: Shop, outcomes: Mapping[str, str]
) -> None:
    ends = await ends_on_record(crossed)
    lost = {order for order, waiting in crossed.waiting.items() if waiting.then == "recover"}

    assert {order: ends.get(order) for order in outcomes} == {
        order: "compensated" if order in lost else ended for order, ended in outcomes.items()
    }


async def test_each_saga_that_was_open_or_begun_after_the_migration_has_a_record_that_says_the_same(
    crossed: Shop, outcomes: Mapping[str, str]
) -> None:
    records, ends = dict(await crossed.fetch("select saga_id, state from sagas")), await ends_on_record(crossed)

    assert {*crossed.waiting, *crossed.load[crossed.begun_before :]} - records.keys() == set()
    assert records == {order: ends[order] for order in records}


async def test_what_was_set_aside_is_sold_or_back_on_the_shelf(crossed: Shop, outcomes: Mapping[str, str]) -> None:
    stories: dict[str, Counter[str]] = {}
    shelves = "select aggregate_id, event_type from events where aggregate_type = 'shelf'"
    for order, event in await crossed.fetch(shelves):
        stories.setdefault(order, Counter())[event] += 1
    ends = await ends_on_record(crossed)

    wrong = {order: (ends.get(order), story) for order, story in stories.items() if not adds_up(story, ends.get(order))}
    assert wrong == {}
    returned = {order for order, story in stories.items() if story["GoodsReturned"]}
    assert returned == {f"{order}-bought" for order in crossed.waiting if order.startswith("gift-undone")}


def adds_up(story: Counter[str], ended: str | None) -> bool:
    """Of goods that are paid outside there is no sale, only the parcel."""
    gone = max(story["GoodsSold"], story["GoodsSent"])
    return story["GoodsSetAside"] == 1 and (gone, story["GoodsPutBack"]) == ((1, 0) if ended == "completed" else (0, 1))


async def test_the_card_company_keeps_what_was_bought_and_nothing_else(
    crossed: Shop, outcomes: Mapping[str, str]
) -> None:
    ends, wrong = await ends_on_record(crossed), []
    for file in (crossed.folder / "cards").glob("key *"):
        word, order = file.read_text().split(" ")
        undone = (file.parent / f"undone {file.name.removeprefix('key ')}").exists()
        if (word == "done" and not undone) != (ends[order] == "completed"):
            wrong.append((order, ends[order], word, undone))

    assert wrong == []


async def test_a_last_round_of_recovery_finds_nothing(crossed: Shop, outcomes: Mapping[str, str]) -> None:
    assert crossed.recovery == "0 lost sagas found\n"
