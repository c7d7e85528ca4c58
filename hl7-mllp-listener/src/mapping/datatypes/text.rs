//! ST, TX, FT, ID, NM: texts, codes and numbers.

use super::{Given, Scope, UnmappedCode};
use crate::ack::ErrorCode;
use crate::mapping::value::Value;
use crate::mapping::vocabulary::Lookup;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value as Json};
use std::borrow::Cow;

/// ST: the first primitive.
pub fn string(_: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    Some(value.text()?.into())
}

/// TX and ST with delimiters that a sender did not escape: the whole repetition.
pub fn text(_: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    Some(value.whole()?.into())
}

/// FT: formatting commands have become line ends and blanks when the escapes were replaced.
pub fn formatted(_: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    Some(
        value
            .whole()?
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .into(),
    )
}

/// ID, IS, and the code of a CWE: through the vocabulary when one is given; a code that it does not know is left out.
pub fn code(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let code = value.text()?;
    let Some(map) = given.vocabulary else {
        return Some(single_blanks(code).into());
    };
    match map.look_up(&code) {
        Lookup::Target(target) => Some(target.code.into()),
        Lookup::NoMap => None,
        Lookup::Unknown => {
            scope.unmapped(UnmappedCode {
                vocabulary: map.name.clone(),
                system: map.source.clone(),
                code: code.into_owned(),
                display: None,
            });
            None
        }
    }
}

/// FHIR codes have single blanks only.
pub(super) fn single_blanks(code: Cow<'_, str>) -> String {
    match code.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => code.into_owned(),
        false => code.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// Table 0136, and what senders write for it.
pub fn boolean(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    match value.text()?.to_uppercase().as_str() {
        "Y" | "YES" | "T" | "TRUE" | "1" => Some(true.into()),
        "N" | "NO" | "F" | "FALSE" | "0" => Some(false.into()),
        _ => {
            scope.warn(ErrorCode::TableValue, "yes or no (table 0136) is expected");
            None
        }
    }
}

pub fn uri(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let text = value.whole()?;
    if text.contains(char::is_whitespace) {
        scope.warn(
            ErrorCode::DataType,
            "this is no URI, the value was left out",
        );
        return None;
    }
    Some(text.into())
}

pub fn decimal(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let number = number(&value.text()?);
    if number.is_none() {
        scope.warn(
            ErrorCode::DataType,
            "this is no number, the value was left out",
        );
    }
    number.map(Json::Number)
}

pub fn integer(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let text = value.text()?;
    let digits = text.strip_prefix('+').unwrap_or(&text);
    match digits.parse::<i32>() {
        Ok(number) => Some(number.into()),
        Err(_) => {
            scope.warn(
                ErrorCode::DataType,
                "this is no whole number, the value was left out",
            );
            None
        }
    }
}

/// A count: a whole number above 0.
pub fn positive(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let text = value.text()?;
    match text.strip_prefix('+').unwrap_or(&text).parse::<i32>() {
        Ok(number) if number > 0 => Some(number.into()),
        _ => {
            scope.warn(
                ErrorCode::DataType,
                "this is no count, the value was left out",
            );
            None
        }
    }
}

/// A text as a file of its own: its bytes in Base64.
pub fn base64(_: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    Some(STANDARD.encode(value.whole()?.as_bytes()).into())
}

/// Shorter numbers are within every limit.
const PLAIN_BYTES: usize = 32;

/// NM as the JSON number with the same digits: `+7.0` is 7.0, `.5` is 0.5, `007` is 7. Never through a float.
pub(super) fn number(text: &str) -> Option<Number> {
    let text = text.trim();
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], &digits[at..]),
        None => (digits, ""),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    if whole.is_empty() && fraction.is_none_or(str::is_empty) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    };
    let text = match fraction {
        None | Some("") => [sign, whole, exponent].concat(),
        Some(fraction) => [sign, whole, ".", fraction, exponent].concat(),
    };
    // A short text of digits is a number for sure.
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let is_plain = exponent.is_empty()
        && text.len() <= PLAIN_BYTES
        && whole
            .bytes()
            .chain(fraction.unwrap_or_default().bytes())
            .all(is_digit);
    if !is_plain {
        fhir_model::Decimal::parse(&text)?;
    }
    text.parse().ok()
}
