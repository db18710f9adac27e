"""Builds the sdist and the wheel twice, and puts them into dist/ if both times gave the same bytes: `make package`.

A release has two things that the repository does not have. They are written into the copy that is built, and so are in
the sdist as well: a bill of materials (CycloneDX, of the versions in requirements/engine.txt), and with `--repository
ADDRESS` the addresses that an index shows, and leads to from the README.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BILL = "sbom/counteract.cdx.json"
PINS = "requirements/engine.txt"
LISTED = '\n[tool.hatch.build.targets.wheel]\nsbom-files = ["{bill}"]\n'
ADDRESSES = """
[project.urls]
Changelog = "{repository}/blob/main/CHANGELOG.md"
Documentation = "{repository}/tree/main/docs"
Issues = "{repository}/issues"
Repository = "{repository}"
"""
LINK = re.compile(r"\]\((?![a-z]+:|#)")
PICTURE = re.compile(r"!\[[^\]]*\]\((?![a-z]+:)")
WHEEL_TABLE = "\n[tool.hatch.build.targets.wheel]\n"


def main(words: Sequence[str]) -> int:
    options = parser().parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, name) for name in ("once", "once more")]
        built = [built_from_copy(tree, options.repository) for tree in trees]
        digests = [{file.name: digest(file) for file in sorted(each.iterdir())} for each in built]
        if digests[0] != digests[1]:
            print(f"two builds differ: {digests}", file=sys.stderr)
            return 1
        shutil.copytree(built[0], options.into, dirs_exist_ok=True)
    for name, code in digests[0].items():
        print(f"{code}  {options.into / name}")
    if not options.repository:
        print("Without addresses: give --repository ADDRESS for a release")
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("make package", description="Builds the sdist and the wheel, reproducibly.")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="the folder for both (default: dist)")
    parser.add_argument("--repository", default="", help="the public address of the repository (default: no addresses)")
    return parser


def built_from_copy(tree: Path, repository: str) -> Path:
    copy_to(tree)
    add_bill_of_materials(tree)
    if repository:
        add_addresses(tree, repository)
    return build(tree)


def copy_to(tree: Path) -> None:
    """What git tracks, as it is now: whatever else lies around is in no package."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)


def add_bill_of_materials(tree: Path) -> None:
    (tree / BILL).parent.mkdir()
    options = ["--pyproject", "pyproject.toml", "--mc-type", "library", "--output-reproducible", "--output-file", BILL]
    run([sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", *options, PINS], tree, timestamp())
    if not json.loads((tree / BILL).read_text(encoding="utf-8")).get("components"):
        raise SystemExit(f"{BILL} lists nothing of {PINS}")
    list_bill_of_materials(tree)


def list_bill_of_materials(tree: Path) -> None:
    change(tree / "pyproject.toml", WHEEL_TABLE, LISTED.format(bill=BILL))


def add_addresses(tree: Path, repository: str) -> None:
    repository = repository.removesuffix("/").removesuffix(".git")
    change(tree / "pyproject.toml", WHEEL_TABLE, ADDRESSES.format(repository=repository) + WHEEL_TABLE)
    readme = tree / "README.md"
    readme.write_text(from_afar(readme.read_text(encoding="utf-8"), repository), encoding="utf-8")


def from_afar(page: str, repository: str) -> str:
    """The page of the repository's root as it can be read anywhere: its links and pictures lead into the repository."""
    page = PICTURE.sub(rf"\g<0>{repository}/raw/main/", page)
    return LINK.sub(rf"\g<0>{repository}/blob/main/", page)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise SystemExit(f"{file.name} does not have this exactly once: {old.strip()}")
    file.write_text(text.replace(old, new), encoding="utf-8")


def build(tree: Path) -> Path:
    """The folder with the sdist, and with the wheel that was built from it, by the pinned backend of this environment."""
    into, unpacked = tree.with_name(f"{tree.name} built"), tree.with_name(f"{tree.name} unpacked")
    hatchling = [sys.executable, "-m", "hatchling", "build", "--directory", str(into), "--target"]
    run([*hatchling, "sdist"], tree, timestamp())
    (sdist,) = into.iterdir()
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    run([*hatchling, "wheel"], unpacked / sdist.name.removesuffix(".tar.gz"), timestamp())
    return into


def timestamp() -> Mapping[str, str]:
    """The time that everything in the packages has: that of the last commit."""
    last = ["git", "log", "-1", "--format=%ct"]
    made = subprocess.run(last, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    return {"SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", made)}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def run(command: Sequence[str], folder: Path, settings: Mapping[str, str]) -> None:
    """Quiet unless it fails: then everything that it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | settings,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{' '.join(command)} exited with code {done.returncode}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
