#!/bin/sh
# Fuzzes each target (tests/fuzz) for FUZZ_SECONDS: no panic, no 5xx, no broken property, memory within its bound, no input above 10 s.
# Arguments are the targets; none: all. The corpus grows in .cache/fuzz; what breaks is kept there too, and belongs into
# tests/fuzz/regressions/TARGET/ once it is understood.
set -eu
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-600}
memory=${FUZZ_RSS_MB:-2048}
[ $# -gt 0 ] || set -- json_body xml_body search_url search_filter fhirpath fhirpath_program patch_document mllp_stream v2_message mapping_file http_requests

# Counters of coverage go in before crates are linked as one, and need not.
CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/fuzz-rustc.sh" cargo build --release --locked -p fuzz --features libfuzzer
program=${CARGO_TARGET_DIR:-target}/release/fuzz

for target in "$@"; do
    directory=.cache/fuzz/$target
    mkdir -p "$directory/corpus" "$directory/found"
    # The fuzzer writes the seeds and the dictionary before it is run in earnest.
    export FUZZ_TARGET="$target" FUZZ_DIR="$directory"
    "$program" -runs=0 >"$directory/log" 2>&1 || { tail -40 "$directory/log" >&2; exit 1; }
    echo "$target: $seconds s"
    if ! "$program" "$directory/corpus" -dict="$directory/dictionary" -artifact_prefix="$directory/found/" -max_total_time="$seconds" \
        -max_len=16384 -timeout=10 -rss_limit_mb="$memory" -print_final_stats=1 >"$directory/log" 2>&1; then
        tail -40 "$directory/log"
        echo "$target: broken; the input is in $directory/found" >&2
        exit 1
    fi
    grep -E '^(Done|stat::(average_exec_per_sec|slowest_unit_time_sec|peak_rss_mb))' "$directory/log"
done
