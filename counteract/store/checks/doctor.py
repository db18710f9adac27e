"""The doctor: what keeps an event store from working, or soon will, as seen from outside on an application's
connection.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from counteract.errors import ConfigurationError, CounteractError, SchemaOutdated, StoreUnavailable
from counteract.store.checks.finding import Finding, advice, ok, problem, skipped
from counteract.store.checks.keys import examined_keys
from counteract.store.checks.open_appends import OpenAppend, stuck_appends
from counteract.store.master_key import KeyWrapper
from counteract.store.postgres.connect import APP_ROLE, Connection, connect
from counteract.store.postgres.driver_errors import translated
from counteract.store.postgres.high_water_mark import HighWaterMark
from counteract.store.postgres.readiness import REVISIONS, look_at, refuse_encoding
from counteract.store.postgres.rights import Rights, foreign_tables, rights_of
from counteract.store.postgres.sequence import positions

LEAST_VERSION = 140000
"""The oldest version of PostgreSQL that works: `create or replace trigger` is new in 14."""
MOST_CLOCK_SECONDS = 1.0
"""The seconds by which the clocks of the database and of this machine may differ."""

_TAKES_WRITES = "select current_setting('transaction_read_only') = 'off'"
# The value that a session begins with, from the server, the database, the role or the URL: our own connections set it
# anew.
_IDLE_TIMEOUT = """
    select current_user::text, reset_val::integer from pg_settings where name = 'idle_in_transaction_session_timeout'
"""
_UNSEEN = """
    select case when is_called then last_value else 0 end
           - position_at(coalesce(%s, clock_timestamp() - make_interval(secs => %s)))
    from events_position_seq
