//! XPN, XAD, XTN: names, addresses and telephone numbers. Their codes (tables 0190, 0200, 0201, 0202) are part of the data type, so
//! they stand here and not in a rule.

use super::{Given, Scope};
use crate::mapping::value::Value;
use serde_json::{Map, Value as Json};

/// XPN: family .1.1, given .2, second names .3, suffix .4, prefix .5, degree .6, type .7 (table 0200), period .12 and .13.
pub fn xpn(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let mut name = Map::new();
    let kind = value.part_text(7);
    let use_code = match kind.as_deref() {
        Some("L" | "R") => Some("official"),
        Some("D") => Some("usual"),
        Some("M") => Some("maiden"),
        Some("N" | "P") => Some("nickname"),
        Some("S" | "MSK") => Some("anonymous"),
        Some("BAD") => Some("old"),
        Some("TEMP" | "NAV") => Some("temp"),
        _ => None,
    };
    let use_code = use_code.map(str::to_owned);
    put(
        &mut name,
        "use",
        use_code.or_else(|| given.text(0).map(|t| t.into_owned())),
    );
    let before = name.len();
    put(&mut name, "family", value.part_text(1));
    let names: Vec<Json> = [2, 3]
        .into_iter()
        .filter_map(|n| value.part_text(n))
        .map(|text| text.into())
        .collect();
    put_list(&mut name, "given", names);
    put_list(
        &mut name,
        "prefix",
        value.part_text(5).into_iter().map(|t| t.into()).collect(),
    );
    let suffixes = [4, 6, 14].into_iter().filter_map(|n| value.part_text(n));
    put_list(&mut name, "suffix", suffixes.map(|t| t.into()).collect());
    if name.len() == before {
        return None;
    }
    put_period(&mut name, scope, value, given, 12);
    Some(Json::Object(name))
}

/// A name as one text, in the order it is spoken.
pub fn xpn_string(_: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let parts: Vec<_> = [5, 2, 3, 1, 4]
        .into_iter()
        .filter_map(|n| value.part_text(n))
        .collect();
    (!parts.is_empty()).then(|| parts.join(" ").into())
}

/// XAD: street .1.1, other .2, city .3, state .4, zip .5, country .6, type .7 (table 0190), district .9, period .13 and .14.
pub fn xad(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let mut address = Map::new();
    let kind = value.part_text(7);
    let (use_code, type_code) = match kind.as_deref() {
        Some("H") => (Some("home"), None),
        Some("B" | "O") => (Some("work"), None),
        Some("C") => (Some("temp"), None),
        Some("BA") => (Some("old"), None),
        Some("BI") => (Some("billing"), None),
        Some("M" | "SH") => (None, Some("postal")),
        _ => (None, None),
    };
    let use_code = use_code.map(str::to_owned);
    put(
        &mut address,
        "use",
        use_code.or_else(|| given.text(0).map(|t| t.into_owned())),
    );
    put(&mut address, "type", type_code);
    let before = address.len();
    let lines = [1, 2].into_iter().filter_map(|n| value.part_text(n));
    put_list(&mut address, "line", lines.map(|t| t.into()).collect());
    for (element, part) in [
        ("city", 3),
        ("district", 9),
        ("state", 4),
        ("postalCode", 5),
        ("country", 6),
    ] {
        put(&mut address, element, value.part_text(part));
    }
    if address.len() == before {
        return None;
    }
    put_period(&mut address, scope, value, given, 13);
    Some(Json::Object(address))
}

/// XTN: .12 or parts .5 to .8, else .1 as sent; mail in .4; use .2 (table 0201), equipment .3 (table 0202).
pub fn xtn(_: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let equipment = value.part_text(3);
    let use_code = value.part_text(2);
    let mail = value.part_text(4).filter(|text| text.contains('@'));
    let is_net = use_code.as_deref() == Some("NET");
    let number = value
        .part_text(12)
        .or_else(|| value.part_text(1))
        .map(|text| text.into_owned())
        .or_else(|| parts_number(value));
    let (system, value_text) = match (equipment.as_deref(), number, mail) {
        (Some("Internet" | "X.400"), number, mail) => {
            ("email", mail.map(|m| m.into_owned()).or(number)?)
        }
        (_, None, Some(mail)) => ("email", mail.into_owned()),
        (Some("FX"), Some(number), _) => ("fax", number),
        (Some("BP"), Some(number), _) => ("pager", number),
        (Some("MD" | "SAT" | "TDD" | "TTY"), Some(number), _) => ("other", number),
        (_, Some(number), _) if number.contains('@') => ("email", number),
        (_, Some(number), _) => ("phone", number),
        (_, None, None) => return None,
    };
    let kind = match (use_code.as_deref(), equipment.as_deref()) {
        (_, Some("CP")) | (Some("PRS"), _) => Some("mobile".to_owned()),
        (Some("PRN" | "VHN"), _) => Some("home".to_owned()),
        (Some("WPN"), _) => Some("work".to_owned()),
        (Some("ORN" | "EMR" | "ASN" | "BPN"), _) => None,
        _ if is_net => None,
        _ => given.text(0).map(|t| t.into_owned()),
    };
    let mut point = Map::new();
    put(&mut point, "system", Some(system));
    put(&mut point, "value", Some(value_text));
    put(&mut point, "use", kind);
    Some(Json::Object(point))
}

/// Country code, area code, number and extension, as E.123 writes them.
fn parts_number(value: Value<'_>) -> Option<String> {
    let number = value.part_text(7)?;
    let mut text = String::new();
    if let Some(country) = value.part_text(5) {
        text.push_str(&format!("+{} ", country.trim_start_matches('+')));
    }
    if let Some(area) = value.part_text(6) {
        text.push_str(&format!("{area} "));
    }
    text.push_str(&number);
    if let Some(extension) = value.part_text(8) {
        text.push_str(&format!(" ext. {extension}"));
    }
    Some(text)
}

fn put(object: &mut Map<String, Json>, name: &str, value: Option<impl Into<Json>>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.into());
    }
}

fn put_list(object: &mut Map<String, Json>, name: &str, values: Vec<Json>) {
    if !values.is_empty() {
        object.insert(name.to_owned(), Json::Array(values));
    }
}

fn put_period(
    object: &mut Map<String, Json>,
    scope: &mut Scope<'_>,
    value: Value<'_>,
    given: &Given<'_, '_>,
    start: usize,
) {
    let mut period = Map::new();
    for (name, part) in [("start", start), ("end", start + 1)] {
        if let Some(part) = value.part(part).filter(|part| part.is_valued()) {
            put(
                &mut period,
                name,
                super::time::date_time(scope, part, given),
            );
        }
    }
    if !period.is_empty() {
        object.insert("period".into(), Json::Object(period));
    }
}
