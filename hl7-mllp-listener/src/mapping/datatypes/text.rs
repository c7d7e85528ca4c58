//! ST, TX, FT, ID, NM: texts, codes and numbers.

use super::{Given, Scope};
use crate::ack::ErrorCode;
use crate::mapping::value::Value;
use crate::mapping::vocabulary::Lookup;
use serde_json::{Number, Value as Json};

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

/// A whole NTE segment (v2.9 section 2.14.10): the repetitions of NTE-3 are the lines, NTE-6 is when it was entered.
pub fn annotation(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let Value::Segment(segment) = value else {
        return None;
    };
    let lines: Vec<String> = segment
        .field(3)
        .repetitions()
        .filter_map(|line| Value::Repetition(line).whole())
        .map(|line| line.replace("\r\n", "\n").replace('\r', "\n"))
        .collect();
    if lines.is_empty() {
        return None;
    }
    let mut annotation = serde_json::Map::new();
    let entered = Value::Repetition(segment.field(6).repetition(1));
    if let Some(time) = super::time::date_time(scope, entered, given) {
        annotation.insert("time".into(), time);
    }
    annotation.insert("text".into(), lines.join("\n").into());
    Some(Json::Object(annotation))
}

/// ID, IS, and the code of a CWE: through the vocabulary when one is given; a code that it does not know is left out.
pub fn code(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let code = value.text()?;
    let Some(map) = given.vocabulary else {
        let code: Vec<&str> = code.split_whitespace().collect();
        return Some(code.join(" ").into());
    };
    match map.look_up(&code) {
        Lookup::Target(target) => Some(target.code.into()),
        Lookup::NoMap => None,
        Lookup::Unknown => {
            scope.warn(
                ErrorCode::TableValue,
                format!("the code is not in {}", map.name),
            );
            None
        }
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
        None | Some("") => format!("{sign}{whole}{exponent}"),
        Some(fraction) => format!("{sign}{whole}.{fraction}{exponent}"),
    };
    fhir_model::Decimal::parse(&text)?;
    serde_json::from_str(&text).ok()
}
