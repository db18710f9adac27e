"""One run: everything up, a storm while customers check out, calm until the last saga has ended, and the verdict; then
pairs of faults, one pair per checkout."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from temporalio.client import Client

from counteract import CounteractPlugin, PostgresEventStore, migrate
from counteract.dev import EmbeddedTemporal, Supervisor
from counteract.dev.ports import free_port
from counteract.dev.state import StateFolder
from counteract.dev.temporal import NAMESPACE
from marketplace import catalogue
from marketplace.catalogue import Catalogue
from marketplace.chaos.cases import INCOMPLETE, LOST, Case, mix
from marketplace.chaos.databases import INDEX, Losses, MortalPostgres, Unreliable, tell
from marketplace.chaos.faults import ORCHESTRATOR, PROJECTIONS, PROVIDER, SERVICES, Faults
from marketplace.chaos.fleet import Fleet, Job
from marketplace.chaos.judging import tables
from marketplace.chaos.judging.books import Books, traces_of
from marketplace.chaos.judging.calm import Calm, Waits
from marketplace.chaos.judging.verdict import Evidence, each_saga_is_a_trace, findings, left_out
from marketplace.chaos.load import Load
from marketplace.chaos.namespaces import SECOND, add_namespace
from marketplace.chaos.pairs import Stage, pairs_hold
from marketplace.chaos.plan import CALM, Kind, Plan
from marketplace.chaos.progress import Progress
from marketplace.chaos.recovery import Caretaker
from marketplace.demo import finding_table
from marketplace.invariants import Finding, rebuilt_equals_live
from projections import READ_MODELS

SERVICE_NAMES = "orders,payments,products,shipments,stock"
MOODS = (
    (),
    ("--latency", "0.3"),
    ("--fault-rate", "0.3"),
    ("--latency", "0.2", "--fault-rate", "0.15", "--decline-rate", "0.1"),
)
"""The options of the payment provider, one set for each of its lives. Half of its errors come after it has acted."""
ROOT = Path(__file__).parent.parent.parent

UNANNOUNCED = """
    select distinct saga_id from commands
    where not exists (select from events where aggregate_type = 'saga' and aggregate_id = commands.saga_id)
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is up, and the plan of what happens to it."""

    plan: Plan
    load: Load
    faults: Faults
    caretaker: Caretaker
    goods: Catalogue
    logs: Path
    provider_url: str

    @property
    def postgres(self) -> MortalPostgres:
        return self.faults.database.postgres

    @property
    def losses(self) -> Losses:
        return self.faults.database.losses

    def done(self) -> Mapping[str, int]:
        ended = {
            f"ended by itself, started again: {name}": times for name, times in self.faults.fleet.own_ends().items()
        }
        lost = {"commits lost": self.losses.commits} if self.losses.commits else {}
        return Counter({**self.faults.done, **self.load.meddled, **ended, **lost})


async def run(console: Console, plan: Plan) -> bool:
    """Run the storm and the pairs. Returns whether every invariant holds."""
    began, holds = time.monotonic(), False
    async with Supervisor() as supervisor:
        scene = await set_up(supervisor, plan)
        progress = Progress(console, plan, scene.load, scene.faults, began)
        telling = asyncio.create_task(progress.told())
        try:
            with progress.part("storm"):
                await storm(scene)
            progress.say(f"{progress.far()}; nothing breaks any more")
            deadline = time.monotonic() + CALM if plan.faults else began + plan.seconds - plan.pairs
            with progress.part("calm"):
                waiting = await calm(scene, deadline)
            progress.say(f"{progress.far()}; now the books are read")
        finally:
            telling.cancel()
            await scene.load.leave()
        with progress.part("verdict"):
            holds = await judged(console, scene, waiting)
        console.print(progress.summary())
        if plan.pairs:
            stage = Stage(supervisor, scene.postgres, scene.caretaker.worlds[0], scene.logs)
            holds &= await pairs_hold(console, stage, seconds=plan.pairs, seed=plan.seed)
    return holds


async def set_up(supervisor: Supervisor, plan: Plan) -> Scene:
    """Start servers and processes, and load the products."""
    logs = await StateFolder.open("chaos", plan.logs)
    supervisor.afterwards(logs.close)
    postgres = await supervisor.add(MortalPostgres())
    await asyncio.to_thread(migrate, postgres.url)
    await tell(postgres, INDEX)
    temporal = await supervisor.add(EmbeddedTemporal(ui=False))
    goods = await stocked(postgres, plan.scale)
    names = [NAMESPACE, SECOND] if Kind.NAMESPACES in plan.kinds else [NAMESPACE]
    for name in names[1:]:
        await add_namespace(temporal.address, name)
    port = free_port()
    env = environment(postgres, temporal, port)
    fleet = await supervisor.add(Fleet(jobs(port, logs.path, names), env, logs.path, plan.seed))
    worlds = [await Client.connect(temporal.address, namespace=name, plugins=[CounteractPlugin()]) for name in names]
    losses = Losses()
    load = Load(dice(plan, "load"), plan.kinds, losses.sagas, at_once=plan.at_once)
    database = Unreliable(postgres, losses, dice(plan, "database"))
    faults = Faults(fleet, database, dice(plan, "faults"), plan.kinds, plan.freeze)
    caretaker = Caretaker(worlds, load, losses.sagas, dice(plan, "caretaker"), postgres.app_url)
    return Scene(plan, load, faults, caretaker, goods, logs.path, env["PAYMENT_PROVIDER_URL"])


def dice(plan: Plan, what: str) -> random.Random:
    return random.Random(f"{plan.seed} {what}")  # noqa: S311 - repeatable, no secret


async def stocked(postgres: MortalPostgres, scale: int) -> Catalogue:
    """The catalogue, with units enough for everybody, except of what is to be scarce."""
    goods = catalogue.catalogue()
    plain, replaced = (
        [replace(each, quantity=each.quantity * scale) for each in some] for some in (goods.plain, goods.replaced)
    )
    goods = replace(goods, plain=plain, replaced=replaced)
    async with PostgresEventStore.open(postgres.app_url) as store:
        await catalogue.load(store, goods)
    return goods


async def storm(scene: Scene) -> None:
    """Customers arrive, things break, and recovery looks for what is lost."""
    plan, load, faults = scene.plan, scene.load, scene.faults
    chosen = mix(scene.goods, plan, scene.caretaker.worlds, load.dice)

    def due(dealt: int) -> bool:
        """Faults are spread over the customers, however fast those come."""
        return dealt * len(chosen) <= len(load.cases) * (plan.faults or 0)

    arriving = asyncio.create_task(load.arrive(chosen, plan.storm))
    raging = asyncio.create_task(faults.rage(plan.pace, plan.faults, due))
    caring = asyncio.create_task(scene.caretaker.at_work() if Kind.RECOVERY in plan.kinds else asyncio.sleep(0))
    try:
        await asyncio.gather(arriving, *([raging] if plan.faults else []))
    finally:
        for task in (arriving, raging, caring):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    faults.raise_what_failed()


async def calm(scene: Scene, deadline: float) -> Mapping[Case, Waits]:
    """Wait until every saga has ended, lost ones included. Returns those that have not."""
    await scene.faults.fleet.all_up()
    async with PostgresEventStore.open(scene.postgres.app_url) as store:
        rest = Calm(scene.caretaker, store)
        async with rest.tended():
            await scene.load.ended(deadline - time.monotonic())
        await rest.all_ended(deadline)
        return await rest.held_up(scene.logs)


async def judged(console: Console, scene: Scene, waiting: Mapping[Case, Waits]) -> bool:
    """Print each invariant with its figure. Returns whether all hold."""
    load, url = scene.load, scene.postgres.app_url
    console.print(tables.storm_table(scene.plan.seed, scene.done()), tables.ending_table(load.cases))
    async with PostgresEventStore.open(url) as store:
        books = await Books.gathered(store, scene.provider_url)
        heed_recovery(load.cases, books)
        evidence = Evidence(load.cases, books, load.losses, waiting, scene.caretaker.closed)
        found = [*findings(evidence), await every_saga_is_on_record(store, load.losses)]
        found += [await each_saga_is_a_trace(evidence, traces_of(store, books))]
        found += [await rebuilt_equals_live(url, store, each, patience=CALM) for each in READ_MODELS]
        if load.losses:
            console.print(tables.left_out_table(left_out(evidence)))
        console.print(await tables.fence_table(store), finding_table(found))
    return all(finding.holds for finding in found)


def heed_recovery(cases: Sequence[Case], books: Books) -> None:
    """Take note of sagas that gave up turning back, because their record was lost, and were recovered instead."""
    for case in cases:
        if case.how == INCOMPLETE and books.records.get(case.key) == "compensated":
            case.how = LOST


async def every_saga_is_on_record(store: PostgresEventStore, losses: Set[str]) -> Finding:
    """Every saga is on record.

    One that was ended before it began sent nothing; one without a start on record could not be recovered.
    """
    async with store.connection() as connection:
        rows = await (await connection.execute(UNANNOUNCED)).fetchall()
    unannounced = [saga for (saga,) in rows if saga not in losses]
    name = "no command was sent by a saga whose start is not on record"
    return Finding(name, f"{len(unannounced)} sagas", not unannounced)


def environment(postgres: MortalPostgres, temporal: EmbeddedTemporal, port: int) -> Mapping[str, str]:
    return os.environ | {
        "DATABASE_URL": postgres.app_url,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "PAYMENT_PROVIDER_URL": f"http://127.0.0.1:{port}",
        "PYTHONUNBUFFERED": "1",
        # Whatever the shell says: what comes back after a kill would otherwise compile the same modules each time.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPATH": str(ROOT),
    }


def jobs(port: int, folder: Path, namespaces: Sequence[str]) -> list[Job]:
    """Each service runs twice, so that another process takes over from one that is gone; in further namespaces once."""
    accounts = folder / "provider.jsonl"
    # Those of an earlier run in the same folder belong to sagas that this one's database does not know.
    accounts.unlink(missing_ok=True)
    provider = ("-m", "payment_provider", "--port", str(port), "--state", str(accounts))
    return [
        Job("provider", PROVIDER, lambda dice: (*provider, *dice.choice(MOODS))),
        *(services(f"services-{number}") for number in (1, 2)),
        orchestrator("orchestrator"),
        Job("projections", PROJECTIONS, lambda _: ("-m", "projections")),
        *(services(f"services-{name}", TEMPORAL_NAMESPACE=name) for name in namespaces[1:]),
        *(orchestrator(f"orchestrator-{name}", TEMPORAL_NAMESPACE=name) for name in namespaces[1:]),
    ]


def services(name: str, **env: str) -> Job:
    return Job(name, SERVICES, lambda _: (str(ROOT / "worker.py"), "--services", SERVICE_NAMES), env)


def orchestrator(name: str, **env: str) -> Job:
    return Job(name, ORCHESTRATOR, lambda _: ("-m", "marketplace.chaos.worker"), env)
