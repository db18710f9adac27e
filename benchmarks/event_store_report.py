"""The event store's figures as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.delay import Delays
from benchmarks.races import Race
from benchmarks.rebuilds import Rebuilt
from benchmarks.report import Section

LABELS = {"by-hand": "by hand", "eventsourcing": "eventsourcing"}

METHOD = """\
# Benchmarks of the event store

Written by `make bench`, which anybody can repeat (`make bench ARGS="append load"` for some of them). What counts are the ratios: they were taken in
one run on one machine, in pairs that alternate, and each is the median over the pairs. Absolute figures say more about the machine.

**By hand** is the limit: what the same table bears from statements that somebody wrote for this one purpose. An append is one round trip, a prepared
`INSERT … SELECT` that checks the version; over a pool of
connections as ours. It takes no turns (two writers of a stream may both fail), does not
recognise ids that are sent again, checks no JSON, and wakes nobody. Counteract does all that; the goal is 0.85 of it.

**eventsourcing** is the Python library of that name with its PostgreSQL recorder, as it comes, with as many connections as there are writers.
Appends go straight to its recorder, encoded by hand; loads go through its repository. Its writers take turns at the whole table, so that its
readers see no gaps; Counteract's readers prove that there are none. The goals are 3 times its appends with 8 writers, and twice its loads and reads.

