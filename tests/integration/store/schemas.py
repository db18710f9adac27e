"""Stores in a schema of their own."""

from __future__ import annotations

from urllib.parse import quote


def in_schema(url: str, schema: str) -> str:
    return f"{url}&options={quote('-csearch_path=' + schema)}"
