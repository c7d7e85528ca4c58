//! Whether one resource matches a query, by itself alone: the second look at what a condition or an index found.
//!
//! What depends on other resources (chains out of it, `_has`) is undecided, and where only the search document is known, what that does not hold
//! (words, whole strings, one element alone) too. A candidate read from the resource is hashed by another family than the stored rows
//! ([`RECHECK`]), so that two texts that agree by accident in the index do not agree here.

use crate::composite;
use crate::contained::{self, Container};
use crate::document::{Extraction, QuantityEntry, SearchDocument, extract, marked};
use crate::element;
use crate::hierarchy;
use crate::number::Measure;
use crate::position::{self, Near, Point};
use crate::query::{
    ChainedClause, Clause, Modifier, Query, ReferenceMatch, TextComparison, TextOf, UnitMatch,
    ValueMatch,
};
use crate::string;
use crate::string::normalise;
use crate::text::Words;
use crate::token::{Hashes, RECHECK, STORED};
use crate::union;
use crate::vocabulary::Kind;
use fhir_definitions::{Definitions, ParameterKey, SearchParameter, StringRows};
use fhir_model::{DateRange, Decimal, PartialDate, ResourceKey};
use serde_json::Value;
use std::cell::OnceCell;
use std::slice;

/// A resource that may match.
pub struct Candidate<'a> {
    pub(crate) key: ResourceKey,
    /// `meta.lastUpdated`; `None` before the resource is stored.
    last_updated: Option<DateRange>,
    document: OnceCell<SearchDocument>,
    hashes: Hashes,
    /// `None` where only the document is known.
    pub(crate) whole: Option<Whole<'a>>,
}

/// What `meta.lastUpdated` covers, in microseconds.
const MILLISECOND: i64 = 1_000;

/// The resource itself, and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Whole<'a> {
    pub definitions: &'a Definitions,
    pub base: Option<&'a str>,
    pub resource: &'a Value,
    /// What contains it, or contains others: itself where it stands alone.
    pub container: Container<'a>,
    pub elsewhere: Option<Elsewhere<'a>>,
}

/// Whether the clause of a chain holds for another resource of this server; `None` where that is not known.
pub type Elsewhere<'a> = &'a dyn Fn(&ChainedClause, &ResourceKey) -> Option<bool>;

