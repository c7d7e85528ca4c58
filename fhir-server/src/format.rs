//! Which format a request is in and an answer is to be in (<https://hl7.org/fhir/R5/http.html#mime-type>). JSON and XML.
//!
//! Refuses every other Content-Type (415) and an Accept or `_format` with neither (406).

use crate::failure::Failure;
use crate::url::Parameters;
use crate::xml;
use fhir_model::{IssueKind, json};
use http::{HeaderMap, header};

/// The specification asks for the charset to be said.
pub const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";
const PLAIN_JSON: &str = "application/json; charset=utf-8";
const FHIR_XML: &str = "application/fhir+xml; charset=utf-8";
const PLAIN_XML: &str = "application/xml; charset=utf-8";
const TEXT_XML: &str = "text/xml; charset=utf-8";

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Json,
    Xml,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub content_type: &'static str,
    /// `_pretty=true`: with line breaks and indentation.
    pub pretty: bool,
}

impl Default for Format {
    fn default() -> Format {
        Format {
            content_type: FHIR_JSON,
            pretty: false,
        }
    }
}

impl Format {
    /// The text of an answer, made from the JSON that the server works with.
    ///
    /// # Errors
    /// NotAcceptable (406) where XML cannot say it.
    pub fn write(self, json: String) -> Result<String, Failure> {
        match (self.syntax(), self.pretty) {
            (Syntax::Json, false) => Ok(json),
            (Syntax::Json, true) => Ok(pretty(&json)),
            (Syntax::Xml, pretty) => xml::write(json::parse(json.as_bytes())?, pretty),
        }
    }

    /// In one line, for [`Format::read`].
    pub fn written(self) -> String {
        let pretty = if self.pretty { "pretty " } else { "" };
        format!("{pretty}{}", self.content_type)
    }

    /// What [`Format::written`] has written; FHIR's JSON for all else.
    pub fn read(text: &str) -> Format {
        let (pretty, name) = match text.strip_prefix("pretty ") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let all = [FHIR_JSON, PLAIN_JSON, FHIR_XML, PLAIN_XML, TEXT_XML];
        let content_type = all.into_iter().find(|known| *known == name);
        Format {
            content_type: content_type.unwrap_or(FHIR_JSON),
            pretty,
        }
    }

    fn syntax(self) -> Syntax {
        match self.content_type {
            FHIR_XML | PLAIN_XML | TEXT_XML => Syntax::Xml,
            _ => Syntax::Json,
        }
    }
}

/// Chooses how to answer. `_format` wins over Accept; it and `_pretty` are taken out of the parameters.
///
/// # Errors
/// NotAcceptable (406).
pub fn negotiate(headers: &HeaderMap, parameters: &mut Parameters) -> Result<Format, Failure> {
    let all = std::mem::take(parameters);
    let asked = |name: &str| all.iter().find(|(given, _)| given == name);
    let pretty = asked("_pretty").is_some_and(|(_, value)| value == "true");
    let content_type = match asked("_format") {
        // A `+` that was not encoded arrives as a space.
        Some((_, text)) => MediaRange::read(&text.replace(' ', "+")).offered(&[]),
        None => accepted(headers),
    };
    *parameters = without_format(all);
    match content_type {
        Some(content_type) => Ok(Format {
            content_type,
            pretty,
        }),
        None => Err(not_acceptable()),
    }
}

/// The Content-Type that answers the Accept headers best; of equals the first.
fn accepted(headers: &HeaderMap) -> Option<&'static str> {
    let ranges = accepted_ranges(headers);
    if ranges.is_empty() {
        return Some(FHIR_JSON);
    }
    let refused: Vec<&str> = ranges
        .iter()
        .filter(|range| range.quality == 0)
        .filter_map(MediaRange::names)
        .collect();
    let offers = ranges
        .iter()
        .filter_map(|range| Some((range.quality, range.offered(&refused)?)));
    let best = offers.fold(None, |best: Option<(u32, &str)>, offer| match best {
        Some(found) if found.0 >= offer.0 => Some(found),
        _ => Some(offer),
    });
    best.map(|(_, found)| found)
}

/// What the Accept headers name, in their order.
pub fn accepted_ranges(headers: &HeaderMap) -> Vec<MediaRange> {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|range| !range.trim().is_empty())
        .map(MediaRange::read)
        .collect()
}

