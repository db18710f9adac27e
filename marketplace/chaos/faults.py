"""What is done to the marketplace: a seeded deck of faults, dealt one after the other while checkouts are under way."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import psycopg

from marketplace.chaos.fleet import AWAY, Fleet, MortalPostgres

ORCHESTRATOR, SERVICES, PROVIDER, PROJECTIONS = "orchestrator", "services", "provider", "projections"

CUT = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = 'counteract' and pid <> pg_backend_pid()"


@dataclass(slots=True)
class Faults:
    """Everything that can be done, and how often it was."""

    fleet: Fleet
    postgres: MortalPostgres
    dice: random.Random
    freeze: tuple[float, float]
    """Seconds, from and to: longer than an activity's heartbeat timeout, so that its work is given to another worker."""
    done: Counter[str] = field(default_factory=Counter)
    _lasting: set[asyncio.Task[None]] = field(default_factory=set)
    _database: asyncio.Lock = field(default_factory=asyncio.Lock)

    def deck(self) -> list[Callable[[], Awaitable[None]]]:
        """Each kind of fault, the frequent ones twice. The freeze is first: its zombie has to come back in time."""
        rest = [
            *(self.kill_service, self.kill_service, self.kill_orchestrator, self.kill_postgres),
            *(self.kill_provider, self.cut_connections, self.kill_projections),
        ]
        self.dice.shuffle(rest)
        return [self.freeze_service, *rest]

    async def rage(self, pace: float) -> None:
        """Deal faults, one every `pace` seconds on average, until cancelled; then wait for what they began."""
        try:
            while True:
                for fault in self.deck():
                    await asyncio.sleep(self.dice.uniform(0.5, 1.5) * pace)
                    await fault()
        finally:
            await asyncio.gather(*self._lasting, return_exceptions=True)

    async def kill_service(self) -> None:
        self._kill(SERVICES)

    async def kill_orchestrator(self) -> None:
        self._kill(ORCHESTRATOR)

    async def kill_provider(self) -> None:
        """It comes back in another mood."""
        self._kill(PROVIDER)

    async def kill_projections(self) -> None:
        self._kill(PROJECTIONS)

    async def kill_postgres(self) -> None:
        away = self.dice.uniform(*AWAY)
        self._note("kill -9: PostgreSQL")
        self._begin(self._postgres_away(away))

    async def freeze_service(self) -> None:
        """Its tasks time out and are given to others; then it wakes, and goes on where it was."""
        if victims := self.fleet.of(SERVICES):
            victim = self.dice.choice(victims)
            self._note("frozen and woken: services")
            self._begin(self._frozen(victim.send, self.dice.uniform(*self.freeze)))

    async def cut_connections(self) -> None:
        async with self._database:
            self._note("cut: every database connection")
            async with await psycopg.AsyncConnection.connect(self.postgres.url_of("postgres"), autocommit=True) as one:
                await one.execute(CUT)

    def _kill(self, role: str) -> None:
        if victims := self.fleet.of(role):
            self._note(f"kill -9: {role}")
            self.dice.choice(victims).kill()

    async def _postgres_away(self, seconds: float) -> None:
        async with self._database:
            await self.postgres.kill()
            await asyncio.sleep(seconds)
            await self.postgres.start()

    async def _frozen(self, send: Callable[[signal.Signals], None], seconds: float) -> None:
        send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            send(signal.SIGCONT)

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._lasting.add(task)
        task.add_done_callback(self._lasting.discard)

    def _note(self, what: str) -> None:
        self.done[what] += 1
