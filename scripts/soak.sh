#!/bin/sh
# Builds in release mode and runs the crash and race harness (docs/durability.md). Arguments go to it: scripts/soak.sh --kills 10 --seed 7
set -eu
cd "$(dirname "$0")/.."
# What sets clocks. Without it, or without the right to mount, the harness says what it skips.
library=/usr/lib/$(uname -m)-linux-gnu/faketime/libfaketime.so.1
[ -e "$library" ] || scripts/install-packages.sh libfaketime || true
cargo build --release --locked -p fhir-server -p hl7-mllp-listener -p soak
exec "${CARGO_TARGET_DIR:-target}/release/soak" --programs "${CARGO_TARGET_DIR:-target}/release" "$@"
