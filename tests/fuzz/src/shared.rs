//! What several targets read: the definitions and data of the product.

use fhir_definitions::{DataFile, Definitions};
use fhir_server::mapping_check;
use hl7_mllp_listener::mapping::{Mappings, read_folder};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// The own base in all targets.
pub const BASE: &str = "http://localhost/fhir";

/// 2026-03-01, in microseconds since 1970: `ap` asks for now.
pub const NOW_MICROS: i64 = 1_772_323_200_000_000;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub static DEFINITIONS: LazyLock<Arc<Definitions>> = LazyLock::new(|| {
    let files = ["profiles", "terminology"]
        .iter()
        .flat_map(|name| files(name));
    let files: Vec<DataFile> = files.filter(|file| file.path.ends_with(".json")).collect();
    Arc::new(Definitions::load(&files).expect("the product's own files are right"))
});

pub static MAPPINGS: LazyLock<Arc<Mappings>> = LazyLock::new(|| {
    let mappings = mapping_check::load(&root().join("mappings"), &DEFINITIONS);
    Arc::new(mappings.expect("the product's own maps are right"))
});

/// The files below a folder of the product, by their paths from its root.
pub fn files(folder: &str) -> Vec<DataFile> {
    let read = read_folder(&root().join(folder)).expect("the folder is in the repository");
    let named = read.into_iter().map(|file| DataFile {
        path: format!("{folder}/{}", file.path),
        bytes: file.bytes,
    });
    named.collect()
}
