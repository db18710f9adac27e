"""Proposes single-line changes to a file of the engine, for somebody to choose from."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

Change = tuple[int, str]
"""The line's number, from 0, and the changed line."""

SWAPS = [
    ("is not None", "is None"),
    ("is None", "is not None"),
    (" not in ", " in "),
    (" == ", " != "),
    (" != ", " == "),
    (" and ", " or "),
    (" or ", " and "),
    (" < ", " > "),
    (" > ", " <= "),
    ("True", "False"),
    ("False", "True"),
    ("Outcome.APPLIED", "Outcome.NOT_APPLIED"),
    ("Outcome.NOT_APPLIED", "Outcome.UNKNOWN"),
    ("Outcome.UNKNOWN", "Outcome.NOT_APPLIED"),
    ("Undoing.UNDONE", "Undoing.SKIPPED"),
    ("Undoing.SKIPPED", "Undoing.UNDONE"),
    ("CommandKind.COMPENSATABLE", "CommandKind.RETRIABLE"),
    ("CommandKind.PIVOT", "CommandKind.COMPENSATABLE"),
    ("cancel=True", "cancel=False"),
    ("cancel=False", "cancel=True"),
    (" + 1", ""),
    (" += 1", " += 0"),
    ("[::-1]", ""),
    ("reverse=True", "reverse=False"),
]
SQL_SWAPS = [
    ("'done'", "'rejected'"),
    ("'started'", "'fenced'"),
    ("'fenced'", "'started'"),
    (" is not null", " is null"),
    (" is null", " is not null"),
    (" <> ", " = "),
    (" = ", " <> "),
    (" and ", " or "),
    ("if not found", "if found"),
    (" for update", ""),
    (" for share", ""),
    ("do nothing", "do update set status = excluded.status"),
    ("not exists", "exists"),
]


def propose(path: Path) -> str:
    """Entries for the list, as TOML."""
    lines = path.read_text(encoding="utf-8").splitlines()
    changes = _in_sql(lines) if path.suffix == ".sql" else _in_python(lines)
    name = "/".join(path.parts[path.parts.index("counteract") + 1 :])
    return "\n".join(
        _entry(name, number, lines, after)
        for number, after in dict.fromkeys(changes)
        if after.strip() != lines[number].strip()
    )


def _entry(name: str, number: int, lines: list[str], after: str) -> str:
    before = lines[number].strip()
    at = sum(line.strip() == before for line in lines[: number + 1])
    fields = {"id": f"{Path(name).stem}-{number + 1}", "file": name, "before": before, "after": after.strip()}
    told = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    return "\n".join(["[[mutant]]", *told, *([f"at = {at}"] if at > 1 else []), ""])


def _in_sql(lines: list[str]) -> Iterator[Change]:
    for number, line in enumerate(lines):
        code = line.partition("--")[0]
        for old, new in SQL_SWAPS:
            if old in code:
                yield number, code.replace(old, new, 1)
        if re.match(r"\s+(and|or) ", code):
            yield number, ";" if code.rstrip().endswith(";") else ""
        if re.match(r"\s+(perform|update|return query|insert) .*;$", code):
            yield number, "null;"


def _in_python(lines: list[str]) -> Iterator[Change]:
    tree = ast.parse("\n".join(lines))
    docs = set(_docstring_lines(tree))
    for node in ast.walk(tree):
        yield from _of_node(node, lines)
    for number, line in enumerate(lines):
        if number in docs or line.lstrip().startswith(("#", "from ", "import ", '"')):
            continue
        yield from ((number, line.replace(old, new, 1)) for old, new in SWAPS if old in line)
        if re.match(r"\s+\w+=.*,$", line):
            yield number, ""


def _of_node(node: ast.AST, lines: list[str]) -> Iterator[Change]:
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if _on_one_line(test):
            number = test.lineno - 1
            line, begin, end = lines[number], test.col_offset, int(test.end_col_offset or 0)
            yield number, f"{line[:begin]}not ({line[begin:end]}){line[end:]}"
        case ast.Expr(value=ast.Call() | ast.Await()) if _on_one_line(node):
            yield node.lineno - 1, "pass"
        case ast.Assign(targets=[ast.Attribute()]) | ast.AugAssign() | ast.Raise() if _on_one_line(node):
            yield node.lineno - 1, "pass"
        case ast.Return(value=value) if value is not None and _on_one_line(node):
            yield node.lineno - 1, "return None"


def _on_one_line(node: ast.stmt | ast.expr) -> bool:
    return node.lineno == node.end_lineno


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from range(node.lineno - 1, int(node.end_lineno or node.lineno))
