"""What is built for others to install."""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from scripts.package import (
    BILL,
    add_addresses,
    add_bill_of_materials,
    build,
    copy_to,
    digest,
    from_afar,
    list_bill_of_materials,
)
from tests.missing_programs import lacking

pytestmark = [pytest.mark.integration, pytest.mark.program]

ROOT = Path(__file__).parents[3]
MATERIALS = json.dumps({"bomFormat": "CycloneDX", "components": []})
REPOSITORY = "https://example.org/shop/counteract"


def built(tree: Path) -> Path:
    copy_to(tree)
    (tree / BILL).parent.mkdir()
    (tree / BILL).write_text(MATERIALS, encoding="utf-8")
    list_bill_of_materials(tree)
    add_addresses(tree, f"{REPOSITORY}.git")
    return build(tree)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("first") / "tree")


def wheel_in(folder: Path) -> zipfile.ZipFile:
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def test_building_again_gives_the_same_bytes(packages: Path, tmp_path: Path) -> None:
    again = built(tmp_path / "another folder")

    assert {file.name: digest(file) for file in again.iterdir()} == {
        file.name: digest(file) for file in packages.iterdir()
    }
    assert sorted(file.suffix for file in packages.iterdir()) == [".gz", ".whl"]


def test_the_wheel_has_its_bill_of_materials_and_so_has_the_sdist(packages: Path) -> None:
    (sdist,) = packages.glob("*.tar.gz")
    with wheel_in(packages) as wheel, tarfile.open(sdist) as archive:
        (bill,) = [name for name in wheel.namelist() if ".dist-info/sboms/" in name]
        assert wheel.read(bill).decode() == MATERIALS
        assert f"{sdist.name.removesuffix('.tar.gz')}/{BILL}" in archive.getnames()


def test_the_bill_of_materials_lists_what_the_engine_needs(tmp_path: Path) -> None:
    if find_spec("cyclonedx_py") is None:
        lacking("what writes the bill of materials is not installed: make package")
    copy_to(tmp_path / "tree")
    add_bill_of_materials(tmp_path / "tree")

    bill = json.loads((tmp_path / "tree" / BILL).read_text(encoding="utf-8"))
    assert {"psycopg", "pydantic", "temporalio"} <= {each["name"] for each in bill["components"]}


def test_links_and_pictures_lead_into_the_repository() -> None:
    page = "![Run](docs/run.png) [How](docs/how.md#begin), [there](https://example.com/a), [below](#below)"

    assert from_afar(page, REPOSITORY) == (
        f"![Run]({REPOSITORY}/raw/main/docs/run.png) [How]({REPOSITORY}/blob/main/docs/how.md#begin), "
        "[there](https://example.com/a), [below](#below)"
    )


def test_nothing_in_the_long_description_leads_nowhere(packages: Path) -> None:
    with wheel_in(packages) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        shown = wheel.read(name).decode()

    assert re.findall(r"\]\((?!https://|#)[^)]*\)", shown) == []


def test_the_addresses_of_the_repository_are_shown(packages: Path) -> None:
    with wheel_in(packages) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        shown = email.message_from_bytes(wheel.read(name)).get_all("Project-URL")

    assert f"Repository, {REPOSITORY}" in (shown or [])


def test_the_version_stands_in_one_place() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    command = [sys.executable, "-m", "counteract.cli", "--version"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    code = [file for file in (ROOT / "counteract").rglob("*.py") if f'"{stated}"' in file.read_text(encoding="utf-8")]

    assert (version("counteract"), printed, code) == (stated, f"counteract {stated}\n", [])
