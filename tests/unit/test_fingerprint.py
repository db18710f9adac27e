"""A snapshot is gone on from only by the code that folded it: whatever that code goes by is in its fingerprint, or asks for a version."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from counteract.store import source_code
from counteract.store.postgres.fingerprint import UnknownCode, fingerprint

pytestmark = pytest.mark.unit

MAIN = "from tests.unit.test_fingerprint import shown; print(shown())"
STOCK = """
from counteract import Decider, Event
from shared.rates import VAT
from shared import rounding

class Sold(Event):
    price: int

def evolve(total: int, event: Sold) -> int:
    from late.extra import charge
    return total + rounding.rounded(event.price * VAT) + charge(event)

decider = Decider("stock", initial=0, evolve=evolve, events=Sold)
"""
PROGRAM = {
    "shop/__init__.py": "",
    "shop/stock.py": STOCK,
    "shared/__init__.py": "",
    "shared/rates.py": "from decimal import Decimal\nVAT = Decimal('1.19')\n",
    "shared/rounding.py": "from shared.modes import MODE\ndef rounded(price): return round(price, MODE)\n",
    "shared/modes.py": "MODE = 2\n",
    "late/__init__.py": "",
    "late/extra.py": "def charge(event): return 1\n",
    "site-packages/money/__init__.py": "ONE = 1\n",
    "site-packages/money-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: money\nVersion: 1.0\n",
}

Told = Callable[..., str]


def shown() -> str:
    """Of the program that is on the path."""
    decider = importlib.import_module("shop.stock").decider
    try:
        return fingerprint(decider, int)
    except UnknownCode as error:
        return f"unknown: {error}"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    for name, text in PROGRAM.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def told(program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """The fingerprint of the program's decider, once some of its files are others, as a new process would see it."""

    def told(**others: str) -> str:
        forget()
        for name, text in others.items():
            (program / f"{name.replace('__', '/')}.py").write_text(text)
        return shown()

    def forget() -> None:
        for name in [each for each in sys.modules if each.partition(".")[0] in ("shop", "shared", "late", "money")]:
            del sys.modules[name]
        for each in (source_code._searched, source_code._library):
            each.cache_clear()
        importlib.invalidate_caches()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(program / "site-packages")
    monkeypatch.syspath_prepend(program)
    yield told
    forget()


def test_it_is_the_same_in_every_process(program: Path) -> None:
    path = os.pathsep.join([str(program), str(program / "site-packages"), str(Path.cwd())])
    found = {
        subprocess.run(
            [sys.executable, "-c", MAIN],
            env={"PYTHONPATH": path, "PYTHONHASHSEED": seed},
            cwd=program,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert [len(each.strip()) for each in found] == [32]


@pytest.mark.parametrize(
    "change",
    [
        {"shared__rates": "from decimal import Decimal\nVAT = Decimal('1.16')\n"},
        {"shared__modes": "MODE = 3\n"},
        {"late__extra": "def charge(event): return 2\n"},
        {"shop__stock": STOCK.replace("initial=0", "initial=1")},
        {"shop__stock": STOCK.replace("events=Sold", "events=Sold, version='2'")},
    ],
    ids=["a constant of another package", "what that imports", "an import in a function", "its own", "its version"],
)
def test_a_change_of_what_it_uses_is_a_change_of_it(told: Told, change: dict[str, str]) -> None:
    before = told()
    assert told(**change) != before


def test_a_change_of_what_it_does_not_use_is_none(told: Told) -> None:
    before = told()
    assert told(shared__other="ONE = 1\n") == before


def test_a_library_is_told_by_its_version(told: Told, program: Path) -> None:
    before = told(shop__stock=f"import money\n{STOCK}")
    (program / "site-packages" / "money" / "__init__.py").write_text("ONE = 1  # the same release\n")
    assert told() == before
    metadata = program / "site-packages" / "money-1.0.dist-info"
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: money\nVersion: 2.0\n")
    metadata.rename(metadata.with_name("money-2.0.dist-info"))
    assert told() != before


HELD = """
class Rates:
    def __init__(self, vat): self.vat = vat
{extra}
def made(rate):
    def evolve(total: int, event: Sold) -> int:
        return total + rate
    return evolve
decider = Decider("stock", initial=0, evolve={evolve}, events=Sold{more})
"""


def held(evolve: str, extra: str = "", more: str = "") -> dict[str, str]:
    return {"shop__stock": STOCK + HELD.format(evolve=evolve, extra=extra, more=more)}


@pytest.mark.parametrize(
    "evolve", ["made({})", "partial(evolve, {})", "Folding({})", "Folding({}).fold", "defaulting({})"]
)
def test_what_a_function_holds_is_part_of_it(told: Told, evolve: str) -> None:
    extra = """
from functools import partial
class Folding:
    def __init__(self, rate): self.rate = rate
    def __call__(self, total: int, event: Sold) -> int: return self.rate
    def fold(self, total: int, event: Sold) -> int: return self.rate
def defaulting(given):
    def evolve(total: int, event: Sold, rate=given) -> int: return rate
    return evolve
"""
    one, other = (told(**held(evolve.format(value), extra)) for value in ("int('1')", "int('2')"))
    assert one != other
    assert "unknown" not in one


def test_what_has_no_words_of_its_own_asks_for_a_version(told: Told) -> None:
    assert told(**held("made(object())")) == "unknown: it holds object, whose value cannot be told"
    versions = [told(**held("made(object())", more=f", version='{each}'")) for each in (1, 1, 2)]
    assert versions[0] == versions[1] != versions[2]