"""
_FURTHEST = "select name, position from subscriptions order by position desc limit 1"
Check = Callable[[], Awaitable[Finding | Sequence[Finding]]]


@dataclass
class Examination:
    """The examination of one database.

    An append that has been under way for `patience` seconds counts as stuck.
    """

    connection: Connection
    patience: float
    now: Callable[[], datetime]
    master: KeyWrapper | None = None
    """The master key to try; by default that of the environment."""
    _stuck: Sequence[OpenAppend] = field(default=())

    def checks(self) -> Mapping[str, Check]:
        """All checks by name, in an order in which each may build on those before."""
        return {
            "connection": self.way,
            "version": self.version,
            "writes": self.writes,
            "encoding": self.encoding,
            "schema": self.schema,
            "role": self.role,
            "projections": self.projections,
            "idle timeout": self.idle_timeout,
            "clock": self.clock,
            "appenders": self.appenders,
            "sequence": self.sequence,
            "high water mark": self.high_water_mark,
            "master key": self.master_key,
        }

    async def way(self) -> Finding:
        """Whether the URL leads straight to PostgreSQL, or to a pooler."""
        if not self.connection.is_pooled:
            return ok("connection", "straight to PostgreSQL")
        what = "through a pooler: right for whoever appends, loads, reads or carries out commands, and for nobody else"
        remedy = "give projections, reactions, migrations, archives and imports a URL that leads to PostgreSQL itself"
        return advice("connection", what, remedy)

    async def version(self) -> Finding:
        """Whether PostgreSQL is new enough."""
        number = self.connection.info.server_version
        name = (self.connection.info.parameter_status("server_version") or str(number)).split()[0]
        if number < LEAST_VERSION:
            return problem(
                "version", f"PostgreSQL {name} is too old", f"upgrade the server to {LEAST_VERSION // 10000} or later"
            )
        return ok("version", f"PostgreSQL {name}", version=number)

    async def writes(self) -> Finding:
        """Whether the database takes writes."""
        row = await (await self.connection.execute(_TAKES_WRITES)).fetchone()
        if row and row[0]:
            return ok("writes", "the database takes writes")
        return problem(
            "writes",
            "the database takes no writes: it is a standby, or set to read only",
            "connect to the primary server (several hosts and target_session_attrs=read-write in the URL find it)",
        )

    async def encoding(self) -> Finding:
        """Whether the encoding is UTF-8."""
        seen = await look_at(self.connection)
        try:
            refuse_encoding(seen.encoding)
        except ConfigurationError as error:
            what, _, remedy = error.problems[0].partition(": ")
            return problem("encoding", what, remedy)
        return ok("encoding", seen.encoding)

    async def schema(self) -> Finding:
        """Whether the migrations and functions of this release are there."""
        seen = await look_at(self.connection)
        if missing := list(seen.missing):
            remedy = "run `counteract migrate` as the owner of the database"
            return problem("schema", f"the database lacks {', '.join(missing)}", remedy, missing=missing)
        if seen.revision not in REVISIONS:
            what = f"the database is at {seen.revision}, which this version of Counteract does not know"
            return advice("schema", what, "upgrade Counteract here once the deployment is through")
        return ok("schema", f"up to date, at {seen.revision}", revision=seen.revision)

    async def role(self) -> Finding:
        """Whether the role has the rights that it needs, and no others."""
        return examined_role(await rights_of(self.connection))

    async def projections(self) -> Finding:
        """Whether the role may rebuild and drop the tables of projections."""
        name = "projections"
        found = await foreign_tables(self.connection, self.connection.store)
        if not found:
            return ok(name, "this role may rebuild and drop every table of theirs")
        what = f"they are not this role's: {', '.join(f'{table} ({owner})' for table, owner in found)}"
        remedy = "run `counteract migrate` as the owner of the database, or as a superuser, which gives them back"
        return problem(name, what, remedy, tables=[table for table, _ in found])

    async def idle_timeout(self) -> Finding:
        """Whether an idle transaction of a program without our settings is ended."""
        role, milliseconds = await (await self.connection.execute(_IDLE_TIMEOUT)).fetchone() or ("", 0)
        if milliseconds:
            what = f"a transaction of {role} that is idle for {milliseconds / 1000:g} s is ended, whoever opened it"
            return ok("idle timeout", what, seconds=milliseconds / 1000)
        what = f"nothing ends an idle transaction that a program without our settings opens as {role}"
        remedy = f"alter role \"{role}\" set idle_in_transaction_session_timeout = '30s'"
        return (problem if role == APP_ROLE else advice)("idle timeout", what, remedy)

    async def clock(self) -> Finding:
        """Whether the clocks of the database and of this machine agree."""
        before = self.now()
        row = await (await self.connection.execute("select clock_timestamp()")).fetchone()
        after = self.now()
        return examined_clock(before, row[0] if row else before, after)

    async def appenders(self) -> Sequence[Finding]:
        """A finding for each transaction that keeps others waiting for `patience` seconds."""
        self._stuck = await stuck_appends(self.connection, self.patience)
        if not self._stuck:
            return [ok("appenders", f"none kept others waiting for {self.patience:g} s")]
        return [examined_append(each, self.patience) for each in self._stuck]

    async def sequence(self) -> Finding:
        """Whether the sequence of positions is beyond every event and every reader."""
        seen = await positions(self.connection)
        if seen.is_behind:
            remedy = "run `counteract migrate` as the owner of the database, before anybody appends"
            return problem("sequence", str(seen), remedy, drawn=seen.drawn, stored=seen.stored)
        row = await (await self.connection.execute(_FURTHEST)).fetchone()
        if row and row[1] > seen.drawn:
            what = f"the subscription {row[0]} has come to position {row[1]}, and the log only to {seen.drawn}: commits were lost"
            return problem("sequence", what, "run `counteract store restored` as the owner of the database")
        return ok("sequence", f"at position {seen.drawn}, beyond every event and every reader", drawn=seen.drawn)

    async def high_water_mark(self) -> Finding:
        """Whether the high water mark moves."""
        name, start = "high water mark", time.monotonic()
        mark = HighWaterMark(self.connection)
        # An append that is known to be stuck need not be waited for once more.
        known = [each for each in self._stuck if each.has_appended]
        try:
            position = await mark.settled(timeout=0.1 if known else self.patience)
        except StoreUnavailable:
            seconds = max([self.patience, *(each.age or 0 for each in known)])
            began = min((each.began for each in known if each.began), default=None)
            row = await (await self.connection.execute(_UNSEEN, (began, seconds))).fetchone()
            unseen = row[0] if row else 0
            what = f"it has stood still for {seconds:.0f} s: subscribers see none of the last {unseen} positions"
            return problem(name, what, "end the appenders that hold it up", seconds=seconds, unseen=unseen)
        seconds = time.monotonic() - start
        return ok(name, f"at position {position}, {seconds * 1000:.0f} ms behind", position=position, seconds=seconds)

    async def master_key(self) -> Finding:
        """Whether the master key opens what is stored."""
        return await examined_keys(self.connection, self.master)


def examined_role(rights: Rights) -> Finding:
    """The finding about a role with these rights."""
    role, name = rights.role, "role"
    again = f"connect as {APP_ROLE}, whose rights `counteract migrate` puts right"
    if rights.is_owner:
        what = (
            f"{role} owns the tables, or is as good as their owner: it could drop what keeps events from being changed"
        )
        return advice(name, what, f"let the application connect as {APP_ROLE}, and keep {role} for migrations")
    if rights.forbidden:
        what = f"{role} may write past the functions: {', '.join(rights.forbidden)}"
        return problem(name, what, again, forbidden=list(rights.forbidden))
    if rights.may_create_beside_the_events:
        what = f"{role} may create functions in the schema {rights.schema}, which the owner's functions could then call"
        return problem(name, what, f"as the owner: revoke create on schema {rights.schema} from {role}, public")
    if rights.missing:
        return problem(name, f"{role} lacks {', '.join(rights.missing)}", again, missing=list(rights.missing))
    return ok(name, f"{role} may append and read, and not change events")


def examined_clock(before: datetime, database: datetime, after: datetime) -> Finding:
    """The finding about the clocks. `database` is its time, read between two times of this machine."""
    halfway = (after - before) / 2
    seconds = (database - (before + halfway)).total_seconds()
    if abs(seconds) - halfway.total_seconds() <= MOST_CLOCK_SECONDS:
        return ok("clock", f"{abs(seconds) * 1000:.0f} ms from the database's", seconds=seconds)
    what = f"the database's clock is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    return problem("clock", what, "set both by NTP: events have the database's times", seconds=seconds)


def examined_append(stuck: OpenAppend, patience: float) -> Finding:
    """The finding about a stuck append."""
    since = f"for {patience:g} s or more" if stuck.age is None else f"for {stuck.age:.0f} s"
    waiting = [
        *(["all subscribers"] if stuck.has_appended else []),
        *([f"{stuck.keeps_waiting} that would append"] if stuck.keeps_waiting else []),
    ]
    if stuck.prepared_as is None:
        doing = f"{stuck.state}: {stuck.statement}" if stuck.state else "what it does is hidden from this role"
        who = f"pid {stuck.pid} ({stuck.role}, {stuck.application_name or 'no application_name'})"
        what = f"{who} has kept {' and '.join(waiting)} waiting {since}; {doing}"
        remedy = f"end it, which rolls back what it did: select pg_terminate_backend({stuck.pid})"
    else:
        name = stuck.prepared_as
        what = f"the prepared transaction {name} of {stuck.role} has kept {' and '.join(waiting)} waiting {since}"
        remedy = f"end it as its coordinator decided: commit prepared {name}, or rollback prepared {name}"
    return problem("appenders", what, remedy, **asdict(stuck) | {"began": stuck.began and stuck.began.isoformat()})


def _now() -> datetime:
    return datetime.now(UTC)


async def diagnose(
    url: str, *, patience: float = 3.0, now: Callable[[], datetime] = _now, master: KeyWrapper | None = None
) -> AsyncIterator[Finding]:
    """Yield the findings of one check after the other, whatever each finds. Changes nothing, and raises no
    CounteractError.
    """
    try:
        with translated():
            connection = await connect(url)
    except CounteractError as error:
        yield problem("database", _told(error), "start the server, let this role in, or correct DATABASE_URL")
        return
    async with connection:
        yield ok("database", f"{connection.info.dbname} answers")
        examination = Examination(connection, patience, now, master)
        for name, check in examination.checks().items():
            for finding in await _findings(name, check):
                yield finding


async def _findings(name: str, check: Check) -> Sequence[Finding]:
    try:
        with translated():
            found = await check()
    except SchemaOutdated:
        return [skipped(name, "what it looks at is not in the database", "run `counteract migrate`, and this again")]
    except StoreUnavailable as error:
        return [problem(name, _told(error), "run this again")]
    except CounteractError as error:
        return [problem(name, _told(error), f"connect as {APP_ROLE}, whose rights `counteract migrate` puts right")]
    return [found] if isinstance(found, Finding) else found


def _told(error: CounteractError) -> str:
    return "; ".join(error.problems) if isinstance(error, ConfigurationError) else str(error)
