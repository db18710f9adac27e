"""What the modules were called in the release before still leads to them."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from counteract._former_names import FORMER, FormerNames

pytestmark = pytest.mark.unit

USER = """
import sys
from counteract.store.migrate import migrate
import counteract.store.connecting as connecting
from counteract.store import diagnosing
import counteract.store.postgres.connect, counteract.store.postgres.migrate
print(
    migrate is counteract.store.postgres.migrate.migrate,
    connecting is counteract.store.postgres.connect,
    sys.modules["counteract.store.connecting"] is connecting,
    diagnosing.__name__,
    connecting.__spec__.name,
)
"""


@pytest.mark.parametrize("name", sorted(FORMER))
def test_a_former_name_leads_to_the_module_itself(name: str) -> None:
    module = importlib.import_module(FORMER[name])

    assert importlib.import_module(name) is module
    assert module.__spec__ is not None
    assert module.__spec__.name == FORMER[name]


def test_no_former_name_is_in_use_again() -> None:
    assert [name for name in FORMER if _is_there(name)] == []


def test_whoever_imports_by_a_former_name_first_meets_what_everybody_else_uses() -> None:
    run = subprocess.run([sys.executable, "-c", USER], capture_output=True, text=True, check=True, timeout=60)

    assert run.stdout.split() == [
        "True",
        "True",
        "True",
        "counteract.store.checks.doctor",
        "counteract.store.postgres.connect",
    ]


def test_a_name_that_never_was_is_refused_as_ever() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'counteract\.store\.migrating'"):
        importlib.import_module("counteract.store.migrating")


def _is_there(name: str) -> bool:
    package = importlib.import_module(name.rpartition(".")[0])
    finders = [each for each in sys.meta_path if not isinstance(each, FormerNames)]
    found = [each.find_spec(name, package.__path__) for each in finders]
    # A folder that only holds bytecode of the release before is a package without a file.
    return any(each is not None and each.origin is not None for each in found)
