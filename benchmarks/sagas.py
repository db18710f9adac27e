"""Sagas beside other engines, in docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from benchmarks import report
from benchmarks.drivers import Engine, engine
from benchmarks.races import Latency, Race, latency, throughput
from benchmarks.replays import replays
from benchmarks.round_trips import counted
from counteract.dev import EmbeddedPostgres, EmbeddedTemporal, Supervisor
from counteract.store.postgres.migrate import migrate

_PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


async def bench_sagas(console: Console, options: argparse.Namespace) -> None:
    async with Supervisor() as supervisor:
        postgres = await supervisor.add(EmbeddedPostgres())
        temporal = await supervisor.add(EmbeddedTemporal(ui=False))
        await asyncio.to_thread(migrate, postgres.url)
        sections = [report.cost_section(await counted(postgres.url))]
        sections.append(report.replay_section(await replays(rounds=options.pairs)))
        report.show(console, sections)
        env = os.environ | {
            "DATABASE_URL": postgres.url,
            "DBOS_DATABASE_URL": postgres.url_of("dbos"),
            "TEMPORAL_ADDRESS": temporal.address,
        }
        console.print("Sagas per second, ours by theirs:")
        compared = await compare(console, env, options)
        servers = {"Temporal server": temporal.version, "PostgreSQL": postgres.version}
        sections = [*compared, *sections, report.machine_section(servers)]
        if not options.no_page:
            _PAGE.write_text(report.markdown(report.METHOD, sections), encoding="utf-8")
            console.print(f"Written to docs/{_PAGE.name}")


async def compare(console: Console, env: Mapping[str, str], options: argparse.Namespace) -> list[report.Section]:
    """Counteract against each peer. Only what is being compared is running."""
    races: list[Race] = []
    latencies: list[Latency] = []
    for shape in ("", "-split"):
        async with AsyncExitStack() as stack:
            ours, *theirs = [await stack.enter_async_context(engine(name, env)) for name in contestants(shape)]
            for each in theirs:
                race = await throughput(ours, each, pairs=options.pairs, sagas=options.sagas)
                console.print(f"{report.LABELS[race.peer]}: {race.ratio:.2f}")
                races.append(race)
            latencies += await alone(options, ours, *theirs)
    sections = [report.throughput_section(races), report.latency_section(latencies)]
    report.show(console, sections)
    return sections


def contestants(shape: str) -> list[str]:
    names = [f"counteract{shape}", f"by-hand{shape}"]
    has_dbos = importlib.util.find_spec("dbos") is not None
    return [*names, *(["dbos"] if has_dbos and not shape else [])]


async def alone(options: argparse.Namespace, *engines: Engine) -> list[Latency]:
    return await latency(engines, rounds=options.pairs, sagas=options.sagas // 5)
