"""The roles of a store, and the rights of each: made, granted and taken back where the database has them otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from sqlalchemy import Connection, TextClause, text

from counteract.errors import StoreError
from counteract.store.postgres.names import StoreName
from counteract.store.postgres.rights import CALLS, PARTS, TABLES

PUBLIC = "public"

_MAY_CREATE_ROLES = text("select rolsuper or rolcreaterole from pg_roles where rolname = current_user")
_ROLES = text("select rolname from pg_roles where rolname = any (:roles)")
_DATABASE = text("select current_database(), current_schema()")
_MAY_CONNECT = text("""
    select rolname from pg_roles where rolname = any (:roles) and has_database_privilege(rolname, current_database(), 'connect')
""")
# Where nothing was ever granted, PostgreSQL's own rule holds: every role may call a function.
_ON_TABLES = text("""
    select c.relname, coalesce(r.rolname, 'public'), lower(a.privilege_type)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    cross join lateral (
        select c.relacl union all
        select attacl from pg_attribute where attrelid = c.oid and attacl is not null and not attisdropped
    ) held (acl)
    cross join lateral aclexplode(held.acl) a left join pg_roles r on r.oid = a.grantee
    where n.nspname = current_schema() and c.relname = any (:names) and (a.grantee = 0 or r.rolname = any (:roles))
""")
_ON_FUNCTIONS = text("""
    select p.proname, coalesce(r.rolname, 'public'), lower(a.privilege_type)
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a left join pg_roles r on r.oid = a.grantee
    where n.nspname = current_schema() and p.proname = any (:names) and (a.grantee = 0 or r.rolname = any (:roles))
""")
_ON_SCHEMAS = text("""
    select n.nspname, coalesce(r.rolname, 'public'), lower(a.privilege_type)
    from pg_namespace n cross join lateral aclexplode(n.nspacl) a left join pg_roles r on r.oid = a.grantee
    where n.nspname = any (:names) and (r.rolname = any (:roles) or a.grantee = 0 and pg_has_role(n.nspowner, 'usage'))
""")
_THERE = text("select name from unnest(cast(:names as text[])) as name where to_regclass(name) is not null")
_SCHEMAS = text("select nspname from pg_namespace where nspname = any (:names)")

# The tables of projections that a copy leaves to their owner, where it was restored before the application's role was
# made.
_STRAYS = text("""
    select n.nspname, c.relname, pg_has_role(current_user, :app, 'member')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner
    where n.nspname = any (:names) and c.relkind in ('r', 'p', 'm', 'v') and (r.rolsuper or r.rolname = current_user)
      and r.rolname <> :app and (pg_has_role(current_user, :app, 'member') or not has_table_privilege(:app, c.oid, 'delete'))
    order by 1, 2
""")


class Held(NamedTuple):
    """A right of one role on one thing, as it is or as it is to be."""

    thing: str
    role: str
    privilege: str


def missing_roles(connection: Connection, store: StoreName) -> Sequence[str]:
    """The roles that are to be made.

    Raises StoreError where the application's role is missing, and the connected role may not make it. The other roles
    are for installations that tell the parts of an application apart: without the right to make roles, there are none.
    """
    wanted = [store.app, *(store.role(part) for part in PARTS)]
    there = set(connection.scalars(_ROLES, {"roles": wanted}))
    missing = [role for role in wanted if role not in there]
    if not missing or connection.scalar(_MAY_CREATE_ROLES):
        return missing
    if store.app in missing:
        user = connection.scalar(text("select current_user"))
        raise StoreError(
            f"have a superuser run `create role {store.app} login`, then migrate: role {store.app} is missing, and {user} "
            "may not create it"
        )
    return []


def role_changes(connection: Connection, store: StoreName) -> Sequence[str]:
    """The scripts that make the missing roles."""
    return [_made(role, is_login=role == store.app) for role in missing_roles(connection, store)]


def _made(role: str, *, is_login: bool) -> str:
    # Made without a password: until one is set, no client gets in that must give one. The timeout is for clients that
    # connect without our own settings: an open transaction that has appended delays every subscriber. Roles belong to
    # the whole server, and another database of it may be migrated at this moment.
    login = f"create role {role} login; alter role {role} set idle_in_transaction_session_timeout = '30s'"
    make = login if is_login else f"create role {role} nologin"
    return f"""do $role$ begin
    if to_regrole('{role}') is null then
        {make};
    end if;
