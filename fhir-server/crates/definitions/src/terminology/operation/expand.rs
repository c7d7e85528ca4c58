//! `$expand` (<https://hl7.org/fhir/R5/valueset-operation-expand.html>): the codes of a value set, flat, filtered, page by page.
//!
//! `filter` finds codes by the beginning of words of their display and designations, and by the beginning of the code. Refuses `context`, `date` and
//! supplements, a code system that is not here, and an expansion that is too large as a whole, also where a page of it is asked for.

use super::super::expansion::Used;
use super::super::{Content, Expansion, Member, Terminology, TerminologyError, ValueSet};
use super::{Asked, display, parameter};
use crate::terminology::PropertyType;
use serde_json::{Value, json};

/// Parameters of the definition that are not supported.
pub const EXPAND_REFUSES: [&str; 4] = ["context", "contextDirection", "date", "useSupplement"];

/// The ValueSet with its expansion. `now` is its timestamp.
///
/// # Errors
/// What cannot be expanded or is not supported.
pub fn expand(
    terminology: &Terminology<'_>,
    set: &ValueSet,
    asked: Asked<'_>,
    now: &str,
) -> Result<Value, TerminologyError> {
    asked.refuse(&EXPAND_REFUSES)?;
    let mut expansion = terminology.expand(set)?;
    listable(terminology, &expansion)?;
    check_versions(&expansion, asked)?;
    let words = asked.text("filter").map(str::to_lowercase);
    let excluded: Vec<&str> = asked
        .all("exclude-system")
        .filter_map(Value::as_str)
        .collect();
    expansion.members.retain(|member| {
        let is_excluded = |canonical: &&str| canonical.split('|').next() == Some(&*member.system);
        !(asked.flag("activeOnly") == Some(true) && member.is_inactive()
            || asked.flag("excludeNotForUI") == Some(true) && member.is_abstract()
            || excluded.iter().any(is_excluded)
            || words.as_ref().is_some_and(|words| !is_found(member, words)))
    });
    let total = expansion.members.len();
    let offset = asked.number("offset")?.unwrap_or(0);
    let count = asked.number("count")?;
    let page = expansion
        .members
        .iter()
        .skip(offset)
        .take(count.unwrap_or(usize::MAX));
    let properties: Vec<&str> = asked.all("property").filter_map(Value::as_str).collect();
    let contains: Vec<Value> = page
        .map(|member| code(member, asked, &properties))
        .collect();
    let mut answer = json!({ "timestamp": now, "total": total });
    if count.is_some() || offset > 0 {
        answer["offset"] = offset.into();
    }
    answer["parameter"] = said(asked, &expansion.used).into();
    if !properties.is_empty() {
        let declared = properties.iter().map(|code| json!({ "code": code }));
        answer["property"] = declared.collect();
    }
    if !contains.is_empty() {
        answer["contains"] = contains.into();
    }
    let mut resource = set.head().clone();
    if asked.flag("includeDefinition") == Some(true) && !set.definition().is_null() {
        resource["compose"] = set.definition().clone();
    }
    resource["expansion"] = answer;
    Ok(resource)
}

/// A code system that is taken whole and has no concepts here cannot be listed.
fn listable(terminology: &Terminology<'_>, expansion: &Expansion) -> Result<(), TerminologyError> {
    for url in &expansion.whole {
        match terminology.code_system(url) {
            Ok(system) if system.content == Content::Part => {}
            Ok(_) => return Err(TerminologyError::NotPresent(url.to_string())),
            Err(unknown) => return Err(unknown),
        }
    }
    Ok(())
}

/// `check-system-version`: a code system of another version is an error.
fn check_versions(expansion: &Expansion, asked: Asked<'_>) -> Result<(), TerminologyError> {
    let mut wanted = asked.all("check-system-version").filter_map(Value::as_str);
    let is_other = |wanted: &&str| {
        let url = wanted.split('|').next().unwrap_or_default();
        let mut used = expansion.used.iter().filter(|used| used.is_code_system);
        used.any(|used| used.url() == url && used.canonical != **wanted)
    };
    match wanted.find(is_other) {
        Some(wanted) => Err(TerminologyError::UnknownCodeSystem(wanted.to_owned())),
        None => Ok(()),
    }
}

