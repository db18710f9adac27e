#!/bin/sh
# Creates what sagas need of the server, where it is missing: the namespace, their search attributes, and the schedule by
# which those whose workflow was lost are found and undone. The server and the namespace are TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE.
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

recovery() {
    temporal schedule describe --schedule-id recover-sagas >/dev/null 2>&1 ||
        temporal schedule create --schedule-id recover-sagas --interval 5m \
            --workflow-id recover-sagas --type RecoverSagas --task-queue sagas
}

patiently temporal operator cluster health
patiently namespace
patiently temporal operator search-attribute create --name SagaStatus --type Keyword --name SagaStep --type Keyword
patiently recovery
