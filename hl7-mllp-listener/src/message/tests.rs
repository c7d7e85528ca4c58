//! How messages are indexed.

use super::*;
use proptest::prelude::*;

fn parse(raw: &str) -> Message {
    Message::parse(raw.as_bytes(), &TextOptions::default()).unwrap()
}

fn check_segments(raw: &str, expect: &[&str]) {
    let message = parse(raw);
    let found: Vec<_> = message
        .segments()
        .map(|s| {
            format!(
                "{}{}:{}",
                if s.is_odd() { "?" } else { "" },
                s.name(),
                s.field_count()
            )
        })
        .collect();
    assert_eq!(found, expect, "{raw:?}");
}

#[test]
fn every_non_empty_line_is_a_segment() {
    check_segments("MSH|^~\\&|A\rPID|1", &["MSH:3", "PID:1"]);
    check_segments("MSH|^~\\&|A\nPID|1|\n", &["MSH:3", "PID:2"]);
    check_segments("MSH|^~\\&|A\r\nPID|1\r\n\r\n", &["MSH:3", "PID:1"]);
    check_segments(
        "\r\nMSH|^~\\&|A\r\r\rPID|1\r \rPV1|1",
        &["MSH:3", "PID:1", "PV1:1"],
    );
    check_segments("\u{FEFF}MSH|^~\\&|A\r\u{FEFF}PID|1", &["MSH:3", "PID:1"]);
    check_segments("MSH|^~\\&|A\r  PID|1\r\tPV1", &["MSH:3", "PID:1", "PV1:0"]);
    check_segments("MSH|^~\\&|A\rPD1\rZPI|1|x", &["MSH:3", "PD1:0", "ZPI:2"]);
    check_segments(
        "MSH|^~\\&|A\rcontinued text\rpid|1\rPIDX|1\r|1\rPI|1",
        &[
            "MSH:3",
            "?continued text:0",
            "?pid:1",
            "?PIDX:1",
            "?:1",
            "?PI:1",
        ],
    );
    check_segments("MSH#*~\\!#A\rPID#1##a*b", &["MSH:3", "PID:3"]);
    check_segments("MSH|^~\\&#|A\rPID|1", &["MSH:3", "PID:1"]);
    check_segments(
        "FHS|^~\\&|L\rBHS|^~\\&|L\rMSH|^~\\&|A\rBTS|1\rFTS|1",
        &["FHS:3", "BHS:3", "MSH:3", "BTS:1", "FTS:1"],
    );
}

/// `at` is field.repetition.component.subcomponent of the second segment.
fn check_value(pid: &str, at: [usize; 4], expect: &str) {
    let message = parse(&format!("MSH|^~\\&|A\r{pid}"));
    assert_eq!(
        message.value(1, at[0], at[1], at[2], at[3]),
        expect,
        "{pid} at {at:?}"
    );
}

#[test]
fn values_are_addressed_by_numbers() {
    let pid = "PID|1||a^b&c^d~e^f||\"\"|~x";
    check_value(pid, [1, 1, 1, 1], "1");
    check_value(pid, [2, 1, 1, 1], "");
    check_value(pid, [3, 0, 0, 0], "a^b&c^d~e^f");
    check_value(pid, [3, 1, 0, 0], "a^b&c^d");
    check_value(pid, [3, 1, 2, 0], "b&c");
    check_value(pid, [3, 1, 2, 2], "c");
    check_value(pid, [3, 2, 2, 1], "f");
    check_value(pid, [3, 3, 1, 1], "");
    check_value(pid, [3, 1, 9, 1], "");
    check_value(pid, [3, 1, 1, 2], "");
    check_value(pid, [5, 1, 1, 1], "\"\"");
    check_value(pid, [6, 1, 1, 1], "");
    check_value(pid, [6, 2, 1, 1], "x");
    check_value(pid, [7, 1, 1, 1], "");
    check_value(pid, [0, 1, 1, 1], "");
    check_value("PID", [1, 1, 1, 1], "");
    check_value("PID|", [1, 1, 1, 1], "");
    let message = parse("MSH|^~\\&|A");
    assert_eq!(message.value(7, 1, 1, 1, 1), "");
}