fn is_found(member: &Member, words: &str) -> bool {
    let begins = |text: &str| {
        let text = text.to_lowercase();
        let mut all = words.split_whitespace();
        all.all(|word| {
            let parts = text.split(|c: char| !c.is_alphanumeric());
            text.starts_with(word) || parts.into_iter().any(|part| part.starts_with(word))
        })
    };
    let designations = display::of_member(member);
    let designations = designations.iter().filter_map(|one| one["value"].as_str());
    begins(&member.code)
        || member
            .display
            .as_deref()
            .into_iter()
            .chain(designations)
            .any(begins)
}

/// An `expansion.contains`.
fn code(member: &Member, asked: Asked<'_>, properties: &[&str]) -> Value {
    let mut code = json!({ "system": &*member.system });
    if member.is_abstract() {
        code["abstract"] = true.into();
    }
    if member.is_inactive() {
        code["inactive"] = true.into();
    }
    code["code"] = (*member.code).into();
    if let Some(display) = display::shown(member, asked.text("displayLanguage")) {
        code["display"] = display.into();
    }
    let designations = designations(member, asked);
    if !designations.is_empty() {
        code["designation"] = designations.into();
    }
    let properties = properties_of(member, properties);
    if !properties.is_empty() {
        code["property"] = properties.into();
    }
    code
}

/// `designation` says which: a language, `urn:ietf:bcp:47|de`, or the use as `system|code`.
fn designations(member: &Member, asked: Asked<'_>) -> Vec<Value> {
    if asked.flag("includeDesignations") != Some(true) {
        return Vec::new();
    }
    let wanted: Vec<&str> = asked.all("designation").filter_map(Value::as_str).collect();
    let is_wanted = |designation: &Value| {
        wanted.is_empty()
            || wanted.iter().any(|wanted| match wanted.split_once('|') {
                None | Some(("urn:ietf:bcp:47", _)) => {
                    let language = wanted.rsplit('|').next().unwrap_or_default();
                    display::is_in(designation, language)
                }
                Some((system, code)) => {
                    let kind = &designation["use"];
                    kind["system"] == system && kind["code"] == code
                }
            })
    };
    let all = display::of_member(member).into_iter();
    all.filter(|designation| is_wanted(designation))
        .cloned()
        .collect()
}

fn properties_of(member: &Member, wanted: &[&str]) -> Vec<Value> {
    let Some((system, at)) = &member.concept else {
        return Vec::new();
    };
    let concept = &system.concepts()[*at];
    let mut found = Vec::new();
    for code in wanted {
        if *code == "definition" {
            let definition = concept.definition.iter();
            found.extend(definition.map(|text| json!({ "code": code, "valueString": text })));
            continue;
        }
        for (_, value) in concept.properties.iter().filter(|(name, _)| name == code) {
            let member = member_of(system.property_type(code, value));
            found.push(json!({ "code": code, member: value }));
        }
    }
    found
}

pub(super) fn member_of(kind: PropertyType) -> &'static str {
    match kind {
        PropertyType::Code => "valueCode",
        PropertyType::Coding => "valueCoding",
        PropertyType::String => "valueString",
        PropertyType::Integer => "valueInteger",
        PropertyType::Boolean => "valueBoolean",
        PropertyType::DateTime => "valueDateTime",
        PropertyType::Decimal => "valueDecimal",
    }
}

/// `expansion.parameter`: what was asked for, and what was used.
fn said(asked: Asked<'_>, used: &[Used]) -> Vec<Value> {
    let mut said = Vec::new();
    for (name, member) in [
        ("filter", "valueString"),
        ("offset", "valueInteger"),
        ("count", "valueInteger"),
        ("activeOnly", "valueBoolean"),
        ("includeDesignations", "valueBoolean"),
        ("includeDefinition", "valueBoolean"),
        ("excludeNested", "valueBoolean"),
        ("excludeNotForUI", "valueBoolean"),
        ("displayLanguage", "valueCode"),
        ("designation", "valueString"),
        ("property", "valueString"),
        ("exclude-system", "valueUri"),
        ("system-version", "valueUri"),
        ("check-system-version", "valueUri"),
        ("force-system-version", "valueUri"),
    ] {
        said.extend(
            asked
                .all(name)
                .map(|value| parameter(name, member, value.clone())),
        );
    }
    for used in used {
        let name = match used.is_code_system {
            true => "used-codesystem",
            false => "used-valueset",
        };
        said.push(parameter(name, "valueUri", used.canonical.as_str()));
        if used.is_part {
            said.push(parameter(
                "used-fragment",
                "valueUri",
                used.canonical.as_str(),
            ));
        }
    }
    said
}
