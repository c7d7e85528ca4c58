//! Named queries (`_query`, <https://hl7.org/fhir/R5/search.html#query>): an OperationDefinition of kind `query` among the site's definitions is a
//! search under a name.
//!
//! The extension [`SEARCH`] holds the search as in a URL (`status=final&date=ge{from}`); `{from}` is the value of the query's own parameter `from`,
//! which `OperationDefinition.parameter` declares with `use` `in`. A part whose parameter is not given is left out. Beside them stand other search
//! parameters, which must hold too.
//!
//! Refuses names that are not known, whatever the handling, and a definition that says more than conditions, `_sort` and includes.

use crate::parse::Refusal;
use crate::parse_value::shown;
use fhir_definitions::{Definitions, OperationDefinition};
use serde_json::Value;

/// The extension of OperationDefinition that holds the search.
pub const SEARCH: &str = "urn:fhir-humanitarian:StructureDefinition:named-query-search";

/// The OperationDefinitions of the named queries that there are.
pub fn queries(definitions: &Definitions) -> impl Iterator<Item = &Value> {
    definitions.own_resources().filter(|own| {
        own["resourceType"] == "OperationDefinition"
            && own["kind"] == "query"
            && own["status"] != "retired"
    })
}

/// Whether searches over these types can name the query: of one type where it is that type's, of others where it is the system's.
pub fn is_of(definition: &OperationDefinition, types: &[&str]) -> bool {
    match types {
        [one] => {
            let of_type = |name: &String| name == one || name == "Resource";
            definition.on_type && definition.resource.iter().any(of_type)
        }
        _ => definition.system,
    }
}

/// What a named query stands for.
pub(crate) struct Named {
    /// The names of its own parameters.
    pub own: Vec<String>,
    /// The parameters of the search it stands for, in order.
    pub search: Vec<(String, String)>,
}

/// The query of the name that `given` has, if it has one.
pub(crate) fn named(
    definitions: &Definitions,
    types: &[&str],
    given: &[(String, String)],
) -> Result<Option<Named>, Refusal> {
    let mut names = given
        .iter()
        .filter(|(name, value)| name == "_query" && !value.is_empty());
    let (Some((_, name)), None) = (names.next(), names.next()) else {
        return match given.iter().filter(|(name, _)| name == "_query").count() {
            0 | 1 => Ok(None),
            _ => Err(Refusal::invalid("_query may be given once only")),
        };
    };
    let unknown = || {
        Refusal::invalid(format!(
            "there is no named query {} for what is searched",
            shown(name)
        ))
    };
    let own = queries(definitions)
        .find(|own| own["code"] == name.as_str())
        .ok_or_else(unknown)?;
    let definition = OperationDefinition::read(own);
    let search = own["extension"].as_array().into_iter().flatten();
    let search = search
        .filter(|extension| extension["url"] == SEARCH)
        .find_map(|extension| extension["valueString"].as_str());
    match (is_of(&definition, types), search) {
        (true, Some(search)) => filled(name, &definition, search, given).map(Some),
        _ => Err(unknown()),
    }
}

fn filled(
    query: &str,
    definition: &OperationDefinition,
    search: &str,
    given: &[(String, String)],
) -> Result<Named, Refusal> {
    let mut values: Vec<(&str, &str)> = Vec::new();
    let mut own = Vec::new();
    for parameter in definition.parameters.iter().filter(|it| it.is_in) {
        let name = parameter.name.as_str();
        let mut of_name = given
            .iter()
            .filter(|(it, value)| it == name && !value.is_empty());
        match (of_name.next(), of_name.next()) {
            (Some((_, value)), None) => values.push((name, value)),
            (None, _) if parameter.min == 0 => {}
            (None, _) => {
                return Err(Refusal::invalid(format!(
                    "the named query {query} needs the parameter {name}"
                )));
            }
            _ => {
                return Err(Refusal::invalid(format!(
                    "the parameter {name} of the named query {query} may be given once only"
                )));
            }
        }
        own.push(name.to_owned());
    }
    let mut parameters = Vec::new();
    for part in search.split('&').filter(|part| !part.is_empty()) {
        let (name, template) = part.split_once('=').unwrap_or((part, ""));
        let is_condition = !name.starts_with('_') || CONDITIONS.contains(&root(name));
        if !is_condition {
            return Err(Refusal::invalid(format!(
                "the definition of the named query {query} has the parameter {}, which cannot stand there",
                shown(name)
            )));
        }
        if let Some(value) = fill(template, &own, &values) {
            let asked = |asked: &str| name == asked && given.iter().any(|(name, _)| name == asked);
            // What the client says about the order goes before.
            if !asked("_sort") {
                parameters.push((name.to_owned(), value));
            }
        }
    }
    Ok(Named {
        own,
        search: parameters,
    })
}

/// The parameters with an underscore that a named query may say.
const CONDITIONS: [&str; 13] = [
    "_id",
    "_lastUpdated",
    "_tag",
    "_profile",
    "_security",
    "_source",
    "_language",
    "_text",
    "_content",
    "_has",
    "_filter",
    "_sort",
    "_include",
];

fn root(name: &str) -> &str {
    let name = name.split([':', '.']).next().unwrap_or(name);
    match name {
        "_revinclude" => "_include",
        name => name,
    }
}

/// The template with the values in it; `None` where one of them was not given. Braces around other names stand for themselves.
fn fill(template: &str, own: &[String], values: &[(&str, &str)]) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let name = after
            .split_once('}')
            .filter(|(name, _)| own.iter().any(|own| own == name));
        match name {
            Some((name, after)) => {
                let (_, value) = values.iter().find(|(it, _)| *it == name)?;
                filled.push_str(value);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills() {
        let own = ["from".to_owned(), "to".to_owned()];
        for (template, values, expect) in [
            ("ge{from}", vec![("from", "2024")], Some("ge2024")),
            ("{from},{to}", vec![("from", "a"), ("to", "b")], Some("a,b")),
            ("{from},{to}", vec![("from", "a")], None),
            ("final", vec![], Some("final")),
            ("{other}{", vec![], Some("{other}{")),
            ("{{from}}", vec![("from", "{to}")], Some("{{to}}")),
        ] {
            assert_eq!(
                fill(template, &own, &values).as_deref(),
                expect,
                "{template}"
            );
        }
    }
}
