"""A connection of the store: straight to the server, or through a pooler, which lends it a session for each
transaction.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from counteract.errors import ConfigurationError
from counteract.store.postgres.names import StoreName

if TYPE_CHECKING:
    from contextlib import _AsyncGeneratorContextManager as Context

_WORDS = re.compile(r"(?:\\.|\S)+", re.DOTALL)
_SETTING = re.compile(r"(?:-c|--)([\w.-]+)=(.*)", re.DOTALL)
_BEGIN = "begin isolation level read committed"
SET_LOCALLY = "select set_config(name, value, true) from unnest(%s::text[], %s::text[]) as given (name, value)"
REFUSED_OPTIONS = "unsupported startup parameter"
"""The answer of a pooler to `options` in the URL, such as a search_path."""


class Executes(Protocol):
    """An object that runs statements: a connection or a cursor."""

    def execute(self, query: Any, params: Any = None) -> Coroutine[Any, Any, psycopg.AsyncCursor[TupleRow]]:
        """Run one statement."""
        ...


class Connection(psycopg.AsyncConnection[TupleRow]):
    """The driver's connection, with what is known of the session at its other end.

    Behind a pooler each transaction may have another session. So each brings its settings along, in the same round
    trip, and nothing is prepared in one for the next.
    """

    store: StoreName = StoreName()
    """The store that its search path leads to."""
    options: str = ""
    """The `options` of the URL, such as `-c search_path=mine`."""
    settings: Mapping[str, str] | None = None
    """The settings that each transaction brings along behind a pooler; None where the session has them."""
    _is_within = False

    @classmethod
    async def connect(cls, conninfo: str = "", **given: Any) -> Self:
        """Open a connection. Where a pooler refuses the URL's `options`, each transaction brings them along instead.

        Raises psycopg's OperationalError.
        """
        try:
            connection = await super().connect(conninfo, **given)
        except psycopg.OperationalError as error:
            if not given.get("options") or REFUSED_OPTIONS not in str(error):
                raise
            connection = await super().connect(conninfo, **{**given, "options": None})
        connection.options = given.get("options") or ""
        return connection

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler stands in between, so that each transaction may have another session."""
        return self.settings is not None

    @cached_property
    def again(self) -> Executes:
        """The object on which to run one statement after another: it keeps what a new cursor has to find out first."""
        return self if self.is_pooled else self.cursor()

    def execute(
        self, query: Any, params: Any = None, **options: Any
    ) -> Coroutine[Any, Any, psycopg.AsyncCursor[TupleRow]]:
        """Run a statement, as the driver does; behind a pooler and outside a transaction, in one of its own, in one
        round trip.
        """
        if self._has_its_session:
            return super().execute(query, params, **options)
        return self._execute_alone(query, params, **options)

    def pipeline(self) -> Context[psycopg.AsyncPipeline]:
        """The driver's pipeline; behind a pooler and outside a transaction, all of it is one transaction."""
        return super().pipeline() if self._has_its_session else self._pipeline_alone()

    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Context[psycopg.AsyncTransaction]:
        """The driver's transaction; behind a pooler it begins with the settings that a session would have."""
        if self._has_its_session:
            return super().transaction(savepoint_name, force_rollback)
        return self._transaction_alone(savepoint_name, force_rollback)

    def session(self) -> AbstractAsyncContextManager[object]:
        """One session until the end of the context, for work that changes nothing: behind a pooler, a transaction."""
        return self.transaction() if self.is_pooled else nullcontext()

    @property
    def _has_its_session(self) -> bool:
        return self.settings is None or self._is_within or self.pgconn.transaction_status != TransactionStatus.IDLE

    async def _execute_alone(self, query: Any, params: Any, **options: Any) -> psycopg.AsyncCursor[TupleRow]:
        async with self._pipeline_alone():
            return await super().execute(query, params, **options)

    @asynccontextmanager
    async def _pipeline_alone(self) -> AsyncIterator[psycopg.AsyncPipeline]:
        """A transaction in one round trip. One that fails takes another, to roll back."""
        try:
            async with super().pipeline() as pipeline:
                with self._within():
                    await super().execute(_BEGIN)
                    await self.settle()
                    yield pipeline
                    await super().execute("commit")
        except BaseException:
            if self.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                await self.rollback()
            raise

    @asynccontextmanager
    async def _transaction_alone(
        self, savepoint_name: str | None, force_rollback: bool
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        async with super().transaction(savepoint_name, force_rollback) as transaction:
            with self._within():
                await self.settle()
                yield transaction

    async def settle(self) -> None:
        """Give the transaction that has begun its settings."""
        settings = self.settings or {}
        await super().execute(SET_LOCALLY, (list(settings), list(settings.values())))

    @contextmanager
    def _within(self) -> Iterator[None]:
        self._is_within = True
        try:
            yield
        finally:
            self._is_within = False


def settings_of(options: str) -> Mapping[str, str]:
    """The settings that libpq's `options` name.

    Raises ConfigurationError where `options` have anything else, which no pooler lets through.
    """
    words = [re.sub(r"\\(.)", r"\1", word) for word in _WORDS.findall(re.sub(r"(?<!\S)-c\s+", "-c", options))]
    found = [_SETTING.fullmatch(word) for word in words]
    if None in found:
        problem = "its options can only be settings behind a pooler, as in options=-csearch_path%3Dmine"
        raise ConfigurationError("the database's URL", [problem])
    return {each[1].replace("-", "_"): each[2] for each in found if each}
