//! A file of the data folders: the first line is its path, the rest its content. It stands among the product's own files, in the place
//! of the one of that path.
//!
//! Refused with the file and a line that it has, or accepted; then a message can be converted with it.

use crate::shared::{DEFINITIONS, files};
use fhir_definitions::{DataError, DataFile, Definitions};
use fhir_server::{dhis2, mapping_check};
use hl7_mllp_listener::mapping::{File, Mappings, yaml};
use hl7_mllp_listener::message::{Message, TextOptions};
use std::sync::LazyLock;

static OWN: LazyLock<Vec<DataFile>> = LazyLock::new(|| files("mappings"));

pub fn run(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n');
    let (path, content) = input.split_at(end.unwrap_or(input.len()));
    let content = content.get(1..).unwrap_or_default();
    let Ok(path) = std::str::from_utf8(path) else {
        return;
    };
    let lines = 1 + content.iter().filter(|byte| **byte == b'\n').count();
    let file = DataFile {
        path: path.to_owned(),
        bytes: content.to_vec(),
    };
    match path.split('/').nth(1) {
        Some("hl7v2") => hl7v2(&file, lines),
        Some("dhis2") => to_dhis2(file, lines),
        _ => {
            if let Err(errors) = Definitions::load(&[file]) {
                named(&errors, path, lines);
            }
        }
    }
}

fn hl7v2(file: &DataFile, lines: usize) {
    let below = |path: &str| {
        path.strip_prefix("mappings/hl7v2/")
            .unwrap_or(path)
            .to_owned()
    };
    let path = below(&file.path);
    if path.ends_with(".yaml")
        && let Err(fault) = yaml::parse(&file.bytes)
    {
        assert!(
            (1..=lines + 1).contains(&fault.line),
            "line {} of {lines}",
            fault.line
        );
        return;
    }
    let mut all: Vec<File> = OWN
        .iter()
        .filter(|own| own.path.starts_with("mappings/hl7v2/") && own.path != file.path)
        .map(|own| File {
            path: below(&own.path),
            bytes: own.bytes.clone(),
        })
        .collect();
    all.push(File {
        path: path.clone(),
        bytes: file.bytes.clone(),
    });
    let errors = match Mappings::load(&all) {
        Ok(mappings) => {
            let errors = mapping_check::check(&mappings, &DEFINITIONS);
            MESSAGES.iter().for_each(|message| {
                let _converted = mappings.convert(message, mappings.sender(b""));
            });
            errors
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            errors
        }
    };
    for error in errors {
        assert!(all.iter().any(|file| file.path == error.file), "{error}");
        assert!(error.line >= 1 && !error.reason.is_empty(), "{error}");
        assert!(
            error.file != path || error.line <= lines + 1,
            "{error} of {lines} lines"
        );
    }
}

fn to_dhis2(file: DataFile, lines: usize) {
    let others = OWN
        .iter()
        .filter(|own| own.path.starts_with("mappings/dhis2/"));
    let others = others.filter(|own| own.path != file.path && own.path.ends_with(".yaml"));
    let mut all: Vec<DataFile> = others.cloned().collect();
    let path = file.path.clone();
    all.push(file);
    if let Err(errors) = dhis2::Content::load(&all, &DEFINITIONS) {
        named(&errors, &path, lines);
    }
}

/// Every mistake has a reason and a place; where that is a line of the file, the file has it.
fn named(errors: &[DataError], path: &str, lines: usize) {
    assert!(!errors.is_empty());
    for error in errors {
        assert!(
            !error.place.is_empty() && !error.reason.is_empty(),
            "{error}"
        );
        let number = error
            .place
            .strip_prefix("line ")
            .and_then(|rest| rest.split(',').next());
        let line = number.and_then(|number| number.parse::<usize>().ok());
        let is_there = line.is_none_or(|line| (1..=lines + 1).contains(&line));
        assert!(error.file != path || is_there, "{error} of {lines} lines");
    }
}

static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| {
    let of = |bytes: &Vec<u8>| Message::parse(bytes, &TextOptions::default()).ok();
    crate::corpus::messages().iter().filter_map(of).collect()
});
