"""The role that the application connects as.

Its rights stand in `counteract.store.postgres.rights`, and every `migrate` puts them right.
"""

from __future__ import annotations

revision = "0002_application_role"
down_revision = "0001_event_store"


def upgrade() -> None:
    """Change nothing: the revision lets `check_schema` notice where the rights were never applied."""
