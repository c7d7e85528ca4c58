//! A v2 message as it comes out of its frame.
//!
//! Index: all non-empty lines are there, and every piece is where its delimiters say. Batch: it is cut into messages. Bridge, against a server in memory: every
//! resource it writes is valid, the acknowledgement is one message that can be read, a repeat gets the same answer and writes nothing.

use crate::shared::{DEFINITIONS, MAPPINGS};
use bytes::{Bytes, BytesMut};
use fhir_model::Issue;
use hl7_mllp_listener::ack::Answer;
use hl7_mllp_listener::batch::Batch;
use hl7_mllp_listener::charset::Charset;
use hl7_mllp_listener::codec::MllpCodec;
use hl7_mllp_listener::escape::{escape, unescape};
use hl7_mllp_listener::fake_server::FakeServer;
use hl7_mllp_listener::header::Header;
use hl7_mllp_listener::identity::SiteSecret;
use hl7_mllp_listener::message::{Message, Segment, TextOptions};
use hl7_mllp_listener::process::Processor;
use std::sync::{Arc, LazyLock};
use tokio::runtime::Runtime;
use tokio_util::codec::Encoder;

pub fn run(input: &[u8]) {
    // No frame holds its own end.
    if input.contains(&0x1C) {
        return;
    }
    if let Ok(message) = Message::parse(input, &TextOptions::default()) {
        lines(&message);
        message
            .segments()
            .for_each(|segment| pieces(&message, segment));
    }
    let frame = Bytes::copy_from_slice(input);
    batch(&frame);
    bridge(frame);
}

/// Nothing of a batch is twice in its messages, and each is one message.
fn batch(frame: &Bytes) {
    let Some(batch) = Batch::read(frame) else {
        return;
    };
    let mut end = frame.as_ptr() as usize;
    for message in batch.messages() {
        let start = message.as_ptr() as usize;
        assert!(start >= end, "messages overlap");
        end = start + message.len();
        assert!(Header::read(message).is_some() && Batch::read(message).is_none());
    }
    assert!(end <= frame.as_ptr() as usize + frame.len());
    let answers = vec![Vec::new(); batch.messages().count()];
    let answer = batch.acknowledge(&answers, "20260301");
    assert!(
        answer.ends_with(b"\r") && !answer.contains(&0),
        "{answer:?}"
    );
}

fn lines(message: &Message) {
    let bare = |line: &str| {
        let space = |c| matches!(c, ' ' | '\t' | '\u{FEFF}');
        line.trim_start_matches(space).to_owned()
    };
    let expect = message.text().split(['\r', '\n']).map(bare);
    let expect: Vec<String> = expect.filter(|line| !line.is_empty()).collect();
    let found: Vec<&str> = message.segments().map(|segment| segment.raw()).collect();
    assert_eq!(found, expect);
}

fn pieces(message: &Message, segment: Segment<'_>) {
    let separators = message.separators();
    let is_header = !segment.is_odd() && matches!(segment.name(), "MSH" | "FHS" | "BHS");
    let join = |parts: Vec<&str>, separator: u8| parts.join(&char::from(separator).to_string());
    let first = usize::from(is_header) + 1;
    let fields = (first..=segment.field_count()).map(|n| segment.field(n).raw());
    let parts = std::iter::once(segment.name()).chain(fields).collect();
    assert_eq!(join(parts, separators.field), segment.raw());
    for n in first + usize::from(is_header)..=segment.field_count() {
        let field = segment.field(n);
        let repetitions = field.repetitions().map(|part| part.raw()).collect();
        assert_eq!(join(repetitions, separators.repetition), field.raw());
        for repetition in field.repetitions() {
            let components = repetition.components().map(|part| part.raw()).collect();
            assert_eq!(join(components, separators.component), repetition.raw());
            for component in repetition.components() {
                let parts = component.subcomponents().map(|part| part.raw()).collect();
                assert_eq!(join(parts, separators.subcomponent), component.raw());
                sent_again(message, &component.text());
            }
        }
    }
}

/// A text can be sent as a value, and comes out as it was.
fn sent_again(message: &Message, text: &str) {
    let separators = message.separators();
    if separators.escape == 0 {
        return;
    }
    let raw = escape(text, separators);
    let structure = [
        separators.field,
        separators.component,
        separators.repetition,
        separators.subcomponent,
        b'\r',
        b'\n',
    ];
    let loose = raw
        .bytes()
        .any(|byte| byte != 0 && structure.contains(&byte));
    assert!(!loose, "{text:?} became {raw:?}");
    assert_eq!(unescape(&raw, separators, message.charset()), text);
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime starts")
});

fn bridge(frame: Bytes) {
    let server = FakeServer::default();
    let secret = SiteSecret::new([3; 32]).expect("it is long enough");
    let processor = Processor::new(server.submit(), Arc::clone(&MAPPINGS), secret);
    let first = RUNTIME.block_on(processor.answer(&frame));
    acknowledged(&frame, &first);
    let written = server.written();
    for (url, (_, resource)) in &written {
        let issues = DEFINITIONS.validate(resource);
        let errors: Vec<&Issue> = issues.iter().filter(|issue| issue.is_error()).collect();
        assert!(
            errors.is_empty(),
            "{url} is not valid: {errors:?}\n{resource}"
        );
    }
    let again = RUNTIME.block_on(processor.answer(&frame));
    acknowledged(&frame, &again);
    assert_eq!(again.code, first.code, "a repeat gets the same answer");
    assert_eq!(server.written(), written, "a repeat writes nothing");
}

fn acknowledged(frame: &[u8], answer: &Answer) {
    let header = Header::read(frame);
    let is_ack = header.is_some_and(|header| header.component(9, 1) == "ACK");
    let Some(bytes) = &answer.acknowledge(frame) else {
        assert!(is_ack, "no answer");
        return;
    };
    let options = TextOptions {
        charset: Charset::named("windows-1252"),
        ..TextOptions::default()
    };
    let ack = Message::parse(bytes, &options).expect("an acknowledgement can be read");
    assert!(!ack.is_batch());
    let names: Vec<&str> = ack.segments().map(|segment| segment.name()).collect();
    assert_eq!(names[..2], ["MSH", "MSA"], "{names:?}");
    assert!(names[2..].iter().all(|name| *name == "ERR"), "{names:?}");
    let msa = ack.segment(1).expect("it is there");
    assert_eq!(msa.field(1).raw(), answer.code.code());
    // Byte for byte but for NUL, so that the sender knows which message is meant.
    let read = Header::read(bytes).expect("it is there");
    let echoed = bytes
        .split(|byte| *byte == b'\r')
        .nth(1)
        .unwrap_or_default();
    let echoed = echoed.split(|byte| *byte == read.separators.field).nth(2);
    let asked = header.map(|header| header.field(10)).unwrap_or_default();
    let asked: Vec<u8> = asked
        .chars()
        .map(|c| c as u8)
        .filter(|byte| *byte != 0)
        .collect();
    assert_eq!(echoed.unwrap_or_default(), asked, "MSA-2 is MSH-10");
    let mut wire = BytesMut::new();
    MllpCodec::new(1 << 20)
        .encode(bytes.clone(), &mut wire)
        .expect("an acknowledgement fits a frame");
}
