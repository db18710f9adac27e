"""`[tool.counteract] client`: what names no usable client is told in one error that names the mistake."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from counteract.cli.client import TemporalUnreachable
from counteract.cli.temporal import connected
from counteract.errors import ConfigurationError

pytestmark = pytest.mark.unit

SHOP = """
from temporalio.client import Client
from counteract.plugin import CounteractPlugin

async def connect(**config):
    return await Client.connect(**config, identity="the shop", plugins=[CounteractPlugin()])

async def connect_eagerly(**config):
    return await Client.connect(**(config | {"lazy": False}), plugins=[CounteractPlugin()])

async def connect_later(**config):
    return await Client.connect(**(config | {"lazy": True}), plugins=[CounteractPlugin()])

async def connect_bare(**config):
    return await Client.connect(**config)

def connect_at_once(**config):
    return None

async def connect_nothing(**config):
    return None

async def connect_address(**config):
    return config["target_host"]

async def take_nothing():
    return None

async def fail(**config):
    raise KeyError("SHOP_KEY")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to run in, whose modules are forgotten afterwards."""
    known = set(sys.modules)
    (tmp_path / "shop_client.py").write_text(SHOP)
    (tmp_path / "shop_broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


async def client_of(project: Path, name: Any, *, lazy: bool = True) -> Client:
    (project / "pyproject.toml").write_text(f"[tool.counteract]\nclient = {name!r}\n")
    return await connected("localhost:1", "shops", lazy=lazy)


async def test_the_applications_function_makes_the_client(project: Path) -> None:
    client = await client_of(project, "shop_client:connect")

    assert (client.identity, client.namespace) == ("the shop", "shops")


async def test_without_one_the_client_is_the_engines(project: Path) -> None:
    client = await connected("localhost:1", "shops", lazy=True)

    assert [plugin.name() for plugin in client.config()["plugins"]] == ["counteract"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("shop_client", 'this names no function: write client = "module:function"'),
        (["shop_client:connect"], 'this names no function: write client = "module:function"'),
        ("nowhere:connect", r"cannot import nowhere \(No module named 'nowhere'\): correct the name"),
        ("shop_broken:connect", r"cannot import shop_broken \(ZeroDivisionError: division by zero\)"),
        ("shop_client:conect", "shop_client has no conect: correct the name"),
        ("shop_client:connect_at_once", "is no async function: define it with `async def`"),
        ("shop_client:take_nothing", r"cannot be called \(got an unexpected keyword.*: let it take .* as \*\*config"),
        ("shop_client:connect_nothing", "returned None: let it return what Client.connect does"),
        ("shop_client:connect_address", "returned a str: let it return what Client.connect does"),
        ("shop_client:connect_bare", r"without the engine: connect it with plugins=\[CounteractPlugin\(\)\]"),
        ("shop_client:fail", "raised KeyError: 'SHOP_KEY': correct it, or what it reads"),
    ],
)
async def test_a_mistake_is_named_with_its_remedy(project: Path, name: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as wrong:
        await client_of(project, name)

    assert wrong.value.subject == f"[tool.counteract] client = {name!r} in pyproject.toml"
    assert len(wrong.value.problems) == 1


async def test_a_client_that_is_not_connected_is_a_mistake_where_a_server_will_be_asked(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="that is not connected: set lazy only where it is in"):
        await client_of(project, "shop_client:connect_later", lazy=False)


async def test_a_server_that_does_not_answer_is_no_mistake_of_the_function(project: Path) -> None:
    with pytest.raises(TemporalUnreachable, match="answers to shop_client:connect_eagerly at localhost:1: give --addr"):
        await client_of(project, "shop_client:connect_eagerly")


async def test_a_pyproject_that_is_not_toml_says_so(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.counteract")

    with pytest.raises(ConfigurationError, match=r"pyproject\.toml is not TOML"):
        await connected(None, None)
