"""What is public of the package: each name, the page that tells of it, and whether it has a docstring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MODULES: dict[str, Sequence[str]] = {
    "counteract": (),
    "counteract.errors": (),
    "counteract.saga": (),
    "counteract.participants": (),
    "counteract.plugin": ("CounteractPlugin", "LifecycleRecorder"),
    "counteract.lifecycle": ("SagaStarted", "SagaCompleted", "SagaCompensated", "SagaStuck", "SagaResolved", "sagas"),
    "counteract.store": (),
    "counteract.store.postgres.migrate": (),
    "counteract.store.postgres.connect": (),
    "counteract.projections": (),
    "counteract.projections.sinks": (),
    "counteract.reactions": (),
    "counteract.subscriptions": (),
    "counteract.testing": (),
    "counteract.testing.scenarios": (),
    "counteract.dev": (),
    "counteract.dev.fixtures": ("postgres", "database_url", "app_url", "event_store", "temporal"),
}
"""The modules that have a page, with their public names where `__all__` does not list them."""

INTERNAL: dict[str, str] = {
    "counteract.observability": "the engine calls it; what comes out is told in docs/how-to/store-events.md",
    "counteract.store.contracts": "`counteract contracts` calls it; what it does is told in docs/how-to/change-an-event.md",
    "counteract.store.postgres": "what is public of it stands in counteract.store",
    "counteract.testing.exploration": "what is public of it stands in counteract.testing",
    "counteract.testing.protocol": "the tests of the engine itself",
    "counteract.testing.store_contract": "what is public of it stands in counteract.testing",
}
"""Those that have `__all__` and no page, each with the reason."""


@dataclass(frozen=True, slots=True)
class Name:
    """One public name, as a module has it."""

    module: str
    name: str
    target: griffe.Object

    @property
    def path(self) -> str:
        """The name by which it is imported."""
        return f"{self.module}.{self.name}"

    @property
    def summary(self) -> str:
        """The first sentence of its docstring, or of the first line that one has."""
        text = self.target.docstring.value if self.target.docstring else ""
        line = text.partition("\n\n")[0].replace("\n", " ")
        return line.partition(". ")[0].rstrip(".:") + "."


class Package:
    """The package as its source has it: nothing is imported."""

    def __init__(self, root: Path, modules: Mapping[str, Sequence[str]] = MODULES) -> None:
        self._public = modules
        loader = griffe.GriffeLoader(search_paths=[root])
        loaded = cast("griffe.Module", loader.load("counteract", try_relative_path=False))
        loader.resolve_aliases(implicit=True)
        self._modules = {each.path: each for each in _modules_below(loaded)}

    @cached_property
    def names(self) -> Sequence[Name]:
        """The public names of every module that has a page."""
        return [each for module in self._public for each in self._names_of(module)]

    def docstring_of(self, module: str) -> str:
        found = self._modules[module].docstring
        return found.value if found else ""

    def of(self, module: str) -> Sequence[Name]:
        """The names of one module, those that other pages tell of included."""
        return [each for each in self.names if each.module == module]

    def home_of(self, name: Name) -> str:
        """The page that tells of it: that of the module nearest to where it is defined."""
        having = [each.module for each in self.names if each.target.path == name.target.path]
        around = [each for each in having if name.target.path.startswith(f"{each}.")]
        return max(around or having, key=len)

    def undocumented(self) -> Iterator[str]:
        """What has no docstring: a module with a page, a public name, or a method or property of one."""
        yield from (module for module in self._public if not self.docstring_of(module))
        found = {each.target.path: each.target for each in self.names}
        for target in found.values():
            yield from (each.path for each in (target, *_parts(target)) if each.docstring is None)

    def unlisted(self) -> Iterator[str]:
        """The modules that have `__all__`, and neither a page nor a reason for having none."""
        known = {*self._public, *INTERNAL}
        yield from (path for path, each in self._modules.items() if each.exports is not None and path not in known)

    def _names_of(self, path: str) -> Iterator[Name]:
        module = self._modules[path]
        for name in self._public[path] or module.exports or _defined_in(module):
            member = module.members[str(name)]
            yield Name(path, str(name), member.final_target if isinstance(member, griffe.Alias) else member)


def _defined_in(module: griffe.Module) -> list[str]:
    return [name for name, each in module.members.items() if not each.is_alias and not name.startswith("_")]


def _parts(target: griffe.Object) -> Iterator[griffe.Object]:
    """The methods and properties of a class, as they stand in it. Fields say by their names what they are."""
    for name, each in target.members.items() if isinstance(target, griffe.Class) else ():
        is_method = isinstance(each, griffe.Function)
        is_property = isinstance(each, griffe.Attribute) and "property" in each.labels
        if (is_method or is_property) and not name.startswith("_"):
            yield cast("griffe.Object", each)


def _modules_below(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for each in module.members.values():
        if isinstance(each, griffe.Module):
            yield from _modules_below(each)
