"""Rows in an index of OpenSearch."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import JSON, Column

from counteract.errors import ConfigurationError
from counteract.projections.sinks.layout import Layout, Row
from counteract.projections.sinks.sink import (
    Positioned,
    RowRefused,
    Shown,
    SinkUnavailable,
    missing_extra,
    report_change,
)

if TYPE_CHECKING:
    from opensearchpy import AsyncOpenSearch

    from counteract.projections.projection import Projection

_SECONDS = 5
# Versions of deleted rows are kept for this long: a process that stood still, but not longer, is refused.
_KEEP_DELETED = "1h"
_LONGEST_PAUSE = 600.0
_IS_NEW = "is_new"
_TYPES = {bool: "boolean", int: "long", float: "double", Decimal: "double", datetime: "date", date: "date"}
_FIELD = re.compile(r"failed to parse field \[([^\]]+)\] of type \[([^\]]+)\]")


@dataclass(frozen=True, slots=True)
class _Found:
    row: Row | None
    position: int


class OpenSearchIndex:
    """A document for each row, found by the alias `name`, with the row's key as its id and all columns as its fields.

    Strings are keywords, numbers long or double, times dates; `fields` says otherwise, in OpenSearch's words:
    `{"title": {"type": "text"}}`. `settings` are the index's own when it is made: shards, replicas, analysis.

    A document's version is the position of the last event that it shows, and OpenSearch refuses older ones. A search
    finds what was refreshed, by default once a second. With `refresh="wait_for"` each batch waits for that, so that
    `reached` means that the rows are found. Needs `pip install 'counteract[opensearch]'`.
    """

    def __init__(
        self,
        server: str | AsyncOpenSearch,
        *,
        name: str,
        fields: Mapping[str, Mapping[str, Any]] | None = None,
        settings: Mapping[str, Any] | None = None,
        refresh: bool | Literal["wait_for"] = False,
    ) -> None:
        self._server = server
        self._name = name
        self._fields = dict(fields or {})
        self._settings = dict(settings or {})
        self._refresh = str(refresh).lower()
        self._made: AsyncOpenSearch | None = None
        self._layout: Layout | None = None
        self._has_reported = False
        # The record of an index to which nothing was written yet; else nothing.
        self._made_for: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"OpenSearch, {self._name!r}"

    async def prepare(self, layout: Layout, code: str) -> Shown | None:
        """Find the index by its alias, or create it, and tell how far its documents have come.

        Raises SinkUnavailable, RowRefused.
        """
        self._layout = layout
        with _translated():
            if await self._client.indices.exists_alias(name=self._name):
                await self._check(layout, code)
            else:
                await self._create(layout, code)
        # Also where another attempt has made it: a process that has lost rows may not have come as far as to say so.
        return Shown(0) if self._made_for else None

    async def write(self, operations: Sequence[Positioned], *, up_to: Shown) -> None:
        """Bring the documents up to the operations, each only if these are newer.

        Raises SinkUnavailable, RowRefused.
        """
        await self._begin()
        await self._write(operations, is_late=False)

    async def write_late(self, operations: Sequence[Positioned]) -> None:
        """Apply the operations of one event that was parked, on documents that have gone on since.

        Raises SinkUnavailable, RowRefused.
        """
        await self._begin()
        await self._write(operations, is_late=True)

    async def read(self, projection: Projection, key: Any) -> Row | None:
        """The row of a key, whether searches find it yet or not; None where there is none."""
        row = projection.layout.id_of(key)
        with _translated():
            found = await self._find(projection.layout, [row])
        return found[row].row

    async def watch(self) -> None:
        """Raises SinkUnavailable where the index has lost its documents."""
        with _translated():
            if not await self._client.indices.exists_alias(name=self._name):
                raise SinkUnavailable("OpenSearch has lost an index: it is made anew from the events")

    async def erase(self) -> None:
        """Delete the index with all its documents."""
        with _translated():
            for index in await self._indices():
                await self._client.indices.delete(index=index)

    async def close(self) -> None:
        """Close the client, if it was made here and not given. The sink may be used again."""
        if self._made:
            await self._made.close()
            self._made = None

    @property
    def _client(self) -> AsyncOpenSearch:
        if not isinstance(self._server, str):
            return self._server
        if self._made is None:
            self._made = _library().AsyncOpenSearch(hosts=[self._server], timeout=_SECONDS, max_retries=0)
        return self._made

    async def _indices(self) -> Sequence[str]:
        if not await self._client.indices.exists_alias(name=self._name):
            return []
        return list(await self._client.indices.get_alias(name=self._name))

    async def _create(self, layout: Layout, code: str) -> None:
        properties = {name: _property(column) for name, column in layout.columns.items()}
        self._made_for = {"projection": layout.name, "code": code, _IS_NEW: True}
        body = {
            "settings": {"index": {"gc_deletes": _KEEP_DELETED} | self._settings},
            "mappings": {
                "dynamic": "strict",
                "_meta": self._made_for,
                "properties": properties | self._fields,
            },
            "aliases": {self._name: {}},
        }
        try:
            await self._client.indices.create(index=f"{self._name}-1", body=body)
        except _library().RequestError as error:
            # Another process was there first.
            if error.error != "resource_already_exists_exception":
                raise

    async def _begin(self) -> None:
        """Record that something is written: rows that are missing before that are not lost ones."""
        if self._made_for:
            with _translated():
                meta = {name: value for name, value in self._made_for.items() if name != _IS_NEW}
                await self._client.indices.put_mapping(index=self._name, body={"_meta": meta})
            self._made_for = {}

    async def _check(self, layout: Layout, code: str) -> None:
        for index, found in (await self._client.indices.get_mapping(index=self._name)).items():
            mapping = found["mappings"]
            problems = []
            if (owner := mapping.get("_meta", {}).get("projection")) != layout.name:
                problems.append(f"the index {index!r} is that of {owner!r}: give each projection one of its own")
            elif missing := layout.columns.keys() - mapping.get("properties", {}).keys():
                names = ", ".join(sorted(missing))
                problems.append(f"the index {index!r} has no field {names}: fill another one, under a second name")
            if problems:
                raise ConfigurationError(f"projection {layout.name!r}", problems)
            self._made_for = mapping["_meta"] if mapping["_meta"].get(_IS_NEW) else {}
            if not self._has_reported:
                self._has_reported = True
                report_change(layout, mapping["_meta"].get("code"), code)

    async def _write(self, operations: Sequence[Positioned], *, is_late: bool) -> None:
        if not operations:
            return
        layout = self._prepared()
        by_row: dict[str, list[Positioned]] = {}
        for each in operations:
            by_row.setdefault(layout.id_of(each.operation.key), []).append(each)
        begun = asyncio.get_running_loop().time()
        with _translated():
            found = await self._find(layout, list(by_row))
            if is_late:
                self._refuse_later(by_row, found)
            lines = [
                line
                for row, each in by_row.items()
                for line in self._lines(layout, row, _later(each, found[row]), found[row])
            ]
            if asyncio.get_running_loop().time() - begun > _LONGEST_PAUSE:
                raise SinkUnavailable("this process stood still for too long: it begins its batch anew")
            if lines:
                # The index is not made by writing to it: one that is gone is made anew with all of its rows.
                written = await self._client.bulk(body=lines, require_alias=True, refresh=self._refresh)
                _check_items(written["items"], is_late=is_late)

    async def _find(self, layout: Layout, rows: Sequence[str]) -> Mapping[str, _Found]:
        found = await self._client.mget(index=self._name, body={"ids": list(rows)})
        return {each["_id"]: _found(layout, each) for each in found["docs"]}

    def _lines(
        self, layout: Layout, row: str, operations: Sequence[Positioned], found: _Found
    ) -> Iterator[Mapping[str, Any]]:
        """The lines of a bulk request that bring the row up to the operations."""
        if not operations:
            return
        after = layout.applied(found.row, [each.operation for each in operations])
        head = {"_index": self._name, "_id": row, "version": operations[-1].position, "version_type": "external"}
        if after is not None:
            yield {"index": head}
            yield layout.to_document(after)
        else:
            # Also where there was no row: an older version must not come after it.
            yield {"delete": head}

    def _refuse_later(self, by_row: Mapping[str, Sequence[Positioned]], found: Mapping[str, _Found]) -> None:
        for row, operations in by_row.items():
            # At this very position the row shows the event already.
            if found[row].position > operations[0].position:
                raise RowRefused(
                    "a row of it shows events of other streams that came later, and which of them is not known: "
                    "`counteract projections drop` it, and it is made anew"
                )

    def _prepared(self) -> Layout:
        if self._layout is None:
            raise RuntimeError("prepare() comes before the first batch")
        return self._layout


def _later(operations: Sequence[Positioned], found: _Found) -> Sequence[Positioned]:
    return [each for each in operations if each.position > found.position]


def _found(layout: Layout, document: Mapping[str, Any]) -> _Found:
    if "error" in document:
        raise SinkUnavailable(f"OpenSearch: {document['error'].get('type')}")
    if not document["found"]:
        return _Found(None, 0)
    return _Found(layout.from_document(document["_source"]), document["_version"])


def _check_items(items: Sequence[Mapping[str, Any]], *, is_late: bool) -> None:
    for item in items:
        ((_, result),) = item.items()
        # A conflict says that the row shows this position already, or a later one: another process was faster.
        if "error" not in result or (result["status"] == HTTPStatus.CONFLICT and not is_late):
            continue
        error = result["error"]
        if result["status"] in (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT):
            # Its own words quote the value.
            field = _FIELD.search(error.get("reason", ""))
            where = f" for the field {field[1]!r}, which is {field[2]}" if field else ""
            raise RowRefused(f"OpenSearch refuses a row: {error.get('type')}{where}")
        raise SinkUnavailable(f"OpenSearch: {error.get('type')}")


def _property(column: Column[Any]) -> Mapping[str, Any]:
    if isinstance(column.type, JSON):
        # Kept as it is, and not searched: two rows may have different types there.
        return {"type": "object", "enabled": False}
    try:
        python_type = column.type.python_type
    except NotImplementedError:
        return {"type": "keyword"}
    return {"type": _TYPES.get(python_type, "keyword")}


def _library() -> Any:
    try:
        import aiohttp  # noqa: F401 - without it the client has no asynchronous part
        import opensearchpy
    except ModuleNotFoundError as error:
        raise missing_extra("opensearch", error) from error
    return opensearchpy


@contextmanager
def _translated() -> Iterator[None]:
    error_of_opensearch = _library().OpenSearchException
    try:
        yield
    except error_of_opensearch as error:
        # An error of a whole request, whose text may quote it.
        status = getattr(error, "status_code", "")
        problem = f"OpenSearch: {type(error).__name__} {status}".rstrip()
        if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
            raise RowRefused(problem) from error
        raise SinkUnavailable(problem) from error
