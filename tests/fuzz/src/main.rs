//! The targets under libFuzzer: `FUZZ_TARGET=json_body FUZZ_DIR=… fuzz …/corpus -max_total_time=60` (scripts/fuzz.sh). `FUZZ_DIR` gets
//! the seeds and the dictionary.

#![no_main]

use fastrand::Rng;
use fuzz::{Target, corpus, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    Target::named(&name).expect("FUZZ_TARGET is one of the targets")
});

fuzz_target!(
    init: {
        if let Ok(folder) = env::var("FUZZ_DIR") {
            write_seeds(Path::new(&folder)).expect("FUZZ_DIR can be written to");
        }
        // Tables are read and the server started before inputs are timed.
        if let Some(seed) = corpus::seeds(TARGET.name).last() {
            TARGET.check(seed);
        }
    },
    |input: &[u8]| {
        TARGET.check(input);
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // libFuzzer's own mutations know the coverage and the comparisons; ours know the language.
    let mut random = Rng::with_seed(u64::from(seed));
    if random.u8(..4) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let changed = mutate::mutate(*TARGET, &data[..size], &mut random);
    let length = changed.len().min(max_size);
    data[..length].copy_from_slice(&changed[..length]);
    length
});

fn write_seeds(folder: &Path) -> std::io::Result<()> {
    let corpus = folder.join("corpus");
    fs::create_dir_all(&corpus)?;
    let regressions = corpus::regressions(TARGET.name)
        .into_iter()
        .map(|(_, input)| input);
    for (index, seed) in corpus::seeds(TARGET.name)
        .into_iter()
        .chain(regressions)
        .enumerate()
    {
        fs::write(corpus.join(format!("seed-{index}")), seed)?;
    }
    let escaped = |word: &String| {
        let bytes = word.bytes().map(|byte| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(byte)),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        });
        format!("\"{}\"\n", bytes.collect::<String>())
    };
    let words: String = corpus::words(TARGET.name).iter().map(escaped).collect();
    fs::write(folder.join("dictionary"), words)
}
