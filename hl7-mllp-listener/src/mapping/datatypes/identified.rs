//! CX, EI, HD, XCN, XON, PL: what is known by an identifier. People, organisations and places that come as a field of another segment
//! are resources where a map of their data type can identify them (`XCN.Practitioner`); the converters here name them: by a logical
//! reference with what identifier and display there is.

use super::text::single_blanks;
use super::{Given, Scope, address, identifier_type, object, time};
use crate::mapping::systems::V2_TABLE;
use crate::mapping::value::Value;
use serde_json::{Map, Value as Json};

/// CX: value .1, check digit .2, authority .4 (else .9, .10), type .5, period .7 and .8.
pub fn cx(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let id = value.part_text(1)?;
    let kind = value
        .part_text(5)
        .or_else(|| given.text(0).map(|t| t.into_owned().into()));
    let authority = [4, 9, 10]
        .into_iter()
        .filter_map(|n| value.part(n))
        .find(|hd| hd.is_valued());
    let system = scope.systems.authority(
        authority,
        scope.authorities,
        &scope.facility,
        kind.as_deref(),
    );
    let mut identifier = identifier(given.text(1).as_deref(), kind.as_deref(), system, &id);
    if let Some(period) = time::period(scope, [value.part(7), value.part(8)]) {
        identifier.insert("period".into(), period);
    }
    put_check_digit(&mut identifier, value.part_text(2).as_deref());
    Some(Json::Object(identifier))
}

fn put_check_digit(identifier: &mut Map<String, Json>, digit: Option<&str>) {
    if let Some(digit) = digit {
        let extension = address::extension("identifier-checkDigit", "valueString", digit);
        identifier.insert("extension".into(), Json::Array(vec![extension]));
    }
}

/// EI: value .1, authority in .2, .3 and .4, which are an HD spread over components.
pub fn ei(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    // An EI inside a component (EIP) has its parts one level down; `part` sees to it.
    let id = value.part_text(1)?;
    let kind = given.text(0);
    let system = scope.systems.named(
        value.part_text(2),
        value.part_text(3),
        value.part_text(4),
        scope.authorities,
        &scope.facility,
        kind.as_deref(),
    );
    let use_code = given.text(1);
    let mut identifier = identifier(use_code.as_deref(), kind.as_deref(), system, &id);
    if let (None, Some(universal)) = (&kind, value.part_text(4)) {
        put_universal_type(&mut identifier, &universal);
    }
    Some(Json::Object(identifier))
}

/// The type of a universal id (table 0301), where nothing else says what the number is.
fn put_universal_type(identifier: &mut Map<String, Json>, universal: &str) {
    let code = single_blanks(universal.into());
    let display = (universal == "ISO").then_some("ISO Object Identifier");
    identifier.insert("type".into(), concept("0301", code, display));
}

/// ST: a bare number whose system the rule gives.
pub fn st(_: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let system = given.text(1).map(|system| system.into_owned());
    let id = value.text()?;
    Some(Json::Object(identifier(
        None,
        given.text(0).as_deref(),
        system,
        &id,
    )))
}

pub fn hd(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let system = scope
        .systems
        .authority(Some(value), scope.authorities, &scope.facility, None)?;
    // A universal id with blanks makes no URI.
    (!system.contains(char::is_whitespace)).then(|| system.into())
}

/// XCN: identifier .1 with authority .9 and type .13. In a component it is the CNN of an NDL, whose authority is spread over .9 to .11.
pub fn xcn_identifier(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let id = value.part_text(1)?;
    let kind = value.part_text(13);
    let otherwise = Some(kind.as_deref().unwrap_or("XCN"));
    let system = match value {
        Value::Component(_) => scope.systems.named(
            value.part_text(9),
            value.part_text(10),
            value.part_text(11),
            scope.authorities,
            &scope.facility,
            otherwise,
        ),
        _ => {
            let authority = value.part(9).filter(|hd| hd.is_valued());
            let own = scope.authorities;
            scope
                .systems
                .authority(authority, own, &scope.facility, otherwise)
        }
    };
    let mut identifier = identifier(None, kind.as_deref(), system, &id);
    if !matches!(value, Value::Component(_)) {
        put_check_digit(&mut identifier, value.part_text(11).as_deref());
    }
    Some(Json::Object(identifier))
}

/// XCN: the identifier, and the name in .2 to .6.
pub fn xcn(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let id = xcn_identifier(scope, value, given);
    let names: Vec<_> = [6, 3, 4, 2, 5]
        .into_iter()
        .filter_map(|n| value.part_text(n))
        .collect();
    reference("Practitioner", id, &names.join(" "))
}

