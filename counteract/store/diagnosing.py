"""What keeps an event store from working, or will: looked at from outside, on a connection as the application has it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from counteract.errors import ConfigurationError, CounteractError, PersonalDataLocked, SchemaOutdated, StoreUnavailable
from counteract.store.appenders import Appender, stuck_appenders
from counteract.store.connecting import APP_ROLE, Connection, connect
from counteract.store.findings import Finding, advice, ok, problem, skipped
from counteract.store.high_water_mark import HighWaterMark
from counteract.store.inspecting import FUNCTIONS, REVISIONS, look_at, refuse_encoding
from counteract.store.sealing import MASTER_KEY_VARIABLE, MasterKey
from counteract.store.translating import translated

LEAST_VERSION = 140000
"""`create or replace trigger` is new in 14."""
MOST_CLOCK_SECONDS = 1.0

# Rights by themselves, those of the roles that it belongs to included. A superuser has them all.
_ROLE = """
    select current_user::text as name,
           (select rolsuper from pg_roles where rolname = current_user) as is_superuser,
           pg_has_role(current_user, (select relowner from pg_class where oid = 'events'::regclass), 'usage') as is_owner,
           array(
               select privilege || ' ' || name
               from unnest(array['events', 'commands']) as name,
                    unnest(array['insert', 'update', 'delete', 'truncate']) as privilege
               where has_table_privilege(name, privilege)
                  or case when privilege in ('insert', 'update') then has_any_column_privilege(name, privilege) end
               order by 1
           ) as writes,
           array(
               select proname::text from pg_proc
               where prosecdef and proname = any (%s) and pg_function_is_visible(oid)
                 and not has_function_privilege(oid, 'execute')
               order by 1
           ) as cannot_call
"""
_TAKES_WRITES = "select current_setting('transaction_read_only') = 'off'"
# What the session began with, from the server, the database, the role or the URL: our own connections set it anew.
_IDLE_TIMEOUT = """
    select current_user::text, reset_val::integer from pg_settings where name = 'idle_in_transaction_session_timeout'
"""
_UNSEEN = """
    select case when is_called then last_value else 0 end - position_at(clock_timestamp() - make_interval(secs => %s))
    from events_position_seq
"""
# The oldest and the newest: if the master key was changed, one of them tells. Ids rise with time.
_KEYS = """
    (select key_id, wrapped_key from personal_keys where wrapped_key is not null order by key_id limit 1)
    union
    (select key_id, wrapped_key from personal_keys where wrapped_key is not null order by key_id desc limit 1)
