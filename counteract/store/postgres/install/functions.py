"""The SQL functions and triggers of `sql/`: which of them the database lacks, or has otherwise.

Each carries a remark in the database: a digest of the script that made it, and one of the definition that the server
then had. While both still hold, nothing is done; a function that was replaced by hand is put right like one of another
release.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection, TextClause, text

from counteract.store.postgres.readiness import FUNCTION_FILES
from counteract.store.postgres.rights import CALLS

_TRIGGER = re.compile(r"create or replace trigger (\w+)")

# The path that `set search_path from current` has fixed is part of a definition.
_FUNCTIONS = text("""
    select p.proname, obj_description(p.oid, 'pg_proc'), md5(pg_get_functiondef(p.oid))
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = current_schema() and p.proname = any (:names)
""")
_TRIGGERS = text("""
    select t.tgname, obj_description(t.oid, 'pg_trigger'), md5(pg_get_triggerdef(t.oid) || t.tgenabled::text)
    from pg_trigger t where t.tgrelid = to_regclass('events') and t.tgname = any (:names)
""")
_MARK_FUNCTION = """
do $mark$ begin
    execute format('comment on function {name} is %L', '{digest} ' || (
        select md5(pg_get_functiondef(p.oid)) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = current_schema() and p.proname = '{name}'));
end $mark$;
"""
_MARK_TRIGGER = """
do $mark$ begin
    execute format('comment on trigger {name} on events is %L', '{digest} ' || (
        select md5(pg_get_triggerdef(t.oid) || t.tgenabled::text) from pg_trigger t
        where t.tgrelid = 'events'::regclass and t.tgname = '{name}'));
end $mark$;
"""
# PostgreSQL lets everybody call a function that is new.
_REVOKE = "revoke all on function {name} from public;\n"


class Piece(NamedTuple):
    """A function, or a trigger of `events`, with the script that makes it."""

    name: str
    script: str

    @property
    def digest(self) -> str:
        """The digest of the script."""
        return sha256(self.script.encode()).hexdigest()[:16]


@cache
def functions() -> Sequence[Piece]:
    """The functions of this release."""
    return [Piece(path.stem, _parts(path.read_text(encoding="utf-8"))[0]) for path in FUNCTION_FILES]


@cache
def triggers() -> Sequence[Piece]:
    """The triggers of this release."""
    tails = [_parts(path.read_text(encoding="utf-8"))[1] for path in FUNCTION_FILES]
    return [Piece(found[1], tail) for tail in tails if (found := _TRIGGER.search(tail))]


def _parts(script: str) -> tuple[str, str]:
    """The script of the function, and the rest of its file: its trigger's, if it has one."""
    head, body, tail = script.split("$$")
    return f"{head}$${body}$$;\n", tail.lstrip(";\n")


def function_changes(connection: Connection) -> Sequence[str]:
    """A script for each function that is to be made or replaced. None of them waits for appends."""
    return [_function_script(piece) for piece in _differing(connection, _FUNCTIONS, functions())]


def _function_script(piece: Piece) -> str:
    revoked = _REVOKE.format(name=piece.name) if piece.name in CALLS else ""
    return piece.script + revoked + _MARK_FUNCTION.format(name=piece.name, digest=piece.digest)


def trigger_changes(connection: Connection) -> Sequence[str]:
    """A script for each trigger that is to be made or replaced, which takes a moment without appends."""
    differing = _differing(connection, _TRIGGERS, triggers())
    return [piece.script + _MARK_TRIGGER.format(name=piece.name, digest=piece.digest) for piece in differing]


def _differing(connection: Connection, query: TextClause, pieces: Sequence[Piece]) -> Sequence[Piece]:
    rows = connection.execute(query, {"names": [piece.name for piece in pieces]})
    there = {name: (remark, now) for name, remark, now in rows}
    return [piece for piece in pieces if not _is_as_made(piece, *there.get(piece.name, (None, "")))]


def _is_as_made(piece: Piece, remark: str | None, now: str) -> bool:
    return remark == f"{piece.digest} {now}"
