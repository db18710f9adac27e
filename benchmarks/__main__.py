"""`python -m benchmarks [PART …]`: every comparison in one run, or some of them."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from rich.console import Console

from benchmarks.event_store import PARTS, bench_event_store
from benchmarks.recovery import bench_recovery
from benchmarks.sagas import bench_sagas
from benchmarks.years import bench_years
from counteract import CounteractError

SAGAS = "sagas"
RECOVERY = "recovery"
YEARS = "years"


async def bench(console: Console, options: argparse.Namespace) -> None:
    chosen = options.parts or [SAGAS, RECOVERY, YEARS, *PARTS]
    if SAGAS in chosen:
        await bench_sagas(console, options)
    if RECOVERY in chosen:
        await bench_recovery(console, options)
    if YEARS in chosen:
        await bench_years(console, options)
    if parts := [part for part in PARTS if part in chosen]:
        await bench_event_store(console, parts, options)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("benchmarks", description="Counteract beside other ways to do the same.")
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join([SAGAS, RECOVERY, YEARS, *PARTS])} (default: all)"
    )
    parser.add_argument("--pairs", type=int, default=7, help="alternating pairs per comparison (default: 7)")
    parser.add_argument("--sagas", type=int, default=200, help="sagas per measurement (default: 200)")
    parser.add_argument("--appends", type=int, default=3000, help="appends per measurement (default: 3000)")
    parser.add_argument(
        "--events",
        type=int,
        default=1_000_000,
        help="events that the log grows to, and ended sagas beside the lost ones; a rebuild has 1000000 at the most (default: 1000000)",
    )
    parser.add_argument(
        "--years",
        type=int,
        default=10_000_000,
        help="events of a store after years, with an ended saga for each ten of them; some 10 GB on disk (default: 10000000)",
    )
    parser.add_argument("--durable", action="store_true", help="event store: let PostgreSQL wait for the disk")
    parser.add_argument("--no-page", action="store_true", help="leave the pages in docs/ as they are")
    return parser


def main() -> int:
    options = parser().parse_args()
    if unknown := set(options.parts) - {SAGAS, RECOVERY, YEARS, *PARTS}:
        parser().error(f"no such part: {', '.join(sorted(unknown))}")
    try:
        asyncio.run(bench(Console(soft_wrap=True), options))
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
