"""What import-linter cannot see: which modules are really loaded where workflows run."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = """
import importlib, pkgutil, sys
import workflows
for module in pkgutil.walk_packages(workflows.__path__, "workflows."):
    importlib.import_module(module.name)
print(*sorted(sys.modules))
"""


@pytest.mark.parametrize("package", ["sqlalchemy", "psycopg"])
def test_workflows_load_without_a_database_driver(package: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "counteract.saga" in loaded
    assert package not in loaded