#[test]
fn the_header_is_numbered_as_in_the_standard() {
    let message = parse(
        "MSH|^~\\&#|APP^1&2|FAC|R|RF|20260301||ADT^A04^ADT_A01|C\\F\\1|P^T|2.7^DEU|||AL|NE||UNICODE UTF-8",
    );
    let msh = message.header();
    assert_eq!((msh.field(1).raw(), msh.field(2).raw()), ("|", "^~\\&#"));
    assert_eq!(msh.field(2).component(1).raw(), "^~\\&#");
    assert_eq!(msh.field(2).text(), "^~\\&#");
    assert_eq!(
        (message.sending_application(), message.sending_facility()),
        ("APP", "FAC")
    );
    assert_eq!(
        (
            message.receiving_application(),
            message.receiving_facility()
        ),
        ("R", "RF")
    );
    assert_eq!(
        (message.message_time(), message.control_id()),
        ("20260301", "C\\F\\1")
    );
    let trigger = Trigger {
        message_type: "ADT",
        event: "A04",
        structure: "ADT_A01",
    };
    assert_eq!(message.trigger(), trigger);
    assert_eq!((message.processing_id(), message.version()), ("P", "2.7"));
    assert_eq!(
        (
            message.accept_acknowledgment(),
            message.application_acknowledgment()
        ),
        ("AL", "NE")
    );
}

#[test]
fn pieces_know_empty_null_and_text() {
    let message = parse("MSH|^~\\&|A\rPID|\"\"||a\\F\\b^c\\T\\d&e~f\rPID|2");
    let pid = message.first("PID").unwrap();
    assert!(pid.field(1).is_null() && pid.field(2).is_empty() && !pid.field(2).is_null());
    assert_eq!(pid.field(2).repetitions().count(), 0);
    assert_eq!(pid.field(3).repetitions().count(), 2);
    assert_eq!(pid.field(3).component(1).text(), "a|b");
    assert_eq!(pid.field(3).component(2).subcomponent(1).text(), "c&d");
    assert_eq!(pid.field(3).repetition(1).components().count(), 2);
    assert_eq!(pid.field(3).component(2).subcomponents().count(), 2);
    assert_eq!(message.segment(2).unwrap().occurrence(), 2);
    assert!(message.segment(3).is_none() && message.first("PV1").is_none());
}

#[test]
fn an_odd_line_is_no_header() {
    let message = parse("MSH|^~\\&|A\rMSHa|x\rMSH");
    let odd = message.segment(1).unwrap();
    assert_eq!(
        (odd.name(), odd.field(1).raw(), odd.field_count()),
        ("MSHa", "x", 1)
    );
    assert_eq!(message.segment(2).unwrap().field_count(), 0);
}

#[test]
fn batches_are_recognised() {
    assert!(!parse("MSH|^~\\&|A\rPID|1").is_batch());
    assert!(parse("FHS|^~\\&|L\rMSH|^~\\&|A").is_batch());
    assert!(parse("BHS|^~\\&|L\rMSH|^~\\&|A").is_batch());
    assert!(parse("MSH|^~\\&|A\rPID|1\rMSH|^~\\&|A").is_batch());
}

fn check_error(raw: &[u8], expect: MessageError) {
    let options = TextOptions {
        max_segments: 3,
        max_fields: 20,
        ..TextOptions::default()
    };
    assert_eq!(
        Message::parse(raw, &options).unwrap_err(),
        expect,
        "{raw:?}"
    );
}

