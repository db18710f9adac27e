"""What was done, what became of the checkouts, and what must hold all the same."""

from __future__ import annotations

from collections import Counter, defaultdict

from rich.console import Console
from rich.table import Table

from counteract.lifecycle import sagas
from counteract.store import PostgresEventStore
from marketplace.chaos.faults import Faults
from marketplace.chaos.load import TERMINATED, Load
from marketplace.demo import finding_table
from marketplace.invariants import Facts, Finding, findings, rebuilt_equals_live
from marketplace.scenarios import Ending
from projections import READ_MODELS

ENDINGS = (Ending.COMPLETED, Ending.COMPENSATED, Ending.CANCELLED, TERMINATED)

UNANNOUNCED = """
    select count(distinct saga_id) from commands
    where not exists (select from events where aggregate_type = 'saga' and aggregate_id = commands.saga_id)
"""
COMMANDS = "select activity_type, status, count(*) from commands where undoes is null group by 1, 2"


async def judged(console: Console, load: Load, url: str, provider_url: str) -> bool:
    """Print each invariant with its figure; whether all hold."""
    async with PostgresEventStore.open(url) as store:
        facts = await Facts.gathered(store, provider_url)
        found = [every_saga_ended(load), nothing_impossible(load), ends_agree(load, facts), *findings(facts)]
        found += [await every_saga_is_on_record(store)]
        found += [await rebuilt_equals_live(url, store, each) for each in READ_MODELS]
        console.print(await fence_table(store), finding_table(found))
    return all(finding.holds for finding in found)


def every_saga_ended(load: Load) -> Finding:
    wrong = {scenario.workflow_id: how for scenario, how in load.endings.items() if how not in ENDINGS}
    listed = "".join(f"\n{name}: {how}" for name, how in sorted(wrong.items())[:10])
    return Finding("every saga has ended, and in a way that it may", f"{len(load.endings)} sagas{listed}", not wrong)


async def every_saga_is_on_record(store: PostgresEventStore) -> Finding:
    """One that was ended before it began sent nothing; one without a start on record could not be recovered."""
    async with store.connection() as connection:
        (unannounced,) = await (await connection.execute(UNANNOUNCED)).fetchone() or (0,)
    name = "no command was sent by a saga whose start is not on record"
    return Finding(name, f"{unannounced} sagas", unannounced == 0)


def nothing_impossible(load: Load) -> Finding:
    """Delays may turn a checkout that could have succeeded into an undone one, and never the other way round."""
    refused = [scenario for scenario in load.endings if scenario.ending is Ending.COMPENSATED]
    wrong = [each.workflow_id for each in refused if load.endings[each] == Ending.COMPLETED]
    figure = f"{len(refused)} checkouts{''.join(chr(10) + name for name in wrong)}"
    return Finding("nothing completes that has to be refused", figure, not wrong)


def ends_agree(load: Load, facts: Facts) -> Finding:
    """A reset gives a saga another run and not another end: what is on record holds for the last run too."""
    progress = facts.states(sagas)
    wrong = [
        scenario.workflow_id
        for scenario, how in load.endings.items()
        if (on_record := progress.get(scenario.workflow_id)) and on_record.completed != (how == Ending.COMPLETED)
    ]
    figure = f"{len(progress)} sagas{''.join(chr(10) + name for name in wrong)}"
    return Finding("each saga's last run ended as its terminal event says", figure, not wrong)


def storm_table(seed: int, faults: Faults, load: Load) -> Table:
    table = Table("what", "times", title=f"The storm (seed {seed})")
    ended = {f"ended by itself, started again: {name}": times for name, times in faults.fleet.own_ends().items()}
    for what, times in sorted({**faults.done, **load.meddled, **ended}.items()):
        table.add_row(what, str(times))
    return table


def ending_table(load: Load) -> Table:
    table = Table("kind of checkout", *ENDINGS, "otherwise", title="How the sagas ended")
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for scenario, how in load.endings.items():
        by_kind[scenario.kind][how] += 1
        by_kind["[bold]all"][how] += 1
    for kind, counted in sorted(by_kind.items(), key=lambda each: (each[0].startswith("["), each[0])):
        figures = [counted[how] for how in ENDINGS]
        table.add_row(kind, *(str(figure or "") for figure in (*figures, counted.total() - sum(figures))))
    return table


async def fence_table(store: PostgresEventStore) -> Table:
    """What the fence saw: a fenced command is an original that its undo made harmless."""
    table = Table("command", "done", "rejected", "fenced", "started", title="The fence")
    async with store.connection() as connection:
        rows = await (await connection.execute(COMMANDS)).fetchall()
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    for activity, status, number in rows:
        by_type[activity][status] += number
    for activity, counted in sorted(by_type.items()):
        table.add_row(activity, *(str(counted[each] or "") for each in ("done", "rejected", "fenced", "started")))
    return table
