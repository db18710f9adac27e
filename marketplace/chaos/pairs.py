"""Pairs of faults in one checkout: as many of all such pairs as there is time for."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import psycopg
from rich.console import Console
from rich.markup import escape
from temporalio.client import Client

from counteract import PostgresEventStore, migrate
from counteract.dev import EmbeddedPostgres, Supervisor
from counteract.dev.ports import free_port
from counteract.testing import ExplorationFailed
from marketplace.chaos.faults import PROVIDER
from marketplace.chaos.fleet import Fleet, Job
from marketplace.exploration import explore_checkout

BEGINNING = 0.8
"""The share of the time in which runs begin: the rest is for the last ones to end."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers and services that are up after the storm."""

    supervisor: Supervisor
    postgres: EmbeddedPostgres
    client: Client
    logs: Path


async def pairs_hold(console: Console, stage: Stage, *, seconds: float, seed: int) -> bool:
    """Print the runs and their outcomes. Returns whether every checkout kept to the protocol, and the books agree."""
    url = await _another_database(stage.postgres)
    port = free_port()
    job = Job("provider of the pairs", PROVIDER, lambda _: ("-m", "payment_provider", "--port", str(port)))
    await stage.supervisor.add(Fleet([job], os.environ, stage.logs, seed))
    options = {"singles": False, "pairs": True, "sample": None, "seed": seed, "seconds": seconds * BEGINNING}
    async with PostgresEventStore.open(url, pool_size=20) as store:
        try:
            await explore_checkout(store, stage.client, f"http://127.0.0.1:{port}", console=console, **options)
        except ExplorationFailed as failed:
            console.print(escape(str(failed)))
            return False
    return True


async def _another_database(postgres: EmbeddedPostgres) -> str:
    async with await psycopg.AsyncConnection.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        await connection.execute("create database pairs")
    url = postgres.url_of("pairs")
    await asyncio.to_thread(migrate, url)
    return url
