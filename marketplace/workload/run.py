"""One run: everything up, customers for a while, one service killed halfway; and what must hold afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from temporalio.client import Client

from counteract import CounteractPlugin, PostgresEventStore, async_engine, migrate, reached
from counteract.dev import EmbeddedTemporal, Supervisor
from counteract.dev.ports import free_port
from counteract.dev.state import StateFolder
from marketplace import catalogue
from marketplace.chaos.databases import MortalPostgres
from marketplace.chaos.faults import ORCHESTRATOR, PROJECTIONS, PROVIDER, SERVICES
from marketplace.chaos.fleet import Fleet, Job
from marketplace.chaos.run import ROOT, SERVICE_NAMES, environment
from marketplace.invariants import Facts, Finding
from marketplace.workload.criteria import criteria, standing
from marketplace.workload.customers import Customers
from projections import READ_MODELS

UNITS = 1_000_000
"""The units of each product: the mix has no transaction that brings more."""
KILLED = "stock"


@dataclass(frozen=True, slots=True)
class Plan:
    """The extent of a run."""

    seed: int
    seconds: float
    concurrency: int
    logs: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answers that customers got, and the findings afterwards."""

    customers: Customers
    criteria: Sequence[Finding]
    invariants: Sequence[Finding]


async def run(plan: Plan) -> Outcome:
    async with Supervisor() as supervisor:
        logs = await StateFolder.open("workload", plan.logs)
        supervisor.afterwards(logs.close)
        postgres = await supervisor.add(MortalPostgres())
        await asyncio.to_thread(migrate, postgres.url)
        temporal = await supervisor.add(EmbeddedTemporal(ui=False))
        port = free_port()
        env = environment(postgres, temporal, port)
        goods = [replace(each, quantity=UNITS) for each in catalogue.catalogue().plain]
        async with PostgresEventStore.open(postgres.app_url, pool_size=plan.concurrency) as store:
            await catalogue.load(store, catalogue.Catalogue(goods, [], []))
            fleet = await supervisor.add(Fleet(jobs(port, logs.path), env, logs.path, plan.seed))
            client = await Client.connect(temporal.address, plugins=[CounteractPlugin()])
            engine = async_engine(postgres.app_url, pool_size=plan.concurrency)
            try:
                customers = Customers(client, store, engine, goods, plan.seed)
                await _shown(store)
                killing = asyncio.create_task(_kill(fleet, plan.seconds / 2))
                await customers.ask(plan.seconds, plan.concurrency)
                await killing
                await _shown(store)
            finally:
                await engine.dispose()
            facts = await Facts.gathered(store, env["PAYMENT_PROVIDER_URL"])
            asked = await criteria(customers, facts, KILLED, fleet.own_ends())
            outcome = Outcome(customers, asked, await standing(postgres.app_url, store, facts))
    return outcome


async def _shown(store: PostgresEventStore) -> None:
    """Return once every read model has come as far as the log."""
    end = await store.high_water_mark()
    for each in READ_MODELS:
        await reached(store, each.name, end, timeout=60)


async def _kill(fleet: Fleet, after: float) -> None:
    await asyncio.sleep(after)
    fleet.named(KILLED).kill()


def jobs(port: int, folder: Path) -> list[Job]:
    """Each service is a process of its own."""
    worker = str(ROOT / "worker.py")
    accounts = folder / "provider.jsonl"
    # Those of an earlier run in the same folder belong to sagas that this one's database does not know.
    accounts.unlink(missing_ok=True)
    provider = ("-m", "payment_provider", "--port", str(port), "--state", str(accounts))

    def job(name: str, role: str, *command: str) -> Job:
        return Job(name, role, lambda _: command)

    return [
        job("provider", PROVIDER, *provider),
        *(job(service, SERVICES, worker, "--services", service) for service in SERVICE_NAMES.split(",")),
        job("sagas", ORCHESTRATOR, worker, "--services", "sagas"),
        job("projections", PROJECTIONS, "-m", "projections"),
    ]
