#!/usr/bin/env bash
# Lints, then every test, then the count. A test that cannot run here prints a line "skipped: why"; with CI set that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/lint.sh

# Messages and sequences of others, where they lie beside the project; they are not part of it.
others=$PWD/../shared/data/hl7v2
[ -n "${HL7V2_CORPUS:-}" ] || [ ! -d "$others/corpus" ] || export HL7V2_CORPUS=$others/corpus
[ -n "${HL7V2_SEQUENCES:-}" ] || [ ! -d "$others/sequences" ] || export HL7V2_SEQUENCES=$others/sequences

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# --show-output: the harness keeps the output of tests that pass, and with it their reasons for skipping.
# In CI the slow ones run too, which are marked as ignored.
scripts/with-elasticsearch.sh cargo test --workspace --locked --no-fail-fast -- --show-output ${CI:+--include-ignored} 2>&1 | tee "$log" || status=$?

# count WORD   adds up one figure of cargo's closing lines.
count() { awk -v word="$1" '/^test result: / { for (i = 2; i <= NF; i++) if ($i ~ "^" word) sum += $(i - 1) } END { print sum + 0 }' "$log"; }
reasons=$(grep -E '^skipped: ' "$log" | sort | uniq -c || true)
skipped=$(($(count ignored) + $(grep -cE '^skipped: ' "$log" || true)))
[ -z "$reasons" ] || printf '\n%s\n' "$reasons"
grep -E '^test .* FAILED$' "$log" || true
printf '\n%d passed, %d failed, %d skipped\n' "$(count passed)" "$(count failed)" "$skipped"
if [ "$skipped" -gt 0 ] && [ -n "${CI:-}" ]; then
  echo "nothing may be skipped in CI" >&2
  status=1
fi
exit "$status"
