//! XPN, XAD, XTN: names, addresses and telephone numbers. Their codes (tables 0190, 0200, 0201, 0202) are part of the data type, so
//! they stand here and not in a rule.

use super::{Given, Scope, object, time};
use crate::mapping::value::Value;
use serde_json::{Map, Value as Json};

/// Where the parts of a name stand in a data type.
struct NameParts {
    family: usize,
    given: [usize; 2],
    prefix: usize,
    suffixes: [usize; 3],
    kind: usize,
    /// A DR before v2.5, then its start and end.
    period: [usize; 3],
    /// In which order the parts are displayed (table 0444).
    order: usize,
}

/// What a surname is made of (FN, v2.9 section 2.A.30), in the extensions of HumanName.family that FHIR has for it.
const SURNAME: [(usize, &str); 4] = [
    (2, "humanname-own-prefix"),
    (3, "humanname-own-name"),
    (4, "humanname-partner-prefix"),
    (5, "humanname-partner-name"),
];

/// XPN: family .1.1, given .2, second names .3, suffix .4, prefix .5, degree .6, type .7 (table 0200), period .12 and .13 (before v2.5
/// .10), professional suffix .14. What somebody is called by (.15) is a name of its own.
pub fn xpn(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let parts = NameParts {
        family: 1,
        given: [2, 3],
        prefix: 5,
        suffixes: [4, 6, 14],
        kind: 7,
        period: [10, 12, 13],
        order: 11,
    };
    let name = human_name(scope, value, given, &parts)?;
    match value.part_text(15) {
        Some(called) => {
            let given = Json::Array(vec![called.into()]);
            let called = object([("use", "nickname".into()), ("given", given)]);
            Some(Json::Array(vec![name, called]))
        }
        None => Some(name),
    }
}

/// XCN: family .2.1, given .3, second names .4, suffix .5, prefix .6, degree .7, type .10 (table 0200), period .19 and .20.
pub fn xcn(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let parts = NameParts {
        family: 2,
        given: [3, 4],
        prefix: 6,
        suffixes: [5, 7, 21],
        kind: 10,
        period: [17, 19, 20],
        order: 18,
    };
    human_name(scope, value, given, &parts)
}

fn human_name(
    scope: &mut Scope<'_>,
    value: Value<'_>,
    given: &Given<'_, '_>,
    parts: &NameParts,
) -> Option<Json> {
    let mut name = Map::new();
    let kind = value.part_text(parts.kind);
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
    put(&mut name, "family", value.part_text(parts.family));
    let surname = SURNAME.into_iter().filter_map(|(part, url)| {
        let text = value.part(parts.family)?.part_text(part)?;
        Some(extension(url, "valueString", &text))
    });
    let surname: Vec<Json> = surname.collect();
    if !surname.is_empty() {
        name.insert(
            "_family".into(),
            object([("extension", Json::Array(surname))]),
        );
    }
    let names: Vec<Json> = parts
        .given
        .into_iter()
        .filter_map(|n| value.part_text(n))
        .map(|text| text.into())
        .collect();
    put_list(&mut name, "given", names);
    put_list(
        &mut name,
        "prefix",
        value
            .part_text(parts.prefix)
            .into_iter()
            .map(|t| t.into())
            .collect(),
    );
    let suffixes = parts
        .suffixes
        .into_iter()
        .filter_map(|n| value.part_text(n));
    put_list(&mut name, "suffix", suffixes.map(|t| t.into()).collect());
    if name.len() == before {
        return None;
    }
    let [range, start, end] = parts.period;
    let bounds = [value.part(start), value.part(end)];
    put_period(&mut name, scope, value.part(range), bounds);
    if let Some(order @ ("F" | "G")) = value.part_text(parts.order).as_deref() {
        let order = extension("humanname-assembly-order", "valueCode", order);
        name.insert("extension".into(), Json::Array(vec![order]));
    }
    Some(Json::Object(name))
}

pub(super) fn extension(name: &str, kind: &str, value: &str) -> Json {
    let url = ["http://hl7.org/fhir/StructureDefinition/", name].concat();
    object([("url", url.into()), (kind, value.into())])
}

/// A name as one text, in the order it is spoken.
pub fn xpn_string(_: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let parts: Vec<_> = [5, 2, 3, 1, 4]
        .into_iter()
        .filter_map(|n| value.part_text(n))
        .collect();
    (!parts.is_empty()).then(|| parts.join(" ").into())
}

