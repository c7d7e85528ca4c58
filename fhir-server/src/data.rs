//! The data folders: mappings, profiles, terminology. Found, read and checked before anything starts.
//!
//! A wrong file stops the start with file, place and reason; `fhir-server check` does the same and prints all of them.

use crate::config::Config;
use crate::{dhis2, mapping_check};
use fhir_definitions::{DataError, DataFile, Definitions};
use hl7_mllp_listener::mapping::{self, Mappings};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the folders hold, checked.
pub struct Data {
    pub definitions: Arc<Definitions>,
    pub hl7v2: Arc<Mappings>,
    pub dhis2: dhis2::Content,
    /// Files read, for a message.
    pub files: usize,
}

/// Largest data file, in bytes.
const FILE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads and checks all folders.
///
/// # Errors
/// Every problem of every file.
pub fn load(config: &Config) -> Result<Data, Vec<DataError>> {
    let mut errors = Vec::new();
    let mut read = |setting: &Option<PathBuf>, name, below, extensions: &[&str]| {
        let mut files = Vec::new();
        match folder(setting.as_deref(), name) {
            Ok(folder) => read_folder(&folder.join(below), extensions, &mut files, &mut errors),
            Err(error) if errors.contains(&error) => {}
            Err(error) => errors.push(error),
        }
        files
    };
    let mut resources = read(&config.profiles_dir, "profiles", "", &["json"]);
    resources.extend(read(&config.terminology_dir, "terminology", "", &["json"]));
    let from_hl7v2 = read(&config.mappings_dir, "mappings", "hl7v2", &["yaml", "json"]);
    let to_dhis2 = read(&config.mappings_dir, "mappings", "dhis2", &["yaml"]);
    let files = resources.len() + from_hl7v2.len() + to_dhis2.len();
    // What is mapped can only be checked against definitions that are right themselves.
    let checked = Definitions::load(&resources).and_then(|definitions| {
        let hl7v2 = hl7v2(from_hl7v2, &definitions);
        let dhis2 = dhis2::Content::load(&to_dhis2, &definitions);
        match (hl7v2, dhis2) {
            (Ok(hl7v2), Ok(dhis2)) => Ok((definitions, hl7v2, dhis2)),
            (hl7v2, dhis2) => {
                let found = [hl7v2.err(), dhis2.err()];
                Err(found.into_iter().flatten().flatten().collect())
            }
        }
    });
    match checked.map_err(|found| errors.extend(found)) {
        Ok((definitions, hl7v2, dhis2)) if errors.is_empty() => Ok(Data {
            definitions: Arc::new(definitions),
            hl7v2: Arc::new(hl7v2),
            dhis2,
            files,
        }),
        _ => Err(errors),
    }
}

/// The maps of v2 messages. Paths count from `hl7v2/`: the folders below it say what a file is.
fn hl7v2(files: Vec<DataFile>, definitions: &Definitions) -> Result<Mappings, Vec<DataError>> {
    let below = |path: &str| {
        let at = path.rfind("/hl7v2/").map_or(0, |at| at + "/hl7v2/".len());
        path[at..].to_string()
    };
    let files: Vec<mapping::File> = files
        .into_iter()
        .map(|file| mapping::File {
            path: below(&file.path),
            bytes: file.bytes,
        })
        .collect();
    let checked = Mappings::load(&files).and_then(|mappings| {
        let errors = mapping_check::check(&mappings, definitions);
        match errors.is_empty() {
            true => Ok(mappings),
            false => Err(errors),
        }
    });
    checked.map_err(|errors| {
        let error = |error: mapping::LoadError| DataError {
            file: format!("mappings/hl7v2/{}", error.file),
            place: format!("line {}", error.line),
            reason: error.reason,
        };
        errors.into_iter().map(error).collect()
    })
}

/// The folder that was set; else `name` in the working directory, beside the executable or above it. It must be somewhere: a server that
/// starts without its maps would keep every message unmapped, one without its search parameters would index everything anew.
///
/// # Errors
/// There is no such folder.
pub fn folder(setting: Option<&Path>, name: &str) -> Result<PathBuf, DataError> {
    match setting {
        Some(folder) if folder.is_dir() => Ok(folder.to_path_buf()),
        Some(folder) => Err(error(folder, "no such folder")),
        None => mapping::find_folder(name).ok_or_else(|| {
            let variable = name.to_uppercase();
            let reason = format!(
                "no such folder in the working directory, nor beside or above the program; FHIR_{variable}_DIR says where it is"
            );
            error(Path::new(name), reason)
        }),
    }
}

/// Reads the files with these extensions, in the order of their paths, whatever the file system gives.
fn read_folder(
    folder: &Path,
    extensions: &[&str],
    files: &mut Vec<DataFile>,
    errors: &mut Vec<DataError>,
) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(reason) if reason.kind() == ErrorKind::NotFound => return,
        Err(reason) => return errors.push(error(folder, reason)),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_folder(&path, extensions, files, errors);
        } else if is_one_of(&path, extensions) {
            match read_file(&path) {
                Ok(bytes) => files.push(DataFile {
                    path: path.display().to_string(),
                    bytes,
                }),
                Err(reason) => errors.push(error(&path, reason)),
            }
        }
    }
}

fn is_one_of(path: &Path, extensions: &[&str]) -> bool {
    let found = path.extension().and_then(OsStr::to_str);
    found.is_some_and(|found| extensions.contains(&found))
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > FILE_MAX_BYTES {
        return Err(std::io::Error::other("larger than 64 MiB"));
    }
    std::fs::read(path)
}

fn error(path: &Path, reason: impl ToString) -> DataError {
    DataError {
        file: path.display().to_string(),
        place: "the file".into(),
        reason: reason.to_string(),
    }
}
