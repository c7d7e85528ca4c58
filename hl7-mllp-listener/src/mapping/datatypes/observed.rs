//! OBX-5 by the type that OBX-2 names (table 0125), quantities, ranges and attachments.

use super::{Given, Scope, coded, object, text, time};
use crate::ack::ErrorCode;
use crate::mapping::value::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value as Json};

/// The value of an observation: `type` is OBX-2, `units` OBX-6. What is not of its declared type is kept as text.
pub fn value(
    scope: &mut Scope<'_>,
    value: Value<'_>,
    given: &Given<'_, '_>,
) -> Option<(&'static str, Json)> {
    let none = Given {
        arguments: &[],
        vocabulary: None,
    };
    let kind = given.text(0);
    let units = given.value(1);
    let as_text = |scope: &mut Scope<'_>| Some(("string", text::text(scope, value, &none)?));
    let typed = match kind.as_deref().unwrap_or_default() {
        "NM" => match value.text().and_then(|text| text::number(&text)) {
            Some(number) => Some(("Quantity", quantity(scope, number, None, units))),
            None => return as_text_with_warning(scope, value, &none),
        },
        "SN" => structured(scope, value, units),
        "NR" => range(scope, value, units).map(|json| ("Range", json)),
        "DR" => time::period(scope, [value.part(1), value.part(2)]).map(|json| ("Period", json)),
        "NA" | "MA" => sampled(scope, value, units, kind.as_deref() == Some("MA"))
            .map(|json| ("SampledData", json)),
        "CWE" | "CE" | "CNE" | "CF" => {
            coded::concept(scope, value, &none).map(|json| ("CodeableConcept", json))
        }
        "ID" | "IS" => value.text().map(|code| {
            let coding = object([("code", text::single_blanks(code).into())]);
            (
                "CodeableConcept",
                object([("coding", Json::Array(vec![coding]))]),
            )
        }),
        "DT" | "TS" | "DTM" => {
            let before = scope.notices.len();
            let date = time::date_time(scope, value, &none);
            match date {
                Some(date) => Some(("dateTime", date)),
                None => {
                    scope.notices.truncate(before);
                    return as_text_with_warning(scope, value, &none);
                }
            }
        }
        "TM" => time::time(scope, value, &none).map(|json| ("time", json)),
        "ED" => ed(scope, value, &none).map(|json| ("Attachment", json)),
        "RP" => rp(scope, value, &none).map(|json| ("Attachment", json)),
        "FT" => text::formatted(scope, value, &none).map(|json| ("string", json)),
        "CQ" => cq(scope, value, &none).map(|json| ("Quantity", json)),
        "CX" | "EI" | "HD" | "XCN" | "XON" | "XPN" | "XAD" | "XTN" | "ST" | "TX" | "" => {
            as_text(scope)
        }
        _ => {
            scope.warn(
                ErrorCode::DataType,
                "the type in OBX-2 is not known, the value was kept as text",
            );
            as_text(scope)
        }
    };
    typed.or_else(|| as_text(scope))
}

fn as_text_with_warning(
    scope: &mut Scope<'_>,
    value: Value<'_>,
    none: &Given<'_, '_>,
) -> Option<(&'static str, Json)> {
    let text = text::text(scope, value, none)?;
    scope.warn(
        ErrorCode::DataType,
        "the value is not of the type in OBX-2, it was kept as text",
    );
    Some(("string", text))
}

/// SN (v2.9 section 2.A.71): `<^5`, `^1^-^5`, `^1^:^128`, `^2^+`.
fn structured(
    scope: &mut Scope<'_>,
    value: Value<'_>,
    units: Option<Value<'_>>,
) -> Option<(&'static str, Json)> {
    let number = |n| value.part_text(n).and_then(|text| text::number(&text));
    let comparator = value.part_text(1);
    let separator = value.part_text(3);
    let comparator = match comparator.as_deref() {
        None | Some("=") => None,
        Some(known @ ("<" | "<=" | ">" | ">=")) => Some(known),
        Some(_) => return spelled(value),
    };
    match (number(2), separator.as_deref(), number(4)) {
        (Some(low), None, None) => Some(("Quantity", quantity(scope, low, comparator, units))),
        (Some(low), Some("-"), Some(high)) if comparator.is_none() => {
            let low = quantity(scope, low, None, units);
            let high = quantity(scope, high, None, units);
            Some(("Range", object([("low", low), ("high", high)])))
        }
        (Some(low), Some(":" | "/"), Some(high)) => {
            let numerator = quantity(scope, low, comparator, None);
            let denominator = quantity(scope, high, None, units);
            let ratio = [("numerator", numerator), ("denominator", denominator)];
            Some(("Ratio", object(ratio)))
        }
        _ => spelled(value),
    }
}

