"""Compile requirements/*.txt, hashes included, for every supported Python and platform: `make lock`.

Versions stay as they are where they can; `make lock ARGS=--upgrade` takes the newest ones.
No index address gets into the result: whoever installs uses the index that their own pip is set up with.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILER = "uv==0.13.9"
OLDEST_PYTHON = "3.11"
OPTIONS = [
    *("--universal", "--python-version", OLDEST_PYTHON, "--only-binary", ":all:", "--generate-hashes"),
    *("--no-config", "--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet"),
]
SOURCES = {
    "requirements/app.txt": ["pyproject.toml", "requirements/app.in"],
    "requirements/dev.txt": [
        *("pyproject.toml", "--extra", "embedded", "--extra", "opensearch", "--extra", "otel", "--extra", "redis"),
        *("requirements/app.in", "requirements/dev.in"),
    ],
    "requirements/bench.txt": ["requirements/bench.in"],
    # What the package itself needs, for its bill of materials.
    "requirements/engine.txt": ["pyproject.toml", "--constraint", "requirements/app.txt"],
    "requirements/package.txt": ["requirements/package.in"],
    "requirements/docs.txt": ["requirements/docs.in"],
}


def main() -> None:
    # The compiler has an environment of its own: a lock that cannot be installed must still be repairable.
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        run([f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", COMPILER])
        for target, sources in SOURCES.items():
            run([f"{folder}/bin/uv", "pip", "compile", *OPTIONS, *sys.argv[1:], *sources, "--output-file", target])


def run(command: list[str]) -> None:
    if code := subprocess.run(command, cwd=ROOT, check=False, env=os.environ).returncode:
        sys.exit(code)


if __name__ == "__main__":
    main()
