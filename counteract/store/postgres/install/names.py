"""The name of a store, recorded beside its version; no other store of the database may have it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from counteract.errors import ConfigurationError
from counteract.store.postgres.names import REMARK, StoreName
from counteract.store.postgres.readiness import VERSION_TABLE

_STORES = text("""
    select n.nspname, n.nspname = current_schema(), obj_description(c.oid, 'pg_class')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relname = :table and c.relkind = 'r'
""")
_SCHEMA = text("select current_schema()")
# Whether the application's role is led to its store, where the URL does not say where that is.
_PATH = text("""
    select exists (
        select from pg_db_role_setting s join pg_roles r on r.oid = s.setrole join pg_database d on d.oid = s.setdatabase
        where r.rolname = :role and d.datname = current_database() and :path = any (s.setconfig))
""")
_MAY_ALTER_ROLES = text("select rolsuper or rolcreaterole from pg_roles where rolname = current_user")


def application_roles(connection: Connection) -> frozenset[str]:
    """The applications' roles of all stores of the database, and the usual one.

    In the schemas of these names there is no store, and none may be made.
    """
    return frozenset({StoreName().app, *(store.app for _, _, store in _stores(connection))})


def recorded_store(connection: Connection) -> StoreName:
    """The name of the store in the schema of the session; the usual one if none is recorded."""
    return next((store for _, is_here, store in _stores(connection) if is_here), StoreName())


def store_of(connection: Connection, name: str | None) -> StoreName:
    """The name that the store has, or is given now.

    Raises ConfigurationError where it has another one, and where another store of the database has it.
    """
    with connection.begin():
        here, stores = connection.scalar(_SCHEMA), _stores(connection)
    if here is None:
        problem = "no schema of it is there, or this role may not use it: create it, or correct the path in the URL"
        raise ConfigurationError("the search_path leads nowhere", [problem])
    known = next((store for _, is_here, store in stores if is_here), None)
    store = StoreName(name) if name is not None else known or StoreName()
    if known not in (None, StoreName(), store):
        raise ConfigurationError(f"the store in the schema {here}", [f"its name is {known.name}, and stays so"])
    for schema, is_here, other in stores:
        if other == store and not is_here and schema not in (store.app, store.rebuild):
            problem = (
                f"a store of the name {store.name} is in the schema {schema}, with which it would share roles and tables: give "
                f"the one in the schema {here} a name of its own, as in `counteract migrate --store {here}`"
            )
            raise ConfigurationError("two stores in one database", [problem])
    return store


def name_changes(connection: Connection, store: StoreName) -> Sequence[str]:
    """The statement that records the name, unless it is recorded."""
    known = recorded_store(connection)
    return [f"comment on table {VERSION_TABLE} is '{REMARK}{store.name}';\n"] if known != store else []


def path_changes(connection: Connection, store: StoreName) -> Sequence[str]:
    """The statement that leads the application's role to a store that is not in the usual schema."""
    schema = str(connection.scalar(_SCHEMA))
    if store == StoreName() or not connection.scalar(_MAY_ALTER_ROLES):
        return []
    quoted = '"' + schema.replace('"', '""') + '"'
    database = str(connection.scalar(text("select quote_ident(current_database())")))
    path = str(connection.scalar(text("select quote_ident(:schema)"), {"schema": schema})) + f", {store.app}"
    if connection.scalar(_PATH, {"role": store.app, "path": f"search_path={path}"}):
        return []
    return [f"alter role {store.app} in database {database} set search_path = {quoted}, {store.app};\n"]


def _stores(connection: Connection) -> Sequence[tuple[str, bool, StoreName]]:
    rows = connection.execute(_STORES, {"table": VERSION_TABLE})
    return [(schema, is_here, _named(remark)) for schema, is_here, remark in rows]


def _named(remark: str | None) -> StoreName:
    return StoreName(remark.removeprefix(REMARK)) if remark and remark.startswith(REMARK) else StoreName()
