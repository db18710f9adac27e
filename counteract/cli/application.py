"""The application that a command works on: what `[tool.counteract]` of pyproject.toml names, imported and searched."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeVar

import typer

from counteract.decider import Decider
from counteract.errors import ConfigurationError
from counteract.messages import Event

T = TypeVar("T")

Modules = Annotated[
    list[str] | None,
    typer.Option(
        "--modules",
        metavar="MODULE",
        help="Where the events and deciders are; by default [tool.counteract] modules of pyproject.toml.",
    ),
]


def named_modules(setting: str, given: Sequence[str] | None) -> Sequence[str]:
    """The names that are given, or else those that the setting lists. Raises ConfigurationError without any."""
    if names := given or declared(setting):
        return names
    raise ConfigurationError(
        f"no {setting} are named", [f'give --{setting} MODULE, or set [tool.counteract] {setting} = ["…"]']
    )


def imported(name: str) -> ModuleType:
    """Import the module, from the current folder too, as `python -m` does. Raises ConfigurationError."""
    folder = os.getcwd()  # noqa: PTH109 - an entry of sys.path is text
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(f"cannot import {name}", [str(error)]) from error


def named_object(setting_name: str, what: str) -> tuple[str, Any] | None:
    """The setting's value, "module:name", and the object that it names; None where it is not set.

    Raises ConfigurationError. `what` is the word for it in an error: a function, …
    """
    name = setting(setting_name)
    if name is None:
        return None
    if not isinstance(name, str) or not re.fullmatch(r"[\w.]+:\w+", name):
        raise wrong(setting_name, name, f'this names no {what}: write {setting_name} = "module:{what}"')
    module, _, attribute = name.partition(":")
    try:
        found = getattr(imported(module), attribute, None)
    except Exception as error:
        why = "; ".join(error.problems) if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}"
        problem = f"cannot import {module} ({why}): correct the name, or run this in its folder"
        raise wrong(setting_name, name, problem) from error
    if found is None:
        raise wrong(setting_name, name, f"{module} has no {attribute}: correct the name")
    return name, found


def wrong(setting_name: str, value: object, problem: str) -> ConfigurationError:
    """The error that says what is wrong with a setting of pyproject.toml."""
    return ConfigurationError(f"[tool.counteract] {setting_name} = {value!r} in pyproject.toml", [problem])


def event_classes(modules: Sequence[str] | None = None) -> Sequence[type[Event]]:
    """The event classes that the application's modules define, by stored name and version.

    A class that others derive from is what they share, and counts only where a decider names it.
    Raises ConfigurationError where there are none.
    """
    found = list(_modules(modules))
    decided = {each for decider in _deciders(found) for each in decider.event_classes}
    classes = {
        each
        for module in found
        for each in vars(module).values()
        if _is_event_of(module, each) and (each in decided or not each.__subclasses__())
    }
    if not (classes := classes | decided):
        names = named_modules("modules", modules)
        raise ConfigurationError("no events were found", [f"{name} defines no Event class" for name in names])
    return sorted(classes, key=lambda each: (each.event_type, each.schema_version, each.__qualname__))


def deciders(modules: Sequence[str] | None = None) -> Sequence[Decider[Any, Any]]:
    """The deciders that the application's modules hold, by aggregate type."""
    return _deciders(_modules(modules))


def objects(kind: type[T], setting: str, modules: Sequence[str] | None = None) -> Sequence[T]:
    """The objects of a kind in the modules that are given, or else in those that the setting lists."""
    found = [each for name in named_modules(setting, modules) for each in vars(imported(name)).values()]
    return [each for each in found if isinstance(each, kind)]


def _deciders(modules: Sequence[ModuleType] | Iterator[ModuleType]) -> Sequence[Decider[Any, Any]]:
    found = {each for module in modules for each in vars(module).values() if isinstance(each, Decider)}
    return sorted(found, key=lambda each: each.aggregate_type)


def _modules(given: Sequence[str] | None) -> Iterator[ModuleType]:
    """The modules that are given, or set, with their submodules."""
    for name in named_modules("modules", given):
        module = imported(name)
        yield module
        for each in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            yield imported(each.name)


def _is_event_of(module: ModuleType, candidate: object) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, Event) and candidate.__module__ == module.__name__


def declared(name: str) -> Sequence[str]:
    """The modules that a setting of `[tool.counteract]` lists; none where it is not set. Raises ConfigurationError."""
    names: list[str] = setting(name) or []
    return names


def setting(name: str) -> Any:
    """The value of a setting in `[tool.counteract]`; None where it is not set. Raises ConfigurationError."""
    file = Path("pyproject.toml")
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError("pyproject.toml is not TOML", [f"{error}: correct it"]) from error
    return tables.get("tool", {}).get("counteract", {}).get(name)
