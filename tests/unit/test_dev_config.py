"""`[tool.counteract.dev]`."""

from pathlib import Path

import pytest

from counteract.dev.config import DevSettings, expand, read_settings, with_settings
from counteract.errors import ConfigurationError

pytestmark = pytest.mark.unit


def write(project: Path, text: str) -> Path:
    (project / "pyproject.toml").write_text(text)
    return project


def test_a_project_without_settings_has_no_parts(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == DevSettings()
    assert read_settings(write(tmp_path, "[project]\nname = 'shop'")) == DevSettings()


def test_parts_keep_their_order(tmp_path: Path) -> None:
    parts = "".join(f"[[tool.counteract.dev.parts]]\nname = '{name}'\ncommand = ['true']\n" for name in "cab")
    assert [part.name for part in read_settings(write(tmp_path, parts)).parts] == ["c", "a", "b"]


def test_every_mistake_is_named_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, "[[tool.counteract.dev.parts]]\nname = 'worker'\ncommand = []\nrestarts = true")
    with pytest.raises(ConfigurationError) as refused:
        read_settings(tmp_path)
    assert [problem.split(":")[0] for problem in refused.value.problems] == ["parts.0.command", "parts.0.restarts"]


def test_a_file_that_is_not_toml_is_refused_with_the_place_of_the_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="line 1"):
        read_settings(write(tmp_path, "[tool\n"))


def test_a_variable_can_name_those_before_it() -> None:
    variables = with_settings({"SHOP_PORT": "81"}, {"SHOP": "http://127.0.0.1:$SHOP_PORT", "HEALTH": "$SHOP/health"})
    assert variables["HEALTH"] == "http://127.0.0.1:81/health"


def test_an_unknown_variable_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="SHOP_PORT"):
        expand("http://127.0.0.1:$SHOP_PORT", {})
