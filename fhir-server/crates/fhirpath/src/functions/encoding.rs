//! `encode`, `decode`, `escape`, `unescape` (<https://hl7.org/fhirpath/N1/#additional-string-functions>).

use super::{Call, Function, function, text};
use crate::error::{Fault, Result};
use crate::evaluate::Evaluator;
use crate::item::{Collection, Item};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

pub(super) const FUNCTIONS: &[Function] = &[
    function("encode", 1, 1, |e, call| apply(e, call, encode)),
    function("decode", 1, 1, |e, call| apply(e, call, decode)),
    function("escape", 1, 1, |e, call| apply(e, call, escape)),
    function("unescape", 1, 1, |e, call| apply(e, call, unescape)),
];

/// The text in the format; `None` where the text is not in it.
type Format = fn(&str, &str) -> Result<Option<String>>;

fn apply<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>, format: Format) -> Result<Collection<'a>> {
    let name = e.text_argument(&call, 0)?;
    let (Some(text), Some(name)) = (text(call.input)?, name) else {
        return Ok(Vec::new());
    };
    e.budget.spend(text.len() / 16)?;
    let out = format(&text, &name)?.map(Item::string);
    e.bounded(out)
}

fn unknown<T>(name: &str) -> Result<T> {
    Err(Fault::invalid(format!("there is no format {name}")))
}

fn encode(text: &str, format: &str) -> Result<Option<String>> {
    Ok(Some(match format {
        "hex" => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        "base64" => STANDARD.encode(text),
        "urlbase64" => URL_SAFE.encode(text),
        _ => return unknown(format),
    }))
}

fn decode(text: &str, format: &str) -> Result<Option<String>> {
    let bytes = match format {
        "hex" => hex(text),
        "base64" => STANDARD.decode(text).ok(),
        "urlbase64" => URL_SAFE.decode(text).ok(),
        _ => return unknown(format),
    };
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

fn escape(text: &str, format: &str) -> Result<Option<String>> {
    Ok(Some(match format {
        "html" => {
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                match c {
                    '<' => out.push_str("&lt;"),
                    '>' => out.push_str("&gt;"),
                    '&' => out.push_str("&amp;"),
                    '"' => out.push_str("&quot;"),
                    '\'' => out.push_str("&#39;"),
                    c => out.push(c),
                }
            }
            out
        }
        "json" => {
            let quoted = serde_json::Value::String(text.to_owned()).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        }
        _ => return unknown(format),
    }))
}

fn unescape(text: &str, format: &str) -> Result<Option<String>> {
    Ok(match format {
        "html" => Some(unescape_html(text)),
        "json" => json_text(text),
        _ => return unknown(format),
    })
}

/// A quote that is not escaped is taken for one.
fn json_text(text: &str) -> Option<String> {
    let mut quoted = String::with_capacity(text.len() + 2);
    let mut escaped = false;
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' if !escaped => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    quoted.push('"');
    serde_json::from_str(&quoted).ok()
}

/// The five entities of XML and characters by number; others stay.
fn unescape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity = rest.get(1..).and_then(|after| after.split_once(';'));
        match entity.and_then(|(name, after)| Some((character(name)?, after))) {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn character(entity: &str) -> Option<char> {
    Some(match entity {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}
