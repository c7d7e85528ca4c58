//! From bytes to an acknowledgement, in its parts: `cargo bench -p hl7-mllp-listener`. The ORU is that of `make bench`.

use bytes::{Bytes, BytesMut};
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use hl7_mllp_listener::codec::MllpCodec;
use hl7_mllp_listener::fake_server::FakeServer;
use hl7_mllp_listener::identity::SiteSecret;
use hl7_mllp_listener::mapping::{Mappings, read_folder};
use hl7_mllp_listener::message::{Message, TextOptions};
use hl7_mllp_listener::process::Processor;
use std::path::Path;
use std::sync::Arc;
use tokio_util::codec::Decoder;

#[path = "../../tests/load/src/generate.rs"]
#[allow(dead_code, reason = "each benchmark takes its part")]
mod generate;

/// That of the programs, counted.
#[global_allocator]
static ALLOCATOR: AllocProfiler<mimalloc::MiMalloc> = AllocProfiler::new(mimalloc::MiMalloc);

fn main() {
    divan::main();
}

const ADT: &str = "MSH|^~\\&|HIS|CAMP4|EHR|CAMP4|20260301080000+0300||ADT^A01^ADT_A01|A1|P|2.5.1\r\
    EVN|A01|20260301080000+0300\r\
    PID|1||MRN1^^^RECORDS^MR||ZEWDE^AMINA^^^^^L||19800229|F|||BLOCK 4^^CAMP 4^NORTH^^ET||+251911111111^PRN^CP|||M\r\
    NK1|1|ZEWDE^BIRUK|SPO||+251922222222\r\
    PV1|1|I|WARD 1^101^A^CAMP4|R|||D1^DOCTOR^D||||||||||||V1^^^RECORDS|||||||||||||||||||||||||20260301080000+0300\r\
    AL1|1|DA|PEN^PENICILLIN^L|SV|RASH\r\
    DG1|1||B54^MALARIA^I10|||A\r";

fn oru() -> String {
    generate::oru(1, 1, "C1")
}

/// Two frames, read as one.
#[divan::bench]
fn codec(bencher: Bencher<'_, '_>) {
    let wire = format!("\u{0B}{}\u{1C}\r", oru()).repeat(2);
    bencher.counter(BytesCount::of_str(&wire)).bench_local(|| {
        let mut buffer = BytesMut::from(black_box(wire.as_bytes()));
        let mut codec = MllpCodec::new(1 << 20);
        let mut frames = 0;
        while codec.decode(&mut buffer).is_ok_and(|frame| frame.is_some()) {
            frames += 1;
        }
        assert_eq!(frames, 2);
    });
}

#[divan::bench]
fn index_oru(bencher: Bencher<'_, '_>) {
    let text = oru();
    bencher
        .counter(BytesCount::of_str(&text))
        .bench_local(|| index(black_box(&text)));
}

/// The largest message there may be, and without the limit on segments.
#[divan::bench]
fn index_10_mb(bencher: Bencher<'_, '_>) {
    let (head, results) = ADT.split_at(ADT.find("EVN").unwrap_or_default());
    let text = format!("{head}{}", results.repeat(10_000_000 / results.len()));
    let options = TextOptions {
        max_segments: usize::MAX,
        ..TextOptions::default()
    };
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        Message::parse(black_box(text.as_bytes()), &options).expect("it is a message")
    });
}

fn index(text: &str) -> Message {
    Message::parse(text.as_bytes(), &TextOptions::default()).expect("it is a message")
}

#[divan::bench]
fn convert_oru(bencher: Bencher<'_, '_>) {
    convert(bencher, &oru());
}

#[divan::bench]
fn convert_adt(bencher: Bencher<'_, '_>) {
    convert(bencher, ADT);
}

fn convert(bencher: Bencher<'_, '_>, text: &str) {
    let mappings = mappings();
    let sender = mappings.sender(text.as_bytes());
    let message = index(text);
    bencher.bench_local(|| {
        mappings
            .convert(black_box(&message), sender)
            .expect("it is mapped")
    });
}

/// From bytes to drafts, messages a second.
#[divan::bench]
fn index_and_convert_oru(bencher: Bencher<'_, '_>) {
    index_and_convert(bencher, &oru());
}

#[divan::bench]
fn index_and_convert_adt(bencher: Bencher<'_, '_>) {
    index_and_convert(bencher, ADT);
}

fn index_and_convert(bencher: Bencher<'_, '_>, text: &str) {
    let mappings = mappings();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let text = black_box(text);
        let sender = mappings.sender(text.as_bytes());
        mappings
            .convert(&index(text), sender)
            .expect("it is mapped")
    });
}

/// All of the bridge, to a server in memory that knows nothing yet.
#[divan::bench]
fn process_oru(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime starts");
    let (mappings, frame) = (Arc::new(mappings()), Bytes::from(oru()));
    let secret = SiteSecret::new([3; 32]).expect("it is long enough");
    bencher
        .with_inputs(|| {
            let submit = FakeServer::default().submit();
            Processor::new(submit, Arc::clone(&mappings), secret.clone())
        })
        .bench_local_values(|processor| {
            let answer = runtime.block_on(processor.answer(&frame));
            assert!(answer.code.is_accept());
        });
}

fn mappings() -> Mappings {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/hl7v2");
    let files = read_folder(&folder).expect("the folder is in the repository");
    Mappings::load(&files).expect("the maps are right")
}
