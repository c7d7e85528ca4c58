#!/usr/bin/env bash
# with-elasticsearch.sh COMMAND…   runs the command with FHIR_TEST_ELASTICSEARCH, a private node that is started for it and stopped again.
# FLAVOR=opensearch makes that an OpenSearch.
#
# Where FHIR_TEST_ELASTICSEARCH is set, or a node runs at that port, that is used. Where none can be started (no Java, no Maven repository), the
# command runs without, and the tests that need one say that they were skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
default=9210
[ "${FLAVOR:-}" != opensearch ] || default=9211
export PORT=${FHIR_TEST_ELASTICSEARCH_PORT:-$default}
url=http://127.0.0.1:$PORT
answers() { curl -fsS -o /dev/null "$url/_cat/nodes" 2>/dev/null; }

if [ -z "${FHIR_TEST_ELASTICSEARCH:-}" ]; then
  if ! answers && scripts/es-node.sh start >&2; then
    trap 'scripts/es-node.sh stop' EXIT
    # What runs before have left: a node has room for a thousand shards.
    curl -fsS "$url/_cat/indices/test_*?h=index" | xargs -r -n 50 | tr ' ' ',' | while read -r indices; do
      curl -fsS -o /dev/null -X DELETE "$url/$indices"
    done
  fi
  if answers; then
    export FHIR_TEST_ELASTICSEARCH=$url
  fi
fi
"$@"
