//! MLLP framing (HL7 v2 transport, Appendix C of the v2.3.1 implementation guide; release 1): `VT message FS CR`, as a
//! tokio-util Decoder and Encoder. Each byte is looked at a bounded number of times however the reads are cut.
//!
//! Tolerated, and counted where an operator should know: bytes outside frames, FS without CR, line ends after FS, a frame
//! that is abandoned and begun again (VT directly before a header segment inside a frame). Any other VT stays content,
//! since text fields contain them. A frame above the limit is dropped up to its end; its first bytes are kept, so that
//! it can be answered. Refuses to write FS inside a frame.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;
use tokio_util::codec::{Decoder, Encoder};

/// Start of a frame.
pub const VT: u8 = 0x0B;
/// End of a frame, followed by CR.
pub const FS: u8 = 0x1C;

/// How much of a too long frame is kept, in bytes: enough for any MSH segment.
const KEPT_BYTES: usize = 4096;

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The bytes between VT and FS.
    Message(Bytes),
    /// A frame above the limit: its first bytes, and its length.
    TooLong { head: Bytes, length: usize },
}

/// Irregularities since the counts were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Irregularities {
    /// Bytes outside frames, other than line ends.
    pub junk_bytes: usize,
    /// Frames abandoned by their sender and begun again.
    pub restarts: usize,
    /// Frames cut off by the end of the connection.
    pub cut_off: usize,
}

/// One direction of one connection.
#[derive(Debug)]
pub struct MllpCodec {
    max_frame_bytes: usize,
    state: State,
    /// Bytes of the buffer that were searched and hold no FS.
    searched: usize,
    irregularities: Irregularities,
}

#[derive(Debug)]
enum State {
    Between,
    Inside,
    Dropping { head: Bytes, length: usize },
}

impl MllpCodec {
    /// Messages of up to `max_frame_bytes`, without VT, FS and CR.
    pub fn new(max_frame_bytes: usize) -> MllpCodec {
        MllpCodec {
            max_frame_bytes,
            state: State::Between,
            searched: 0,
            irregularities: Irregularities::default(),
        }
    }

    /// True while a frame has begun and not ended.
    pub fn is_inside(&self) -> bool {
        !matches!(self.state, State::Between)
    }

    /// The irregularities so far, which are then forgotten.
    pub fn take_irregularities(&mut self) -> Irregularities {
        std::mem::take(&mut self.irregularities)
    }

    /// Between frames: passes everything before the next VT.
    fn find_start(&mut self, buffer: &mut BytesMut) -> bool {
        let start = buffer.iter().position(|byte| *byte == VT);
        let passed = &buffer[..start.unwrap_or(buffer.len())];
        let line_ends = passed
            .iter()
            .filter(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        self.irregularities.junk_bytes += passed.len() - line_ends;
        buffer.advance(start.map_or(buffer.len(), |start| start + 1));
        start.is_some()
    }

    /// Inside a frame: its bytes, once its end is there.
    fn find_end(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        let end = buffer[self.searched..].iter().position(|byte| *byte == FS);
        let end = end.map(|end| self.searched + end);
        let length = end.unwrap_or(buffer.len());
        self.searched = length;
        if length > self.max_frame_bytes {
            // Not of what has come by now: that depends on how the reads are cut.
            let kept = self.max_frame_bytes.min(KEPT_BYTES);
            let head = Bytes::copy_from_slice(&buffer[..kept]);
            self.state = State::Dropping { head, length: 0 };
            return self.drop_to_end(buffer);
        }
        let mut content = buffer.split_to(end?).freeze();
        buffer.advance(1);
        let restart = last_restart(&content);
        if restart > 0 {
            self.irregularities.restarts += 1;
            content.advance(restart);
        }
        self.begin(State::Between);
        Some(Frame::Message(content))
    }

    fn drop_to_end(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        let State::Dropping { head, length } = &mut self.state else {
            return None;
        };
        let end = buffer.iter().position(|byte| *byte == FS);
        *length += end.unwrap_or(buffer.len());
        buffer.advance(end.map_or(buffer.len(), |end| end + 1));
        end?;
        let frame = Frame::TooLong {
            head: std::mem::take(head),
            length: *length,
        };
        self.begin(State::Between);
        Some(frame)
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.searched = 0;
    }
}

impl Decoder for MllpCodec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        if let State::Between = self.state {
            if !self.find_start(buffer) {
                return Ok(None);
            }
            self.begin(State::Inside);
        }
        Ok(match self.state {
            State::Dropping { .. } => self.drop_to_end(buffer),
            _ => self.find_end(buffer),
        })
    }

    /// A frame without an end is no message: its sender got no answer and will send it again.
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        let frame = self.decode(buffer)?;
        if frame.is_none() && self.is_inside() {
            self.irregularities.cut_off += 1;
            buffer.clear();
            self.begin(State::Between);
        }
        Ok(frame)
    }
}

