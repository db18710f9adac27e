"""The URL of a database: its parameters, or what is wrong with it. It is never quoted, for it holds a password."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from counteract.errors import ConfigurationError

_FORM = "write postgresql://user:password@host:5432/database"
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.:-]*)://")
_SCHEMES = ("postgresql", "postgres")
_UNKNOWN = re.compile(
    r'invalid (?:URI query parameter|connection option): "(\w{1,40})"|invalid connection option "(\w{1,40})"'
)
_MOST_PORT = 65535
_NUMBERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}


def read_url(url: str) -> Mapping[str, Any]:
    """The parameters for libpq of a `postgresql://` URL, or of a `host=… dbname=…` string; white space around it is
    left out.

    Raises ConfigurationError, without the URL's text.
    """
    url = url.strip()
    problems, given = list(_problems_of_text(url)), {}
    if not problems:
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error as error:
            problems = [_unread(url, str(error))]
        problems += _problems_of_values(given)
    if problems:
        raise ConfigurationError("the database's URL cannot be read", problems)
    return given


def _problems_of_text(url: str) -> Iterator[str]:
    """Problems with parts that libpq would read as something else, and then show in its errors as a
    host or a database.
    """
    if not url:
        yield f"it is empty: set DATABASE_URL, or give --database-url; {_FORM}"
        return
    scheme = _SCHEME.match(url)
    if scheme is None:
        return
    if scheme[1] not in _SCHEMES:
        yield f"its scheme is {scheme[1]}, which belongs to another library: {_FORM}"
        return
    place, _, more = url[scheme.end() :].partition("?")
    authority = place.partition("/")[0]
    if place.count("@") > 1:
        yield "there is more than one @ in it: write an @ of the user or the password as %40"
    elif "@" in place and "@" not in authority:
        yield "there is a / before the @: write a / of the user or the password as %2F"
    elif "@" in more and "@" not in authority:
        yield "there is a ? before the @: write a ? of the user or the password as %3F, and an @ as %40"


def _problems_of_values(given: Mapping[str, Any]) -> Iterator[str]:
    ports = [port for port in str(given.get("port") or "").split(",") if port]
    if not all(port.isascii() and port.isdigit() and 1 <= int(port) <= _MOST_PORT for port in ports):
        yield f"its port is none: give a number up to {_MOST_PORT}; in a password write : as %3A and / as %2F"
    for name in _NUMBERS:
        value = str(given.get(name, "0"))
        if not value.removeprefix("-").isdigit():
            yield f"{name} is no whole number: leave it out, or correct it"
    for name, choices in _CHOICES.items():
        if given.get(name, choices[0]) not in choices:
            yield f"{name} is none of {', '.join(choices)}"


def _unread(url: str, said: str) -> str:
    """The objection of libpq, as far as it cannot be a part of a password."""
    found = _UNKNOWN.search(said)
    if found and "://" not in url and "password" in url.partition(f"{found[1] or found[2]}=")[0]:
        return "there is something behind its password: write a value that holds a blank in quotes, as in password='two words'"
    if found and "@" not in url.partition("?")[2]:
        return f"it has the parameter {found[1] or found[2]}, which is not one of libpq's: leave it out"
    if "%" in said:
        return "there is a % in it that begins no escape: write it as %25"
    return f"{_FORM}, with %-escapes for what is no letter and no digit in the password"
