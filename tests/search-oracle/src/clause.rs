//! Whether a resource meets a condition (<https://hl7.org/fhir/R5/search.html#modifiers>).

use crate::elements::{self, Element};
use crate::{Resource, Unknown, World, measure, place, reference, text, time, token, words};
use fhir_definitions::{ParameterType, SearchParameter};
use fhir_model::ResourceKey;
use fhir_search::query::{
    ChainedClause, Clause, Modifier, ReferenceMatch, TextComparison, UnitMatch, ValueMatch,
};
use reference::Target;
use serde_json::Value;

impl World<'_> {
    pub(crate) fn all(&self, clauses: &[Clause], resource: &Resource) -> Result<bool, Unknown> {
        for clause in clauses {
            if !self.holds(clause, resource)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn holds(&self, clause: &Clause, resource: &Resource) -> Result<bool, Unknown> {
        match clause {
            Clause::Param {
                parameter,
                modifier,
                values,
            } => self.parameter(parameter, *modifier, values, resource),
            Clause::Missing { parameter, missing } => {
                let elements = self.elements(parameter, resource);
                Ok(elements.iter().any(has_value) != *missing)
            }
            Clause::Chain {
                parameter, clause, ..
            } => {
                for key in self.targets(parameter, resource) {
                    if let Some(target) = self.get(&key)
                        && self.by_type(clause, target)?
                    {
                        return Ok(true);
                    }
                }
                for inner in self.contained_targets(parameter, resource) {
                    if self.by_type(clause, inner)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Clause::Has { parameter, clause } if resource.container.is_some() => {
                self.has_within(parameter, clause, resource)
            }
            Clause::Has { parameter, clause } => {
                for source in self.resources() {
                    if source.key.resource_type == parameter.resource_type
                        && self.targets(parameter, source).contains(&resource.key)
                        && self.holds(clause, source)?
                    {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Clause::ByType(clause) => self.by_type(clause, resource),
            Clause::Any(clauses) => {
                for clause in clauses {
                    if self.holds(clause, resource)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Clause::All(clauses) => self.all(clauses, resource),
            Clause::Not(clause) => Ok(!self.holds(clause, resource)?),
            Clause::Element { parameter, clause } => {
                let elements = self.elements(parameter, resource);
                for element in elements.iter().filter(|element| has_value(element)) {
                    let Some(body) = elements::alone(&resource.body, element) else {
                        continue;
                    };
                    let alone = Resource::new(resource.key.clone(), resource.updated_ms, body);
                    if self.holds(clause, &alone)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Clause::Id(ids) => Ok(ids.contains(&resource.key.id)),
            // Known to the millisecond.
            Clause::LastUpdated(dates) => {
                let span = time::Span {
                    from: Some(resource.updated_ms * 1000),
                    to: Some(resource.updated_ms * 1000 + 1000),
                };
                Ok(dates.iter().any(|date| time::meets(span, date)))
            }
            // Nothing beyond its container refers to it.
            Clause::MemberOf { .. } if resource.container.is_some() => Ok(false),
            Clause::MemberOf {
                collections,
                active_at,
            } => Ok(self.is_member(collections, *active_at, &resource.key)),
            Clause::Text { of, query } => Ok(words::answers(*of, query, &resource.body)),
            #[allow(
                unreachable_patterns,
                reason = "what the AST gains is not interpreted until it is written here"
            )]
            other => Err(Unknown(format!("{other:?}"))),
        }
    }

    fn by_type(&self, clause: &ChainedClause, resource: &Resource) -> Result<bool, Unknown> {
        for (name, clause) in &clause.by_type {
            if *name == resource.key.resource_type && self.holds(clause, resource)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The resources of this server that the parameter's references lead to, whether they are there or not; a canonical to the one it names,
    /// or to the latest version, of the types that the parameter may refer to.
    pub(crate) fn targets(
        &self,
        parameter: &SearchParameter,
        resource: &Resource,
    ) -> Vec<ResourceKey> {
        let elements = self.elements(parameter, resource);
        let mut found = Vec::new();
        for element in elements.iter() {
            match reference::target(element, self.definitions) {
                Some(Target::Here(key, _)) => found.push(key),
                Some(Target::There(text)) if element.type_name == "canonical" => {
                    found.extend(self.canonical(&text, &parameter.targets));
                }
                _ => {}
            }
        }
        found
    }

    /// The same without canonicals.
    pub(crate) fn direct_targets(
        &self,
        parameter: &SearchParameter,
        resource: &Resource,
    ) -> Vec<ResourceKey> {
        let elements = self.elements(parameter, resource);
        let targets = elements
            .iter()
            .filter_map(|element| reference::target(element, self.definitions));
        targets
            .filter_map(|target| match target {
                Target::Here(key, _) => Some(key),
                Target::There(_) => None,
            })
            .collect()
    }

    /// The resources of these types that a canonical names; without a version the latest one.
    fn canonical(&self, text: &str, types: &[String]) -> Vec<ResourceKey> {
        let (url, version) = reference::versioned(text);
        let any = types.is_empty() || types.iter().any(|name| name == "Resource");
        let of = |it: &Resource, name: &str| Some(it.body.get(name)?.as_str()?.to_owned());
        let named = self
            .resources()
            .filter(|it| any || types.contains(&it.key.resource_type))
            .filter(|it| of(it, "url").as_deref() == Some(url));
        if version.is_some() {
            let exact = named.filter(|it| of(it, "version").as_deref() == version);
            return exact.map(|it| it.key.clone()).collect();
        }
        let latest = named.max_by_key(|it| {
            let number = |part: &str| part.parse::<u64>().ok();
            let version = of(it, "version");
            let parts: Option<Vec<_>> = version.map(|text| text.split('.').map(number).collect());
            (parts, it.updated_ms)
        });
        latest.map(|it| it.key.clone()).into_iter().collect()
    }

    /// The resources of its own container that the parameter's references lead to; `#` alone to the container.
    pub(crate) fn contained_targets<'r>(
        &'r self,
        parameter: &SearchParameter,
        resource: &'r Resource,
    ) -> Vec<&'r Resource> {
        let container = match &resource.container {
            Some((key, _)) => self.get(key),
            None => Some(resource),
        };
        let named = |id: &str| match id {
            "" => container,
            id => container?.inner.iter().find(|inner| inner.key.id == id),
        };
        let elements = self.elements(parameter, resource);
        elements
            .iter()
            .filter_map(|element| reference::text(element)?.strip_prefix('#'))
            .filter_map(named)
            .collect()
    }

    /// Only what stands in the same container points at a contained resource.
    fn has_within(
        &self,
        parameter: &SearchParameter,
        clause: &Clause,
        resource: &Resource,
    ) -> Result<bool, Unknown> {
        let container = resource.container.as_ref();
        let Some(container) = container.and_then(|(key, _)| self.get(key)) else {
            return Ok(false);
        };
        for source in container.inner.iter().chain([container]) {
            let points = self.elements(parameter, source).iter().any(|element| {
                let id = reference::text(element).and_then(|text| text.strip_prefix('#'));
                id == Some(resource.key.id.as_str())
            });
            if source.key.resource_type == parameter.resource_type
                && points
                && self.holds(clause, source)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The resource and all that it is part of, directly or not.
    fn within(&self, key: &ResourceKey) -> Vec<ResourceKey> {
        let mut found = vec![key.clone()];
        let mut place = 0;
        while let Some(next) = found.get(place).cloned() {
            place += 1;
            let code = match next.resource_type.as_str() {
                "CarePlan" | "Encounter" | "Procedure" | "ResearchStudy" | "Task" => "part-of",
                "Location" | "Organization" => "partof",
                "Device" | "Specimen" => "parent",
                "HealthcareService" => "offered-in",
                _ => continue,
            };
            let parameter = self.definitions.search_parameter(&next.resource_type, code);
            if let (Some(parameter), Some(resource)) = (parameter, self.get(&next)) {
                for above in self.targets(parameter, resource) {
                    if above.resource_type == next.resource_type && !found.contains(&above) {
                        found.push(above);
                    }
                }
            }
        }
        found
    }

    /// One of the values is met by one of the elements; with a modifier that denies, by none.
    fn parameter(
        &self,
        parameter: &SearchParameter,
        modifier: Modifier,
        values: &[ValueMatch],
        resource: &Resource,
    ) -> Result<bool, Unknown> {
        let mut found = false;
        for element in self.elements(parameter, resource).iter() {
            for value in values {
                found |= self.value(parameter, modifier, value, element, resource)?;
            }
        }
        Ok(found != matches!(modifier, Modifier::Not | Modifier::NotIn))
    }

    /// Whether the element meets the value.
    pub(crate) fn value(
        &self,
        parameter: &SearchParameter,
        modifier: Modifier,
        value: &ValueMatch,
        element: &Element,
        resource: &Resource,
    ) -> Result<bool, Unknown> {
        Ok(match (value, modifier) {
            (ValueMatch::Token(wanted), Modifier::None | Modifier::Not) => token::codes(element)
                .iter()
                .any(|code| token::is(code, wanted)),
            (
                ValueMatch::OfType {
                    system,
                    code,
                    value,
                },
                Modifier::OfType,
            ) => token::is_of_type(element, system, code, value),
            (ValueMatch::String(wanted), Modifier::Exact) => {
                text::strings(element).contains(wanted)
            }
            (ValueMatch::String(wanted), Modifier::Contains) => text::strings(element)
                .iter()
                .any(|have| text::plain(have).contains(wanted)),
            (ValueMatch::String(wanted), Modifier::None) => {
                starts(parameter, element, &text::plain(wanted))
            }
            (ValueMatch::Text { comparison, text }, Modifier::None) => {
                let whole = text::strings(element);
                let mut whole = whole.iter().map(|have| text::plain(have));
                whole.any(|have| compared(*comparison, &have, text))
            }
            (ValueMatch::Concepts { tokens, .. }, _) => {
                let codes = token::codes(element);
                codes
                    .iter()
                    .any(|code| tokens.iter().any(|wanted| token::is(code, wanted)))
            }
            (ValueMatch::String(wanted), Modifier::Text) => {
                is_shown(parameter, element, &text::plain(wanted))
            }
            (ValueMatch::Near(near), Modifier::None) => place::is_near(&element.value, near),
            (ValueMatch::Point(point), Modifier::None) => place::is_around(&element.value, *point),
            (ValueMatch::Words(query), Modifier::Text | Modifier::TextAdvanced) => {
                let texts = match parameter.kind {
                    ParameterType::String => text::strings(element),
                    _ => text::displays(parameter, element),
                };
                texts.iter().any(|text| words::are_in(query, text))
            }
            (ValueMatch::String(wanted), Modifier::CodeText) => {
                begins(parameter, element, wanted)
                    || is_shown(parameter, element, &text::plain(wanted))
            }
            (ValueMatch::Uri(wanted), Modifier::Below) => element
                .value
                .as_str()
                .is_some_and(|have| is_below(have, wanted)),
            (ValueMatch::Uri(wanted), Modifier::Above) => element
                .value
                .as_str()
                .is_some_and(|have| is_below(wanted, have)),
            (ValueMatch::Uri(wanted), Modifier::Contains) => {
                element.value.as_str().is_some_and(|have| {
                    have.to_ascii_lowercase()
                        .contains(&wanted.to_ascii_lowercase())
                })
            }
            (ValueMatch::Uri(wanted), Modifier::None) => is_uri(element, wanted),
            (ValueMatch::Date(wanted), Modifier::None) => {
                time::span(element).is_some_and(|span| time::meets(span, wanted))
            }
            (ValueMatch::Number(wanted), Modifier::None) => {
                measure::measure(element).is_some_and(|found| measure::meets(&found, wanted))
            }
            (ValueMatch::Quantity { number, unit }, Modifier::None) => {
                measured(element, number, unit)
            }
            (ValueMatch::Reference(ReferenceMatch::Local(wanted)), Modifier::None) => {
                match reference::target(element, self.definitions) {
                    Some(Target::Here(key, _)) => wanted.contains(&key),
                    _ => false,
                }
            }
            (ValueMatch::Reference(ReferenceMatch::Url(url)), Modifier::None) => {
                reference::target(element, self.definitions)
                    .is_some_and(|target| reference::is_at(&target, url, self.definitions))
            }
            (ValueMatch::Reference(ReferenceMatch::Local(wanted)), Modifier::Below) => {
                match reference::target(element, self.definitions) {
                    Some(Target::Here(key, _)) => {
                        wanted.iter().any(|above| self.within(&key).contains(above))
                    }
                    _ => false,
                }
            }
            (ValueMatch::Reference(ReferenceMatch::Local(wanted)), Modifier::Above) => {
                match reference::target(element, self.definitions) {
                    Some(Target::Here(key, _)) => {
                        wanted.iter().any(|below| self.within(below).contains(&key))
                    }
                    _ => false,
                }
            }
            (ValueMatch::Reference(ReferenceMatch::Url(wanted)), Modifier::Below) => {
                reference::text(element).is_some_and(|have| reference::is_version_of(have, wanted))
            }
            (ValueMatch::Reference(ReferenceMatch::Url(wanted)), Modifier::Above) => {
                reference::text(element).is_some_and(|have| reference::is_later_than(have, wanted))
            }
            (
                ValueMatch::Reference(ReferenceMatch::Identifier(wanted)),
                Modifier::Identifier | Modifier::None,
            ) => reference::identifier(element)
                .is_some_and(|identifier| token::is(&token::pair(identifier, "value"), wanted)),
            (ValueMatch::Composite(parts), Modifier::None) => {
                self.composite(parameter, parts, element, resource)?
            }
            (value, modifier) => return Err(Unknown(format!("{modifier:?} {value:?}"))),
        })
    }
}

/// `_filter`'s operators on texts.
fn compared(comparison: TextComparison, have: &str, wanted: &str) -> bool {
    match comparison {
        TextComparison::Equal => have == wanted,
        TextComparison::Unequal => have != wanted,
        TextComparison::EndsWith => have.ends_with(wanted),
        TextComparison::Greater => have > wanted,
        TextComparison::Less => have < wanted,
        TextComparison::GreaterOrEqual => have >= wanted,
        TextComparison::LessOrEqual => have <= wanted,
    }
}

/// A string that starts with the text; of a family name any word.
fn starts(parameter: &SearchParameter, element: &Element, wanted: &str) -> bool {
    let whole = text::strings(element);
    let words = text::later_words(&parameter.code, element);
    let mut all = whole.iter().map(|text| text::plain(text)).chain(words);
    all.any(|text| text.starts_with(wanted))
}

/// `:text`: what is shown beside the codes begins with it.
fn is_shown(parameter: &SearchParameter, element: &Element, wanted: &str) -> bool {
    let texts = text::displays(parameter, element);
    texts
        .iter()
        .any(|text| text::plain(text).starts_with(wanted))
}

/// `:code-text`: a code begins with it, whatever the case of ASCII letters.
fn begins(parameter: &SearchParameter, element: &Element, wanted: &str) -> bool {
    let wanted = wanted.to_ascii_lowercase();
    let codes = token::codes(element)
        .into_iter()
        .filter_map(|code| code.code);
    parameter.kind == ParameterType::Token
        && codes
            .into_iter()
            .any(|code| code.to_ascii_lowercase().starts_with(&wanted))
}

/// `:below` of a uri: the same, or continued by whole segments of its path.
fn is_below(have: &str, wanted: &str) -> bool {
    match have.strip_prefix(wanted) {
        Some("") => true,
        Some(rest) => wanted.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

/// The whole uri; a canonical also without its version.
fn is_uri(element: &Element, wanted: &str) -> bool {
    let Value::String(have) = &element.value else {
        return false;
    };
    let plain = have.split_once('|').map(|(plain, _)| plain);
    have == wanted || element.type_name == "canonical" && plain == Some(wanted)
}

fn measured(element: &Element, number: &fhir_search::query::NumberMatch, unit: &UnitMatch) -> bool {
    measure::measure(element)
        .and_then(|found| measure::in_unit(&found, unit))
        .is_some_and(|found| measure::meets(&found, number))
}

/// An element of extensions alone has none.
fn has_value(element: &Element) -> bool {
    match &element.value {
        Value::Object(members) => members
            .keys()
            .any(|name| name != "extension" && name != "id"),
        _ => true,
    }
}
