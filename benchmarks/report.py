"""The figures as tables, on the terminal and in docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

from benchmarks.races import Latency, Race
from benchmarks.replays import Replays
from benchmarks.round_trips import Cost

GOAL = 0.9
PACKAGES = ("temporalio", "psycopg", "pydantic", "dbos")

LABELS = {
    "counteract": "Counteract",
    "counteract-split": "Counteract, steps on a task queue of their own",
    "by-hand": "Temporal by hand",
    "by-hand-split": "Temporal by hand, steps on a task queue of their own",
    "dbos": "DBOS",
}

METHOD = f"""\
# Benchmarks

Written by `make bench`, which anybody can repeat. What counts are the ratios: they were taken in one run on one machine, in pairs that
alternate, and each is the median over the pairs. Absolute figures say more about the machine than about the engines. No test depends on them.

**The saga** has four steps, each of which writes one event: book a flight and a hotel, charge the card, send the tickets.

**The peers.** *Temporal by hand* is what a careful engineer writes without an engine: one activity per step, `try`/`except`, undo in reverse, and
one `INSERT … ON CONFLICT DO NOTHING` per step into the same table, made idempotent by the event's id. *DBOS* takes the same four steps with the same
statements, and keeps its state in the same PostgreSQL server; it has no server of its own, and so saves what two processes tell each other.
Neither loads state before it decides, keeps a record of commands, refuses an original that arrives after its undo, reports a saga's lifecycle as
events, or shows its progress. Counteract does, so that a ratio below 1 is the price of that; the goal is {GOAL} of Temporal by hand.

**Two shapes.** A saga and its steps may share a task queue, and then Temporal hands out a step together with the answer that scheduled it; or the
steps may be a service of their own, as in a deployment with several teams. Each engine is measured against its peer in the same shape.

Every engine is one process, worker and client together, with ten database connections. Temporal runs in memory, PostgreSQL without `fsync`: what is
measured is the engines' own work. Sixteen sagas are under way at once where rates are compared, and one where latency is.
"""


@dataclass(slots=True)
class Section:
    """One table."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    note: str = ""

    def table(self) -> Table:
        table = Table(*self.columns, title=self.title)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        lines = [
            f"## {self.title}",
            "",
            _line(self.columns),
            _line(["---"] * len(self.columns)),
            *map(_line, self.rows),
        ]
        return "\n".join([*lines, *(["", self.note] if self.note else [])]) + "\n"


def throughput_section(races: Sequence[Race]) -> Section:
    section = Section(
        "Sagas per second", ("Counteract against", "ours", "theirs", "ratio (median)", "lowest to highest", "pairs")
    )
    for race in races:
        spread = f"{min(race.ratios):.2f} to {max(race.ratios):.2f}"
        figures = f"{race.ours:.1f}", f"{race.theirs:.1f}", f"{race.ratio:.2f}", spread, str(len(race.ratios))
        section.rows.append((LABELS[race.peer], *figures))
    return section


def latency_section(latencies: Sequence[Latency]) -> Section:
    section = Section("One saga alone", ("engine", "p50 in ms", "p99 in ms"))
    section.rows = [(LABELS[each.name], f"{each.p50:.1f}", f"{each.p99:.1f}") for each in latencies]
    return section


def cost_section(costs: Sequence[Cost]) -> Section:
    note = (
        "Counted at the driver, on a connection whose statements are prepared; the goal is two round trips for a step."
    )
    section = Section("What a step costs the database", ("", "round trips", "statements"), note=note)
    section.rows = [(each.step, str(each.round_trips), str(each.statements)) for each in costs]
    return section


def replay_section(found: Replays) -> Section:
    note = "The histories in `tests/replay/histories`, each from its first event to its last."
    section = Section("Replay", ("recorded histories", "events in all", "replays per second"), note=note)
    section.rows = [(str(found.histories), str(found.events), f"{found.per_second:.0f}")]
    return section


def machine_section(servers: dict[str, str], packages: Sequence[str] = PACKAGES) -> Section:
    section = Section("Where this was measured", ("what", "which"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {"Python": platform.python_version(), **servers}
    size = {"cores": str(os.cpu_count()), "memory": f"{memory:.0f} GiB", "system": platform.system()}
    section.rows = list({**size, **versions, **{name: _version(name) for name in packages}}.items())
    return section


def show(console: Console, sections: Sequence[Section]) -> None:
    for section in sections:
        console.print(section.table())


def markdown(method: str, sections: Sequence[Section]) -> str:
    return "\n".join([method, *(section.markdown() for section in sections)])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