exception when duplicate_object or unique_violation then
    null;
end $role$;
"""


def right_changes(connection: Connection, store: StoreName, *, all_there: bool = True) -> Sequence[str]:
    """Statements that grant what is missing, and take back what is too much. Unless `all_there`, tables may be yet to
    come.
    """
    wanted = [store.app, *(store.role(part) for part in PARTS)]
    roles = {*connection.scalars(_ROLES, {"roles": wanted}), *missing_roles(connection, store)}
    database, schema = connection.execute(_DATABASE).one()
    may_connect = set(connection.scalars(_MAY_CONNECT, {"roles": sorted(roles)}))
    quoted = _quoted(database)
    there = TABLES.keys() if all_there else set(connection.scalars(_THERE, {"names": [*TABLES]}))
    tables = {name: TABLES[name] for name in TABLES if name in there}
    return [
        *(f"grant connect on database {quoted} to {role};\n" for role in sorted(roles - may_connect)),
        *_schema_changes(connection, store, schema, roles),
        *_differences("", _wanted(tables, store, roles), _held(connection, _ON_TABLES, tables, roles)),
        *_differences("function ", _wanted(CALLS, store, roles), _held(connection, _ON_FUNCTIONS, CALLS, roles)),
    ]


def table_changes(connection: Connection, store: StoreName) -> Sequence[str]:
    """Statements that give tables of projections back to the application, which rebuilds and drops them.

    An owner that cannot become the application's role may not give them, and at least lets it read and write them.
    """
    if missing_roles(connection, store):
        return []
    rows = connection.execute(_STRAYS, {"names": [store.app, store.rebuild], "app": store.app})
    return [_given_back(f"{_quoted(schema)}.{_quoted(name)}", store, may_give=may) for schema, name, may in rows]


def _given_back(table: str, store: StoreName, *, may_give: bool) -> str:
    if may_give:
        return f"alter table {table} owner to {store.app};\n"
    return f"grant all on {table} to {store.app};\n"


def _schema_changes(connection: Connection, store: StoreName, schema: str, roles: AbstractSet[str]) -> Iterator[str]:
    own = [store.app, store.rebuild]
    there = set(connection.scalars(_SCHEMAS, {"names": own}))
    # The tables of projections are created in a schema of their own: in that of the events somebody's function could
    # take the place of one that the owner's functions call.
    yield from (f"create schema {name};\n" for name in own if name not in there)
    builders = {store.app, store.role("project")} & roles
    wanted = {Held(schema, role, "usage") for role in roles} | {
        Held(name, role, "usage") for name in own for role in roles
    }
    wanted |= {Held(name, role, "create") for name in own for role in builders}
    held = _held(connection, _ON_SCHEMAS, [schema, *own], roles)
    # Before PostgreSQL 15 every role could create in the schema that every database begins with.
    by_everybody = Held(schema, PUBLIC, "create")
    known = {each for each in held if each.role != PUBLIC and (each.thing in own or each in wanted)}
    yield from _differences("schema ", wanted, known | {by_everybody} & held)


def _wanted(
    rights: Mapping[str, Mapping[str, AbstractSet[str]]], store: StoreName, roles: AbstractSet[str]
) -> set[Held]:
    named = {part: store.role(part) for part in (*PARTS, "app")}
    return {
        Held(thing, named[part], privilege)
        for thing, parts in rights.items()
        for part, privileges in parts.items()
        for privilege in privileges
        if named[part] in roles
    }


def _held(connection: Connection, query: TextClause, names: Iterable[str], roles: AbstractSet[str]) -> set[Held]:
    rows = connection.execute(query, {"names": sorted(names), "roles": sorted(roles)})
    return {Held(*row) for row in rows}


def _differences(kind: str, wanted: AbstractSet[Held], held: AbstractSet[Held]) -> Iterator[str]:
    for each in sorted(held - wanted):
        yield f"revoke {each.privilege} on {kind}{_quoted(each.thing)} from {each.role};\n"
    for each in sorted(wanted - held):
        yield f"grant {each.privilege} on {kind}{_quoted(each.thing)} to {each.role};\n"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