#[test]
fn what_cannot_be_read_is_refused_for_a_stated_reason() {
    use MessageError::*;
    check_error(b"", NoHeader);
    check_error(b"this is not hl7", NoHeader);
    check_error(b"PID|1\rMSH|^~\\&|A", NoHeader);
    check_error(b"FHS|^~\\&|A\rPID|1", NoHeader);
    check_error(b"MSH", Separators);
    check_error(b"MSH|&&&&|A", Separators);
    check_error(b"MSH|^~\\&|A\rPID|\0", Nul);
    check_error(b"M\0S\0H\0|\0", NoHeader);
    check_error(b"MSH|^~\\&||||||||||||||||UTF-16\rPID", UnknownCharset);
    check_error(b"MSH|^~\\&||||||||||||||||ASCII\rPID|\xDA", InvalidText);
    check_error(
        b"MSH|^~\\&||||||||||||||||UNICODE UTF-8\rPID|\xDA",
        InvalidText,
    );
    check_error(b"MSH|^~\\&|A\rAAA\rBBB\rCCC", TooManySegments(3));
    check_error(
        b"MSH|^~\\&|A\rAAA|||||||||||||||||||||",
        TooManyFields {
            max: 20,
            segment: 1,
        },
    );
}

fn check_text(msh_18: &str, bytes: &[u8], expect: &str, warnings: usize) {
    let raw = [
        format!("MSH|^~\\&||||||||||||||||{msh_18}\rPID|").as_bytes(),
        bytes,
    ]
    .concat();
    let message = Message::parse(&raw, &TextOptions::default()).unwrap();
    assert_eq!(message.value(1, 1, 1, 1, 1), expect);
    assert_eq!(message.warnings().len(), warnings);
}

#[test]
fn text_is_decoded_before_it_is_split() {
    check_text("8859/1", b"N\xDA\xD1EZ", "NÚÑEZ", 0);
    check_text("", "Łukasz".as_bytes(), "Łukasz", 0);
    check_text("", b"M\xDCLLER", "MÜLLER", 1);
    // The second byte of this GB 18030 character is a field separator in ASCII.
    check_text("GB 18030-2000", b"\x81|x", "亅x", 0);
    check_text("~ISO IR87", b"\x1b$B;3\x1b(B", "山", 0);
    let forced = TextOptions {
        charset: Some(Charset::WINDOWS_1252),
        ..TextOptions::default()
    };
    let raw = b"MSH|^~\\&||||||||||||||||UNICODE UTF-8\rPID|\xDA";
    assert_eq!(
        Message::parse(raw, &forced).unwrap().value(1, 1, 1, 1, 1),
        "Ú"
    );
}

proptest! {
    #[test]
    fn indexing_never_panics_and_loses_no_line(body in "([A-Z]{0,4}[|^~&\\\\a é\"]{0,12}[\r\n]{0,2}){0,12}") {
        let raw = format!("MSH|^~\\&|A\r{body}");
        let message = parse(&raw);
        let lines: Vec<_> = raw
            .split(['\r', '\n'])
            .map(|line| line.trim_start_matches([' ', '\t', '\u{FEFF}']))
            .filter(|line| !line.is_empty())
            .collect();
        let segments: Vec<_> = message.segments().map(|segment| segment.raw()).collect();
        prop_assert_eq!(&segments, &lines);
        // Header segments count their separator as a field, so they are not put together like this.
        for segment in message.segments().filter(|segment| !is_header_name(segment.name().as_bytes())) {
            let fields: Vec<_> = (1..=segment.field_count()).map(|n| segment.field(n).raw()).collect();
            let rebuilt = std::iter::once(segment.name()).chain(fields).collect::<Vec<_>>().join("|");
            prop_assert_eq!(rebuilt, segment.raw());
            for n in 0..4 {
                let _ = segment.field(n).repetition(n).component(n).subcomponent(n).text();
            }
        }
    }

    #[test]
    fn any_bytes_are_indexed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), with_header: bool) {
        let head: &[u8] = if with_header { b"MSH|^~\\&|A\r" } else { b"MSH" };
        let _ = Message::parse(&[head, &bytes].concat(), &TextOptions::default());
        let _ = Message::parse(&bytes, &TextOptions::default());
    }
}
