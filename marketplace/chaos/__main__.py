"""`python -m marketplace.chaos --seed S --sagas N --faults N --only KIND,…`: exits with 0 only if all holds."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import sys
from pathlib import Path

from rich.console import Console

from counteract import MASTER_KEY_VARIABLE, CounteractError, MasterKey
from marketplace.chaos.load import AT_ONCE, MOST_AT_ONCE
from marketplace.chaos.plan import LONG_PACE, Kind, Plan
from marketplace.chaos.run import run

STORM, PAIRS = 3 / 8, 1 / 4
"""The shares of the time that the storm has, and pairs of faults have."""
WIDTH = 150
"""The least number of columns: in fewer, cells of the tables would break."""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("marketplace.chaos", description="Checkouts while parts are killed and frozen.")
    parser.add_argument("--seed", type=int, help="repeat the choices of an earlier run (default: a new one)")
    parser.add_argument("--sagas", "--checkouts", type=int, default=300, help="how many customers come (default: 300)")
    parser.add_argument("--faults", type=int, help="how many faults, however long that takes (default: as time allows)")
    parser.add_argument(
        "--seconds", type=float, default=240, help="without --faults: how long it may take in all (default: 240)"
    )
    parser.add_argument("--storm", type=float, help="how many of them things break for (default: three eighths)")
    parser.add_argument("--pairs", type=float, help="how many of them go to pairs of faults (default: a quarter)")
    parser.add_argument(
        "--only", type=kinds, default=frozenset(Kind), metavar="KIND,…", help=f"of {', '.join(Kind)} (default: all)"
    )
    parser.add_argument(
        "--at-once",
        type=positive,
        help=f"checkouts under way (default: {AT_ONCE}, up to {MOST_AT_ONCE} where processors are idle)",
    )
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep what the processes wrote")
    return parser


def positive(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given!r} is no number of checkouts: give 1 or more")
    return int(given)


def kinds(names: str) -> frozenset[Kind]:
    try:
        return frozenset(Kind(name.strip()) for name in names.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; there are {', '.join(Kind)}") from None


def plan(options: argparse.Namespace) -> Plan:
    seconds = options.seconds
    storm = (options.faults * LONG_PACE) if options.faults else seconds * STORM
    return Plan(
        seed=random.randrange(10**6) if options.seed is None else options.seed,  # noqa: S311 - no secret
        sagas=options.sagas,
        seconds=seconds,
        storm=storm if options.storm is None else options.storm,
        pairs=seconds * PAIRS if options.pairs is None else options.pairs,
        faults=options.faults,
        kinds=options.only,
        logs=options.logs,
        at_once=options.at_once,
    )


def main() -> int:
    options = parser().parse_args()
    # Attempts that fail are what this is about: the SDK need not report them one by one.
    logging.getLogger("temporalio").setLevel(logging.ERROR)
    os.environ.setdefault(MASTER_KEY_VARIABLE, MasterKey.new())
    try:
        return 0 if asyncio.run(run(Console(soft_wrap=True, width=max(Console().width, WIDTH)), plan(options))) else 1
    except CounteractError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(code)
