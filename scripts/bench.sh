#!/bin/sh
# Builds in release mode, starts a server in a temporary directory, loads it and prints what each workload costs (docs/benchmarks.md).
# Arguments go to the load driver: scripts/bench.sh --load 250000
set -eu
cd "$(dirname "$0")/.."
cargo build --release --locked -p fhir-server -p load-driver
target=${CARGO_TARGET_DIR:-target}/release
http=${BENCH_HTTP_ADDR:-127.0.0.1:18090}
mllp=${BENCH_MLLP_ADDR:-127.0.0.1:12590}

directory=$(mktemp -d)
# The private PostgreSQL does not run as root, and must be able to walk in.
chmod 755 "$directory"
FHIR_DATA_DIR="$directory/data" FHIR_HTTP_ADDR="$http" FHIR_MLLP_ADDR="$mllp" "$target/fhir-server" serve >"$directory/log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" || true; rm -rf "$directory"' EXIT

until grep -q '"message":"ready"' "$directory/log"; do
    kill -0 "$server" 2>/dev/null || { cat "$directory/log" >&2; exit 1; }
    sleep 0.1
done
"$target/load-driver" --base "http://$http/fhir" --mllp "$mllp" --pid "$server" --data "$directory/data" \
    --health "http://$http/health/live,http://$http/health/ready" "$@"
