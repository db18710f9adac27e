"""What is to be had from `counteract` itself, and what asking for it loads."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import counteract
from counteract import errors

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
DOORS = ("counteract", "counteract.dev", "counteract.projections.sinks", "counteract.testing")
"""The packages that everything else is to be had from."""
WRITTEN = Path(__file__).with_name("public_names.txt")
DRIVERS = ("psycopg", "sqlalchemy")
THE_DOMAIN = """
import importlib, pkgutil, domain
for each in pkgutil.walk_packages(domain.__path__, "domain."):
    importlib.import_module(each.name)
"""
SAGA = """
from temporalio import workflow

from counteract import SagaWorkflow

if workflow.unsafe.in_sandbox():
    from counteract import SagaStuck

@workflow.defn
class Sending(SagaWorkflow):
    @workflow.run
    async def run(self) -> None: ...
"""
IN_THE_SANDBOX = """
import asyncio, sys
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import _Definition
import counteract
from a_saga import Sending
from counteract.plugin import ENGINE_MODULES

del sys.modules["counteract.lifecycle"]  # as if nobody had asked for it yet
restrictions = SandboxRestrictions.default.with_passthrough_modules(*ENGINE_MODULES)

async def prepare():
    SandboxedWorkflowRunner(restrictions=restrictions).prepare_workflow(_Definition.must_from_class(Sending))

asyncio.run(prepare())
print("counteract.lifecycle" in sys.modules, counteract.SagaStuck is counteract.lifecycle.SagaStuck)
"""


def test_the_public_names_are_those_that_are_written_down() -> None:
    """Add a name to the list when it is to be public, and take none away: others import it."""
    names = [f"{door}.{name}" for door in DOORS for name in importlib.import_module(door).__all__]

    assert sorted(names) == WRITTEN.read_text(encoding="utf-8").split()


@pytest.mark.parametrize(
    "package", ["participants", "plugin", "projections", "reactions", "saga", "store", "subscriptions"]
)
def test_what_a_package_has_is_to_be_had_at_the_door(package: str) -> None:
    module = importlib.import_module(f"counteract.{package}")
    names = getattr(module, "__all__", ["CounteractPlugin", "LifecycleRecorder"])

    assert [name for name in names if getattr(counteract, name, None) is not getattr(module, name)] == []


def test_every_error_is_to_be_had_at_the_door() -> None:
    raised = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}

    assert raised - set(counteract.__all__) == set()


def test_type_checkers_see_each_name_where_it_comes_from() -> None:
    stub = ast.parse((ROOT / "counteract" / "__init__.pyi").read_text(encoding="utf-8"))
    seen = {(name.name, node.module) for node in stub.body if isinstance(node, ast.ImportFrom) for name in node.names}

    (listed,) = [ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)]
    assert sorted(listed) == counteract.__all__
    assert seen == {(name, module) for module, names in counteract._NAMES_IN.items() for name in names.split()}  # type: ignore[attr-defined] # not in the stub


def test_no_public_name_is_that_of_a_module() -> None:
    """Whichever was asked for first would hide the other."""
    modules = {module.name for module in pkgutil.iter_modules(counteract.__path__)}

    assert modules & set(counteract.__all__) == set()


def test_a_name_that_is_not_there_is_said_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'counteract' has no attribute 'Sage'"):
        counteract.Sage  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Sage' from 'counteract'"):
        exec("from counteract import Sage")  # noqa: S102 - what a user writes


def test_the_names_are_offered_before_any_was_asked_for() -> None:
    assert set(counteract.__all__) <= set(dir(counteract))


def test_the_package_by_itself_loads_nothing_but_what_its_modules_were_called() -> None:
    loaded = loaded_by("import counteract")

    assert {name for name in loaded if name.startswith("counteract")} == {"counteract", "counteract._former_names"}
    assert loaded & {*DRIVERS, "pydantic", "temporalio"} == set()


def test_the_modules_that_the_package_once_loaded_are_still_its_attributes() -> None:
    printed = run("import counteract; print(counteract.errors.Rejected is counteract.Rejected)")

    assert printed == "True\n"


def test_the_domain_loads_neither_a_driver_nor_temporal() -> None:
    assert loaded_by(THE_DOMAIN) & {*DRIVERS, "temporalio", "counteract.messages"} == {"counteract.messages"}


@pytest.mark.parametrize("package", ["domain", "workflows"])
def test_no_name_that_pure_code_takes_from_the_door_loads_a_driver(package: str) -> None:
    """Also none that it takes within a function, which the rules of imports cannot follow through the door."""
    names = sorted({name for file in sorted((ROOT / package).rglob("*.py")) for name in taken_from_the_door(file)})
    forbidden = {*DRIVERS, "temporalio"} if package == "domain" else {*DRIVERS}

    assert loaded_by(f"from counteract import {', '.join(names)}") & forbidden == set()


def test_the_engine_does_not_use_its_own_door() -> None:
    """Its modules import each other by their names, so that the rules of layers see it."""
    users = [file.name for file in sorted((ROOT / "counteract").rglob("*.py")) if taken_from_the_door(file)]

    assert users == []


def test_what_a_workflow_asks_for_first_in_its_sandbox_is_what_everybody_gets(tmp_path: Path) -> None:
    (tmp_path / "a_saga.py").write_text(SAGA, encoding="utf-8")

    assert run(IN_THE_SANDBOX, tmp_path) == "True True\n"


def taken_from_the_door(file: Path) -> list[str]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "counteract"]
    return [each.name for node in imports for each in node.names if each.name in counteract.__all__]


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter loads for it."""
    lines = ["import json, sys", "before = set(sys.modules)", code, "print(json.dumps([*sys.modules.keys() - before]))"]
    return set(json.loads(run("\n".join(lines))))


def run(code: str, folder: Path = ROOT) -> str:
    python = [sys.executable, "-c", code]
    return subprocess.run(python, cwd=folder, capture_output=True, text=True, check=True).stdout
