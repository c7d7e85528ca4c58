//! Reading JSON: `cargo bench -p fhir-model`. The resources are those of `make bench`.

use divan::{AllocProfiler, Bencher, black_box, counter::BytesCount};
use fhir_model::json;

#[path = "../../../../tests/load/src/generate.rs"]
#[allow(dead_code, reason = "each benchmark takes its part")]
mod generate;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn parse_patient(bencher: Bencher<'_, '_>) {
    parse(bencher, &generate::patient(1, 1).to_string());
}

#[divan::bench]
fn parse_bundle_of_100(bencher: Bencher<'_, '_>) {
    parse(bencher, &generate::transaction(1, 1, 10).to_string());
}

#[divan::bench]
fn write_bundle_of_100(bencher: Bencher<'_, '_>) {
    let bundle = generate::transaction(1, 1, 10);
    bencher.bench_local(|| black_box(&bundle).to_string());
}

fn parse(bencher: Bencher<'_, '_>, text: &str) {
    bencher
        .counter(BytesCount::of_str(text))
        .bench_local(|| json::parse(black_box(text.as_bytes())).expect("it is JSON"));
}
