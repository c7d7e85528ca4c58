//! Messages as senders lay them out: every one is indexed without losing a line, or refused for a stated reason, and
//! read as hl7-parser reads it where that can. The messages are those in `tests/messages`, and those of any folder that
//! `HL7V2_CORPUS` names.

use hl7_mllp_listener::message::{Message, Segment, TextOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let mut folders = vec![own];
    folders.extend(std::env::var_os("HL7V2_CORPUS").map(PathBuf::from));
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of messages") {
            let path = entry.expect("an entry").path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("hl7" | "txt") => files.push(path),
                _ if path.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    files
}

fn unframed(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0x1C)
        .unwrap_or(bytes.len());
    bytes[..end].strip_prefix(b"\x0b").unwrap_or(&bytes[..end])
}

#[test]
fn every_file_is_indexed_whole_or_refused_for_a_reason() {
    let mut refused: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let (mut indexed, mut compared) = (0, 0);
    for file in files() {
        let raw = std::fs::read(&file).unwrap();
        match Message::parse(unframed(&raw), &TextOptions::default()) {
            Ok(message) => {
                check_no_line_is_lost(&message, &file);
                compared += usize::from(check_as_hl7_parser(&message, &file));
                indexed += 1;
            }
            Err(error) => refused.entry(error.to_string()).or_default().push(file),
        }
    }
    println!("{indexed} files indexed, {compared} of them as hl7-parser reads them");
    for (reason, files) in &refused {
        println!("{}: {reason}: {files:?}", files.len());
    }
    let is_ours = |file: &&PathBuf| file.components().any(|part| part.as_os_str() == "messages");
    let ours: Vec<_> = refused
        .values()
        .flatten()
        .filter(is_ours)
        .filter_map(|file| file.file_stem())
        .collect();
    let mut ours: Vec<_> = ours.iter().filter_map(|name| name.to_str()).collect();
    ours.sort_unstable();
    let expect = [
        "refused-character-set",
        "refused-delimiters",
        "refused-no-header",
        "refused-text",
    ];
    assert_eq!(ours, expect);
    assert!(
        compared * 2 > indexed,
        "only {compared} of {indexed} files were compared"
    );
}

fn check_no_line_is_lost(message: &Message, file: &Path) {
    let lines = message
        .text()
        .split(['\r', '\n'])
        .map(|line| line.trim_start_matches([' ', '\t', '\u{FEFF}']));
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    let segments: Vec<_> = message.segments().map(|segment| segment.raw()).collect();
    assert_eq!(segments, lines, "{}", file.display());
    for segment in message
        .segments()
        .skip_while(|segment| segment.name() == "FHS")
    {
        if matches!(segment.name(), "MSH" | "BHS" | "FHS") {
            continue;
        }
        let fields = (1..=segment.field_count()).map(|n| segment.field(n).raw());
        let separator = char::from(message.separators().field).to_string();
        let rebuilt = std::iter::once(segment.name())
            .chain(fields)
            .collect::<Vec<_>>()
            .join(&separator);
        assert_eq!(rebuilt, segment.raw(), "{}", file.display());
    }
}

/// False where hl7-parser cannot read the message, or stops before its end (it then says nothing).
fn check_as_hl7_parser(message: &Message, file: &Path) -> bool {
    let lines: Vec<_> = message.segments().map(|segment| segment.raw()).collect();
    let text = lines.join("\r");
    let Ok(other) = hl7_parser::Message::parse(&text) else {
        return false;
    };
    // It takes the truncation character of v2.7 for a field of its own, and counts fields otherwise in a second MSH.
    let is_readable = message.separators().truncation == 0 && !message.is_batch();
    if other.segments().count() != lines.len() || !is_readable {
        return false;
    }
    for (ours, theirs) in message.segments().zip(other.segments()) {
        assert_eq!(ours.name(), theirs.name, "{}", file.display());
        compare_fields(ours, theirs, file);
    }
    true
}

fn compare_fields(ours: Segment<'_>, theirs: &hl7_parser::message::Segment<'_>, file: &Path) {
    let place = |n: usize| format!("{} {}-{n}", file.display(), ours.name());
    let is_header = ours.name() == "MSH";
    for (n, field) in (1..).zip(theirs.fields()) {
        assert_eq!(ours.field(n).raw(), field.raw_value(), "{}", place(n));
        if is_header && n <= 2 {
            continue;
        }
        for (r, repetition) in (1..).zip(field.repeats()) {
            assert_eq!(
                ours.field(n).repetition(r).raw(),
                repetition.raw_value(),
                "{}",
                place(n)
            );
            for (c, component) in (1..).zip(repetition.components()) {
                let our_component = ours.field(n).repetition(r).component(c);
                assert_eq!(our_component.raw(), component.raw_value(), "{}", place(n));
                for (s, value) in (1..).zip(component.subcomponents()) {
                    assert_eq!(
                        our_component.subcomponent(s).raw(),
                        value.raw_value(),
                        "{}",
                        place(n)
                    );
                }
            }
        }
    }
}
