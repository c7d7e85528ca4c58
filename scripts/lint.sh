#!/usr/bin/env bash
# Formatting, lints, documentation, and what the pure crates may depend on.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
scripts/check-purity.sh