/// The same JSON with line breaks and two spaces for each level: nothing but white space is added, so that numbers keep their text.
fn pretty(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut last = ' ';
    for c in json.chars() {
        if in_string {
            text.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            last = c;
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        let after_opening = matches!(last, '{' | '[');
        depth -= usize::from(closes);
        if (after_opening && !closes) || (closes && !after_opening) || last == ',' {
            text.push('\n');
            text.extend(std::iter::repeat_n("  ", depth));
        }
        text.push(c);
        match c {
            '"' => in_string = true,
            ':' => text.push(' '),
            '{' | '[' => depth += 1,
            _ => {}
        }
        last = c;
    }
    text.push('\n');
    text
}

/// Parameters without those that choose the format.
pub fn without_format(parameters: Parameters) -> Parameters {
    parameters
        .into_iter()
        .filter(|(name, _)| name != "_format" && name != "_pretty")
        .collect()
}

/// How resources are sent.
pub const RESOURCE_TYPES: [&str; 6] = [
    "application/fhir+json",
    "application/fhir+xml",
    "application/json",
    "text/json",
    "application/xml",
    "text/xml",
];

/// Refuses a body that is still encoded: one in gzip has been unpacked on its way here, and lost the header.
///
/// # Errors
/// UnsupportedMediaType (415).
pub fn check_content_encoding(headers: &HeaderMap) -> Result<(), Failure> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    match encoding.is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        true => Ok(()),
        false => Err(Failure::new(
            IssueKind::UnsupportedMediaType,
            "the only Content-Encoding of a body that is understood is gzip",
        )),
    }
}

/// What a body is in; refuses one that is in none of `wanted`.
///
/// # Errors
/// UnsupportedMediaType (415).
pub fn check_content_type(headers: &HeaderMap, wanted: &[&str]) -> Result<Syntax, Failure> {
    let text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let (_, parameters) = text.split_once(';').unwrap_or((text, ""));
    let essence = essence(text);
    let readable = wanted.contains(&essence.as_str());
    let expected = wanted.first().unwrap_or(&"");
    let fits = parameters.split(';').all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "charset" => value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8"),
            "fhirversion" => is_r5(value),
            _ => true,
        }
    });
    match readable && fits {
        true if essence.ends_with("xml") => Ok(Syntax::Xml),
        true => Ok(Syntax::Json),
        false => Err(Failure::new(
            IssueKind::UnsupportedMediaType,
            format!("the Content-Type must be {expected}, in UTF-8 and of FHIR 5.0"),
        )),
    }
}

/// One of the types that a client takes (RFC 9110, section 12.5.1).
#[derive(Clone, Debug)]
pub struct MediaRange {
    /// In lower case, without parameters.
    pub essence: String,
    /// In thousandths; 0 is a refusal.
    pub quality: u32,
    /// Whether its version and charset are ours.
    fits: bool,
}

impl MediaRange {
    fn read(text: &str) -> MediaRange {
        let mut range = MediaRange {
            essence: essence(text),
            quality: 1000,
            fits: true,
        };
        for parameter in text.split(';').skip(1) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                // What is no number is no wish.
                "q" => {
                    let quality = value.parse::<f32>().unwrap_or(0.0);
                    range.quality = (quality.clamp(0.0, 1.0) * 1000.0) as u32;
                }
                "fhirversion" => range.fits &= is_r5(value),
                "charset" => range.fits &= value.eq_ignore_ascii_case("utf-8"),
                _ => {}
            }
        }
        range
    }

    /// The Content-Type that answers it; `None` where none does. Any type is one that is not `refused` by name.
    fn offered(&self, refused: &[&str]) -> Option<&'static str> {
        let found = match self.essence.as_str() {
            "*/*" | "application/*" => {
                let all = [FHIR_JSON, FHIR_XML, PLAIN_JSON, PLAIN_XML];
                all.into_iter().find(|one| !refused.contains(one))
            }
            _ => self.names(),
        };
        found.filter(|_| self.quality > 0 && self.fits)
    }

    /// The Content-Type that it stands for.
    pub fn names(&self) -> Option<&'static str> {
        Some(match self.essence.as_str() {
            "json" | "application/fhir+json" => FHIR_JSON,
            "application/json" | "text/json" => PLAIN_JSON,
            "xml" | "application/fhir+xml" => FHIR_XML,
            "application/xml" => PLAIN_XML,
            "text/xml" => TEXT_XML,
            _ => return None,
        })
    }
}

/// A media type in lower case, without its parameters.
pub fn essence(media_type: &str) -> String {
    let essence = media_type.split(';').next().unwrap_or("");
    essence.trim().to_ascii_lowercase()
}

/// Whether a media type is one of FHIR's own; others mean FHIR only where nothing else is meant.
pub fn is_fhir(essence: &str) -> bool {
    matches!(essence, "application/fhir+json" | "application/fhir+xml")
}

fn is_r5(version: &str) -> bool {
    version == "5.0" || version == "5.0.0" || version.starts_with("5.0.")
}

