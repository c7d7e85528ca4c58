//! `$translate` (<https://hl7.org/fhir/R5/conceptmap-operation-translate.html>): what concept maps say of a code, forwards and, where a target is given,
//! backwards.
//!
//! Without a map, every map that is known and goes from and to the scopes and the system that are asked for. What a group has no mapping for follows its
//! `unmapped`. Refuses `dependency`.

use super::super::{Terminology, TerminologyError};
use super::{Asked, Coded, parameter, parameters, question};
use crate::terminology::code_system::array;
use fhir_model::json::text;
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest way from map to map over `unmapped` with `other-map`.
const OTHER_MAPS_MAX: usize = 8;

/// Which maps are asked.
#[derive(Clone, Debug)]
pub enum Maps {
    One(Arc<Value>),
    /// All that are known.
    Known,
}

/// # Errors
/// A question without a code, a map that is not known, or what is not supported.
pub fn translate(
    terminology: &Terminology<'_>,
    maps: Maps,
    asked: Asked<'_>,
) -> Result<Value, TerminologyError> {
    asked.refuse(&["dependency"])?;
    let (codings, backwards) = codings(asked)?;
    let maps = match maps {
        Maps::One(map) => vec![map],
        Maps::Known => terminology.concept_maps(),
    };
    let mut found = Vec::new();
    for map in maps.iter().filter(|map| is_of_scope(map, asked)) {
        for coded in &codings {
            let mut matches = match backwards {
                true => back(map, coded),
                false => forth(terminology, map, coded, 0)?,
            };
            if let Some(system) = asked.text("targetSystem") {
                matches.retain(|one| one.concept.system.as_deref() == Some(system));
            }
            for one in matches {
                if !found.contains(&one) {
                    found.push(one);
                }
            }
        }
    }
    let result = found.iter().any(|one| one.relationship != "not-related-to");
    let mut out = vec![parameter("result", "valueBoolean", result)];
    if !result {
        let message = match found.is_empty() {
            true => "there is no mapping of this code",
            false => "the code is mapped to what it is not related to",
        };
        out.push(parameter("message", "valueString", message));
    }
    out.extend(found.iter().map(Match::to_json));
    Ok(parameters(out))
}

/// The codes to translate, and whether they are targets.
fn codings(asked: Asked<'_>) -> Result<(Vec<Coded>, bool), TerminologyError> {
    let of_code = |name: &str, system: &str| {
        let code = asked.text(name)?;
        Some(vec![Coded {
            system: asked.text(system).map(str::to_owned),
            code: code.to_owned(),
            ..Coded::default()
        }])
    };
    let of_coding = |name: &str| Some(Coded::read(asked.value(name)?).into_iter().collect());
    let of_concept = |name: &str| Some(Coded::all(asked.value(name)?));
    let given: [(Option<Vec<Coded>>, bool); 6] = [
        (of_code("sourceCode", "system"), false),
        (of_coding("sourceCoding"), false),
        (of_concept("sourceCodeableConcept"), false),
        (of_code("targetCode", "targetSystem"), true),
        (of_coding("targetCoding"), true),
        (of_concept("targetCodeableConcept"), true),
    ];
    let mut given = given
        .into_iter()
        .filter_map(|(codings, backwards)| Some((codings?, backwards)));
    match (given.next(), given.next()) {
        (Some((codings, backwards)), None) if !codings.is_empty() => Ok((codings, backwards)),
        _ => Err(question(
            "exactly one source (sourceCode with system, sourceCoding, sourceCodeableConcept) or target must be given, with a code",
        )),
    }
}

/// Whether the map goes from and to the value sets that are asked for.
fn is_of_scope(map: &Value, asked: Asked<'_>) -> bool {
    let is_of = |parameter: &str, scope: &str| {
        asked.text(parameter).is_none_or(|wanted| {
            let says = |member: &str| text(map, &format!("{scope}{member}"));
            says("Uri")
                .or(says("Canonical"))
                .is_some_and(|there| bare(there) == bare(wanted))
        })
    };
    is_of("sourceScope", "sourceScope") && is_of("targetScope", "targetScope")
}

#[derive(Clone, Debug, PartialEq)]
struct Match {
    relationship: String,
    concept: Coded,
    products: Vec<Value>,
    origin: Option<String>,
}

impl Match {
    fn to_json(&self) -> Value {
        let mut parts = vec![
            parameter("relationship", "valueCode", self.relationship.as_str()),
            parameter("concept", "valueCoding", self.concept.to_json()),
        ];
        for product in &self.products {
            let values = product.as_object().into_iter().flatten();
            let value = values
                .filter(|(member, _)| member.starts_with("value"))
                .map(|(member, value)| parameter("value", member, value.clone()));
            let attribute = text(product, "attribute").or(text(product, "property"));
            let attribute = attribute.map(|code| parameter("attribute", "valueUri", code));
            let product: Vec<Value> = attribute.into_iter().chain(value).collect();
            parts.push(json!({ "name": "product", "part": product }));
        }
        if let Some(origin) = &self.origin {
            parts.push(parameter("originMap", "valueUri", origin.as_str()));
        }
        json!({ "name": "match", "part": parts })
    }
}

