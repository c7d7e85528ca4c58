#!/bin/sh
# Stands before rustc for the crates of the workspace (RUSTC_WORKSPACE_WRAPPER): coverage for libFuzzer, and checks that release builds
# leave out. What we depend on is built as ever, which keeps the fuzzer fast and its attention on our code. All of it is stable Rust.
exec "$@" --cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cdebug-assertions=yes -Coverflow-checks=yes
