#!/bin/sh
# Creates the namespace and the search attributes of sagas, where they are missing.
# The programs find the server by TEMPORAL_ADDRESS, and the namespace by TEMPORAL_NAMESPACE.
set -eu

# A new namespace takes the server some seconds to know everywhere.
patiently() {
    attempts=60
    until "$@"; do
        attempts=$((attempts - 1))
        [ "$attempts" -gt 0 ] || exit 1
        sleep 1
    done
}

namespace() {
    temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
        temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
}

patiently temporal operator cluster health
patiently namespace
patiently temporal operator search-attribute create --name SagaStatus --type Keyword --name SagaStep --type Keyword
