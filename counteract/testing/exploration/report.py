"""The findings of an exploration: a table of all runs, and an error that says how to see each failure again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from counteract.errors import CounteractError
from counteract.testing.exploration.evidence import Evidence
from counteract.testing.exploration.faults import Ending, Fault

_WIDTH = 140
_HEIGHT = 50
_SHOWN = 12
"""The number of failures that an error's message spells out; the first ones mostly explain the others."""


@dataclass(frozen=True, slots=True)
class Explored:
    """One run of the saga under one fault, once it is over and judged."""

    id: str
    """The workflow id."""
    request: object
    fault: Fault
    evidence: Evidence
    undone: Sequence[str]
    """The steps that were undone, in that order."""
    reached: bool
    """Whether the fault struck; where the saga took another way, the run says nothing of it."""
    violations: Sequence[str]
    """The breaches of the protocol, in words."""
    invariant: str | None = None
    """The objection of the user's invariant; None if it has none."""
    judged: bool = False
    """Whether there was an invariant."""
    skipped: Sequence[str] = ()
    """The steps that a person decided to go on without, or not to undo."""
    seconds: float = 0.0

    @property
    def ending(self) -> Ending:
        """How the saga ended."""
        return self.evidence.ending

    @property
    def problems(self) -> list[str]:
        """The problems of the run, in sentences: breaches of the protocol, then the invariant's objection."""
        return [*self.violations, *([f"the invariant does not hold: {self.invariant}"] if self.invariant else [])]


@dataclass(frozen=True, slots=True)
class Exploration:
    """The outcome of one call of `explore`: every run of the saga."""

    saga: str
    runs: Sequence[Explored]
    seconds: float
    seed: int | None = None
    """The seed with which pairs were drawn; None if none were."""
    possible_pairs: int = 0
    """The number of pairs that there are, where some were drawn."""
    at_rest: str | None = None
    """The objection once no run was under way any more; None if there is none."""

    @property
    def failures(self) -> list[Explored]:
        """The runs with a problem."""
        return [run for run in self.runs if run.problems]

    @property
    def not_reached(self) -> list[Explored]:
        """The runs in which the fault did not strike, because the saga took another way."""
        return [run for run in self.runs if not run.reached]

    @property
    def pairs(self) -> int:
        """The number of runs with two faults."""
        return sum(len(run.fault.parts) > 1 for run in self.runs)

    @property
    def title(self) -> str:
        """The heading of the table: what was tried on which saga."""
        drawn = f"{self.pairs:,} of {self.possible_pairs:,} pairs (seed {self.seed})" if self.possible_pairs else ""
        if len(self.runs) == self.pairs + 1 and drawn:
            return f"Pairs of faults of {self.saga}: {drawn}"
        return f"Every single fault of {self.saga}" + (f", and {drawn}" if drawn else "")

    @property
    def summary(self) -> str:
        """One line: runs, seconds, how many ended in which way, and how many broke the protocol."""
        counts = Counter(run.ending for run in self.runs)
        endings = ", ".join(f"{count} {ending}" for ending, count in counts.most_common())
        unmet = f"{len(self.not_reached)} not reached, " if self.not_reached else ""
        return (
            f"{self.saga}: {len(self.runs)} runs in {self.seconds:.1f} s: {endings}; {unmet}{len(self.failures)} broken"
        )

    def print(self, console: Console | None = None) -> None:
        """Print a table of all runs, and the totals below it."""
        # With a height of its own, for a terminal that says nothing of its size would make it 80 columns wide.
        console = console or Console(width=_WIDTH, height=_HEIGHT)
        table = Table(title=self.title, title_justify="left")
        for name in ("step", "fault", "outcome", "undone", "protocol", "invariant"):
            table.add_column(name, overflow="fold")
        step = ""
        for run in self.runs:
            if run.fault.target != step:
                table.add_section()
            table.add_row(run.fault.target if run.fault.target != step else "", *_cells(run))
            step = run.fault.target
        console.print(table)
        console.print(escape(self.summary))

    def text(self) -> str:
        """The table and the totals as text."""
        said = StringIO()
        self.print(Console(file=said, width=_WIDTH))
        return said.getvalue()


class ExplorationFailed(CounteractError):
    """The saga broke the protocol or an invariant: run the call that stands with the failure, and correct the saga."""

    def __init__(self, exploration: Exploration) -> None:
        self.exploration = exploration
        shortest = _shortest(exploration.failures)
        lines = [
            f"{len(exploration.failures)} of {len(exploration.runs)} runs of {exploration.saga} broke the protocol"
        ]
        for run in shortest[:_SHOWN]:
            lines += ["", f"  {run.fault}  →  {run.ending}", *(f"    - {each}" for each in run.problems)]
            lines.append(f"    {_reproduction(exploration, run)}")
        if len(shortest) > _SHOWN:
            lines += ["", f"  and {len(shortest) - _SHOWN} more, in the table"]
        if exploration.at_rest:
            lines += ["", f"  once nothing ran any more: {exploration.at_rest}"]
        super().__init__("\n".join(lines))


def _shortest(failures: Sequence[Explored]) -> list[Explored]:
    """The failures without those pairs of which one fault fails by itself."""
    alone = {part for run in failures if len(run.fault.parts) == 1 for part in run.fault.parts}
    return [run for run in failures if len(run.fault.parts) == 1 or not alone & set(run.fault.parts)]


def _reproduction(exploration: Exploration, run: Explored) -> str:
    seed = f", seed={exploration.seed}" if exploration.seed is not None and len(run.fault.parts) > 1 else ""
    return f'explore({exploration.saga}, request, only="{run.fault}"{seed})'


def _cells(run: Explored) -> tuple[str, ...]:
    unproven = not run.reached and not run.violations
    protocol = "[yellow]not reached[/]" if unproven else _mark("; ".join(run.violations))
    invariant = _mark(run.invariant) if run.judged else ""
    undone = [*run.undone, *(f"{step} skipped" for step in run.skipped)]
    return escape(run.fault.name), str(run.ending), escape(", ".join(undone)), protocol, invariant


def _mark(objection: str | None) -> str:
    return f"[red]✗[/] {escape(objection)}" if objection else "[green]✓[/]"
