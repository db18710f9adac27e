"""The faults of a storm: a seeded deck, dealt one after the other while checkouts are under way."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Set
from dataclasses import dataclass, field

import psycopg

from marketplace.chaos.databases import Unreliable
from marketplace.chaos.fleet import AWAY, Fleet
from marketplace.chaos.plan import Kind

ORCHESTRATOR, SERVICES, PROVIDER, PROJECTIONS = "orchestrator", "services", "provider", "projections"

CUT = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = 'counteract' and pid <> pg_backend_pid()"


@dataclass(slots=True)
class Faults:
    """All faults of parts, and how often each struck."""

    fleet: Fleet
    database: Unreliable
    dice: random.Random
    kinds: Set[Kind]
    freeze: tuple[float, float]
    """Seconds, from and to; longer than an activity's heartbeat timeout, so that its work goes to another worker."""
    done: Counter[str] = field(default_factory=Counter)
    dealt: int = 0
    _lasting: set[asyncio.Task[None]] = field(default_factory=set)

    def deck(self) -> list[Callable[[], Awaitable[None]]]:
        """Each kind of fault, the frequent ones twice; first those that last, which need time for what they hold up."""
        kills = [self.kill_service, self.kill_service, self.kill_orchestrator, self.kill_postgres]
        rest = self._of(
            {Kind.KILL: [*kills, self.kill_provider, self.kill_projections], Kind.CUT: [self.cut_connections]}
        )
        first = self._of(
            {Kind.FREEZE: [self.freeze_service], Kind.FAILOVER: [self.fail_over], Kind.RESTORE: [self.restore]}
        )
        self.dice.shuffle(rest)
        return [*first, *rest]

    def _of(self, faults: dict[Kind, list[Callable[[], Awaitable[None]]]]) -> list[Callable[[], Awaitable[None]]]:
        return [fault for kind in faults if kind in self.kinds for fault in faults[kind]]

    async def rage(self, pace: float, number: int | None = None, due: Callable[[int], bool] = bool) -> None:
        """Deal `number` faults, or until cancelled, and wait for what they began.

        There is one every `pace` seconds on average; each waits until it is due.
        """
        try:
            while number is None or self.dealt < number:
                for fault in self.deck()[: None if number is None else number - self.dealt] or [self.nothing]:
                    await asyncio.sleep(self.dice.uniform(0.5, 1.5) * pace)
                    while number is not None and not due(self.dealt):  # noqa: ASYNC110 - whoever comes tells nobody
                        await asyncio.sleep(0.1)
                    await fault()
                    self.raise_what_failed()
                    self.dealt += 1
        finally:
            await asyncio.gather(*self._lasting, return_exceptions=True)
        self.raise_what_failed()

    async def nothing(self) -> None:
        """The deck's one card where none of the chosen kinds is a fault of parts."""

    async def kill_service(self) -> None:
        self._kill(SERVICES)

    async def kill_orchestrator(self) -> None:
        self._kill(ORCHESTRATOR)

    async def kill_provider(self) -> None:
        """Kill the payment provider, which comes back in another mood."""
        self._kill(PROVIDER)

    async def kill_projections(self) -> None:
        self._kill(PROJECTIONS)

    async def kill_postgres(self) -> None:
        self._note("kill -9: PostgreSQL")
        self._begin(self.database.away(self.dice.uniform(*AWAY)))

    async def fail_over(self) -> None:
        self._note("failover: PostgreSQL, to a copy that lost commits")
        self._begin(self.database.fail_over())

    async def restore(self) -> None:
        self._note("restore: PostgreSQL, to an earlier time")
        self._begin(self.database.restore())

    async def freeze_service(self) -> None:
        """Freeze a service's process: its tasks time out and go to others, and then it goes on where it was."""
        if victims := self.fleet.of(SERVICES):
            victim = self.dice.choice(victims)
            self._note("frozen and woken: services")
            self._begin(self._frozen(victim.send, self.dice.uniform(*self.freeze)))

    async def cut_connections(self) -> None:
        async with self.database.lock:
            self._note("cut: every database connection")
            url = self.database.postgres.url_of("postgres")
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as one:
                await one.execute(CUT)

    def _kill(self, role: str) -> None:
        if victims := self.fleet.of(role):
            self._note(f"kill -9: {role}")
            self.dice.choice(victims).kill()

    async def _frozen(self, send: Callable[[signal.Signals], None], seconds: float) -> None:
        send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            send(signal.SIGCONT)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        self._lasting.add(asyncio.create_task(work))

    def raise_what_failed(self) -> None:
        """Raise the error of a fault that could not be carried out, which is an error of the test."""
        for task in [each for each in self._lasting if each.done()]:
            self._lasting.discard(task)
            task.result()

    def _note(self, what: str) -> None:
        self.done[what] += 1