impl<'a> Candidate<'a> {
    /// From the resource itself. `None` when it has no type; one without an id matches no `_id`.
    pub fn read(
        definitions: &'a Definitions,
        resource: &'a Value,
        base: Option<&'a str>,
    ) -> Option<Candidate<'a>> {
        let last_updated = resource
            .get("meta")
            .and_then(|meta| meta.get("lastUpdated"));
        let last_updated = last_updated
            .and_then(Value::as_str)
            .and_then(PartialDate::parse)
            .map(|date| date.range);
        let whole = Whole {
            definitions,
            base,
            resource,
            container: Container::new(resource),
            elsewhere: None,
        };
        Candidate::of(whole, last_updated)
    }

    pub(crate) fn of(whole: Whole<'a>, last_updated: Option<DateRange>) -> Option<Candidate<'a>> {
        let text = |name: &str| whole.resource.get(name).and_then(Value::as_str);
        Some(Candidate {
            key: ResourceKey::new(text("resourceType")?, text("id").unwrap_or_default()),
            last_updated,
            document: OnceCell::new(),
            hashes: RECHECK,
            whole: Some(whole),
        })
    }

    /// From a document as it is stored.
    pub fn stored(
        key: ResourceKey,
        last_updated: Option<DateRange>,
        document: SearchDocument,
    ) -> Candidate<'a> {
        Candidate {
            key,
            last_updated,
            document: OnceCell::from(document),
            hashes: STORED,
            whole: None,
        }
    }

    /// The same, knowing what holds for the resources that its chains lead to.
    #[must_use]
    pub fn with(mut self, elsewhere: Elsewhere<'a>) -> Candidate<'a> {
        if let Some(whole) = &mut self.whole {
            whole.elsewhere = Some(elsewhere);
        }
        self
    }

    /// The same, updated at this time, in microseconds since 1970 UTC: rows know it.
    #[must_use]
    pub fn updated(mut self, micros: i64) -> Candidate<'a> {
        self.last_updated = Some(DateRange {
            lo: micros,
            hi: micros.saturating_add(MILLISECOND),
        });
        self
    }

    pub fn key(&self) -> &ResourceKey {
        &self.key
    }

    pub fn last_updated(&self) -> Option<DateRange> {
        self.last_updated
    }

    /// What it can be found by.
    pub fn document(&self) -> &SearchDocument {
        self.document.get_or_init(|| match &self.whole {
            Some(whole) => extract(
                whole.definitions,
                whole.resource,
                whole.container.resource,
                whole.base,
                self.hashes,
            ),
            None => SearchDocument::default(),
        })
    }

    /// Whether it matches all that the query filters by. `None`: what can be decided holds, the rest cannot be.
    pub fn matches(&self, query: &Query) -> Option<bool> {
        if !query.types.contains(&self.key.resource_type) {
            return Some(false);
        }
        all(query.filter.iter().map(|clause| self.clause(clause)))
    }

    /// Whether one condition holds.
    pub fn clause(&self, clause: &Clause) -> Option<bool> {
        if let Some(clause) = union::of_members(clause) {
            return self.clause(&clause);
        }
        match clause {
            Clause::Param {
                parameter,
                modifier,
                values,
            } => {
                let found = any(values
                    .iter()
                    .map(|value| self.value(parameter, *modifier, value)));
                match modifier.negates() {
                    true => found.map(|found| !found),
                    false => found,
                }
            }
            Clause::Missing { parameter, missing } => {
                Some(self.token(self.hashes.present(parameter.key)) != *missing)
            }
            Clause::Id(ids) => Some(ids.contains(&self.key.id)),
            Clause::LastUpdated(dates) => {
                let range = self.last_updated?;
                Some(dates.iter().any(|date| date.matches(range.lo, range.hi)))
            }
            Clause::ByType(chained) => self.by_type(chained),
            Clause::Any(clauses) => any(clauses.iter().map(|clause| self.clause(clause))),
            Clause::All(clauses) => all(clauses.iter().map(|clause| self.clause(clause))),
            Clause::Not(clause) => self.clause(clause).map(|holds| !holds),
            Clause::Element { parameter, clause } => self.element(parameter, clause),
            Clause::Text { of, query } => Some(query.score(&self.words(*of)?).is_some()),
            Clause::Chain {
                parameter, clause, ..
            } => contained::chain(self, parameter, clause),
            Clause::Has { parameter, clause } => contained::has(self, parameter, clause),
            Clause::MemberOf { .. } => self.is_contained().then_some(false),
        }
    }

    /// Nothing beyond its container refers to it then.
    fn is_contained(&self) -> bool {
        let whole = self.whole.as_ref();
        whole.is_some_and(|whole| !whole.container.is(whole.resource))
    }

    pub(crate) fn by_type(&self, chained: &ChainedClause) -> Option<bool> {
        chained
            .by_type
            .iter()
            .find(|(name, _)| *name == self.key.resource_type)
            .map_or(Some(false), |(_, clause)| self.clause(clause))
    }

    /// The words that a search of them looks at.
    fn words(&self, of: TextOf) -> Option<Words> {
        self.whole.map(|whole| Words::of(of, whole.resource))
    }

    /// How well it answers the words that the query asks for: the mean of its conditions on them. `None` where there are none, or one does
    /// not hold.
    pub fn score(&self, query: &Query) -> Option<f64> {
        let mut scores = Vec::new();
        for clause in &query.filter {
            if let Clause::Text { of, query } = clause {
                scores.push(query.score(&self.words(*of)?)?);
            }
        }
        let sum: f64 = scores.iter().sum();
        (!scores.is_empty()).then(|| sum / scores.len() as f64)
    }

    fn value(
        &self,
        parameter: &SearchParameter,
        modifier: Modifier,
        value: &ValueMatch,
    ) -> Option<bool> {
        let (key, hashes) = (parameter.key, self.hashes);
        let rows = parameter.own_string_rows();
        Some(match (value, modifier) {
            (ValueMatch::Token(token), Modifier::None | Modifier::Not) => {
                self.token(hashes.token(key, token))
            }
            (ValueMatch::Concepts { tokens, .. }, _) => {
                let mut tokens = tokens.iter();
                tokens.any(|token| self.token(hashes.token(key, token)))
            }
            (
                ValueMatch::OfType {
                    system,
                    code,
                    value,
                },
                _,
            ) => self.token(hashes.of_type(key, system, code, value)),
            (ValueMatch::String(text), Modifier::Exact) => {
                let mut keys = parameter.exact_keys();
                keys.any(|key| self.token(hashes.exact(key, text)))
            }
            (ValueMatch::String(text), Modifier::None) => {
                self.string(rows, |value| value.starts_with(text))
            }
            (ValueMatch::String(text), Modifier::Contains) => {
                self.string(rows, |value| value.contains(text))
            }
            (ValueMatch::String(text), Modifier::Text) => {
                self.word(key, Kind::Text, |value| value.starts_with(text))
            }
            (ValueMatch::String(text), Modifier::CodeText) => {
                let (code, text) = (text.to_ascii_lowercase(), normalise(text));
                self.word(key, Kind::Code, |value| value.starts_with(&code))
                    || self.word(key, Kind::Text, |value| value.starts_with(&text))
            }
            (ValueMatch::Words(query), Modifier::TextAdvanced) => {
                let answers = |text: &str| query.score(&Words::of_text(text)).is_some();
                self.word(key, Kind::Text, answers)
            }
            (ValueMatch::Words(query), Modifier::Text) => {
                self.string(rows, |text| query.score(&Words::of_text(text)).is_some())
            }
            (ValueMatch::Uri(uri), Modifier::Above) => {
                self.word(key, Kind::Uri, |value| hierarchy::is_below(uri, value))
            }
            (ValueMatch::Uri(uri), Modifier::Below) => {
                self.token(hashes.uri(key, uri))
                    || self.word(key, Kind::Uri, |value| hierarchy::is_below(value, uri))
            }
            (ValueMatch::Uri(uri), Modifier::Contains) => {
                let part = uri.to_ascii_lowercase();
                self.word(key, Kind::Uri, |value| {
                    value.to_ascii_lowercase().contains(&part)
                })
            }
            (ValueMatch::Reference(ReferenceMatch::Url(url)), Modifier::Above) => {
                self.word(key, Kind::Uri, |value| {
                    hierarchy::canonical_above(value, url)
                })
            }
            (ValueMatch::Reference(ReferenceMatch::Url(url)), Modifier::Below) => {
                self.word(key, Kind::Uri, |value| {
                    hierarchy::canonical_below(value, url)
                })
            }
            (ValueMatch::Uri(uri), Modifier::None) => self.token(hashes.uri(key, uri)),
            (ValueMatch::Reference(ReferenceMatch::Identifier(token)), _) => {
                self.token(hashes.reference_identifier(key, token))
            }
            (ValueMatch::Reference(ReferenceMatch::Url(url)), Modifier::None) => {
                self.token(hashes.url(key, url))
            }
            (ValueMatch::Reference(ReferenceMatch::Local(targets)), Modifier::None) => {
                let mut entries = self.document().references.iter();
                entries.any(|entry| entry.key == key && targets.contains(&entry.target))
            }
            (ValueMatch::Text { comparison, text }, Modifier::None) => {
                return self.text(parameter, *comparison, text);
            }
            (ValueMatch::Near(near), Modifier::None) => {
                let mut entries = self.document().quantities.iter();
                entries.any(|entry| entry.key == key && is_at(entry, near))
            }
            (ValueMatch::Point(point), _) => {
                position::is_around(parameter, self.whole?.resource, slice::from_ref(point))
            }
            (ValueMatch::Composite(parts), Modifier::None) => {
                return self.composite(parameter, parts);
            }
            (ordered, Modifier::None) => return self.ordered(key, &[], ordered),
            _ => return None,
        })
    }

    /// A date, number or quantity; in a composite beside `others`.
    fn ordered(&self, key: ParameterKey, others: &[i64], value: &ValueMatch) -> Option<bool> {
        let marker = match others {
            [] => 0,
            _ => self.hashes.composite(key, others),
        };
        let (number, unit) = match value {
            ValueMatch::Date(date) => {
                let mut entries = self.document().dates.iter();
                return Some(entries.any(|entry| {
                    entry.key == key && entry.marker == marker && date.matches(entry.lo, entry.hi)
                }));
            }
            ValueMatch::String(text) => {
                let start = marked(marker, text);
                let rows = StringRows::all(key);
                return Some(self.string(rows, |value| value.starts_with(&start)));
            }
            ValueMatch::Number(number) => (number, &UnitMatch::Any),
            ValueMatch::Quantity { number, unit } => (number, unit),
            _ => return None,
        };
        let measure = Measure::new(self.hashes, number, unit);
        let mut entries = self.document().quantities.iter();
        Some(entries.any(|entry| {
            let range = (entry.lo.as_ref(), entry.hi.as_ref());
            entry.key == key
                && entry.marker == marker
                && measure.matches(range, &entry.units, entry.ucum.as_deref())
        }))
    }

    fn composite(&self, parameter: &SearchParameter, parts: &[ValueMatch]) -> Option<bool> {
        if composite::has_several_ordered(parts) {
            let Whole {
                definitions,
                base,
                resource,
                ..
            } = self.whole?;
            let extraction = Extraction::new(definitions, base, self.hashes);
            return Some(composite::holds(&extraction, parameter, parts, resource));
        }
        let key = parameter.key;
        // A bare id may stand for several targets, so each part has alternatives.
        let mut whole: Vec<Vec<i64>> = vec![Vec::new()];
        let mut ordered = None;
        for part in parts {
            let atoms: Vec<i64> = match part {
                ValueMatch::Token(token) => vec![self.hashes.token(key, token)],
                ValueMatch::Uri(uri) => vec![self.hashes.uri(key, uri)],
                ValueMatch::Reference(ReferenceMatch::Url(url)) => vec![self.hashes.url(key, url)],
                ValueMatch::Reference(ReferenceMatch::Local(targets)) => targets
                    .iter()
                    .map(|target| self.hashes.url(key, &target.to_string()))
                    .collect(),
                other => match ordered.replace(other) {
                    None => continue,
                    Some(_) => return None,
                },
            };
            whole = whole
                .iter()
                .flat_map(|before| {
                    atoms
                        .iter()
                        .map(|atom| [before.as_slice(), &[*atom]].concat())
                })
                .collect();
        }
        any(whole.iter().map(|others| match ordered {
            None => Some(self.token(self.hashes.composite(key, others))),
            Some(value) => self.ordered(key, others, value),
        }))
    }

    /// One element of the parameter, looked at alone.
    fn element(&self, parameter: &SearchParameter, clause: &Clause) -> Option<bool> {
        let whole = self.whole?;
        let elements = element::alone(parameter, whole.resource);
        any(elements.iter().map(|resource| {
            Candidate::of(Whole { resource, ..whole }, self.last_updated)
                .map_or(Some(false), |candidate| candidate.clause(clause))
        }))
    }

    /// The whole strings, not the words nor the parts that the index has of them.
    fn text(
        &self,
        parameter: &SearchParameter,
        comparison: TextComparison,
        text: &str,
    ) -> Option<bool> {
        let source = self.whole?;
        let mut nodes = Vec::new();
        parameter.program.as_ref()?.run(source.resource, &mut nodes);
        let mut found = false;
        for node in nodes {
            string::each(node, &mut |_, value| {
                let value = string::normalise_whole(value);
                found |= !value.is_empty() && comparison.holds(&value, text);
            });
        }
        Some(found)
    }

    fn token(&self, hash: i64) -> bool {
        self.document().tokens.binary_search(&hash).is_ok()
    }

    fn word(&self, key: ParameterKey, kind: Kind, test: impl Fn(&str) -> bool) -> bool {
        let mut entries = self.document().vocabulary.iter();
        entries.any(|entry| entry.key == key && entry.kind == kind && test(&entry.value))
    }

    fn string(&self, rows: StringRows, test: impl Fn(&str) -> bool) -> bool {
        let mut entries = self.document().strings.iter();
        entries.any(|entry| rows.have(entry.key, entry.parts) && test(&entry.value))
    }
}

fn is_at(entry: &QuantityEntry, near: &Near) -> bool {
    let degrees = |bound: &Option<Decimal>| bound.as_ref()?.to_plain().parse().ok();
    degrees(&entry.lo)
        .zip(degrees(&entry.hi))
        .and_then(|(latitude, longitude)| Point::new(latitude, longitude))
        .is_some_and(|point| near.matches(point))
}

/// False when one is false; undecided when one is.
pub(crate) fn all(results: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    any(results.map(|result| result.map(|holds| !holds))).map(|fails| !fails)
}

/// True when one is true; undecided when one is.
pub(crate) fn any(results: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut decided = Some(false);
    for result in results {
        match result {
            Some(true) => return Some(true),
            Some(false) => {}
            None => decided = None,
        }
    }
    decided
}
