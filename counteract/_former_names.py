"""Modules under the names that they had in the release before: `import` finds them there for one release more.

Each name leads to the module itself, so that whoever looks for one in `sys.modules`, or replaces something in it, meets
the one that everybody uses.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_NOW = {
    "counteract.cli": {
        "showing": "output",
        "tracing": "traces",
    },
    "counteract.participants": {
        "executing": "executor",
        "pruning": "retention",
    },
    "counteract.projections": {
        "rebuilding": "rebuild",
        "renamed": "renamed_events",
        "writing": "table_writer",
    },
    "counteract.saga": {
        "carrying": "continue_as_new",
        "chronicle": "lifecycle",
        "dispatching": "dispatcher",
        "ending": "end",
        "failing": "failure",
        "parking": "resolution",
        "resetting": "reset",
        "sending": "send_command",
        "showing": "report",
        "skipping": "skip",
        "stepping": "stepper",
        "wording": "words",
    },
    "counteract.store": {
        "appenders": "checks.open_appends",
        "archive_file": "archive.file",
        "archives": "postgres.archived",
        "archiving": "archive.streams",
        "checking": "limits",
        "checkout": "postgres.pool",
        "code": "source_code",
        "comparing": "contracts.compatibility",
        "connecting": "postgres.connect",
        "connection": "postgres.connection",
        "deciding": "decide",
        "diagnosing": "checks.doctor",
        "errands": "postgres.errands",
        "finding": "postgres.query",
        "findings": "checks.finding",
        "fingerprint": "postgres.fingerprint",
        "high_water_mark": "postgres.high_water_mark",
        "importing": "transfer.bulk_import",
        "inline": "postgres.inline",
        "inspecting": "postgres.readiness",
        "installing": "postgres.install",
        "key_findings": "checks.keys",
        "lines": "transfer.lines",
        "loading": "postgres.load",
        "migrate": "postgres.migrate",
        "migrations": "postgres.migrations",
        "moments": "postgres.as_of",
        "naming": "postgres.names",
        "notifying": "postgres.notifier",
        "objections": "postgres.error_texts",
        "phrasing": "contracts.words",
        "reading": "postgres.read",
        "recovering": "postgres.pool",
        "replaying": "checks.snapshots",
        "restoring": "postgres.restored",
        "rewrapping": "postgres.rewrap",
        "rights": "postgres.rights",
        "schema": "postgres.schema",
        "schemas": "contracts.json_schema",
        "sealing": "master_key",
        "sequence": "postgres.sequence",
        "signing": "signatures",
        "snapshots": "postgres.snapshots",
        "statements": "postgres.statements",
        "tagging": "tags",
        "translating": "postgres.driver_errors",
        "urls": "postgres.urls",
        "vault": "postgres.vault",
        "verifying": "checks.verify",
        "wire": "postgres.append",
    },
    "counteract.subscriptions": {
        "managing": "administration",
        "reaching": "progress",
        "sharding": "shard_count",
    },
    "counteract.reactions": {
        "beginning": "start",
    },
    "counteract.testing.exploration": {
        "acts": "catalogue.fault_actions",
        "adding": "worker.additions",
        "appeals": "catalogue.appeals",
        "attending": "worker.attendant",
        "book": "judgement.book",
        "choosing": "selection",
        "deciding": "judgement.decisions",
        "encounter": "run",
        "explorer": "laboratory",
        "exploring": "explore",
        "gathering": "inquiry",
        "handing": "judgement.handover",
        "judging": "judgement.protocol",
        "overlapping": "catalogue.overlaps",
        "requiring": "judgement.requirements",
        "samples": "worker.samples",
        "scripted": "worker.scripted",
        "services": "worker.services",
        "telling": "judgement.testimony",
        "timing": "worker.clock",
        "watching": "worker.observation",
        "whole": "catalogue.whole",
        "witnessing": "worker.witness",
    },
    "counteract.testing.scenarios": {
        "deciding": "decisions",
        "projecting": "projections",
        "showing": "failures",
    },
}
FORMER = {f"{package}.{was}": f"{package}.{now}" for package, names in _NOW.items() for was, now in names.items()}
"""Full names: what a module was called, and what it is called now."""


class _Moved:
    """Loads a module from where it is now. No heir of `importlib.abc.Loader`: that costs `import counteract` half its time."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Between the two calls the import system has put down how the module was asked for.
        module.__spec__ = self._spec


class FormerNames:
    """Comes first: folders that an update has left, with nothing but bytecode, would pass for packages of these names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        now = FORMER.get(fullname)
        return ModuleSpec(fullname, _Moved(now)) if now else None  # type: ignore[arg-type] # see there


def keep_former_names() -> None:
    """Have `import` find them."""
    if not any(isinstance(each, FormerNames) for each in sys.meta_path):
        sys.meta_path.insert(0, FormerNames())