impl Encoder<Bytes> for MllpCodec {
    type Error = io::Error;

    fn encode(&mut self, message: Bytes, buffer: &mut BytesMut) -> io::Result<()> {
        if message.contains(&FS) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a message cannot contain FS (0x1C)",
            ));
        }
        buffer.reserve(message.len() + 3);
        buffer.put_u8(VT);
        buffer.put_slice(&message);
        buffer.put_slice(&[FS, b'\r']);
        Ok(())
    }
}

/// Where the message begins that replaced an abandoned one: behind the last VT that stands before a header segment.
fn last_restart(content: &[u8]) -> usize {
    let is_start = |at: usize| {
        [&b"MSH"[..], b"FHS", b"BHS"]
            .iter()
            .any(|name| content[at..].starts_with(name))
    };
    let starts = content
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == VT)
        .map(|(i, _)| i + 1);
    starts.into_iter().find(|at| is_start(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 5000;

    /// Feeds the chunks one by one, as reads would.
    fn decode(chunks: &[&[u8]]) -> (Vec<Frame>, Irregularities) {
        let mut codec = MllpCodec::new(LIMIT);
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                frames.push(frame);
            }
        }
        while let Some(frame) = codec.decode_eof(&mut buffer).unwrap() {
            frames.push(frame);
        }
        assert!(buffer.is_empty() && !codec.is_inside());
        (frames, codec.take_irregularities())
    }

    /// Messages separated by `/`; irregularities as junk bytes, restarts, cut off.
    fn check(wire: &str, expect: &str, irregularities: [usize; 3]) {
        let (frames, found) = decode(&[wire.as_bytes()]);
        let messages: Vec<_> = frames
            .iter()
            .map(|frame| match frame {
                Frame::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Frame::TooLong { head, length } => format!("{} of {length}", head.len()),
            })
            .collect();
        assert_eq!(messages.join("/"), expect, "{wire:?}");
        assert_eq!(
            [found.junk_bytes, found.restarts, found.cut_off],
            irregularities,
            "{wire:?}"
        );
    }

    #[test]
    fn frames_are_cut_and_irregularities_counted() {
        check("\x0bMSH|1\x1c\r", "MSH|1", [0, 0, 0]);
        check("\x0bMSH|1\x1c\r\x0bMSH|2\x1c\r", "MSH|1/MSH|2", [0, 0, 0]);
        check("\x0bMSH|1\x1c\x0bMSH|2\x1c", "MSH|1/MSH|2", [0, 0, 0]);
        check(
            "\x0bMSH|1\x1c\r\n\r\n\x0bMSH|2\x1c\r\r",
            "MSH|1/MSH|2",
            [0, 0, 0],
        );
        check("junk\x0bMSH|1\x1c\rjunk", "MSH|1", [8, 0, 0]);
        check("\x1c\x1c\x0bMSH|1\x1c\x1c\r", "MSH|1", [3, 0, 0]);
        check("\x0bMSH|1\rPID\x0bMSH|2\x1c\r", "MSH|2", [0, 1, 0]);
        check("\x0b\x0bMSH|1\x1c\r", "MSH|1", [0, 1, 0]);
        check("\x0bMSH|1|a\x0bb\x1c\r", "MSH|1|a\x0bb", [0, 0, 0]);
        check("\x0b\x1c\r", "", [0, 0, 0]);
        check("\x0bMSH|1", "", [0, 0, 1]);
        check("GET / HTTP/1.1\r\n\r\n", "", [14, 0, 0]);
        check("", "", [0, 0, 0]);
    }

    #[test]
    fn a_long_frame_is_dropped_and_the_next_one_read() {
        let long = "x".repeat(LIMIT + 1);
        check(
            &format!("\x0b{long}\x1c\r\x0bMSH|2\x1c\r"),
            "4096 of 5001/MSH|2",
            [0, 0, 0],
        );
        let fits = "x".repeat(LIMIT);
        check(&format!("\x0b{fits}\x1c\r"), &fits, [0, 0, 0]);
        check(&format!("\x0b{long}"), "", [0, 0, 1]);
    }

    #[test]
    fn what_is_kept_of_a_long_frame_does_not_depend_on_the_reads() {
        let head = |chunks: [&[u8]; 2]| {
            let mut codec = MllpCodec::new(10);
            let mut buffer = BytesMut::new();
            let frames: Vec<_> = chunks
                .iter()
                .filter_map(|chunk| {
                    buffer.extend_from_slice(chunk);
                    codec.decode(&mut buffer).unwrap()
                })
                .collect();
            assert_eq!(frames.len(), 1);
            frames
        };
        let at_once = head([b"\x0bMSH|12345678901234\x1c", b""]);
        assert_eq!(head([b"\x0bMSH|1234567", b"8901234\x1c"]), at_once);
    }

    #[test]
    fn a_frame_cannot_hold_its_own_end() {
        let mut codec = MllpCodec::new(LIMIT);
        let mut buffer = BytesMut::new();
        assert!(
            codec
                .encode(Bytes::from_static(b"a\x1cb"), &mut buffer)
                .is_err()
        );
        codec
            .encode(Bytes::from_static(b"ab"), &mut buffer)
            .unwrap();
        assert_eq!(&buffer[..], b"\x0bab\x1c\r");
    }

    /// The same by the plainest means: the whole input at once, split by its control characters.
    fn oracle(wire: &[u8]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut rest = wire;
        while let Some(start) = rest.iter().position(|b| *b == VT) {
            rest = &rest[start + 1..];
            let Some(end) = rest.iter().position(|b| *b == FS) else {
                break;
            };
            let text = String::from_utf8_lossy(&rest[..end]).into_owned();
            let from = ["MSH", "FHS", "BHS"]
                .iter()
                .filter_map(|name| text.rfind(&format!("\x0b{name}")))
                .max();
            frames.push(text.as_bytes()[from.map_or(0, |at| at + 1)..].to_vec());
            rest = &rest[end + 1..];
        }
        frames
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(vec![VT]),
            Just(vec![FS, b'\r']),
            Just(vec![FS]),
            Just(b"MSH|^~\\&|".to_vec()),
            Just(b"\x0bMSH".to_vec()),
            proptest::collection::vec(0x20u8..0x7f, 0..30),
            Just(vec![b'x'; 600]),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_reads_are_cut(wire in pieces(), cuts in proptest::collection::vec(1usize..50, 0..60)) {
            let mut chunks = Vec::new();
            let mut rest = &wire[..];
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            let (frames, irregularities) = decode(&chunks);
            let (at_once, counted_at_once) = decode(&[&wire]);
            prop_assert_eq!(&frames, &at_once);
            prop_assert_eq!(irregularities, counted_at_once);
            let expect = oracle(&wire);
            prop_assert_eq!(frames.len(), expect.len());
            for (frame, expect) in frames.iter().zip(expect) {
                match frame {
                    Frame::Message(bytes) => prop_assert_eq!(&bytes[..], &expect[..]),
                    Frame::TooLong { head, .. } => prop_assert_eq!(head.len(), KEPT_BYTES),
                }
            }
        }

        #[test]
        fn what_is_encoded_is_decoded(messages in proptest::collection::vec("MSH[^\x0b\x1c]{0,50}", 0..5)) {
            let mut codec = MllpCodec::new(LIMIT);
            let mut wire = BytesMut::new();
            for message in &messages {
                codec.encode(Bytes::from(message.clone()), &mut wire).unwrap();
            }
            let (frames, irregularities) = decode(&[&wire]);
            let expect: Vec<_> = messages.into_iter().map(|m| Frame::Message(Bytes::from(m))).collect();
            prop_assert_eq!(frames, expect);
            prop_assert_eq!(irregularities, Irregularities::default());
        }
    }
}
