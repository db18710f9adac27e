"""Build the virtual environment that every make target runs in: `python3 scripts/setup_venv.py .venv`.

What only some targets need is added by the names of its files in requirements: `python3 scripts/setup_venv.py .venv docs`.
Pinned and hash-checked. The wheels are kept in a folder of the user's cache, so that after the first set-up a fresh
clone installs without a network. Run again with nothing changed, it compares two fingerprints and leaves.

Standard library only, and readable by any Python 3, so that an interpreter that is too old gets told so.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
EVERYBODY = REQUIREMENTS / "dev.txt"
NEEDED = (3, 11)
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def main(venv: Path, *further: str) -> None:
    check_interpreter()
    with one_at_a_time():
        environment = fingerprint(EVERYBODY.read_bytes(), sys.version, sys.base_prefix, venv)
        package = fingerprint((ROOT / "pyproject.toml").read_bytes(), environment)
        if not is_current(venv, "environment", environment):
            create(venv)
            mark_current(venv, "environment", environment)
        if not is_current(venv, "package", package):
            install_package(venv)
            mark_current(venv, "package", package)
        for name in further:
            add(venv, REQUIREMENTS / f"{name}.txt", environment)


def check_interpreter() -> None:
    if sys.version_info < NEEDED:
        stop(f"Counteract needs Python 3.11 or newer and this is {VERSION}: try make with PYTHON=python3.12.")
    if not importlib.util.find_spec("ensurepip"):
        stop(f"{sys.executable} cannot create virtual environments: install the package python{VERSION}-venv.")


@contextlib.contextmanager
def one_at_a_time() -> "Iterator[None]":
    """Two makes at once must not build one environment; the project folder itself carries the lock."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def fingerprint(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(repr, parts)).encode()).hexdigest()


def is_current(venv: Path, what: str, wanted: str) -> bool:
    stamp = venv / f".{what}"
    return (venv / "bin" / "python").exists() and stamp.exists() and stamp.read_text() == wanted


def mark_current(venv: Path, what: str, value: str) -> None:
    (venv / f".{what}").write_text(value)


def create(venv: Path) -> None:
    say(f"Setting up {venv.name} with Python {VERSION} ...")
    run([sys.executable, "-m", "venv", "--clear", str(venv)])
    install(venv, EVERYBODY)


def add(venv: Path, requirements: Path, environment: str) -> None:
    stamp, wanted = f"{requirements.name}.installed", fingerprint(requirements.read_bytes(), environment)
    if not is_current(venv, stamp, wanted):
        install(venv, requirements)
        mark_current(venv, stamp, wanted)


def install(venv: Path, requirements: Path) -> None:
    wheels = str(wheel_folder(venv, requirements))
    pip(venv, "install", "--no-index", "--find-links", wheels, "--require-hashes", "-r", str(requirements))


def install_package(venv: Path) -> None:
    pip(venv, "install", "--no-index", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def wheel_folder(venv: Path, requirements: Path) -> Path:
    """The folder with every wheel of these requirements for this interpreter, complete or not there at all."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "counteract" / "wheels"
    wanted = fingerprint(requirements.read_bytes(), VERSION, sysconfig.get_platform())
    folder = cache / wanted[:16]
    if not folder.exists():
        say(f"Downloading the packages of {requirements.name} (once) ...")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as partial:
            download(venv, requirements, Path(partial, "wheels"))
            # Renamed when it is complete, so that an interrupted download is never taken for a full one.
            with contextlib.suppress(FileExistsError):
                shutil.move(Path(partial, "wheels"), folder)
    return folder


def download(venv: Path, requirements: Path, folder: Path) -> None:
    pip(venv, "download", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements), "--dest", str(folder))


def pip(venv: Path, *arguments: str) -> None:
    run([str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments])


def run(command: "list[str]") -> None:
    """Quiet unless it fails: then everything that it printed, and a last line that says what stopped."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        say(done.stdout)
        stop(f"The set-up stopped: {' '.join(command)} exited with code {done.returncode}.")


def say(line: str) -> None:
    print(line, flush=True)


def stop(line: str) -> None:
    sys.exit(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
