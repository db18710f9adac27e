"""Which wheel `make test-pythons` tries."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from scripts.pythons import built

pytestmark = pytest.mark.unit


def test_wheels_of_other_versions_are_passed_over(tmp_path: Path) -> None:
    ours = f"counteract-{version('counteract')}-py3-none-any.whl"
    for name in (
        ours,
        "counteract-0.0.9-py3-none-any.whl",
        "counteract-99-py3-none-any.whl",
        "other-1-py3-none-any.whl",
    ):
        (tmp_path / name).touch()

    assert built(tmp_path).name == ours


def test_a_folder_without_todays_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "counteract-0.0.9-py3-none-any.whl").touch()

    with pytest.raises(SystemExit, match="run `make package`"):
        built(tmp_path)
