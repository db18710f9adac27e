"""The code that a function depends on: sources of modules, versions of libraries, and values that it holds.

The imports of every module that belongs to no library are followed, in whatever package, imports within functions
included: by the text of a module and by the values in it. That is more than needed, on purpose: an edit that changes
nothing costs one replay, an edit that is overlooked gives a wrong state.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cache, partial, partialmethod
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import resolve_name
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any
from uuid import UUID

from pydantic import BaseModel

# The engine's own code is left out: a new release keeps what it has promised of states.
_NOT_FOLLOWED = frozenset({"counteract", "__future__", *sys.stdlib_module_names})
_LIBRARY_FOLDERS = ("site-packages", "dist-packages")
_PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    Decimal,
    Fraction,
    date,
    time,
    datetime,
    timedelta,
    UUID,
    Enum,
)
_GROUPS = (tuple, list, set, frozenset)


@dataclass(slots=True)
class Code:
    """The code found, in parts."""

    sources: dict[str, str] = field(default_factory=dict)
    """The source text of each module."""
    libraries: dict[str, str] = field(default_factory=dict)
    """The version of each library."""
    values: list[str] = field(default_factory=list)
    """The values that functions hold, written out."""
    unknown: list[str] = field(default_factory=list)
    """Parts that cannot be told, each as the rest of a sentence: a module without source, or a value that no text
    stands for.
    """

    def __str__(self) -> str:
        sources = [self.sources[name] for name in sorted(self.sources)]
        libraries = [f"{name} {self.libraries[name]}" for name in sorted(self.libraries)]
        return "\n".join([*sources, *libraries, *self.values])


def code_of(roots: Iterable[Any]) -> Code:
    """The code that functions, classes and other callables depend on."""
    code = Code()
    names = [name for root in roots for name in _Holding(code).modules_of(root)]
    while names:
        name = names.pop()
        if name in code.sources or name.partition(".")[0] in _NOT_FOLLOWED:
            continue
        names += _followed(code, name)
    return code


def _followed(code: Code, name: str) -> Iterable[str]:
    """The names of the modules that a module imports or holds values of; notes the module itself down."""
    place = _place(name)
    if place is not None and any(part in _LIBRARY_FOLDERS for part in place.parts):
        code.libraries.setdefault(*_library(name.partition(".")[0]))
        return ()
    module = sys.modules.get(name)
    if place is None or place.suffix != ".py" or not place.is_file():
        code.sources[name] = name
        # A package that is only a folder has no code.
        if not hasattr(module, "__path__"):
            code.unknown.append(f"{name} has no source that could be looked at")
        return ()
    code.sources[name] = place.read_text(encoding="utf-8", errors="replace")
    return {*_imported(code.sources[name], name), *_had(module)}


def _place(name: str) -> Path | None:
    """The path of a module's file."""
    file = getattr(sys.modules.get(name), "__file__", None) or _searched(name)
    return Path(file) if file else None


@cache
def _searched(name: str) -> str | None:
    """The path of a module that was not imported yet. Neither it nor its packages are imported for that."""
    folders: Sequence[str] | None = None
    origin = None
    for end in [*(at for at, sign in enumerate(name) if sign == "."), len(name)]:
        loaded = sys.modules.get(name[:end])
        if loaded is not None:
            folders, origin = [*getattr(loaded, "__path__", ())], getattr(loaded, "__file__", None)
        elif folders != [] and (spec := PathFinder.find_spec(name[:end], folders)):
            folders, origin = [*(spec.submodule_search_locations or ())], spec.origin
        else:
            return None
    return origin


@cache
def _library(package: str) -> tuple[str, str]:
    try:
        return package, version(package)
    except PackageNotFoundError:
        names = packages_distributions().get(package, [])
    return package, ", ".join(f"{name} {version(name)}" for name in names)


def _imported(source: str, name: str) -> Iterator[str]:
    """The modules that the module's text imports, anywhere in it, as far as they exist."""
    module = sys.modules.get(name)
    package = getattr(module, "__package__", None) or name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names if _exists(each.name))
            case ast.ImportFrom(module=base, names=names, level=level):
                origin = resolve_name("." * level + (base or ""), package) if level else base or ""
                yield from (each for each in (origin, *(f"{origin}.{one.name}" for one in names)) if _exists(each))


def _exists(name: str) -> bool:
    is_followed = name.partition(".")[0] not in _NOT_FOLLOWED
    return is_followed and (name in sys.modules or _searched(name) is not None)


def _had(module: ModuleType | None) -> Iterator[str]:
    """The modules that the module's values come from, however they came there."""
    for value in list(vars(module).values()) if module else ():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(name, str) and name in sys.modules:
            yield name


class _Holding:
    """Goes through the values that functions and objects hold: defaults, closures, bound arguments, attributes."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._seen: set[int] = set()

    def modules_of(self, value: Any) -> Iterator[str]:
        """The modules of a value and of all that it holds; notes the values down."""
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, ModuleType):
            yield value.__name__
        elif isinstance(value, type | FunctionType) or not _is_value(value):
            yield from self._of_code(value)
        else:
            yield from self._of_value(value)

    def _of_code(self, value: Any) -> Iterator[str]:
        if not callable(value):
            self._code.unknown.append(f"it holds {type(value).__qualname__}, whose value cannot be told")
        if isinstance(name := getattr(value, "__module__", None), str):
            yield name
        for held in _held(value):
            yield from self.modules_of(held)

    def _of_value(self, value: Any) -> Iterator[str]:
        parts = _parts(value)
        if parts is None:
            self._code.values.append(f"{type(value).__qualname__} {value!r}")
        for part in parts or ():
            yield from self.modules_of(part)
        if type(value).__module__ in sys.modules:
            yield type(value).__module__


def _is_value(value: Any) -> bool:
    return isinstance(value, (*_PLAIN, *_GROUPS, Mapping, BaseModel)) or is_dataclass(value)


def _parts(value: Any) -> Iterable[Any] | None:
    """The parts of a value, always in the same order; None where it has none."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, Mapping):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, BaseModel):
        return [getattr(value, name) for name in type(value).model_fields]
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name) for each in fields(value)]
    return value if isinstance(value, tuple | list) else None


def _held(value: Any) -> Iterable[Any]:
    match value:
        case type():
            return ()
        case FunctionType():
            named = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
            return [*named, *_cells(value), *filter(None, [getattr(value, "__wrapped__", None)])]
        case MethodType():
            return [value.__func__, value.__self__]
        case partial() | partialmethod():
            return [value.func, *value.args, *value.keywords.values()]
    return [type(value), *getattr(value, "__dict__", {}).values()] if callable(value) else [type(value)]


def _cells(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            # Not filled yet: a function that names itself.
            continue