/// NR: low .1, high .2.
fn range(scope: &Scope<'_>, value: Value<'_>, units: Option<Value<'_>>) -> Option<Json> {
    let mut range = Map::new();
    for (name, part) in [("low", 1), ("high", 2)] {
        if let Some(number) = value.part_text(part).and_then(|text| text::number(&text)) {
            range.insert(name.into(), quantity(scope, number, None, units));
        }
    }
    (!range.is_empty()).then_some(Json::Object(range))
}

/// NA: the samples of one channel; MA: one sample of each channel. A gap is `E`. v2 says the sampling rate in another segment (W01), so
/// the interval stays open and its required unit is 1.
fn sampled(
    scope: &Scope<'_>,
    value: Value<'_>,
    units: Option<Value<'_>>,
    is_multiplexed: bool,
) -> Option<Json> {
    let Value::Repetition(repetition) = value else {
        return None;
    };
    let mut samples = Vec::new();
    for component in repetition.components() {
        let component = Value::Component(component);
        samples.push(match component.text() {
            None => "E".to_owned(),
            Some(text) => text::number(&text)?.to_string(),
        });
    }
    let dimensions = if is_multiplexed { samples.len() } else { 1 };
    Some(object([
        ("origin", quantity(scope, 0.into(), None, units)),
        ("intervalUnit", "1".into()),
        ("dimensions", dimensions.into()),
        ("data", samples.join(" ").into()),
    ]))
}

/// What is no quantity, range or ratio is written as a person would: `2+`.
fn spelled(value: Value<'_>) -> Option<(&'static str, Json)> {
    let parts: Vec<_> = (1..=4).filter_map(|n| value.part_text(n)).collect();
    (!parts.is_empty()).then(|| ("string", parts.concat().into()))
}

pub fn nm_quantity(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let Some(number) = text::number(&value.text()?) else {
        scope.warn(
            ErrorCode::DataType,
            "this is no number, the value was left out",
        );
        return None;
    };
    Some(quantity(scope, number, None, given.value(0)))
}

/// CQ: number .1, units .2 (a CWE spread over subcomponents).
pub fn cq(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let number = text::number(&value.part_text(1)?)?;
    Some(quantity(scope, number, None, value.part(2)))
}

/// Units are UCUM only when their sender says so (CWE.3 = UCUM): `mg/dL` of an unknown system is a word, not a code.
fn quantity(
    scope: &Scope<'_>,
    number: Number,
    comparator: Option<&str>,
    units: Option<Value<'_>>,
) -> Json {
    let mut quantity = Map::with_capacity(5);
    quantity.insert("value".into(), Json::Number(number));
    if let Some(comparator) = comparator {
        quantity.insert("comparator".into(), comparator.into());
    }
    let Some(units) = units else {
        return Json::Object(quantity);
    };
    let code = units.part_text(1);
    if let Some(unit) = units.part_text(2).or_else(|| code.clone()) {
        quantity.insert("unit".into(), unit.into());
    }
    if let (Some(code), Some(system)) = (code, units.part_text(3))
        && !code.contains(char::is_whitespace)
    {
        let system = scope.systems.coding(&system, &scope.facility);
        quantity.insert("system".into(), system.into());
        quantity.insert("code".into(), code.into());
    }
    Json::Object(quantity)
}

