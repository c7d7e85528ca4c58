#!/usr/bin/env bash
# Pure crates have no runtime, database or network; the listener knows of this project only the model.
set -euo pipefail
cd "$(dirname "$0")/.."
# forbid PATTERN CRATE...   fails when a dependency of one of the crates matches.
forbid() {
  local pattern=$1 packages=() found
  shift
  for crate in "$@"; do packages+=(--package "$crate"); done
  found=$(cargo tree --locked --edges normal --prefix none "${packages[@]}" | grep -E "^($pattern) " | sort -u) || return 0
  printf 'not allowed below %s:\n%s\n' "$*" "$found" >&2
  return 1
}
forbid 'tokio|sqlx|sqlx-.*|reqwest|hyper|axum|mio' fhir-model fhirpath fhir-definitions fhir-search
forbid 'fhirpath|fhir-definitions|fhir-search|fhir-storage|fhir-server|sqlx' hl7-mllp-listener
