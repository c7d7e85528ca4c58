//! Bytes on an MLLP connection: the first two choose the limit of a frame and how reads are cut, the rest is the wire.
//!
//! Frames and irregularities do not depend on the cuts; every byte is in a frame or accounted for; what waits for its end stays
//! below the limit; what was read can be written and read again.

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use hl7_mllp_listener::codec::{Frame, Irregularities, MllpCodec};
use tokio_util::codec::{Decoder, Encoder};

pub fn run(input: &[u8]) {
    let [limit, cuts, wire @ ..] = input else {
        return;
    };
    let limit = 1 + usize::from(*limit) * 32;
    let at_once = read(limit, [wire]);
    let mut random = Rng::with_seed(u64::from(*cuts));
    let mut rest = wire;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let length = 1 + random.usize(..64).min(rest.len() - 1);
        let (chunk, after) = rest.split_at(length);
        chunks.push(chunk);
        rest = after;
    }
    assert_eq!(at_once, read(limit, chunks));
    assert_eq!(at_once, read(limit, wire.chunks(1)));
    let mut held = at_once.1.junk_bytes;
    for frame in &at_once.0 {
        match frame {
            Frame::Message(bytes) => {
                assert!(bytes.len() <= limit);
                held += bytes.len();
                written(limit, bytes);
            }
            Frame::TooLong { head, length } => {
                assert!(*length > limit && head.len() <= *length);
                held += length;
            }
        }
    }
    assert!(held <= wire.len());
}

fn read<'w>(
    limit: usize,
    chunks: impl IntoIterator<Item = &'w [u8]>,
) -> (Vec<Frame>, Irregularities) {
    let mut codec = MllpCodec::new(limit);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        while let Some(frame) = codec.decode(&mut buffer).expect("reading cannot fail") {
            frames.push(frame);
        }
        assert!(buffer.len() <= limit, "{} bytes wait", buffer.len());
    }
    while let Some(frame) = codec.decode_eof(&mut buffer).expect("reading cannot fail") {
        frames.push(frame);
    }
    assert!(buffer.is_empty() && !codec.is_inside());
    (frames, codec.take_irregularities())
}

fn written(limit: usize, message: &Bytes) {
    let mut codec = MllpCodec::new(limit);
    let mut wire = BytesMut::new();
    codec
        .encode(message.clone(), &mut wire)
        .expect("a frame holds no FS");
    let found = read(limit, [&wire[..]]);
    assert_eq!(
        found,
        (
            vec![Frame::Message(message.clone())],
            Irregularities::default()
        )
    );
}
