"""What import-linter cannot see: which modules are loaded where workflows run, and what the tests import."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
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


def imported(file: Path) -> Iterator[str]:
    """The dotted names of all that a file imports, with `.` for each level of a relative import."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{each.name}" for each in node.names)


def is_of_a_test_file(name: str) -> bool:
    return any(part.startswith("test_") or part == "conftest" for part in name.split("."))


def test_no_test_imports_from_a_test_file_or_a_conftest() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in sorted((ROOT / "tests").rglob("*.py"))
        for name in imported(file)
        if is_of_a_test_file(name)
    ]
    assert found == [], "move what is shared to a module that says what it is, or to a fixture of the room's conftest"


def test_every_file_of_tests_that_a_page_or_a_script_names_is_there() -> None:
    named = [ROOT / "Makefile", ROOT / ".ci" / "run", *ROOT.glob("*.md"), *(ROOT / "scripts").glob("*.py")]
    named += (ROOT / "docs").rglob("*.md")
    missing = {
        (str(file.relative_to(ROOT)), path)
        for file in named
        for path in re.findall(r"\btests/[\w/]+\.(?:py|txt|toml)\b", file.read_text())
        if not (ROOT / path).exists()
    }
    assert missing == set()
