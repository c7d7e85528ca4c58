//! The text of a URL: path segments and parameters, decoded strictly, and written back.
//!
//! Refuses broken percent-encoding, bytes that are not UTF-8, and U+0000 (400).

use crate::failure::Failure;
use fhir_model::IssueKind;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write as _;

/// Decoded (name, value) pairs in the order of the URL.
pub type Parameters = Vec<(String, String)>;

/// Splits a path into its decoded segments; one slash at either end is nothing.
///
/// # Errors
/// [`IssueKind::Syntax`] for what cannot be decoded.
pub fn segments(path: &str) -> Result<Vec<String>, Failure> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    path.split('/').map(|part| decode(part, false)).collect()
}

/// Takes a query (without `?`) or a form body apart; `+` is a space.
///
/// # Errors
/// [`IssueKind::Syntax`] for what cannot be decoded.
pub fn parameters(query: &str) -> Result<Parameters, Failure> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, true)?, decode(value, true)?))
        })
        .collect()
}

/// Writes parameters as a query, so that [`parameters`] reads them back.
pub fn query(parameters: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        let separator = if text.is_empty() { "" } else { "&" };
        let _ = write!(
            text,
            "{separator}{}={}",
            utf8_percent_encode(name, RESERVED),
            utf8_percent_encode(value, RESERVED)
        );
    }
    text
}

/// What stands in clear in a query we write; the rest is percent-encoded. `:` `,` `/` are legal there and easier to read.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b',')
    .remove(b'/');

fn decode(text: &str, plus_is_space: bool) -> Result<String, Failure> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let digits = (rest.next().and_then(hex), rest.next().and_then(hex));
                let (Some(high), Some(low)) = digits else {
                    return Err(refuse(
                        "a % in the URL is not followed by two hexadecimal digits",
                    ));
                };
                high << 4 | low
            }
            other => other,
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => Err(refuse(
            "the URL holds the character U+0000, which is not allowed",
        )),
        Ok(text) => Ok(text),
        Err(_) => Err(refuse("the URL is not UTF-8 when decoded")),
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

fn refuse(reason: &str) -> Failure {
    Failure::new(IssueKind::Syntax, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, expect) in [
            ("", Some(vec![])),
            ("/", Some(vec![])),
            ("/Patient", Some(vec!["Patient"])),
            ("Patient/", Some(vec!["Patient"])),
            ("/Patient/a%2Fb", Some(vec!["Patient", "a/b"])),
            ("/Patient//", Some(vec!["Patient", ""])),
            ("/a+b", Some(vec!["a+b"])),
            ("/%4", None),
            ("/%zz", None),
            ("/%ff", None),
            ("/%00", None),
        ] {
            let found = segments(path).ok();
            let expect = expect.map(|e| e.into_iter().map(String::from).collect::<Vec<_>>());
            assert_eq!(found, expect, "{path}");
        }
    }

    #[test]
    fn queries() {
        for (text, expect) in [
            ("", vec![]),
            ("a=1&b", vec![("a", "1"), ("b", "")]),
            ("a=x+y&a=x%2By", vec![("a", "x y"), ("a", "x+y")]),
            ("&&n=a=b", vec![("n", "a=b")]),
            ("identifier=urn%3Ax%7C1", vec![("identifier", "urn:x|1")]),
            ("name=%C3%A9", vec![("name", "é")]),
        ] {
            let expect: Parameters = expect
                .into_iter()
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect();
            assert_eq!(parameters(text).unwrap(), expect, "{text}");
            assert_eq!(parameters(&query(&expect)).unwrap(), expect, "{text}");
        }
        assert!(parameters("a=%").is_err());
        assert!(parameters("a=%C3").is_err());
    }
}
