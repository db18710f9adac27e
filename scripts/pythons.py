"""Tries the wheel of a folder on each supported Python that is here: `python -m scripts.pythons dist`.

In a fresh environment, with what pip finds today for its dependencies and not with what is pinned: as a user has it.
There the tutorial is followed to the letter: a saga that is run, refused, explored under every fault, and replayed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.lock_requirements import COMPILER

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = ("3.11", "3.12", "3.13")
NEXT = "3.14"
"""Its users can install, and nothing is tested on it."""
EXTRAS = "embedded,testing"
TUTORIAL = ["tests/integration/docs/test_tutorial.py", "-k", "does_what_it_says", "-m", "program", "--quiet"]
CHECK = "import ensurepip, sys; print('.'.join(map(str, sys.version_info[:3])))"


def main(words: Sequence[str]) -> int:
    wheel = built(Path(words[0]).resolve())
    wanted = words[1:] or SUPPORTED
    results = {version: tried(version, wheel) for version in wanted}
    results[f"{NEXT} (untested)"] = "resolves" if resolves(NEXT) else "does not resolve"
    for version, result in results.items():
        print(f"Python {version}: {result}")
    bad = [version for version, result in results.items() if result not in ("passed", "not found", "resolves")]
    return 1 if bad or "passed" not in results.values() else 0


def built(folder: Path) -> Path:
    """The wheel of today's version: those of earlier ones may lie beside it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    wheel = next(folder.glob(f"counteract-{version}-*.whl"), None)
    if wheel is None:
        raise SystemExit(f"there is no wheel of {version} in {folder}: run `make package`")
    return wheel


def tried(version: str, wheel: Path) -> str:
    """How it went, in a word or two."""
    python = next(interpreters(version), None)
    if python is None:
        return "not found"
    print(f"Python {version}: {python}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if run([str(python), "-m", "venv", folder]) or run(installing(Path(folder), wheel)):
            return "cannot be installed"
        settings = {"COUNTERACT_TUTORIAL_PROGRAMS": str(Path(folder, "bin"))}
        return "failed" if run([sys.executable, "-m", "pytest", *TUTORIAL], settings) else "passed"


def installing(environment: Path, wheel: Path) -> list[str]:
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return [*pip, "install", "--quiet", "--only-binary", ":all:", f"{wheel}[{EXTRAS}]"]


def interpreters(version: str) -> Iterator[Path]:
    """Those that work: on the path, and where pyenv and uv keep theirs. A name on the path may be a shim that leads
    nowhere.
    """
    found = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local" / "share" / "uv" / "python")
    kept = [*pyenv.glob(f"{version}.*/bin/python"), *uv.glob(f"cpython-{version}.*/bin/python")]
    for candidate in [*([Path(found)] if found else []), *sorted(kept, reverse=True)]:
        asked = subprocess.run([candidate, "-c", CHECK], check=False, capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.startswith(f"{version}."):
            yield candidate


def resolves(version: str) -> bool:
    """Whether there are wheels of every dependency for it, by the resolver that also compiles what is pinned."""
    with tempfile.TemporaryDirectory() as folder:
        python = str(Path(folder, "bin", "python"))
        wanted = [f"--extra={extra}" for extra in EXTRAS.split(",")]
        options = [
            "--python-version",
            version,
            "--only-binary",
            ":all:",
            "--no-config",
            "--quiet",
            "--output-file",
            os.devnull,
        ]
        return not (
            run([sys.executable, "-m", "venv", folder])
            or run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", COMPILER])
            or run([f"{folder}/bin/uv", "pip", "compile", *options, *wanted, "pyproject.toml"])
        )


def run(command: Sequence[str], settings: dict[str, str] | None = None) -> int:
    return subprocess.run(command, cwd=ROOT, check=False, env=os.environ | (settings or {})).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
