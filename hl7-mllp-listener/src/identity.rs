//! Which resource a thing in a message is: derived ids.
//!
//! Identity is looked up by business identifier; the derived id is only the guard against two listeners creating the same thing at
//! once. It is an HMAC with the site's secret in the form of a UUID: ids appear in logs and URLs, and a plain hash of a record number
//! can be reversed in seconds.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The secret of a site, the same for all its listeners.
#[derive(Clone)]
pub struct SiteSecret(Vec<u8>);

impl std::fmt::Debug for SiteSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SiteSecret(…)")
    }
}

impl SiteSecret {
    /// Shortest secret that is taken, in bytes.
    pub const MIN_BYTES: usize = 16;

    /// `None` when it is shorter than [`SiteSecret::MIN_BYTES`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<SiteSecret> {
        let bytes = bytes.into();
        (bytes.len() >= Self::MIN_BYTES).then_some(SiteSecret(bytes))
    }

    /// The id of a resource, from its type and what identifies it. Parts are kept apart: ("a", "bc") is not ("ab", "c").
    pub fn derived_id(&self, resource_type: &str, parts: &[&str]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in std::iter::once(&resource_type).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        // A UUID of version 8: its content is the maker's own (RFC 9562 section 5.8).
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid::from_bytes(bytes).to_string()
    }
}

/// SHA-256 of a message without the time it was made (the seventh field of its first line): a sender that sends again may stamp anew.
pub fn content_hash(raw: &[u8]) -> String {
    let mut hash = Sha256::new();
    let separator = raw
        .iter()
        .position(|byte| *byte == b'M')
        .and_then(|at| raw.get(at + 3));
    let header_end = raw
        .iter()
        .position(|byte| matches!(byte, b'\r' | b'\n'))
        .unwrap_or(raw.len());
    let (header, rest) = raw.split_at(header_end);
    match separator {
        Some(separator) => {
            for (index, field) in header.split(|byte| byte == separator).enumerate() {
                // MSH-1 is the separator itself, so the seventh field is the sixth piece after the name.
                let field = if index == 6 { &[][..] } else { field };
                hash.update((field.len() as u64).to_be_bytes());
                hash.update(field);
            }
        }
        None => hash.update(header),
    }
    hash.update(rest);
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_apart() {
        let secret = SiteSecret::new([7; 32]).unwrap();
        let id = secret.derived_id("Patient", &["s", "1"]);
        assert_eq!(id, secret.derived_id("Patient", &["s", "1"]));
        assert!(fhir_model::key::is_id(&id) && id.as_bytes()[14] == b'8');
        for other in [
            secret.derived_id("Patient", &["s1", ""]),
            secret.derived_id("Encounter", &["s", "1"]),
            SiteSecret::new([8; 32])
                .unwrap()
                .derived_id("Patient", &["s", "1"]),
        ] {
            assert_ne!(id, other);
        }
        assert!(SiteSecret::new("short").is_none());
    }

    #[test]
    fn the_hash_forgets_the_time_only() {
        let hash = |text: &str| content_hash(text.as_bytes());
        let one = hash("MSH|^~\\&|A|B|C|D|2026||ADT^A01|1\rPID|1");
        assert_eq!(one, hash("MSH|^~\\&|A|B|C|D|2027||ADT^A01|1\rPID|1"));
        for other in [
            "MSH|^~\\&|A|B|C|D|2026||ADT^A01|2\rPID|1",
            "MSH|^~\\&|A|B|C|D|2026||ADT^A01|1\rPID|2",
            "MSH|^~\\&|A|B|C|2026|D||ADT^A01|1\rPID|1",
            "",
        ] {
            assert_ne!(one, hash(other), "{other}");
        }
    }
}