/// XAD: street .1.1, street name .1.2 and number .1.3 unless the street has them, other .2, city .3, state .4, zip .5, country .6,
/// type .7 (table 0190), district .9, period .13 and .14 (before v2.5 .12), addressee .19.
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
    put_list(&mut address, "line", lines(value));
    let district = value.part(9);
    // The words of a code, which some senders put first.
    let district = district.and_then(|part| part.part_text(2).or_else(|| part.text()));
    put(&mut address, "district", district);
    for (element, part) in [("city", 3), ("state", 4), ("postalCode", 5), ("country", 6)] {
        put(&mut address, element, value.part_text(part));
    }
    if address.len() == before {
        return None;
    }
    let bounds = [value.part(13), value.part(14)];
    put_period(&mut address, scope, value.part(12), bounds);
    Some(Json::Object(address))
}

fn lines(value: Value<'_>) -> Vec<Json> {
    let street = |n| value.part(1).and_then(|street| street.part_text(n));
    let whole = street(1);
    let told = |part: &str| whole.as_deref().is_some_and(|whole| whole.contains(part));
    let house: Vec<_> = [2, 3]
        .into_iter()
        .filter_map(street)
        .filter(|part| !told(part))
        .collect();
    let mut lines: Vec<Json> = Vec::new();
    match whole.as_deref() {
        Some(whole) => {
            lines.push(whole.into());
            lines.extend(house.iter().map(|part| Json::from(part.as_ref())));
        }
        // Together they are the street address.
        None if !house.is_empty() => lines.push(house.join(" ").into()),
        None => {}
    }
    lines.extend(value.part_text(2).map(Json::from));
    lines.extend(value.part_text(19).map(Json::from));
    lines
}

/// XTN: .12 or parts .5 to .8, else .1 as sent; mail in .4; use .2 (table 0201), equipment .3 (table 0202), period .13 and .14, rank .18.
/// A number and a mail address in one value are two ways to reach somebody.
pub fn xtn(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let equipment = value.part_text(3);
    let use_code = value.part_text(2);
    let mail = value.part_text(4).map(|text| text.into_owned());
    let number = value
        .part_text(12)
        .map(|text| text.into_owned())
        .or_else(|| parts_number(value))
        .or_else(|| value.part_text(1).map(|text| text.into_owned()));
    let is_mail = matches!(equipment.as_deref(), Some("Internet" | "X.400"));
    let system = match equipment.as_deref() {
        Some("FX") => "fax",
        Some("BP") => "pager",
        Some("MD" | "SAT" | "TDD" | "TTY") => "other",
        _ => "phone",
    };
    let reached: Vec<(&str, String)> = match (number, mail) {
        (number, Some(mail)) if is_mail => {
            let number = number.filter(|_| value.part_text(7).is_some());
            let number = number.map(|number| ("phone", number));
            std::iter::once(("email", mail)).chain(number).collect()
        }
        (Some(number), None) if is_mail || number.contains('@') => vec![("email", number)],
        (Some(number), None) => vec![(system, number)],
        (Some(number), Some(mail)) => vec![(system, number), ("email", mail)],
        (None, Some(mail)) => vec![("email", mail)],
        (None, None) => return None,
    };
    let kind = match use_code.as_deref() {
        Some("PRN" | "VHN") => Some("home".to_owned()),
        Some("WPN") => Some("work".to_owned()),
        Some("ORN" | "EMR" | "ASN" | "BPN" | "NET") => None,
        _ => given.text(0).map(|t| t.into_owned()),
    };
    let is_mobile = equipment.as_deref() == Some("CP") || use_code.as_deref() == Some("PRS");
    let rank = value.part(18).filter(|rank| rank.is_valued());
    let rank = rank.and_then(|rank| super::text::integer(scope, rank, given));
    let mut point = Map::new();
    put(
        &mut point,
        "rank",
        rank.filter(|rank| rank.as_i64() > Some(0)),
    );
    let bounds = [value.part(13), value.part(14)];
    put_period(&mut point, scope, None, bounds);
    let points = reached.into_iter().map(|(system, reached)| {
        let mut point = point.clone();
        // A mail address is not that of a telephone.
        let kind = match is_mobile && system != "email" {
            true => Some("mobile".to_owned()),
            false => kind.clone(),
        };
        put(&mut point, "use", kind);
        put(&mut point, "system", Some(system));
        put(&mut point, "value", Some(reached));
        Json::Object(point)
    });
    Some(Json::Array(points.collect()))
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

/// A period from its two bounds, else from a range (DR) that older versions have in one component.
fn put_period<'m>(
    object: &mut Map<String, Json>,
    scope: &mut Scope<'_>,
    range: Option<Value<'m>>,
    bounds: [Option<Value<'m>>; 2],
) {
    let is_valued = |bound: &Option<Value<'m>>| bound.is_some_and(Value::is_valued);
    let bounds = match (range, bounds.iter().any(is_valued)) {
        (Some(range), false) => [range.part(1), range.part(2)],
        _ => bounds,
    };
    put(object, "period", time::period(scope, bounds));
}