An event holds about 140 bytes of data and 110 of metadata. Every store is a process of its own on the same PostgreSQL, with `synchronous_commit = on`;
whether the disk is waited for is said at the end: without it the stores' own work counts for more.
"""


@dataclass(frozen=True, slots=True)
class Grown:
    """The cost of work when the log has so many events."""

    events: int
    appends: float
    loads: float
    bytes: int


def append_section(rows: Sequence[tuple[int, int, Sequence[Race]]]) -> Section:
    first = rows[0][2]
    section = Section("Appends per second", ("writers", "events each", "ours", *_columns(first)))
    section.rows = [
        (str(writers), str(events), f"{races[0].ours:.0f}", *_figures(races)) for writers, events, races in rows
    ]
    return section


_DECIDED = {"name": "a name that nobody has", "course": "a place in a course of 25 that all want"}


def boundary_section(rows: Sequence[tuple[str, int, Sequence[Race]]]) -> Section:
    section = Section("Decisions by query per second", ("decided", "writers", "ours", *_columns(rows[0][2])))
    section.rows = [
        (_DECIDED[what], str(writers), f"{races[0].ours:.0f}" if races else "", *_figures(races))
        for what, writers, races in rows
    ]
    section.note = (
        "Each reads what its query finds, by one tag, and appends an event on the condition that this is all; if it is not, again. "
        "Those of eventsourcing lock the whole table for each such append (its `PostgresDCBRecorderTT`); ours lock the tag."
    )
    return section


def load_section(rows: Sequence[tuple[int, Sequence[Race], Mapping[str, float]]]) -> Section:
    _, races, better = rows[0]
    section = Section("Loads per second", ("events in the stream", "ours, cold", *_columns(races), *better))
    section.rows = [
        (f"{events:,}", f"{races[0].ours:.0f}", *_figures(races), *(f"{rate:.0f}" for rate in better.values()))
        for events, races, better in rows
    ]
    section.note = "By hand: one select, `json.loads` and a sum; cold means from the first event, with nothing kept."
    return section


def log_section(pages: Sequence[Race], followed: Sequence[Race]) -> Section:
    columns = ("how", "against", "ours", "theirs", "ratio", "lowest to highest")
    section = Section("Reading the log in order, events per second", columns)
    section.rows = [
        (how, LABELS[race.peer], f"{race.ours:.0f}", f"{race.theirs:.0f}", *_ratio(race))
        for how, races in (("pages", pages), ("subscription", followed))
        for race in races
    ]
    section.note = (
        "Pages are of 1000. Ours go up to the high water mark; by hand they are rows, by position, without that proof; "
        "those of eventsourcing are what its recorder selects: five columns, where ours are ten. JSON is text to all of "
        "them, to be decoded by whoever wants it. A subscription hands the same to a handler, and ours keeps its checkpoint. The goal is twice theirs."
    )
    return section


def import_section(race: Race) -> Section:
    columns = ("import", "bare COPY", "ratio", "lowest to highest")
    section = Section("Import, events per second", columns)
    section.rows = [(f"{race.ours:.0f}", f"{race.theirs:.0f}", *_ratio(race))]
    section.note = (
        "200 000 events a time, new streams of ten. From lines of JSON, which are parsed and checked, against rows that "
        "are text already, by COPY into the same table with the same batches. The goal is 0.7."
    )
    return section


def projection_section(races: Sequence[Race]) -> Section:
    section = Section("A projection, events per second", ("against", "ours", "theirs", "ratio", "lowest to highest"))
    section.rows = [(LABELS[race.peer], f"{race.ours:.0f}", f"{race.theirs:.0f}", *_ratio(race)) for race in races]
    section.note = (
        "One process, from the first of 500 000 events to the last: deposits by a thousand accounts in turn become a balance and a count per "
        "account. By hand: 5000 events at a time, as ours, `json.loads`, sums in a dictionary, one upsert of arrays and a checkpoint "
        "in one transaction. eventsourcing: its projection runner, the same upsert with its tracking, in a transaction per event. The "
        "goals are 0.7 of by hand, and 20 times eventsourcing. What is left to by hand is what handlers are: an event is checked "
        "against its class, handed over, and answered by operations that are checked against the table, where by hand it is two sums."
    )
    return section


def rebuild_section(rows: Sequence[Sequence[Rebuilt]]) -> Section:
    section = Section(
        "A rebuild of the order summary",
        ("events", "processes", "events per second", "lowest to highest", "peak memory"),
    )
    for each in rows:
        rates = [one.per_second for one in each]
        peak = f"{max(one.peak for one in each) / 2**20:.0f} MiB"
        figures = (f"{median(rates):.0f}", f"{min(rates):.0f} to {max(rates):.0f}", peak)
        section.rows.append((f"{each[0].events:,}", str(each[0].processes), *figures))
    section.note = (
        "`counteract projections rebuild order-summary`, from the command to its end: orders of five events in three streams, a "
        "thousand under way at once, a fifth of the events with a sealed address. The most memory that one process took; the "
        "goal is that it does not grow with the log."
    )
    return section


def delay_section(found: Delays, shown: Sequence[Delays]) -> Section:
    section = Section(
        "From commit to whoever waits for it", ("to", "writers", "appends per second", "p50 in ms", "p99 in ms")
    )
    section.rows = [_delay("a subscriber", "16", found), *(_delay("a projection's row", "1", each) for each in shown)]
    section.note = (
        "From the moment at which the writer knows that its event is stored to that at which a subscription hands it over, or to "
        "that at which a query, repeated every millisecond, finds the row. The goal for rows is a p99 below 50 ms."
    )
    return section


def _delay(to: str, writers: str, found: Delays) -> tuple[str, ...]:
    percentiles = found.percentiles
    figures = (f"{found.appends_per_second:.0f}", f"{1000 * percentiles[49]:.1f}", f"{1000 * percentiles[98]:.1f}")
    return to, writers, *figures


def growth_section(rows: Sequence[Grown]) -> Section:
    columns = ("events in the log", "appends per second, 8 writers", "loads per second, 10 events", "table and indexes")
    section = Section("As the log grows", columns)
    section.rows = [
        (f"{each.events:,}", f"{each.appends:.0f}", f"{each.loads:.0f}", f"{each.bytes / 2**20:,.0f} MiB")
        for each in rows
    ]
    section.note = "Cold loads, of streams from all over the log."
    return section


def _columns(races: Sequence[Race]) -> Sequence[str]:
    return [column for race in races for column in (LABELS[race.peer], "ratio", "lowest to highest")]


def _figures(races: Sequence[Race]) -> Sequence[str]:
    return [figure for race in races for figure in (f"{race.theirs:.0f}", *_ratio(race))]


def _ratio(race: Race) -> tuple[str, str]:
    return f"{race.ratio:.2f}", f"{min(race.ratios):.2f} to {max(race.ratios):.2f}"
