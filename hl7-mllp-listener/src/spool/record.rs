//! One record of the spool: length and checksum of the content, then the content. Whatever is not whole is no record.

use super::Waiting;
use bytes::{Buf, BufMut, Bytes};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Length and checksum.
const HEAD_BYTES: usize = 4 + 8;
const MESSAGE: u8 = 1;
const DONE: u8 = 2;

pub(super) enum Content {
    Message(Waiting),
    /// The message of this number needs nothing more.
    Done(u64),
}

pub(super) struct Record;

impl Record {
    pub(super) fn write(content: &Content, into: &mut Vec<u8>) {
        let mut text = Vec::new();
        match content {
            Content::Done(number) => {
                text.put_u8(DONE);
                text.put_u64(*number);
            }
            Content::Message(waiting) => {
                let policy = waiting.policy.as_deref().unwrap_or_default();
                text.put_u8(MESSAGE);
                text.put_u64(waiting.number);
                text.put_u64(waiting.received_ms);
                // Names come from the file of listeners, where a line is far shorter.
                text.put_u16(u16::try_from(policy.len()).unwrap_or(0));
                if u16::try_from(policy.len()).is_ok() {
                    text.put_slice(policy.as_bytes());
                }
                text.put_slice(&waiting.message);
            }
        }
        into.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        into.put_u64(xxh3_64(&text));
        into.append(&mut text);
    }

    /// The next record; `None` leaves the rest as it is.
    pub(super) fn read(rest: &mut Bytes) -> Option<Content> {
        let mut head = rest.get(..HEAD_BYTES)?;
        let (length, checksum) = (head.get_u32() as usize, head.get_u64());
        let end = HEAD_BYTES.checked_add(length)?;
        if rest.len() < end {
            return None;
        }
        let mut content = rest.slice(HEAD_BYTES..end);
        if xxh3_64(&content) != checksum {
            return None;
        }
        let content = read(&mut content)?;
        rest.advance(end);
        Some(content)
    }
}

fn read(content: &mut Bytes) -> Option<Content> {
    let kind = content.try_get_u8().ok()?;
    let number = content.try_get_u64().ok()?;
    match kind {
        DONE => Some(Content::Done(number)),
        MESSAGE => {
            let received_ms = content.try_get_u64().ok()?;
            let length = usize::from(content.try_get_u16().ok()?);
            if content.len() < length {
                return None;
            }
            let policy = content.split_to(length);
            let policy = std::str::from_utf8(&policy).ok()?;
            Some(Content::Message(Waiting {
                number,
                received_ms,
                policy: (!policy.is_empty()).then(|| Arc::from(policy)),
                message: content.split_off(0),
            }))
        }
        _ => None,
    }
}
