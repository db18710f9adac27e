"""`python -m benchmarks`: every comparison in one run, on the terminal and in docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from benchmarks import report
from benchmarks.driving import Engine, engine
from benchmarks.racing import Latency, Race, latency, throughput
from benchmarks.replays import replays
from benchmarks.round_trips import counted
from counteract import CounteractError
from counteract.dev import EmbeddedPostgres, EmbeddedTemporal, Supervisor
from counteract.store.migrate import migrate

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


async def bench(console: Console, options: argparse.Namespace) -> None:
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
            PAGE.write_text(report.page(sections), encoding="utf-8")
            console.print(f"Written to docs/{PAGE.name}")


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


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("benchmarks", description="Counteract beside other ways to do the same.")
    parser.add_argument("--pairs", type=int, default=7, help="alternating pairs per comparison (default: 7)")
    parser.add_argument("--sagas", type=int, default=200, help="sagas per measurement (default: 200)")
    parser.add_argument("--no-page", action="store_true", help="leave docs/benchmarks.md as it is")
    return parser


def main() -> int:
    try:
        asyncio.run(bench(Console(soft_wrap=True), parser().parse_args()))
    except CounteractError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(code)
