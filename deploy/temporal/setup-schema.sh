#!/bin/sh
# Brings Temporal's two databases to the schema of this image's version. Safe to run again: what is there is left alone.
set -eu

migrate() {
    temporal-sql-tool --database "$1" setup-schema --version 0.0
    temporal-sql-tool --database "$1" update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

migrate temporal temporal
migrate temporal_visibility visibility
