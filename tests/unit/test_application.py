"""What of an application a command finds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from counteract.cli.application import deciders, event_classes
from counteract.errors import ConfigurationError

pytestmark = pytest.mark.unit

SHOP = """
from counteract import Decider, Event

class ShopEvent(Event):
    shop: str

class Opened(ShopEvent): ...
class Closed(ShopEvent): ...
class ClosedForGood(Closed): ...

shops = Decider("shop", initial=0, evolve=lambda state, event: state, events=Opened | Closed)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to run in, whose modules are forgotten afterwards."""
    known = set(sys.modules)
    (tmp_path / "pyproject.toml").write_text('[tool.counteract]\nmodules = ["shops"]\n')
    (tmp_path / "shops").mkdir()
    (tmp_path / "shops" / "__init__.py").touch()
    (tmp_path / "shops" / "events.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.mark.usefixtures("project")
def test_events_are_found_in_submodules_without_what_they_only_share() -> None:
    assert [each.event_type for each in event_classes()] == ["Closed", "ClosedForGood", "Opened"]


@pytest.mark.usefixtures("project")
def test_deciders_are_found_in_submodules() -> None:
    assert [each.aggregate_type for each in deciders()] == ["shop"]


def test_the_project_names_its_modules(project: Path) -> None:
    (project / "pyproject.toml").unlink()

    with pytest.raises(ConfigurationError, match=r"give --modules MODULE, or set \[tool.counteract\] modules"):
        event_classes()


@pytest.mark.usefixtures("project")
def test_a_module_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(ConfigurationError, match="cannot import nowhere"):
        event_classes(["nowhere"])


def test_modules_without_events_are_named(project: Path) -> None:
    (project / "shops" / "events.py").write_text("")

    with pytest.raises(ConfigurationError, match="shops defines no Event class"):
        event_classes()
