"""`python -m marketplace.workload --seconds S --concurrency N --seed N`: exits with 0 only if everything holds."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

from rich.console import Console
from rich.table import Table

from counteract import MASTER_KEY_VARIABLE, CounteractError, MasterKey
from marketplace.demo import finding_table
from marketplace.workload.customers import MIX, Customers
from marketplace.workload.run import Plan, run

WIDTH = 150
"""The least number of columns: in fewer, cells of the tables would break."""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "marketplace.workload", description="The benchmark's standard mix of transactions."
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long customers come (default: 60)")
    parser.add_argument("--concurrency", type=int, default=16, help="how many at once (default: 16)")
    parser.add_argument("--seed", type=int, help="repeat the choices of an earlier run (default: a new one)")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep what the processes wrote")
    return parser


def transaction_table(customers: Customers, plan: Plan) -> Table:
    title = f"The standard mix, {plan.concurrency} at once for {plan.seconds:.0f} s (seed {plan.seed})"
    columns = ("transaction", "share", "done", "per second", "p50 ms", "p95 ms", "p99 ms", "refused")
    table = Table(*columns, title=title)
    asked = sum(len(each.done) + len(each.refused) for each in customers.tallies.values())
    for name in MIX:
        tally = customers.tallies[name]
        share = (len(tally.done) + len(tally.refused)) / max(asked, 1)
        rate = f"{len(tally.done) / plan.seconds:.1f}"
        figures = [f"{1000 * each:.0f}" for each in percentiles(tally.done)]
        table.add_row(name, f"{share:.0%}", str(len(tally.done)), rate, *figures, str(len(tally.refused) or ""))
    return table


def percentiles(seconds: Sequence[float]) -> Sequence[float]:
    if len(seconds) < 2:
        return [*seconds, *seconds, *seconds]
    cut = quantiles(seconds, n=100, method="inclusive")
    return cut[49], cut[94], cut[98]


async def report(console: Console, plan: Plan) -> bool:
    outcome = await run(plan)
    console.print(transaction_table(outcome.customers, plan))
    console.print(
        "From the request until its answer: of a saga, until it has ended; of an update of deliveries, until all that it found due "
        "have been delivered.\nRefused: a card was declined, a product replaced since the cart copied it, or being replaced already."
    )
    console.print(finding_table(outcome.criteria, title="What the benchmark's authors ask for"))
    console.print(finding_table(outcome.invariants))
    return all(each.holds for each in (*outcome.criteria, *outcome.invariants))


def main() -> int:
    options = parser().parse_args()
    if options.seconds <= 0 or options.concurrency < 1:
        parser().error("--seconds and --concurrency are more than 0")
    # A killed service is part of it: the SDK need not report the attempts that fail one by one.
    logging.getLogger("temporalio").setLevel(logging.ERROR)
    os.environ.setdefault(MASTER_KEY_VARIABLE, MasterKey.new())
    seed = random.randrange(10**6) if options.seed is None else options.seed  # noqa: S311 - no secret
    console = Console(soft_wrap=True, width=max(Console().width, WIDTH))
    try:
        return 0 if asyncio.run(report(console, Plan(seed, options.seconds, options.concurrency, options.logs))) else 1
    except CounteractError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(code)
