"""Rights: what each role may do with a store, and what the connected role may do, against what the
application needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from counteract.store.postgres.connect import Connection
from counteract.store.postgres.names import StoreName
from counteract.store.postgres.readiness import VERSION_TABLE

PARTS = ("append", "participate", "project", "administrate")
"""The parts of an application's work that have a role each; `app` does all that an application usually does."""

_WRITES = frozenset({"insert", "update"})
_KEEPS = frozenset({"select", "insert", "update", "delete"})
_SELECT = frozenset({"select"})
_READ_BY_ALL = dict.fromkeys((*PARTS, "app"), _SELECT)
_WORKERS = ("append", "participate", "app")

TABLES: Mapping[str, Mapping[str, AbstractSet[str]]] = {
    # There is no right to write: neither to a sequence, which an append draws from, nor to a table that a function
    # guards.
    **dict.fromkeys(
        (
            "events",
            "events_position_seq",
            "event_tags",
            "checkpoints",
            VERSION_TABLE,
            "archived_streams",
            "inline_projections",
        ),
        _READ_BY_ALL,
    ),
    **{name: dict.fromkeys(("participate", "administrate", "app"), _SELECT) for name in ("commands", "sagas")},
    "snapshots": _READ_BY_ALL | dict.fromkeys(_WORKERS, _SELECT | _WRITES),
    # A key is destroyed through its function, and never replaced.
    "personal_keys": _READ_BY_ALL | {part: _SELECT | {"insert"} for part in _WORKERS},
    **{
        name: _READ_BY_ALL | dict.fromkeys(("project", "administrate", "app"), _KEEPS)
        for name in ("subscriptions", "subscription_members", "parked_events")
    },
}
"""The rights of each role on each table of a store; no other role has any."""

_EXECUTE = frozenset({"execute"})
_APPENDS = (
    "append_event",
    "append_to_stream",
    "append_to_streams",
    "append_on_terms",
    "append_events_to_stream",
    "append_events",
)
_FENCES = (
    "begin_command",
    "record_command",
    "fence_command",
    "open_saga",
    "take_up_saga",
    "heed_ends",
    "begin_step",
    "record_step",
    "fence_step",
    "late_step",
    "end_saga",
    "claim_saga",
    "close_saga",
    "close_saga_as",
    "settle_child",
    "skip_step",
    "remember_saga",
)

CALLS: Mapping[str, Mapping[str, AbstractSet[str]]] = {
    # Only the owner archives; the application is only told where a stream has gone.
    "archive_stream": {},
    # Called by the functions that have taken their turn before.
    "put_in_stream": {},
    "put_in_streams": {},
    **{name: dict.fromkeys(_WORKERS, _EXECUTE) for name in _APPENDS},
    **{name: dict.fromkeys(("participate", "app"), _EXECUTE) for name in _FENCES},
    **{name: dict.fromkeys(("project", "app"), _EXECUTE) for name in ("keep_inline", "leave_inline")},
    "prune_sagas": dict.fromkeys(("administrate", "app"), _EXECUTE),
    "forget_subject": dict.fromkeys(("administrate", "app"), _EXECUTE),
}
"""The roles that may call the functions which act with the owner's rights; no other role may."""

_GUARDED = ("events", "event_tags", "checkpoints", "commands", "sagas", VERSION_TABLE)
_PAST_THE_FUNCTIONS = ("insert", "update", "delete", "truncate", "trigger")

FORBIDDEN = frozenset(
    {
        *((table, right) for table in _GUARDED for right in _PAST_THE_FUNCTIONS),
        *(("personal_keys", right) for right in _PAST_THE_FUNCTIONS if right != "insert"),
    }
)
"""The rights that no role but the owner may have: they lead past the functions."""


def _needed(rights: Mapping[str, Mapping[str, AbstractSet[str]]], parts: Iterable[str]) -> frozenset[tuple[str, str]]:
    return frozenset((thing, right) for part in parts for thing, held in rights.items() for right in held.get(part, ()))


# A role that may become the owner is as good as the owner.
_ROLE = """
    select current_user, r.rolsuper or pg_has_role(c.relowner, 'member'), n.nspname,
           has_schema_privilege(n.oid, 'create'),
           has_sequence_privilege('events_position_seq', 'usage, update'),
           array(select p.proname from pg_proc p
                 where p.pronamespace = n.oid and p.prosecdef and not has_function_privilege(p.oid, 'execute')
                 order by p.proname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace, pg_roles r
    where c.oid = 'events'::regclass and r.rolname = current_user
"""
_MEMBER_OF = "select rolname from pg_roles where rolname = any (%s) and pg_has_role(oid, 'usage')"
# A right to a single column counts, too.
_HELD = """
    select t.name, t.privilege
    from unnest(%s::text[], %s::text[]) as t (name, privilege)
    where to_regclass(t.name) is not null and case
        when t.privilege in ('insert', 'update') then has_any_column_privilege(t.name, t.privilege)
        else has_table_privilege(t.name, t.privilege) end
"""

# Looked up by name alone: a schema that is hidden from a role is another store's, or none's.
_STRAYS = """
    select format('%%I.%%I', n.nspname, c.relname), r.rolname
    from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner
    where n.nspname = any (%s) and c.relkind in ('r', 'p', 'm', 'v') and not pg_has_role(c.relowner, 'usage')
    order by 1
"""


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of one role, in words such as `insert on events`."""

    role: str
    is_owner: bool
    """Whether it is the owner, a superuser, or a member of the owner's role: then nothing is missing or too much."""
    schema: str
    """The schema of the events."""
    missing: Sequence[str] = ()
    forbidden: Sequence[str] = ()
    may_create_beside_the_events: bool = False
    """Whether it may create in that schema: the functions there could call what it creates, with the owner's rights."""


async def rights_of(connection: Connection) -> Rights:
    """The rights of the connected role."""
    row = await (await connection.execute(_ROLE)).fetchone()
    role, is_owner, schema, may_create, may_draw, uncallable = row or ("", False, "", False, False, [])
    if is_owner:
        return Rights(role, is_owner=True, schema=schema)
    parts = await _parts_of(connection)
    needed, calls = _needed(TABLES, parts), {name for name, _ in _needed(CALLS, parts)}
    asked = sorted(needed | FORBIDDEN)
    held = set(await (await connection.execute(_HELD, tuple(map(list, zip(*asked, strict=True))))).fetchall())
    missing = [*_in_words(needed - held), *(f"execute {name}" for name in uncallable if name in calls)]
    forbidden = [*_in_words(FORBIDDEN & held), *(["a position of events_position_seq"] if may_draw else [])]
    return Rights(role, False, schema, missing, forbidden, may_create)


async def _parts_of(connection: Connection) -> Sequence[str]:
    """The parts of an application's work that the role was given; without any, an application's usual one."""
    names = {connection.store.role(part): part for part in PARTS}
    rows = await (await connection.execute(_MEMBER_OF, (list(names),))).fetchall()
    return [names[role] for (role,) in rows] or ["app"]


async def foreign_tables(connection: Connection, store: StoreName) -> Sequence[tuple[str, str]]:
    """The tables of projections that the connected role can neither rebuild nor drop, each with its owner."""
    rows = await (await connection.execute(_STRAYS, ([store.app, store.rebuild],))).fetchall()
    return [(table, owner) for table, owner in rows]


def _in_words(rights: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{privilege} on {table}" for table, privilege in sorted(rights)]
