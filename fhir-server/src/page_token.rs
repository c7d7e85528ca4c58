//! The `_page` of a `next` link: the query and the keyset, sealed with the site's secret.
//!
//! It shows no search value, cannot be forged, and ends after a time: not ours is a 400, too old is a 410.

use crate::failure::Failure;
use crate::url::{self, Parameters};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use fhir_model::IssueKind;
use sha2::{Digest, Sha256};

/// Seals and opens page tokens.
pub struct PageTokens {
    cipher: ChaCha20Poly1305,
    lifetime_seconds: u64,
}

/// What a token holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The parameters that were applied.
    pub parameters: Parameters,
    /// Where the page begins; opaque, the engine's.
    pub keyset: Vec<u8>,
}

const NONCE_BYTES: usize = 12;
const TIME_BYTES: usize = 8;

impl PageTokens {
    /// `secret` is the site's; every server of one database opens the tokens of the others.
    pub fn new(secret: &[u8], lifetime_seconds: u64) -> PageTokens {
        let key = Sha256::new()
            .chain_update(b"page token 1\0")
            .chain_update(secret)
            .finalize();
        PageTokens {
            cipher: ChaCha20Poly1305::new(&key),
            lifetime_seconds,
        }
    }

    /// Seals a place within the pages of `path` (`Patient`, `Patient/1/_history`), at a time in seconds since 1970.
    pub fn seal(&self, path: &str, place: &Place, now_seconds: u64) -> String {
        let query = url::query(&place.parameters);
        let mut clear = now_seconds.to_be_bytes().to_vec();
        clear.extend_from_slice(&(query.len() as u32).to_be_bytes());
        clear.extend_from_slice(query.as_bytes());
        clear.extend_from_slice(&place.keyset);
        let nonce = ChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = self
            .cipher
            .encrypt(&nonce, payload(path, &clear))
            .expect("a page token is far below the cipher's limit of 256 GiB");
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
    }

    /// Opens a token for `path`.
    ///
    /// # Errors
    /// Syntax (400) for what we did not seal for this path, Expired (410) for what is too old.
    pub fn open(&self, path: &str, token: &str, now_seconds: u64) -> Result<Place, Failure> {
        let (sealed_seconds, place) = self.clear(path, token).ok_or_else(|| {
            Failure::new(
                IssueKind::Syntax,
                "this _page is not one of this server; follow the links as they are, or begin the search again",
            )
        })?;
        match now_seconds.saturating_sub(sealed_seconds) <= self.lifetime_seconds {
            true => Ok(place),
            false => Err(Failure::new(
                IssueKind::Expired,
                format!(
                    "this page was served for {} seconds only; begin the search again",
                    self.lifetime_seconds
                ),
            )),
        }
    }

    fn clear(&self, path: &str, token: &str) -> Option<(u64, Place)> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES)?;
        let clear = self
            .cipher
            .decrypt(Nonce::from_slice(nonce), payload(path, sealed))
            .ok()?;
        let (time, rest) = clear.split_at_checked(TIME_BYTES)?;
        let (length, rest) = rest.split_at_checked(4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
        let (query, keyset) = rest.split_at_checked(length)?;
        let place = Place {
            parameters: url::parameters(std::str::from_utf8(query).ok()?).ok()?,
            keyset: keyset.to_vec(),
        };
        Some((u64::from_be_bytes(time.try_into().ok()?), place))
    }
}

fn payload<'a>(path: &'a str, bytes: &'a [u8]) -> Payload<'a, 'a> {
    Payload {
        msg: bytes,
        aad: path.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let tokens = PageTokens::new(b"secret", 60);
        let place = Place {
            parameters: vec![("name".into(), "Bérénice & Co".into())],
            keyset: vec![0, 255, 7],
        };
        let token = tokens.seal("Patient", &place, 1_000);
        assert!(!token.contains("name") && !token.contains("renice"));
        assert_eq!(tokens.open("Patient", &token, 1_060).unwrap(), place);
        assert_ne!(token, tokens.seal("Patient", &place, 1_000));

        let mut forged = token.clone().into_bytes();
        forged[30] = if forged[30] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        let other = PageTokens::new(b"another", 60);
        for (tokens, path, token, now, status) in [
            (&tokens, "Patient", token.as_str(), 1_061, 410),
            (&tokens, "Observation", &token, 1_001, 400),
            (&tokens, "Patient", &forged, 1_001, 400),
            (&tokens, "Patient", "", 1_001, 400),
            (&tokens, "Patient", "é", 1_001, 400),
            (&tokens, "Patient", &token[..20], 1_001, 400),
            (&other, "Patient", &token, 1_001, 400),
        ] {
            let failure = tokens.open(path, token, now).unwrap_err();
            assert_eq!(failure.status().as_u16(), status, "{path} {token} {now}");
        }
    }
}
