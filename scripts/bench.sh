#!/bin/sh
# Builds in release mode, starts a server in a temporary directory, loads it and prints what each workload costs (docs/benchmarks.md).
# Arguments go to the load driver: scripts/bench.sh --load 250000
# BENCH_ELASTICSEARCH=start, or a URL: measures searches by Postgres and by an index in Elasticsearch (bench-elasticsearch.sh).
# BENCH_LISTENER=alone: v2 messages take the way over HTTP of a listener that runs alone, whose CPU counts as the server's.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --locked -p fhir-server -p hl7-mllp-listener -p load-driver
target=${CARGO_TARGET_DIR:-target}/release
http=${BENCH_HTTP_ADDR:-127.0.0.1:18090}
mllp=${BENCH_MLLP_ADDR:-127.0.0.1:12590}

directory=$(mktemp -d)
# The private PostgreSQL does not run as root, and must be able to walk in.
chmod 755 "$directory"
echo 'one secret for all listeners' >"$directory/secret"
export FHIR_SITE_SECRET_FILE="$directory/secret"
embedded=$mllp
[ "${BENCH_LISTENER:-embedded}" = embedded ] || embedded=off
pids=
at_end=
trap 'kill $pids 2>/dev/null; wait $pids || true; $at_end || true; rm -rf "$directory"' EXIT

# start LOG WORD COMMAND...   starts a program and waits until its log says the word.
start() {
    log=$1 word=$2
    shift 2
    "$@" >"$log" 2>&1 &
    pids="$! $pids"
    until grep -q "$word" "$log"; do
        kill -0 "$!" 2>/dev/null || { cat "$log" >&2; exit 1; }
        sleep 0.1
    done
}
start "$directory/log" '"message":"ready"' \
    env FHIR_DATA_DIR="$directory/data" FHIR_HTTP_ADDR="$http" FHIR_MLLP_ADDR="$embedded" "$target/fhir-server" serve
[ "$embedded" != off ] || start "$directory/listener-log" '"address"' \
    env FHIR_SERVER_URL="http://$http/fhir" FHIR_MLLP_ADDR="$mllp" RUST_LOG=info "$target/hl7-mllp-listener"
if [ -n "${BENCH_ELASTICSEARCH:-}" ]; then
    . scripts/bench-elasticsearch.sh
    exit
fi
"$target/load-driver" --base "http://$http/fhir" --mllp "$mllp" --pid "$(echo $pids | tr ' ' ,)" --data "$directory/data" \
    --health "http://$http/health/live,http://$http/health/ready" "$@"
