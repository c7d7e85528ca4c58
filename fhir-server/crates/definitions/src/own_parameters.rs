//! A site's own search parameters, from `profiles/` or stored as SearchParameter resources: checked, and bound to the types of their bases
//! (<https://hl7.org/fhir/R5/searchparameter.html>).
//!
//! Refused: a code that is taken, begins with `_` or could not stand in a URL, types `special` and `resource`, an expression that does not
//! compile for a base or selects nothing that can be searched by the type, components and parameters derived from that do not exist.
//! One that says what it is derived from, with its code and type, is the same parameter: the one that is there goes on to answer.

use crate::parameter::{ParameterKey, ParameterType, SearchParameter};
use crate::search_parameters::{self, ByType, Definition, FIRST_OWN_KEY, kinds_of};
use crate::structure::{Kind, Structures};
use fhirpath::TypeModel;
use std::sync::Arc;

/// A place in the SearchParameter, and what is wrong there.
pub(crate) type Problem = (String, String);

/// Most pairs of type and code that a site may add: one of `Resource` makes 157 of them.
const OWN_MAX: usize = 8_000;

/// Adds the parameter to each type of its bases, or says why it cannot be: then nothing is added.
pub(crate) fn bind(
    definition: &Definition,
    structures: &Structures,
    kind_of: &dyn Fn(&str) -> Option<ParameterType>,
    parameters: &mut ByType,
) -> Result<(), Vec<Problem>> {
    let mut problems = itself(definition, structures, kind_of);
    let own = parameters.iter().flatten().filter(|p| is_own(p.key));
    if own.count() >= OWN_MAX {
        let reason =
            format!("there are {OWN_MAX} pairs of type and code of this site already: retire some");
        return Err(vec![(place("base"), reason)]);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut bound: Vec<(usize, SearchParameter)> = Vec::new();
    for (index, base) in definition.bases.iter().enumerate() {
        let concrete = concrete(base, structures);
        if concrete.is_empty() {
            let reason = "no such resource type".to_owned();
            problems.push((format!("SearchParameter.base[{index}]"), reason));
        }
        for number in concrete {
            if bound.iter().any(|(other, _)| *other == number) {
                continue;
            }
            let resource_type = &structures.resource_types()[number];
            let same = parameters[number]
                .iter()
                .find(|p| p.code == definition.code);
            match same {
                Some(same) if same.url == definition.derived_from => {
                    if definition.kind != Some(same.kind) {
                        let reason = format!("{} has another type", same.url);
                        problems.push((place("derivedFrom"), reason));
                    }
                    continue;
                }
                Some(same) => {
                    let reason = format!(
                        "{resource_type} has a search parameter {} already: {}",
                        same.code, same.url
                    );
                    problems.push((place("code"), reason));
                    continue;
                }
                None => {}
            }
            let taken = |key: ParameterKey| {
                parameters.iter().flatten().any(|p| p.key == key)
                    || bound.iter().any(|(_, p)| p.key == key)
            };
            let key = search_parameters::own_key(resource_type, &definition.code, &taken);
            let (parameter, wrong) = definition.bind(resource_type, key, structures, kind_of);
            let wrong = match wrong {
                Some(wrong) => Some((place("expression"), format!("for {resource_type}: {wrong}"))),
                None => of_type(definition, &parameter),
            };
            match wrong {
                Some(wrong) => problems.push(wrong),
                None => bound.push((number, parameter)),
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for (number, parameter) in bound {
        let list = &mut parameters[number];
        let at = list.partition_point(|p| p.code < parameter.code);
        list.insert(at, Arc::new(parameter));
    }
    Ok(())
}

/// Whether it is a site's.
pub(crate) fn is_own(key: ParameterKey) -> bool {
    key.0 >= FIRST_OWN_KEY
}

/// What is wrong whatever the base.
fn itself(
    definition: &Definition,
    structures: &Structures,
    kind_of: &dyn Fn(&str) -> Option<ParameterType>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |name: &str, reason: &str| problems.push((place(name), reason.to_owned()));
    let code = &definition.code;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if code.is_empty() || code.len() > 64 || !code.chars().all(is_plain) || code.starts_with('_') {
        wrong(
            "code",
            "a code has 1 to 64 letters, digits, `-` and `_`, and does not begin with `_`: those are the specification's",
        );
    }
    match definition.kind {
        Some(ParameterType::Special | ParameterType::Resource) => wrong(
            "type",
            "what a parameter of this type finds cannot be told from its expression",
        ),
        None => wrong("type", "a type is required"),
        _ => {}
    }
    if definition.expression.is_empty() {
        wrong("expression", "an expression is required");
    }
    if !definition.derived_from.is_empty() && kind_of(&definition.derived_from).is_none() {
        wrong("derivedFrom", "there is no search parameter of this url");
    }
    for (index, target) in definition.targets.iter().enumerate() {
        if !is_resource(target, structures) {
            wrong(&format!("target[{index}]"), "no such resource type");
        }
    }
    for (index, (component, _)) in definition.components.iter().enumerate() {
        if kind_of(component).is_none() {
            wrong(
                &format!("component[{index}].definition"),
                "there is no search parameter of this url",
            );
        }
    }
    problems
}

/// What is wrong with its type for what it selects.
fn of_type(definition: &Definition, parameter: &SearchParameter) -> Option<Problem> {
    let composite = parameter.kind == ParameterType::Composite;
    if parameter.components.len() != definition.components.len() {
        let reason = "a component's expression is not one of its elements";
        return Some((place("component"), reason.to_owned()));
    }
    if composite != (parameter.components.len() > 1) {
        let reason = "a composite, and only a composite, has two or more components";
        return Some((place("component"), reason.to_owned()));
    }
    let types = parameter
        .program
        .as_ref()
        .map(|program| program.types())
        .unwrap_or_default();
    let fits = |type_name: &&str| kinds_of(type_name).contains(&parameter.kind);
    (!composite && !types.iter().any(fits)).then(|| {
        let mut names = types.clone();
        names.sort_unstable();
        names.dedup();
        let reason = format!(
            "for {}: what the expression selects cannot be searched so: {}",
            parameter.resource_type,
            names.join(", ")
        );
        (place("type"), reason)
    })
}

/// The numbers of the concrete types that a base stands for.
fn concrete(base: &str, structures: &Structures) -> Vec<usize> {
    if !is_resource(base, structures) {
        return Vec::new();
    }
    let types = structures.resource_types().iter().enumerate();
    types
        .filter(|(_, name)| structures.is_a(name, base))
        .map(|(number, _)| number)
        .collect()
}

fn is_resource(name: &str, structures: &Structures) -> bool {
    structures
        .get(name)
        .is_some_and(|structure| structure.kind == Kind::Resource)
}

fn place(name: &str) -> String {
    format!("SearchParameter.{name}")
}
