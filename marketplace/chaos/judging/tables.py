"""The tables that a run prints."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from rich.table import Table

from counteract import PostgresEventStore
from marketplace.chaos.cases import ENDINGS, HAD_COMPLETED, INCOMPLETE, Case

COMMANDS = "select activity_type, status, count(*) from commands where undoes is null group by 1, 2"
COLUMNS = (*ENDINGS, INCOMPLETE, HAD_COMPLETED)


def storm_table(seed: int, done: Mapping[str, int]) -> Table:
    table = Table("what", "times", title=f"The storm (seed {seed})")
    for what, times in sorted(done.items()):
        table.add_row(what, str(times))
    return table


def ending_table(cases: Iterable[Case]) -> Table:
    table = Table("kind of checkout", *COLUMNS, "otherwise", title="How the sagas ended")
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for case in cases:
        by_kind[case.scenario.kind][case.how] += 1
        by_kind["[bold]all"][case.how] += 1
    for kind, counted in sorted(by_kind.items(), key=lambda each: (each[0].startswith("["), each[0])):
        figures = [counted[how] for how in COLUMNS]
        table.add_row(kind, *(str(figure or "") for figure in (*figures, counted.total() - sum(figures))))
    return table


def left_out_table(rows: Iterable[tuple[str, int]]) -> Table:
    table = Table("sagas that", "how many", title="Lost commits")
    for what, number in rows:
        table.add_row(what, str(number))
    return table


async def fence_table(store: PostgresEventStore) -> Table:
    """The fence's part: a fenced command is an original that its undo made harmless."""
    table = Table("command", "done", "rejected", "fenced", "started", title="The fence")
    async with store.connection() as connection:
        rows = await (await connection.execute(COMMANDS)).fetchall()
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    for activity, status, number in rows:
        by_type[activity][status] += number
    for activity, counted in sorted(by_type.items()):
        table.add_row(activity, *(str(counted[each] or "") for each in ("done", "rejected", "fenced", "started")))
    return table
