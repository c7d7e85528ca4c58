//! Checking resources against their base structure: `cargo bench -p fhir-definitions`. The resources are those of `make bench`.

use divan::{AllocProfiler, Bencher, black_box};
use fhir_definitions::Definitions;
use serde_json::Value;

#[path = "../../../../tests/load/src/generate.rs"]
#[allow(dead_code, reason = "each benchmark takes its part")]
mod generate;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn validate_patient(bencher: Bencher<'_, '_>) {
    validate(bencher, &generate::patient(1, 1));
}

#[divan::bench]
fn validate_observation(bencher: Bencher<'_, '_>) {
    validate(bencher, &generate::observation(1, 1, 1, "Patient/1", None));
}

#[divan::bench]
fn validate_bundle_of_100(bencher: Bencher<'_, '_>) {
    validate(bencher, &generate::transaction(1, 1, 10));
}

/// The tables are read and compiled before.
fn validate(bencher: Bencher<'_, '_>, resource: &Value) {
    let definitions = Definitions::load(&[]).expect("the core definitions are right");
    assert!(definitions.validate(resource).is_empty());
    bencher.bench_local(|| definitions.validate(black_box(resource)));
}