/// XON: identifier .10 (else the number in .3), authority .6, type .7.
pub fn xon_identifier(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let id = value.part_text(10).or_else(|| value.part_text(3))?;
    let authority = value.part(6).filter(|hd| hd.is_valued());
    let kind = value.part_text(7);
    let system = scope.systems.authority(
        authority,
        scope.authorities,
        &scope.facility,
        Some(kind.as_deref().unwrap_or("XON")),
    );
    let mut identifier = identifier(None, kind.as_deref(), system, &id);
    put_check_digit(&mut identifier, value.part_text(4).as_deref());
    Some(Json::Object(identifier))
}

/// XON: the identifier, and the name in .1.
pub fn xon(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let id = xon_identifier(scope, value, given);
    let name = value.part_text(1).unwrap_or_default();
    reference("Organization", id, &name)
}

/// The levels of a PL, the smallest place first.
const LEVELS: [&str; 6] = ["bed", "room", "care", "floor", "building", "facility"];

/// PL (v2.9 section 2.A.53): one of its levels (`level=`), else the smallest place it names. Under its facility a point of care, a room
/// and a bed are identified by all of them down to it, a floor by its building; a facility by its own URI.
pub fn pl_identifier(
    scope: &mut Scope<'_>,
    value: Value<'_>,
    given: &Given<'_, '_>,
) -> Option<Json> {
    let part = |n| value.part_text(n).unwrap_or_default();
    let (care, room, bed, building, floor) = (part(1), part(2), part(3), part(7), part(8));
    let facility = value.part(4).filter(|hd| hd.is_valued());
    let system =
        scope
            .systems
            .authority(facility, scope.authorities, &scope.facility, Some("PL"))?;
    let at = |level: &str| {
        let id = match level {
            "bed" if !bed.is_empty() => [&*care, "/", &room, "/", &bed].concat(),
            "room" if !room.is_empty() => [&*care, "/", &room, "/"].concat(),
            "care" if !care.is_empty() => [&*care, "//"].concat(),
            "floor" if !floor.is_empty() => ["building/", &building, "/floor/", &floor].concat(),
            "building" if !building.is_empty() => ["building/", &building].concat(),
            "bed" | "room" | "care" | "floor" | "building" => return None,
            _ => {
                let uri = facility.map(|_| "urn:ietf:rfc:3986".to_owned())?;
                return Some(identifier(None, None, Some(uri), &system));
            }
        };
        Some(identifier(None, None, Some(system.clone()), &id))
    };
    let found = match given.text(0) {
        Some(level) => at(&level),
        None => LEVELS.into_iter().find_map(at),
    };
    found.map(Json::Object)
}

/// PL: the smallest place it names.
pub fn pl(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let display: Vec<_> = [1, 2, 3]
        .into_iter()
        .filter_map(|n| value.part_text(n))
        .collect();
    if display.is_empty() {
        let mut parts = [9, 8, 7, 4].into_iter();
        let named = parts.find_map(|n| value.part_text(n))?;
        return reference("Location", None, &named);
    }
    let id = pl_identifier(scope, value, given);
    reference("Location", id, &display.join(" "))
}

fn identifier(
    use_code: Option<&str>,
    kind: Option<&str>,
    system: Option<String>,
    id: &str,
) -> Map<String, Json> {
    let mut identifier = Map::new();
    if let Some(use_code) = use_code {
        identifier.insert("use".into(), use_code.into());
    }
    if let Some(kind) = kind {
        let kind = single_blanks(kind.into());
        let display = identifier_type::display(&kind);
        identifier.insert("type".into(), concept("0203", kind, display));
    }
    if let Some(system) = system {
        identifier.insert("system".into(), system.into());
    }
    identifier.insert("value".into(), id.into());
    identifier
}

/// A code of a v2 table.
fn concept(table: &str, code: String, display: Option<&str>) -> Json {
    let mut coding = Map::new();
    coding.insert("system".into(), [V2_TABLE, table].concat().into());
    coding.insert("code".into(), code.into());
    if let Some(display) = display {
        coding.insert("display".into(), display.into());
    }
    object([("coding", Json::Array(vec![Json::Object(coding)]))])
}

fn reference(kind: &str, identifier: Option<Json>, display: &str) -> Option<Json> {
    let mut reference = Map::new();
    reference.insert("type".into(), kind.into());
    if let Some(identifier) = identifier {
        reference.insert("identifier".into(), identifier);
    }
    if !display.is_empty() {
        reference.insert("display".into(), display.into());
    }
    (reference.len() > 1).then_some(Json::Object(reference))
}
