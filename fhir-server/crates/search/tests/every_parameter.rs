//! Every search parameter of R5, of every type: a search by it is understood, and the official examples are found by every value that the
//! whole FHIRPath engine takes out of them by the parameter's whole expression.
//!
//! The values are taken and written down here, by nothing that the server does it with. Without the examples
//! (`scripts/fetch-fhir-packages.sh examples`) only the first is looked at.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::{Definitions, ParameterType, SearchParameter};
use fhir_search::parse::Context;
use fhir_search::{Candidate, Handling, Query, is_answered, parse};
use fhirpath::{Host, Item, PathProgram, Program};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::LazyLock;

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| Definitions::load(&[]).unwrap());

const EXAMPLES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../.cache/r5-examples/package"
);

/// `Type.code` (or `*.code`, of every type), what about it (`parse`, `program`, `found`), reason. What is told of `parse` may be served meanwhile;
/// the others must be so.
const EXCEPTIONS: &str = include_str!("every_parameter.tsv");

fn understood(resource_type: &str, name: &str, value: &str) -> Result<Query, String> {
    let context = Context {
        definitions: &DEFINITIONS,
        terminology: None,
        base: Some("http://h/fhir"),
        handling: Handling::Strict,
        now_micros: 1_700_000_000_000_000,
        count_default: 20,
        count_max: 500,
    };
    let parameters = [(name.to_owned(), value.to_owned())];
    let query = parse(&context, &[resource_type], &parameters);
    query.map_err(|issues| issues[0].diagnostics.clone())
}

/// A value of a type, for what is selected by `program`.
fn some(kind: ParameterType, program: Option<&PathProgram>) -> &'static str {
    let types = program.map(PathProgram::types).unwrap_or_default();
    match kind {
        ParameterType::Token if types.contains(&"boolean") => "true",
        ParameterType::Number => "1",
        ParameterType::Date => "2020-01-01",
        ParameterType::Quantity => "1|http://unitsofmeasure.org|mg",
        ParameterType::Reference => "Patient/1",
        ParameterType::Uri => "http://example.org/x",
        _ => "x",
    }
}

fn exceptions(about: &str) -> BTreeSet<&'static str> {
    let lines = EXCEPTIONS.lines().skip(1);
    let fields = lines.map(|line| line.split('\t').collect::<Vec<_>>());
    fields
        .filter(|fields| fields[1] == about && !fields[2].is_empty())
        .map(|fields| fields[0])
        .collect()
}

