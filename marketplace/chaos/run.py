"""One run: everything up, a storm while customers check out, calm until the last saga has ended, and the verdict; then
pairs of faults, one pair per checkout."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from rich.console import Console
from temporalio.client import Client

from counteract.dev import EmbeddedTemporal, Supervisor
from counteract.dev.ports import free_port
from counteract.dev.state import StateFolder
from counteract.dev.temporal import NAMESPACE
from counteract.plugin import CounteractPlugin
from counteract.store import PostgresEventStore
from counteract.store.migrate import migrate
from marketplace import catalogue
from marketplace.catalogue import Catalogue
from marketplace.chaos import verdict
from marketplace.chaos.faults import ORCHESTRATOR, PROJECTIONS, PROVIDER, SERVICES, Faults
from marketplace.chaos.fleet import Fleet, Job, MortalPostgres
from marketplace.chaos.load import Load, mix
from marketplace.chaos.pairs import Stage, pairs_hold
from marketplace.scenarios import Scenario

SERVICE_NAMES = "orders,payments,products,shipments,stock"
MOODS = (
    (),
    ("--latency", "0.3"),
    ("--fault-rate", "0.3"),
    ("--latency", "0.2", "--fault-rate", "0.15", "--decline-rate", "0.1"),
)
"""Of the payment provider, one for each of its lives. A fault is an error, half of them after it has acted."""
RESET_RECOVERED_SHARE = 0.75
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. What has not ended `seconds` after the begin is not waited for; a run may well be over sooner."""

    seed: int
    seconds: float
    checkouts: int
    storm: float
    """Seconds, of those, in which faults happen: some are needed for what they leave to be done."""
    pairs: float
    """Seconds, of those, for pairs of faults."""
    logs: Path | None = None

    @property
    def pace(self) -> float:
        """Seconds from fault to fault: the deck is dealt at least once in a short run, and several times in a long one."""
        return min(3.0, self.storm / 16)

    @property
    def freeze(self) -> tuple[float, float]:
        """Past the heartbeat timeout of the payment service's activities, and in long runs past that of all."""
        return (6.0, 13.0) if self.storm > 60 else (4.0, 6.0)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is up, and what is to happen to it."""

    load: Load
    faults: Faults
    logs: Path
    provider_url: str


async def run(console: Console, plan: Plan) -> bool:
    """Whether all that must hold holds."""
    deadline, holds = time.monotonic() + plan.seconds - plan.pairs, False
    async with Supervisor() as supervisor:
        goods = catalogue.catalogue()
        scene = await set_up(supervisor, plan, goods)
        load, faults = scene.load, scene.faults
        try:
            await storm(load, faults, mix(goods, plan.checkouts, load.dice), plan)
            await faults.fleet.all_up()
            await load.ended(deadline - time.monotonic())
            await recover(load, deadline)
        finally:
            await load.leave()
        console.print(verdict.storm_table(plan.seed, faults, load), verdict.ending_table(load))
        holds = await verdict.judged(console, load, faults.postgres.app_url, scene.provider_url)
        if plan.pairs:
            stage = Stage(supervisor, faults.postgres, load.client, scene.logs)
            holds &= await pairs_hold(console, stage, seconds=plan.pairs, seed=plan.seed)
    return holds


async def set_up(supervisor: Supervisor, plan: Plan, goods: Catalogue) -> Scene:
    """Servers, products and processes."""
    logs = await StateFolder.open("chaos", plan.logs)
    supervisor.afterwards(logs.close)
    postgres = await supervisor.add(MortalPostgres())
    await asyncio.to_thread(migrate, postgres.url)
    temporal = await supervisor.add(EmbeddedTemporal(ui=False))
    async with PostgresEventStore.open(postgres.app_url) as store:
        await catalogue.load(store, goods)
    port = free_port()
    env = environment(postgres, temporal, port)
    fleet = await supervisor.add(Fleet(jobs(port, logs.path), env, logs.path, plan.seed))
    client = await Client.connect(temporal.address, plugins=[CounteractPlugin()])
    load = Load(client, random.Random(f"{plan.seed} load"))  # noqa: S311 - repeatable, no secret
    faults = Faults(fleet, postgres, random.Random(f"{plan.seed} faults"), plan.freeze)  # noqa: S311
    return Scene(load, faults, logs.path, env["PAYMENT_PROVIDER_URL"])


async def storm(load: Load, faults: Faults, chosen: Sequence[Scenario], plan: Plan) -> None:
    """Customers arrive, and things break."""
    raging = asyncio.create_task(faults.rage(plan.pace))
    try:
        await load.arrive(chosen, plan.storm)
    finally:
        raging.cancel()
        # A fault that could not be carried out is an error of the test, and must not pass for calm weather.
        with suppress(asyncio.CancelledError):
            await raging


async def recover(load: Load, deadline: float) -> None:
    """What `counteract sagas recover` does, and then wait for it: terminated sagas run no code of their own."""
    if not load.terminated:
        return
    found: list[str] = await load.client.execute_workflow(
        "RecoverSagas", False, id=f"recover-sagas-{uuid4().hex[:8]}", task_queue="sagas", result_type=list[str]
    )
    load.meddled["recovered"] += len(found)
    # What has not come to its end by then shows in the invariants.
    with suppress(TimeoutError):
        async with asyncio.timeout(max(deadline - time.monotonic(), 1)):
            await asyncio.gather(*map(partial(recovered, load.client), found), return_exceptions=True)
            again = [scenario for scenario in load.terminated if load.dice.random() < RESET_RECOVERED_SHARE]
            await asyncio.gather(*map(load.reset_again, again))


async def recovered(client: Client, saga_id: str) -> None:
    # The first run's, for the saga may have been reset.
    run_id = (await client.get_workflow_handle(saga_id).describe()).raw_info.first_run_id
    await client.get_workflow_handle(f"recover {saga_id} {run_id}").result()


def environment(postgres: MortalPostgres, temporal: EmbeddedTemporal, port: int) -> Mapping[str, str]:
    return os.environ | {
        "DATABASE_URL": postgres.app_url,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "PAYMENT_PROVIDER_URL": f"http://127.0.0.1:{port}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(ROOT),
    }


def jobs(port: int, folder: Path) -> list[Job]:
    """Each service runs twice, so that the work of one that is gone is taken over by the other."""
    worker = str(ROOT / "worker.py")
    provider = ("-m", "payment_provider", "--port", str(port), "--state", str(folder / "provider.jsonl"))
    return [
        Job("provider", PROVIDER, lambda dice: (*provider, *dice.choice(MOODS))),
        Job("services-1", SERVICES, lambda _: (worker, "--services", SERVICE_NAMES)),
        Job("services-2", SERVICES, lambda _: (worker, "--services", SERVICE_NAMES)),
        Job("orchestrator", ORCHESTRATOR, lambda _: (worker, "--services", "sagas")),
        Job("projections", PROJECTIONS, lambda _: ("-m", "projections")),
    ]
