//! Resources within a resource (<https://hl7.org/fhir/R5/references.html#contained>): which there are, and what of a query can be decided
//! among them.
//!
//! A chain is followed into a contained resource (`#id`) and from there to its siblings, to the container (`#`) and out again. `_has` is
//! decided for contained resources alone: only within its container can anything point at one. Containers nest one level, as the
//! specification has it.

use crate::canonical::holds_canonicals;
use crate::matching::{Candidate, Elsewhere, Whole, any};
use crate::query::{ChainedClause, Clause};
use crate::reference::{self, Target};
use fhir_definitions::{Definitions, SearchParameter};
use serde_json::Value;
use std::ptr;

/// A resource with those that it contains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container<'a> {
    pub resource: &'a Value,
}

impl<'a> Container<'a> {
    pub fn new(resource: &'a Value) -> Container<'a> {
        Container { resource }
    }

    pub fn is(self, resource: &Value) -> bool {
        ptr::eq(self.resource, resource)
    }

    /// What `#id` stands for; `#` alone for the container.
    fn get(self, id: &str) -> Option<&'a Value> {
        match id {
            "" => Some(self.resource),
            _ => within(self.resource).find(|one| id_of(one) == Some(id)),
        }
    }
}

/// The resources that `resource` contains, in order.
pub fn within(resource: &Value) -> impl Iterator<Item = &Value> {
    resource
        .get("contained")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn id_of(resource: &Value) -> Option<&str> {
    resource.get("id").and_then(Value::as_str)
}

/// The resources that `container` contains, each with its number and as a candidate of its own.
pub fn candidates<'a>(
    definitions: &'a Definitions,
    container: &'a Value,
    base: Option<&'a str>,
    elsewhere: Elsewhere<'a>,
) -> impl Iterator<Item = (usize, Candidate<'a>)> {
    let inside = within(container).enumerate();
    inside.filter_map(move |(number, resource)| {
        let whole = Whole {
            definitions,
            base,
            resource,
            container: Container::new(container),
            elsewhere: Some(elsewhere),
        };
        Some((number, Candidate::of(whole, None)?))
    })
}

/// Whether a chain leads from the candidate to a resource that meets its clause.
pub(crate) fn chain(
    candidate: &Candidate<'_>,
    parameter: &SearchParameter,
    clause: &ChainedClause,
) -> Option<bool> {
    let whole = candidate.whole?;
    let mut found = Vec::new();
    targets(&whole, parameter, &mut |target| {
        found.push(match target {
            Target::Contained(id) => {
                inside(candidate, &whole, id).map_or(Some(false), |it| it.by_type(clause))
            }
            Target::Local(key) => whole.elsewhere.and_then(|known| known(clause, &key)),
            // A canonical URL may be that of a resource here.
            Target::Url(_) | Target::Latest(_) if holds_canonicals(parameter) => None,
            Target::Url(_) | Target::Latest(_) | Target::Identifier(_) => Some(false),
        });
    });
    any(found.into_iter())
}

/// Whether a chain leads from the candidate into a resource that it contains and that meets the clause; what it refers to elsewhere is left
/// out.
pub fn chain_within(
    candidate: &Candidate<'_>,
    parameter: &SearchParameter,
    clause: &ChainedClause,
) -> Option<bool> {
    let whole = candidate.whole?;
    let mut found = Vec::new();
    targets(&whole, parameter, &mut |target| {
        if let Target::Contained(id) = target {
            found.extend(inside(candidate, &whole, id).map(|it| it.by_type(clause)));
        }
    });
    any(found.into_iter())
}

/// Whether a resource of the same container that meets the clause points at the candidate, which is contained.
pub(crate) fn has(
    candidate: &Candidate<'_>,
    parameter: &SearchParameter,
    clause: &Clause,
) -> Option<bool> {
    let whole = candidate.whole?;
    if whole.container.is(whole.resource) {
        return None;
    }
    let container = whole.container.resource;
    let sources = std::iter::once(container).chain(within(container));
    any(sources.map(|resource| {
        let source = Whole { resource, ..whole };
        let Some(other) = Candidate::of(source, candidate.last_updated()) else {
            return Some(false);
        };
        if other.key.resource_type != parameter.resource_type {
            return Some(false);
        }
        let mut points = false;
        targets(&source, parameter, &mut |target| {
            points |= matches!(target, Target::Contained(id) if !id.is_empty() && *id == candidate.key.id);
        });
        match points {
            true => other.clause(clause),
            false => Some(false),
        }
    }))
}

/// What `#id` of the candidate stands for; it was updated when its container was.
fn inside<'a>(candidate: &Candidate<'_>, whole: &Whole<'a>, id: &str) -> Option<Candidate<'a>> {
    let resource = whole.container.get(id)?;
    Candidate::of(Whole { resource, ..*whole }, candidate.last_updated())
}

/// Calls `visit` for everything that the resource points at by the parameter.
fn targets(whole: &Whole<'_>, parameter: &SearchParameter, visit: &mut dyn FnMut(Target<'_>)) {
    let Some(program) = &parameter.program else {
        return;
    };
    let mut nodes = Vec::new();
    program.run_within(whole.resource, whole.container.resource, &mut nodes);
    for node in nodes {
        reference::each(node, whole.definitions, whole.base, &mut |target| {
            visit(target)
        });
    }
}
