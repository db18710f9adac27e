"""`python -m marketplace.chaos --seed S --seconds N --checkouts N`: exits with 0 only if everything holds."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
from pathlib import Path

from rich.console import Console

from counteract import CounteractError
from marketplace.chaos.run import Plan, run


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("marketplace.chaos", description="Checkouts while parts are killed and frozen.")
    parser.add_argument("--seed", type=int, help="repeat the choices of an earlier run (default: a new one)")
    parser.add_argument("--seconds", type=float, default=240, help="how long it may take in all (default: 240)")
    parser.add_argument("--checkouts", type=int, default=300, help="how many customers come (default: 300)")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep what the processes wrote")
    return parser


def main() -> int:
    options = parser().parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed  # noqa: S311 - no secret
    try:
        plan = Plan(seed, options.seconds, options.checkouts, options.logs)
        return 0 if asyncio.run(run(Console(soft_wrap=True), plan)) else 1
    except CounteractError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(code)