/// What the map has for a source.
fn forth(
    terminology: &Terminology<'_>,
    map: &Value,
    coded: &Coded,
    depth: usize,
) -> Result<Vec<Match>, TerminologyError> {
    let mut found = Vec::new();
    for group in array(map, "group").filter(|group| is_of_system(group, "source", coded)) {
        let mut elements = array(group, "element").filter(|element| element["code"] == *coded.code);
        let Some(element) = elements.next() else {
            found.extend(unmapped(terminology, map, group, coded, depth)?);
            continue;
        };
        for element in std::iter::once(element).chain(elements) {
            for target in array(element, "target") {
                found.push(Match {
                    relationship: relationship(target).to_owned(),
                    concept: Coded {
                        system: text(group, "target").map(|url| bare(url).to_owned()),
                        version: text(group, "target").and_then(version).map(str::to_owned),
                        code: text(target, "code").unwrap_or_default().to_owned(),
                        display: text(target, "display").map(str::to_owned),
                    },
                    products: array(target, "product").cloned().collect(),
                    origin: text(map, "url").map(str::to_owned),
                });
            }
        }
    }
    Ok(found)
}

fn unmapped(
    terminology: &Terminology<'_>,
    map: &Value,
    group: &Value,
    coded: &Coded,
    depth: usize,
) -> Result<Vec<Match>, TerminologyError> {
    let Some(unmapped) = group.get("unmapped") else {
        return Ok(Vec::new());
    };
    let to = |code: &str, display: Option<&str>, otherwise: &str| Match {
        relationship: text(unmapped, "relationship")
            .unwrap_or(otherwise)
            .to_owned(),
        concept: Coded {
            system: text(group, "target").map(|url| bare(url).to_owned()),
            code: code.to_owned(),
            display: display.map(str::to_owned),
            ..Coded::default()
        },
        products: Vec::new(),
        origin: text(map, "url").map(str::to_owned),
    };
    Ok(match text(unmapped, "mode") {
        Some("use-source-code") => {
            vec![to(&coded.code, coded.display.as_deref(), "equivalent")]
        }
        Some("fixed") => {
            let code = text(unmapped, "code").unwrap_or_default();
            vec![to(code, text(unmapped, "display"), "related-to")]
        }
        Some("other-map") if depth < OTHER_MAPS_MAX => {
            let other = text(unmapped, "otherMap").unwrap_or_default();
            let other = terminology.concept_map(other)?;
            forth(terminology, &other, coded, depth + 1)?
        }
        Some("other-map") => {
            let reason = "a concept map leads to others in more steps than are followed";
            return Err(TerminologyError::Invalid(reason.to_owned()));
        }
        _ => Vec::new(),
    })
}

/// What the map has this target for.
fn back(map: &Value, coded: &Coded) -> Vec<Match> {
    let mut found = Vec::new();
    for group in array(map, "group").filter(|group| is_of_system(group, "target", coded)) {
        for element in array(group, "element") {
            for target in array(element, "target").filter(|one| one["code"] == *coded.code) {
                found.push(Match {
                    relationship: match relationship(target) {
                        "source-is-narrower-than-target" => "source-is-broader-than-target",
                        "source-is-broader-than-target" => "source-is-narrower-than-target",
                        same => same,
                    }
                    .to_owned(),
                    concept: Coded {
                        system: text(group, "source").map(|url| bare(url).to_owned()),
                        version: text(group, "source").and_then(version).map(str::to_owned),
                        code: text(element, "code").unwrap_or_default().to_owned(),
                        display: text(element, "display").map(str::to_owned),
                    },
                    products: Vec::new(),
                    origin: text(map, "url").map(str::to_owned),
                });
            }
        }
    }
    found
}

fn relationship(target: &Value) -> &str {
    text(target, "relationship").unwrap_or("related-to")
}

fn is_of_system(group: &Value, side: &str, coded: &Coded) -> bool {
    match (&coded.system, text(group, side)) {
        (Some(wanted), Some(there)) => bare(there) == *wanted,
        (None, _) => true,
        (Some(_), None) => false,
    }
}

/// A canonical url without its version.
fn bare(canonical: &str) -> &str {
    canonical.split('|').next().unwrap_or_default()
}

fn version(canonical: &str) -> Option<&str> {
    Some(canonical.split_once('|')?.1)
}