#[test]
fn is_understood() {
    let known = exceptions("parse");
    let mut pairs = 0;
    let mut wrong = Vec::new();
    for resource_type in DEFINITIONS.resource_types() {
        for parameter in DEFINITIONS.search_parameters(resource_type) {
            pairs += 1;
            let value = match parameter.components.as_slice() {
                _ if parameter.code == "_in" => "Group/1".to_owned(),
                _ if parameter.code == "_type" => resource_type.clone(),
                _ if parameter.code == "_filter" => "_id eq x".to_owned(),
                _ if parameter.code == "near" => "1|2|3|km".to_owned(),
                [] if parameter.kind == ParameterType::Special && parameter.code == "contains" => {
                    "1|2".to_owned()
                }
                [] => some(parameter.kind, parameter.program.as_ref()).to_owned(),
                parts => {
                    let parts = parts
                        .iter()
                        .map(|part| some(part.kind, Some(&part.program)));
                    let parts: Vec<&str> = parts.collect();
                    parts.join("$")
                }
            };
            let said = understood(resource_type, &parameter.code, &value);
            let name = format!("{resource_type}.{}", parameter.code);
            let everywhere = format!("*.{}", parameter.code);
            // What is declared is never refused.
            let is_known = !is_answered(parameter)
                && (known.contains(name.as_str()) || known.contains(everywhere.as_str()));
            if let (Err(reason), false) = (&said, is_known) {
                wrong.push(format!("{name}: {reason}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // 1,980 of R5 and those of Resource and DomainResource under each of the types.
    assert!(pairs > 4_000, "{pairs}");
}

/// What a reference leads to is there, and of the type that it names.
struct Everything;

impl Host for Everything {
    fn resolve(&self, reference: &str) -> Option<Value> {
        let parts: Vec<&str> = reference.split(['|', '?']).next()?.split('/').collect();
        let named = parts.iter().rev().skip(1);
        let resource_type = named
            .copied()
            .find(|part| DEFINITIONS.type_number(part).is_some())?;
        Some(json!({ "resourceType": resource_type }))
    }
}

#[test]
fn finds_the_examples() {
    let Some(examples) = examples() else {
        eprintln!("skipped: no .cache/r5-examples, run scripts/fetch-fhir-packages.sh examples");
        return;
    };
    let mut programs = HashMap::new();
    let mut seen = BTreeSet::new();
    let mut asked = 0;
    let mut wrong: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    for (name, example) in &examples {
        let resource_type = example["resourceType"].as_str().unwrap();
        let candidate = Candidate::read(&DEFINITIONS, example, Some("http://h/fhir")).unwrap();
        for parameter in DEFINITIONS.search_parameters(resource_type) {
            let Some(path) = &parameter.program else {
                continue;
            };
            let pair = format!("{resource_type}.{}", parameter.code);
            let whole = programs
                .entry(parameter.expression.clone())
                .or_insert_with(|| Program::parse(&parameter.expression).unwrap());
            let context = fhirpath::Context::new(example, &*DEFINITIONS).host(&Everything);
            let items = match whole.evaluate(&context) {
                Ok(items) => items,
                Err(error) => {
                    let of = wrong.entry("program").or_default();
                    of.entry(pair).or_insert(format!("{name}: {error}"));
                    continue;
                }
            };
            let mut nodes = Vec::new();
            path.run(example, &mut nodes);
            let selected: BTreeSet<String> =
                nodes.iter().map(|node| node.value.to_string()).collect();
            let expected: BTreeSet<String> = items
                .iter()
                .filter_map(|item| Some(item.to_fhir()?.1.to_string()))
                .collect();
            if selected != expected {
                let of = wrong.entry("program").or_default();
                let said = format!("{name}: {selected:.200?} where {expected:.200?}");
                of.entry(pair.clone()).or_insert(said);
            }
            // The expression of `_in` is the id; it is asked for what the resource is a member of.
            if !is_answered(parameter) || parameter.code == "_in" {
                continue;
            }
            for (modifier, value) in values(parameter, &items, example) {
                let query = understood(
                    resource_type,
                    &format!("{}{modifier}", parameter.code),
                    &value,
                );
                let found = query.map(|query| candidate.matches(&query));
                if !matches!(found, Ok(Some(true) | None)) {
                    let of = wrong.entry("found").or_default();
                    of.entry(pair.clone())
                        .or_insert(format!("{name}: {modifier}={value:.100}: {found:?}"));
                }
                asked += 1;
                seen.insert(pair.clone());
            }
        }
    }
    eprintln!(
        "{} examples, {asked} values of {} pairs of type and parameter",
        examples.len(),
        seen.len()
    );
    let mut said = Vec::new();
    for (about, found) in &wrong {
        let known = exceptions(about);
        for (pair, reason) in found {
            if !known.contains(pair.as_str()) {
                said.push(format!("{about}\t{pair}\t{reason}"));
            }
        }
    }
    for about in ["program", "found"] {
        let found = wrong.get(about);
        for pair in exceptions(about) {
            if found.is_none_or(|found| !found.contains_key(pair)) {
                said.push(format!("{about}\t{pair}\tno exception any more"));
            }
        }
    }
    assert!(said.is_empty(), "{}", said.join("\n"));
    assert!(
        asked > 20_000 && seen.len() > 1_000,
        "{asked} {}",
        seen.len()
    );
}

fn examples() -> Option<Vec<(String, Value)>> {
    let entries = std::fs::read_dir(Path::new(EXAMPLES)).ok()?;
    let mut examples = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name()?.to_str()?.to_owned();
        let text = std::fs::read(&path).unwrap_or_default();
        let example = fhir_model::json::parse(&text).unwrap_or_default();
        let is_stored = |name: &str| DEFINITIONS.type_number(name).is_some();
        if example["resourceType"].as_str().is_some_and(is_stored) {
            examples.push((name, example));
        }
    }
    examples.sort_by(|a, b| a.0.cmp(&b.0));
    Some(examples)
}

/// What to ask for, with a modifier where there is one.
fn values(
    parameter: &SearchParameter,
    items: &[Item<'_>],
    example: &Value,
) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for item in items {
        if parameter.kind == ParameterType::Composite {
            let parts: Option<Vec<String>> = parameter
                .components
                .iter()
                .map(|component| {
                    let program = Program::parse(&component.expression).unwrap();
                    let context = fhirpath::Context::new(example, &*DEFINITIONS)
                        .on(vec![item.clone()])
                        .host(&Everything);
                    let items = program.evaluate(&context).ok()?;
                    let one = items.iter().filter_map(Item::to_fhir).next()?;
                    let of = of_element(component.kind, one.0, &one.1);
                    let plain = of.into_iter().find(|(modifier, _)| modifier.is_empty());
                    plain.map(|(_, value)| value)
                })
                .collect();
            all.extend(parts.map(|parts| ("", parts.join("$"))));
        } else if let Some((type_name, value)) = item.to_fhir() {
            all.extend(of_element(parameter.kind, type_name, &value));
        }
    }
    all.truncate(20);
    all
}

fn of_element(kind: ParameterType, type_name: &str, value: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let plain = |value: String| vec![("", value)];
    match kind {
        ParameterType::Token => tokens(type_name, value),
        ParameterType::String => strings(value),
        ParameterType::Uri => value
            .as_str()
            .map(|uri| plain(escaped(uri)))
            .unwrap_or_default(),
        ParameterType::Reference => references(value),
        ParameterType::Date => match value {
            Value::String(date) => plain(date.clone()),
            _ => {
                let start = text("start").map(|start| ("", format!("ge{start}")));
                let end = text("end").map(|end| ("", format!("le{end}")));
                start.into_iter().chain(end).collect()
            }
        },
        ParameterType::Number => match value {
            Value::Number(number) => plain(number.to_string()),
            _ => Vec::new(),
        },
        ParameterType::Quantity => quantities(type_name, value),
        _ => Vec::new(),
    }
}

fn tokens(type_name: &str, value: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let with_system = |code: Option<&str>| {
        code.filter(|code| !code.trim().is_empty()).map(|code| {
            let system = text("system").unwrap_or_default();
            ("", format!("{}|{}", escaped(system), escaped(code)))
        })
    };
    match (type_name, value) {
        (_, Value::String(code)) => vec![("", escaped(code))],
        (_, Value::Bool(value)) => vec![("", value.to_string())],
        ("Coding", _) => with_system(text("code")).into_iter().collect(),
        ("CodeableConcept", _) => {
            let codings = value.get("coding").and_then(Value::as_array);
            codings
                .into_iter()
                .flatten()
                .flat_map(|coding| tokens("Coding", coding))
                .collect()
        }
        ("CodeableReference", _) => value
            .get("concept")
            .map(|concept| tokens("CodeableConcept", concept))
            .unwrap_or_default(),
        ("Identifier", _) => with_system(text("value")).into_iter().collect(),
        ("ContactPoint", _) => text("value")
            .map(|value| ("", escaped(value)))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

/// Every text in it, which of a name or an address is each of its parts.
fn strings(value: &Value) -> Vec<(&'static str, String)> {
    let is_text = |text: &str| text.chars().any(char::is_alphanumeric);
    match value {
        Value::String(text) if is_text(text) => {
            let begin: String = text.chars().take(100).collect();
            vec![("", escaped(&begin))]
        }
        Value::Array(parts) => parts.iter().flat_map(strings).collect(),
        Value::Object(parts) => {
            let named = [
                "text",
                "family",
                "given",
                "prefix",
                "suffix",
                "line",
                "city",
                "district",
                "state",
                "postalCode",
                "country",
            ];
            let parts = named.iter().filter_map(|name| parts.get(*name));
            parts.flat_map(strings).collect()
        }
        _ => Vec::new(),
    }
}

fn references(value: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let identifier = || {
        let found = value.get("identifier")?;
        let (_, value) = tokens("Identifier", found).pop()?;
        Some((":identifier", value))
    };
    match value {
        // Canonical or uri.
        Value::String(url) => vec![("", escaped(url))],
        _ if value.get("reference").is_some_and(Value::is_object) => {
            references(&value["reference"])
        }
        _ => {
            let reference = text("reference").filter(|reference| !reference.starts_with('#'));
            let reference = reference.map(|reference| ("", escaped(reference)));
            reference.into_iter().chain(identifier()).collect()
        }
    }
}

fn quantities(type_name: &str, value: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    match type_name {
        "Range" => {
            let low = value.pointer("/low/value");
            low.map(|low| ("", format!("ge{low}")))
                .into_iter()
                .collect()
        }
        _ => {
            let Some(number) = value.get("value") else {
                return Vec::new();
            };
            if value.get("comparator").is_some() {
                return Vec::new();
            }
            let mut all = vec![("", number.to_string())];
            match (text("system"), text("code"), text("unit")) {
                ("", _, "") | (_, "", "") => {}
                ("", _, unit) | (_, "", unit) => {
                    all.push(("", format!("{number}||{}", escaped(unit))))
                }
                (system, code, _) => {
                    let unit = format!("{number}|{}|{}", escaped(system), escaped(code));
                    all.push(("", unit));
                }
            }
            all
        }
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        if matches!(c, '\\' | ',' | '$' | '|') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
