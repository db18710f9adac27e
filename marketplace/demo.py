"""`python -m marketplace.demo`: everything started, fifty checkouts of every kind, and what became of them.

Exits with 0 only if each checkout ended as it should and every invariant holds. `--stay` keeps everything running
afterwards, with the Web UI, until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from counteract import MASTER_KEY_VARIABLE, CounteractError, CounteractPlugin, MasterKey, PostgresEventStore, SagaReport
from counteract.dev import Supervisor
from counteract.dev.runtime import DevOptions, start
from domain.checkout import Receipt
from marketplace import catalogue
from marketplace.invariants import Facts, Finding, findings, rebuilt_equals_live
from marketplace.scenarios import Ending, Scenario, scenarios
from projections import READ_MODELS
from workflows.checkout import Checkout

AT_ONCE = 12
"""Checkouts under way at the same time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one checkout."""

    scenario: Scenario
    ending: str
    seconds: float

    @property
    def as_expected(self) -> bool:
        return self.ending == self.scenario.ending


async def demo(console: Console, *, stay: bool, ui_port: int | None = None) -> bool:
    """Run the demo. Returns whether everything was as it should be."""
    well = False
    async with Supervisor() as supervisor:
        variables = await start(supervisor, DevOptions(project=Path.cwd(), ui_port=ui_port))
        well = await act(console, variables)
        if stay:
            console.print("Everything stays up until Ctrl-C.")
            await supervisor.wait()
    return well


async def act(console: Console, variables: Mapping[str, str]) -> bool:
    """Load, check out, and report."""
    client = await Client.connect(variables["TEMPORAL_ADDRESS"], plugins=[CounteractPlugin()])
    async with PostgresEventStore.open(variables["DATABASE_URL"]) as store:
        goods = catalogue.catalogue()
        await catalogue.load(store, goods)
        console.print(f"{'Catalogue':<18} {len(goods.products)} products of {catalogue.SELLERS} sellers")
        outcomes = await check_out(console, client, scenarios(goods))
        facts = await Facts.gathered(store, variables["PAYMENT_PROVIDER_URL"])
        url = variables["DATABASE_URL"]
        found = [*findings(facts), *[await rebuilt_equals_live(url, store, each) for each in READ_MODELS]]
        console.print(outcome_table(outcomes), await totals_table(store), finding_table(found))
    show_where_to_look(console, variables["TEMPORAL_UI_URL"], outcomes)
    return all(outcome.as_expected for outcome in outcomes) and all(finding.holds for finding in found)


async def check_out(console: Console, client: Client, chosen: Sequence[Scenario]) -> list[Outcome]:
    """Run all checkouts, several at once, and show the progress."""
    places = asyncio.Semaphore(AT_ONCE)
    columns = TextColumn("{task.description:<18}"), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("Checkouts", total=len(chosen))

        async def one(scenario: Scenario) -> Outcome:
            async with places:
                outcome = await run(client, scenario)
                progress.advance(bar)
                return outcome

        return await asyncio.gather(*map(one, chosen))


async def run(client: Client, scenario: Scenario) -> Outcome:
    """Run one checkout to its end."""
    began = time.monotonic()
    handle = await client.start_workflow(Checkout.run, scenario.request, id=scenario.workflow_id, task_queue="sagas")
    if scenario.cancel_at:
        await begun(handle, scenario.cancel_at)
        await handle.cancel()
    return Outcome(scenario, await ending(handle), time.monotonic() - began)


async def begun(handle: WorkflowHandle[Checkout, Receipt], step: str) -> None:
    """Return once the saga has begun the step."""
    while True:
        report = await handle.query("report", result_type=SagaReport)
        if report and any(each.step == step for each in report.steps):
            return
        await asyncio.sleep(0.05)


async def ending(handle: WorkflowHandle[Checkout, Receipt]) -> str:
    try:
        await handle.result()
        return Ending.COMPLETED
    except WorkflowFailureError as failure:
        cause = failure.cause
        if isinstance(cause, CancelledError):
            return Ending.CANCELLED
        if isinstance(cause, ApplicationError) and cause.type == "SagaCompensated":
            return Ending.COMPENSATED
        return f"failed: {cause}"


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("kind of checkout", "expected", "as expected", "median s", title="What became of the checkouts")
    by_kind = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.scenario.kind].append(outcome)
    for kind, ended in sorted(by_kind.items()):
        fine = sum(outcome.as_expected for outcome in ended)
        others = {outcome.ending for outcome in ended if not outcome.as_expected}
        figure = f"{fine} of {len(ended)}" + (f" (others: {', '.join(sorted(others))})" if others else "")
        seconds = f"{median(outcome.seconds for outcome in ended):.2f}"
        table.add_row(kind, ended[0].scenario.ending, mark(fine == len(ended)) + " " + figure, seconds)
    return table


async def totals_table(store: PostgresEventStore) -> Table:
    """The read model's totals."""
    table = Table("status", "orders", "lines", "invoiced", "paid", "packages", title="Read model: order summary")
    query = (
        "select status, count(*), sum(lines), sum(total), sum(paid), sum(packages)"
        " from order_summary group by status order by status"
    )
    async with store.connection() as connection:
        for row in await (await connection.execute(query)).fetchall():
            table.add_row(*map(str, row))
    return table


def finding_table(found: Sequence[Finding], title: str = "What must hold, whatever happened") -> Table:
    table = Table("invariant", "figure", "", title=title)
    for finding in found:
        table.add_row(finding.invariant, finding.figure, mark(finding.holds))
    return table


def show_where_to_look(console: Console, ui: str, outcomes: Sequence[Outcome]) -> None:
    undone = next(outcome.scenario for outcome in outcomes if outcome.scenario.ending is Ending.COMPENSATED)
    console.print("In the Web UI, while it is up:")
    console.print(
        f"  all sagas that were undone   {ui}/namespaces/default/workflows?query=SagaStatus%3D%22COMPENSATED%22"
    )
    console.print(f"  one of them, step by step    {ui}/namespaces/default/workflows/{undone.workflow_id}")


def mark(fine: bool) -> str:
    return "[green]✓[/green]" if fine else "[red]✗[/red]"


def main() -> int:
    parser = argparse.ArgumentParser("marketplace.demo", description="Fifty checkouts, and what became of them.")
    parser.add_argument("--stay", action="store_true", help="keep everything up, with the Web UI, until Ctrl-C")
    parser.add_argument("--ui-port", type=int, help="port of the Web UI (default: a free one)")
    options = parser.parse_args()
    os.environ.setdefault(MASTER_KEY_VARIABLE, MasterKey.new())
    console = Console(soft_wrap=True)
    try:
        return 0 if asyncio.run(demo(console, stay=options.stay, ui_port=options.ui_port)) else 1
    except CounteractError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(code)
