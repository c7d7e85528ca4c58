//! CX, EI, HD, XCN, XON, PL: what is known by an identifier. People, organisations and places that come as a field of another segment
//! become logical references (identifier and display), not resources: a name and a number are no record of them.

use super::{Given, Scope, identifier_type};
use crate::mapping::systems::V2_TABLE;
use crate::mapping::value::Value;
use serde_json::{Map, Value as Json, json};

/// CX: value .1, authority .4 (else .9, .10), type .5, period .7 and .8.
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
    let mut period = Map::new();
    for (name, part) in [("start", 7), ("end", 8)] {
        if let Some(part) = value.part(part)
            && let Some(date) = super::time::date_time(scope, part, given)
        {
            period.insert(name.into(), date);
        }
    }
    if !period.is_empty() {
        identifier.insert("period".into(), Json::Object(period));
    }
    if let Some(assigner) = authority.and_then(assigner) {
        identifier.insert("assigner".into(), assigner);
    }
    Some(Json::Object(identifier))
}

/// The HD of an authority as a logical reference: its universal id, else its name, which the system of the identifier may not tell.
fn assigner(hd: Value<'_>) -> Option<Json> {
    let (name, id, kind) = (hd.part_text(1), hd.part_text(2), hd.part_text(3));
    let mut identifier = Map::new();
    match (&id, kind.as_deref()) {
        (Some(id), Some("ISO")) => {
            identifier.insert("system".into(), "urn:ietf:rfc:3986".into());
            identifier.insert("value".into(), format!("urn:oid:{id}").into());
        }
        (Some(id), _) => drop(identifier.insert("value".into(), id.as_ref().into())),
        (None, _) => drop(identifier.insert("value".into(), name.as_deref()?.into())),
    }
    let display = id.is_some().then_some(name).flatten();
    reference(
        "Organization",
        Some(identifier),
        display.as_deref().unwrap_or_default(),
    )
}

/// EI: value .1, authority in .2, .3 and .4, which are an HD spread over components.
pub fn ei(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    // An EI inside a component (EIP) has its parts one level down; `part` sees to it.
    let id = value.part_text(1)?;
    let kind = given.text(0);
    let system = ei_system(scope, value, kind.as_deref());
    let use_code = given.text(1);
    Some(Json::Object(identifier(
        use_code.as_deref(),
        kind.as_deref(),
        system,
        &id,
    )))
}

fn ei_system(scope: &Scope<'_>, value: Value<'_>, kind: Option<&str>) -> Option<String> {
    scope.systems.named(
        value.part_text(2),
        value.part_text(3),
        value.part_text(4),
        scope.authorities,
        &scope.facility,
        kind,
    )
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
    Some(system.into())
}

/// XCN: identifier .1 with authority .9, name .2 to .6, type .13.
pub fn xcn(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let id = value.part_text(1).map(|id| {
        let authority = value.part(9).filter(|hd| hd.is_valued());
        let kind = value.part_text(13);
        let system = scope.systems.authority(
            authority,
            scope.authorities,
            &scope.facility,
            Some(kind.as_deref().unwrap_or("XCN")),
        );
        identifier(None, kind.as_deref(), system, &id)
    });
    let names: Vec<_> = [6, 3, 4, 2, 5]
        .into_iter()
        .filter_map(|n| value.part_text(n))
        .collect();
    reference("Practitioner", id, &names.join(" "))
}

/// XON: name .1, identifier .10 (else the number in .3), authority .6, type .7.
pub fn xon(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let id = value
        .part_text(10)
        .or_else(|| value.part_text(3))
        .map(|id| {
            let authority = value.part(6).filter(|hd| hd.is_valued());
            let kind = value.part_text(7);
            let system = scope.systems.authority(
                authority,
                scope.authorities,
                &scope.facility,
                Some(kind.as_deref().unwrap_or("XON")),
            );
            identifier(None, kind.as_deref(), system, &id)
        });
    let name = value.part_text(1).unwrap_or_default();
    reference("Organization", id, &name)
}

/// PL: point of care, room, bed under a facility are one place; the identifier is all of them together.
pub fn pl(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let part = |n| value.part_text(n).unwrap_or_default();
    let (care, room, bed) = (part(1), part(2), part(3));
    let display: Vec<_> = [&care, &room, &bed]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| part.as_ref())
        .collect();
    if display.is_empty() {
        let named = value.part_text(9).or_else(|| value.part_text(4))?;
        return reference("Location", None, &named);
    }
    let facility = value.part(4).filter(|hd| hd.is_valued());
    let system =
        scope
            .systems
            .authority(facility, scope.authorities, &scope.facility, Some("PL"))?;
    let id = identifier(None, None, Some(system), &format!("{care}/{room}/{bed}"));
    reference("Location", Some(id), &display.join(" "))
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
        let system = format!("{V2_TABLE}0203");
        // FHIR codes have single blanks only.
        let kind: Vec<&str> = kind.split_whitespace().collect();
        let mut coding = json!({"system": system, "code": kind.join(" ")});
        if let Some(display) = identifier_type::display(&kind.join(" ")) {
            coding["display"] = display.into();
        }
        identifier.insert("type".into(), json!({ "coding": [coding] }));
    }
    if let Some(system) = system {
        identifier.insert("system".into(), system.into());
    }
    identifier.insert("value".into(), id.into());
    identifier
}

fn reference(kind: &str, identifier: Option<Map<String, Json>>, display: &str) -> Option<Json> {
    let mut reference = Map::new();
    reference.insert("type".into(), kind.into());
    if let Some(identifier) = identifier {
        reference.insert("identifier".into(), Json::Object(identifier));
    }
    if !display.is_empty() {
        reference.insert("display".into(), display.into());
    }
    (reference.len() > 1).then_some(Json::Object(reference))
}
