//! Parameters that mean the same in every type and are no value of an element (<https://hl7.org/fhir/R5/search.html#standard>): `_id`, `_lastUpdated`,
//! `_type`, and membership by `_list` and `_in`.
//!
//! - `_list` finds every item of the List, as the specification says, also one flagged `deleted`; `_in` finds active members only: of a List the items not
//!   deleted, of a Group and a CareTeam those that are not inactive and whose period has not ended or begins later.
//! - A collection that is not there has no members.
//! - `:not` of `_id` and `_in`, `:missing` of `_id` and `_lastUpdated`; other modifiers are refused, and so are chains beyond `_in`: `_has` says
//!   them (`_has:Group:member:code=…`).

use crate::functional_list;
use crate::parse::Refusal;
use crate::parse_clause::Parser;
use crate::parse_value as value;
use crate::query::Clause;
use fhir_model::key::is_id;
use fhir_model::{Reference, ResourceKey};

/// The types whose members `_in` asks for.
const COLLECTIONS: [&str; 3] = ["CareTeam", "Group", "List"];

impl Parser<'_> {
    /// The clause, if `code` is one of these parameters.
    pub(crate) fn special(
        &mut self,
        resource_type: &str,
        code: &str,
        modifier: Option<&str>,
        text: &str,
        depth: usize,
    ) -> Option<Result<Clause, Refusal>> {
        Some(match (code, modifier) {
            ("_id", None) => value::ids(text).map(Clause::Id),
            ("_id", Some("not")) => value::ids(text).map(|ids| negated(Clause::Id(ids))),
            ("_lastUpdated", None) => {
                value::dates(self.context, text, code).map(Clause::LastUpdated)
            }
            // Every resource has both.
            ("_id" | "_lastUpdated", Some("missing")) => {
                value::flag(code, text).map(|missing| match missing {
                    true => Clause::Any(Vec::new()),
                    false => Clause::All(Vec::new()),
                })
            }
            ("_type", None) => self.is_of_type(resource_type, text),
            ("_list", None) => self.list(resource_type, text, depth),
            ("_in", None) => self.members(COLLECTIONS.as_slice(), text),
            ("_in", Some("not")) => self.members(COLLECTIONS.as_slice(), text).map(negated),
            ("_in", Some(name)) if COLLECTIONS.contains(&name) => self.members(&[name], text),
            ("_id" | "_lastUpdated" | "_type" | "_list" | "_in", Some(_)) => Err(Refusal::unknown(
                format!("{code} takes no modifier of this name"),
            )),
            _ => return None,
        })
    }

    /// In a search of a type, or at the end of a chain: whether that is one of those named.
    fn is_of_type(&self, resource_type: &str, text: &str) -> Result<Clause, Refusal> {
        let names = value::alternatives(text, "_type")?;
        let known = |name: &&str| self.context.definitions.type_number(name).is_some();
        if !names.iter().all(known) {
            return Err(Refusal::invalid(
                "_type must name resource types of FHIR R5",
            ));
        }
        Ok(match names.contains(&resource_type) {
            true => Clause::All(Vec::new()),
            false => Clause::Any(Vec::new()),
        })
    }

    fn list(&mut self, resource_type: &str, text: &str, depth: usize) -> Result<Clause, Refusal> {
        let (functional, lists): (Vec<String>, Vec<String>) = value::ids(text)?
            .into_iter()
            .partition(|name| name.starts_with('$'));
        let mut any = Vec::new();
        for name in functional {
            any.push(functional_list::clause(self, resource_type, &name, depth)?);
        }
        if !lists.is_empty() {
            let collections = lists.iter().map(|name| self.collection(&["List"], name));
            any.push(Clause::MemberOf {
                collections: collections.collect::<Result<Vec<_>, _>>()?.concat(),
                active_at: None,
            });
        }
        Ok(match any.len() {
            1 => any.remove(0),
            _ => Clause::Any(any),
        })
    }

    fn members(&self, types: &[&str], text: &str) -> Result<Clause, Refusal> {
        let names = value::ids(text)?;
        let collections = names.iter().map(|name| self.collection(types, name));
        Ok(Clause::MemberOf {
            collections: collections.collect::<Result<Vec<_>, _>>()?.concat(),
            active_at: Some(self.context.now_micros),
        })
    }

    /// `id`, `Type/id` or a URL on the own base.
    fn collection(&self, types: &[&str], name: &str) -> Result<Vec<ResourceKey>, Refusal> {
        if is_id(name) {
            return Ok(types.iter().map(|it| ResourceKey::new(*it, name)).collect());
        }
        match Reference::parse(name, self.context.base) {
            Reference::Local { key, version: None }
                if types.contains(&key.resource_type.as_str()) =>
            {
                Ok(vec![key])
            }
            _ => Err(Refusal::invalid(format!(
                "a list or group must be named by its id, or as {}/[id]",
                types.join("/[id], ")
            ))),
        }
    }
}

fn negated(clause: Clause) -> Clause {
    Clause::Not(Box::new(clause))
}