/// OBX-7: `3.5-5.1`, `<5`, `>=3`; anything else is its text alone.
pub fn reference_range(
    scope: &mut Scope<'_>,
    value: Value<'_>,
    given: &Given<'_, '_>,
) -> Option<Json> {
    let text = value.whole()?;
    let mut range = Map::new();
    let bounds = match text.strip_prefix("<=").or_else(|| text.strip_prefix('<')) {
        Some(high) => text::number(high).map(|high| (None, Some(high))),
        None => match text.strip_prefix(">=").or_else(|| text.strip_prefix('>')) {
            Some(low) => text::number(low).map(|low| (Some(low), None)),
            None => text
                .char_indices()
                .skip(1)
                .filter(|(_, c)| *c == '-')
                .find_map(|(at, _)| {
                    let low = text::number(&text[..at])?;
                    Some((Some(low), Some(text::number(&text[at + 1..])?)))
                }),
        },
    };
    let (low, high) = bounds.unwrap_or((None, None));
    for (name, bound) in [("low", low), ("high", high)] {
        if let Some(number) = bound {
            range.insert(name.into(), quantity(scope, number, None, given.value(0)));
        }
    }
    range.insert("text".into(), text.into());
    Some(Json::Object(range))
}

/// ED: type .2, subtype .3, encoding .4 (table 0299), data .5.
pub fn ed(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let encoding = value.part_text(4);
    let data = value.part(5)?.whole()?;
    let encoded = match encoding.as_deref() {
        Some("Base64" | "BASE64" | "base64") => {
            let compact: String = data.split_whitespace().collect();
            if STANDARD.decode(&compact).is_err() {
                scope.warn(
                    ErrorCode::DataType,
                    "the data is not Base64, it was left out",
                );
                return None;
            }
            compact
        }
        Some("Hex") => match from_hex(&data) {
            Some(bytes) => STANDARD.encode(bytes),
            None => {
                scope.warn(
                    ErrorCode::DataType,
                    "the data is not hexadecimal, it was left out",
                );
                return None;
            }
        },
        Some("A") | None => STANDARD.encode(data.as_bytes()),
        Some(_) => {
            scope.warn(
                ErrorCode::TableValue,
                "the encoding is not in table 0299, the data was left out",
            );
            return None;
        }
    };
    let mut attachment = Map::new();
    if let Some(media) = media_type(value.part_text(2).as_deref(), value.part_text(3).as_deref()) {
        attachment.insert("contentType".into(), media.into());
    }
    attachment.insert("data".into(), encoded.into());
    Some(Json::Object(attachment))
}

/// RP: pointer .1, type .3, subtype .4. A pointer that is no URL is the title.
pub fn rp(_: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let pointer = value.part(1)?.whole()?;
    let mut attachment = Map::new();
    if let Some(media) = media_type(value.part_text(3).as_deref(), value.part_text(4).as_deref()) {
        attachment.insert("contentType".into(), media.into());
    }
    let is_url = pointer.contains(':') && !pointer.contains(char::is_whitespace);
    let element = if is_url { "url" } else { "title" };
    attachment.insert(element.into(), pointer.into());
    Some(Json::Object(attachment))
}

/// Tables 0191 and 0291 to a media type.
fn media_type(kind: Option<&str>, subtype: Option<&str>) -> Option<String> {
    let subtype = subtype.map(str::to_lowercase);
    if let Some(kind) = kind
        && kind.contains('/')
    {
        return Some(kind.to_lowercase());
    }
    let subtype = subtype?;
    if subtype.contains('/') {
        return Some(subtype);
    }
    let kind = match (kind.map(str::to_lowercase).as_deref(), subtype.as_str()) {
        (_, "pdf" | "rtf" | "msword" | "octet-stream" | "x-hl7-cda-level-one") => "application",
        (_, "jpeg" | "png" | "gif" | "tiff" | "dicom") => "image",
        (Some("text" | "ft" | "tx"), _) | (_, "html" | "plain" | "xml") => "text",
        (Some(kind @ ("image" | "audio" | "application" | "multipart" | "video")), _) => {
            return Some(format!("{kind}/{subtype}"));
        }
        _ => "application",
    };
    Some(format!("{kind}/{subtype}"))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| {
        digits
            .chunks_exact(2)
            .map(|pair| (pair[0] * 16 + pair[1]) as u8)
            .collect()
    })
}
