"""What DATABASE_URL may say, and what is said of one that cannot be read: never a part of its password."""

from __future__ import annotations

import pytest

from counteract.errors import ConfigurationError
from counteract.store.postgres.connect import connect_options

pytestmark = pytest.mark.unit

SECRET = "tail"  # noqa: S105 - a word to look for


def test_white_space_around_it_is_left_out_as_a_secret_from_a_file_has_it() -> None:
    options = connect_options(" \tpostgresql://ann:p%40ss@db/shop?host=/run/sockets\r\n")
    assert (options["host"], options["password"], options["dbname"]) == ("/run/sockets", "p@ss", "shop")


@pytest.mark.parametrize(
    "url",
    [
        "postgres://db/shop",
        "host=db dbname=shop user=ann",
        "postgresql://db:5432,other:5433/shop",
        "postgresql:///shop?host=/a,/b",
    ],
)
def test_whatever_libpq_reads_is_read(url: str) -> None:
    assert connect_options(url)["dbname"] == "shop"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "it is empty: set DATABASE_URL"),
        ("\n", "it is empty"),
        (f"postgresql://ann:p@{SECRET}@db/shop", "write an @ of the user or the password as %40"),
        (f"postgresql://ann:1/{SECRET}@db/shop", "write a / of the user or the password as %2F"),
        (f"postgresql://ann:1?{SECRET}@db/shop", "write a \\? of the user or the password as %3F"),
        (f"postgresql://ann:1?{SECRET}=1@db/shop", "write a \\? of the user or the password as %3F"),
        (f"postgresql://ann:100%{SECRET}@db/shop", "begins no escape: write it as %25"),
        (f"postgresql://{SECRET}:{SECRET}/shop", "its port is none"),
        ("postgresql://db:99999/shop", "its port is none: give a number up to 65535"),
        ("postgresql+psycopg://db/shop", "its scheme is postgresql\\+psycopg.*write postgresql://user"),
        ("jdbc:postgresql://db/shop", "its scheme is jdbc:postgresql"),
        ("postgresql://db/shop?schema=tail2", "it has the parameter schema, which is not one of libpq's"),
        ("host=db pool_size=5", "it has the parameter pool_size"),
        (f"host=db password=correct {SECRET}=battery", "write a value that holds a blank in quotes"),
        ("postgresql://db/shop?connect_timeout=abc", "connect_timeout is no whole number"),
        ("postgresql://db/shop?sslmode=nonsense", "sslmode is none of disable, allow"),
        ("postgresql://db/shop?target_session_attrs=rw", "target_session_attrs is none of any, read-write"),
        (f"shop {SECRET}", "write postgresql://user:password@host"),
    ],
)
def test_what_cannot_be_read_is_named_without_the_password(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        connect_options(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