fn not_acceptable() -> Failure {
    Failure::new(
        IssueKind::NotAcceptable,
        "this server answers in JSON and XML: ask for application/fhir+json or application/fhir+xml, in UTF-8 and of FHIR 5.0",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept() {
        for (accept, format, expect) in [
            ("", None, Some(FHIR_JSON)),
            ("*/*", None, Some(FHIR_JSON)),
            ("application/fhir+json", None, Some(FHIR_JSON)),
            ("application/json", None, Some(PLAIN_JSON)),
            (
                "application/json;q=0.5, application/fhir+json",
                None,
                Some(FHIR_JSON),
            ),
            (
                "text/html, application/xhtml+xml, */*;q=0.8",
                None,
                Some(FHIR_JSON),
            ),
            (
                "application/fhir+json; fhirVersion=5.0",
                None,
                Some(FHIR_JSON),
            ),
            ("application/fhir+json; fhirVersion=4.0", None, None),
            (
                "application/fhir+json; fhirVersion=4.0, application/fhir+xml; fhirVersion=5.0.0; q=0.1",
                None,
                Some(FHIR_XML),
            ),
            ("application/fhir+json;q=0, */*", None, Some(FHIR_XML)),
            (
                "application/fhir+json;q=0, application/fhir+xml;q=0.0, */*;q=0.1",
                None,
                Some(PLAIN_JSON),
            ),
            ("application/fhir+json;q=x", None, None),
            ("application/fhir+xml", None, Some(FHIR_XML)),
            (
                "application/fhir+json;q=0.1, application/fhir+xml;q=0.9",
                None,
                Some(FHIR_XML),
            ),
            ("text/xml", None, Some(TEXT_XML)),
            ("image/png", None, None),
            ("application/json;q=0", None, None),
            ("application/fhir+xml", Some("json"), Some(FHIR_JSON)),
            ("", Some("application/json"), Some(PLAIN_JSON)),
            ("", Some("application/fhir json"), Some(FHIR_JSON)),
            ("", Some("xml"), Some(FHIR_XML)),
            (
                "application/fhir+json",
                Some("application/fhir+xml"),
                Some(FHIR_XML),
            ),
            ("", Some("text/xml"), Some(TEXT_XML)),
            ("", Some("application/xml"), Some(PLAIN_XML)),
            ("", Some("html"), None),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            let mut parameters = vec![("_pretty".to_string(), "true".to_string())];
            parameters.extend(format.map(|f| ("_format".to_string(), f.to_string())));
            let found = negotiate(&headers, &mut parameters).ok();
            assert!(found.is_none_or(|format| format.pretty));
            let found = found.map(|format| format.content_type);
            assert_eq!(
                (found, parameters.len()),
                (expect, 0),
                "{accept} {format:?}"
            );
        }
    }

    #[test]
    fn pretty_adds_white_space_only() {
        for (json, expect) in [
            ("{}", "{}\n"),
            ("[]", "[]\n"),
            (r#"{"a":1.0,"b":[]}"#, "{\n  \"a\": 1.0,\n  \"b\": []\n}\n"),
            (
                r#"{"a":[1e3,{"b":null}]}"#,
                "{\n  \"a\": [\n    1e3,\n    {\n      \"b\": null\n    }\n  ]\n}\n",
            ),
            (
                r#"{"a":"{\"b\\\":["}"#,
                "{\n  \"a\": \"{\\\"b\\\\\\\":[\"\n}\n",
            ),
        ] {
            assert_eq!(pretty(json), expect, "{json}");
        }
    }

    #[test]
    fn content_encodings() {
        for (encoding, ok) in [("identity", true), ("gzip", false), ("br", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
            assert_eq!(check_content_encoding(&headers).is_ok(), ok, "{encoding}");
        }
    }

    #[test]
    fn content_types() {
        for (text, wanted, ok) in [
            ("application/fhir+json", &RESOURCE_TYPES[..], true),
            (
                "application/fhir+json; charset=UTF-8",
                &RESOURCE_TYPES[..],
                true,
            ),
            (
                "Application/JSON;charset=\"utf-8\"",
                &RESOURCE_TYPES[..],
                true,
            ),
            (
                "application/fhir+json; fhirVersion=5.0",
                &RESOURCE_TYPES[..],
                true,
            ),
            (
                "application/fhir+json; fhirVersion=4.0",
                &RESOURCE_TYPES[..],
                false,
            ),
            (
                "application/json; charset=latin1",
                &RESOURCE_TYPES[..],
                false,
            ),
            ("application/fhir+xml", &RESOURCE_TYPES[..], true),
            ("text/plain", &RESOURCE_TYPES[..], false),
            ("", &RESOURCE_TYPES[..], false),
            (
                "application/x-www-form-urlencoded",
                &["application/x-www-form-urlencoded"],
                true,
            ),
            (
                "application/json",
                &["application/x-www-form-urlencoded"],
                false,
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            assert_eq!(check_content_type(&headers, wanted).is_ok(), ok, "{text}");
        }
    }
}