"""

CHECKS = (
    "database",
    "version",
    "writes",
    "encoding",
    "schema",
    "role",
    "idle timeout",
    "clock",
    "appenders",
    "high water mark",
    "master key",
)


class Role(NamedTuple):
    """The one that the connection has."""

    name: str
    is_superuser: bool
    is_owner: bool
    writes: Sequence[str]
    """What it may do to the tables past the functions."""
    cannot_call: Sequence[str]


@dataclass
class Examination:
    """Of one database. `patience`: for how many seconds an append may be under way before it counts as stuck."""

    connection: Connection
    patience: float
    now: Callable[[], datetime]
    _stuck: Sequence[Appender] = field(default=())

    async def version(self) -> Finding:
        number = self.connection.info.server_version
        name = (self.connection.info.parameter_status("server_version") or str(number)).split()[0]
        if number < LEAST_VERSION:
            return problem(
                "version", f"PostgreSQL {name} is too old", f"upgrade the server to {LEAST_VERSION // 10000} or later"
            )
        return ok("version", f"PostgreSQL {name}", version=number)

    async def writes(self) -> Finding:
        row = await (await self.connection.execute(_TAKES_WRITES)).fetchone()
        if row and row[0]:
            return ok("writes", "the database takes writes")
        return problem(
            "writes",
            "the database takes no writes: it is a standby, or set to read only",
            "connect to the primary server (several hosts and target_session_attrs=read-write in the URL find it)",
        )

    async def encoding(self) -> Finding:
        seen = await look_at(self.connection)
        refuse_encoding(seen.encoding)
        return ok("encoding", seen.encoding)

    async def schema(self) -> Finding:
        seen = await look_at(self.connection)
        if missing := list(seen.missing):
            remedy = "run `counteract migrate` as the owner of the database"
            return problem("schema", f"the database lacks {', '.join(missing)}", remedy, missing=missing)
        if seen.revision not in REVISIONS:
            what = f"the database is at {seen.revision}, which this version of Counteract does not know"
            return advice("schema", what, "upgrade Counteract here once the deployment is through")
        return ok("schema", f"up to date, at {seen.revision}", revision=seen.revision)

    async def role(self) -> Finding:
        row = await (await self.connection.execute(_ROLE, (list(FUNCTIONS),))).fetchone()
        return examined_role(Role(*row or ()))

    async def idle_timeout(self) -> Finding:
        role, milliseconds = await (await self.connection.execute(_IDLE_TIMEOUT)).fetchone() or ("", 0)
        if milliseconds:
            what = f"a transaction of {role} that is idle for {milliseconds / 1000:g} s is ended, whoever opened it"
            return ok("idle timeout", what, seconds=milliseconds / 1000)
        what = f"nothing ends an idle transaction that a program without our settings opens as {role}"
        remedy = f"alter role \"{role}\" set idle_in_transaction_session_timeout = '30s'"
        return (problem if role == APP_ROLE else advice)("idle timeout", what, remedy)

    async def clock(self) -> Finding:
        before = self.now()
        row = await (await self.connection.execute("select clock_timestamp()")).fetchone()
        after = self.now()
        return examined_clock(before, row[0] if row else before, after)

    async def appenders(self) -> Sequence[Finding]:
        self._stuck = await stuck_appenders(self.connection, self.patience)
        if not self._stuck:
            return [ok("appenders", f"none kept others waiting for {self.patience:g} s")]
        return [_stuck(each, self.patience) for each in self._stuck]

    async def high_water_mark(self) -> Finding:
        name, began = "high water mark", time.monotonic()
        mark = HighWaterMark(self.connection)
        # Who is known to be stuck need not be waited for once more.
        known = [each for each in self._stuck if each.holds_up_readers]
        try:
            position = await mark.settled(timeout=0.1 if known else self.patience)
        except StoreUnavailable:
            seconds = max([self.patience, *(each.seconds or 0 for each in known)])
            row = await (await self.connection.execute(_UNSEEN, (seconds,))).fetchone()
            unseen = row[0] if row else 0
            what = f"it has stood still for {seconds:.0f} s: subscribers do not see the last {unseen} positions"
            return problem(name, what, "end the appenders that hold it up", seconds=seconds, unseen=unseen)
        seconds = time.monotonic() - began
        return ok(name, f"at position {position}, {seconds * 1000:.0f} ms behind", position=position, seconds=seconds)

    async def master_key(self) -> Finding:
        name = "master key"
        try:
            master = MasterKey.from_environment()
        except ConfigurationError as error:
            return problem(name, f"{MASTER_KEY_VARIABLE} cannot be read", "; ".join(error.problems))
        keys = await (await self.connection.execute(_KEYS)).fetchall()
        if not keys:
            return ok(name, "no personal data is stored")
        if master is None:
            what = f"personal data is stored, and {MASTER_KEY_VARIABLE} is not set here"
            return advice(name, what, "set it for whatever appends or reads personal data, and for this to be checked")
        try:
            for key_id, wrapped in keys:
                master.unwrap(key_id, wrapped)
        except PersonalDataLocked as error:
            return problem(name, f"{MASTER_KEY_VARIABLE} does not open what is stored", str(error))
        return ok(name, "it opens the oldest and the newest key of personal data")


def _now() -> datetime:
    return datetime.now(UTC)


async def diagnose(
    url: str, *, patience: float = 3.0, now: Callable[[], datetime] = _now
) -> AsyncIterator[Finding]:
    """Looks at one thing after the other, and goes on whatever it finds. Changes nothing. Raises nothing of ours."""
    try:
        with translated():
            connection = await connect(url)
    except CounteractError as error:
        yield problem("database", _told(error), "start the server, let this role in, or correct DATABASE_URL")
        return
    async with connection:
        yield ok("database", f"{connection.info.dbname} answers")
        examination = Examination(connection, patience, now)
        for name in CHECKS[1:]:
            for finding in await _findings(name, getattr(examination, name.replace(" ", "_"))):
                yield finding


async def _findings(name: str, check: Callable[[], Awaitable[Finding | Sequence[Finding]]]) -> Sequence[Finding]:
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
