//! Searches by a part of a value: the beginning of a text or code, words, the path of a uri, the version of a canonical. The vocabulary has every
//! whole value once; what of it matches becomes the hashes that resources have (docs/adr/0025-vocabulary.md). Also hierarchies of resources.
//!
//! What matches more values than a search can look up is `too-costly`, and says what to add.

use super::flat::{StringTest, Test};
use super::resolve::Resolver;
use super::sql::{self, reference};
use crate::Error;
use fhir_definitions::{ParameterKey, ParameterType, SearchParameter};
use fhir_model::{Issue, IssueKind, ResourceKey};
use fhir_search::query::{Clause, Modifier, ReferenceMatch, ValueMatch};
use fhir_search::text::Words;
use fhir_search::token::STORED;
use fhir_search::vocabulary::Kind;
use fhir_search::{Candidate, hierarchy, string};
use std::collections::HashMap;

/// Most values of the vocabulary that one value of a search may match.
const MATCHES_MAX: usize = 5_000;
/// Most values of one parameter that are looked through for words.
const VALUES_MAX: usize = 100_000;
/// Most resources of a hierarchy.
const HIERARCHY_MAX: usize = 10_000;

/// Whether [`Resolver::by_part`] answers the clause.
pub(super) fn is_by_part(parameter: &SearchParameter, modifier: Modifier) -> bool {
    use ParameterType::{Reference, String, Uri};
    match modifier {
        Modifier::Text | Modifier::CodeText | Modifier::TextAdvanced => true,
        Modifier::Contains => matches!(parameter.kind, String | Uri),
        Modifier::Above | Modifier::Below => matches!(parameter.kind, Reference | Uri),
        _ => false,
    }
}

/// Whether it reads resources: those whose strings are longer than the index holds.
pub(super) fn reads(parameter: &SearchParameter, modifier: Modifier) -> bool {
    parameter.kind == ParameterType::String && is_by_part(parameter, modifier)
}

impl Resolver<'_> {
    /// The test for a Param clause of which [`is_by_part`].
    pub(super) async fn by_part(
        &mut self,
        parameter: &SearchParameter,
        modifier: Modifier,
        values: &[ValueMatch],
    ) -> Result<Test, Error> {
        if parameter.kind == ParameterType::String {
            return self.of_strings(parameter, modifier, values).await;
        }
        let key = parameter.key;
        let (mut tokens, mut references) = (Vec::new(), Vec::new());
        for value in values {
            match (value, modifier) {
                (ValueMatch::String(text), Modifier::Text) => {
                    let found = self
                        .beginning(parameter, Kind::Text, text, |_| true)
                        .await?;
                    tokens.extend(found.iter().map(|text| STORED.text(key, text)));
                }
                (ValueMatch::String(text), Modifier::CodeText) => {
                    let code = text.to_ascii_lowercase();
                    let found = self
                        .beginning(parameter, Kind::Code, &code, |_| true)
                        .await?;
                    tokens.extend(found.iter().map(|code| STORED.code(key, code)));
                    let text = string::normalise(text);
                    let found = self
                        .beginning(parameter, Kind::Text, &text, |_| true)
                        .await?;
                    tokens.extend(found.iter().map(|text| STORED.text(key, text)));
                }
                (ValueMatch::Words(query), _) => {
                    let answers = |text: &str| query.score(&Words::of_text(text)).is_some();
                    let found = self.any(parameter, Kind::Text, answers).await?;
                    tokens.extend(found.iter().map(|text| STORED.text(key, text)));
                }
                (ValueMatch::Uri(uri), Modifier::Above) => {
                    let paths = hierarchy::paths_above(uri);
                    bounded(parameter, paths.len())?;
                    tokens.extend(paths.iter().flat_map(|path| uris(key, path)));
                }
                (ValueMatch::Uri(uri), Modifier::Below) => {
                    let is_below = |other: &str| hierarchy::is_below(other, uri);
                    let found = self.beginning(parameter, Kind::Uri, uri, is_below).await?;
                    tokens.push(STORED.uri(key, uri));
                    tokens.extend(found.iter().flat_map(|uri| uris(key, uri)));
                }
                (ValueMatch::Uri(uri), Modifier::Contains) => {
                    let part = uri.to_ascii_lowercase();
                    let contains = |uri: &str| uri.to_ascii_lowercase().contains(&part);
                    let found = self.any(parameter, Kind::Uri, contains).await?;
                    tokens.extend(found.iter().flat_map(|uri| uris(key, uri)));
                }
                (ValueMatch::Reference(ReferenceMatch::Url(url)), _) => {
                    let matches = |other: &str| match modifier {
                        Modifier::Below => hierarchy::canonical_below(other, url),
                        _ => hierarchy::canonical_above(other, url),
                    };
                    let (plain, _) = hierarchy::canonical(url);
                    let found = self.beginning(parameter, Kind::Uri, plain, matches).await?;
                    tokens.extend(found.iter().map(|url| STORED.url(key, url)));
                }
                (ValueMatch::Reference(ReferenceMatch::Local(keys)), _) => {
                    let rows = self.related(keys, modifier == Modifier::Below).await?;
                    references.extend(rows.into_iter().map(|pk| reference(key.0, pk)));
                }
                _ => return Err(super::values::not_supported(parameter, modifier).into()),
            }
            bounded(parameter, tokens.len())?;
        }
        let mut tests = Vec::new();
        if !tokens.is_empty() {
            tests.push(Test::Tokens(tokens));
        }
        if !references.is_empty() {
            tests.push(self.any_reference(references));
        }
        Ok(match tests.len() {
            0 => Test::never(),
            1 => tests.remove(0),
            _ => Test::Any(tests),
        })
    }

    /// `:contains` and `:text` of strings. What is longer than the index holds is read.
    async fn of_strings(
        &mut self,
        parameter: &SearchParameter,
        modifier: Modifier,
        values: &[ValueMatch],
    ) -> Result<Test, Error> {
        let mut tests = Vec::new();
        for value in values {
            tests.push(match value {
                ValueMatch::String(text) => StringTest::Contains(text.clone()),
                ValueMatch::Words(query) => StringTest::Words(query.clone()),
                _ => return Err(super::values::not_supported(parameter, modifier).into()),
            });
        }
        let indexed = Test::Strings(parameter.own_string_rows(), tests);
        let longer = Test::Tokens(vec![STORED.longer(parameter.key)]);
        let (definitions, base) = (self.definitions, self.base);
        let Some(whole) = definitions.search_parameter(&parameter.resource_type, &parameter.code)
        else {
            return Ok(indexed);
        };
        let clause = Clause::Param {
            parameter: whole.clone(),
            modifier,
            values: values.to_vec(),
        };
        let types = [parameter.resource_type.clone()];
        let read = self
            .read(longer, &types, |resource| {
                let candidate = Candidate::read(definitions, resource, base);
                candidate.and_then(|candidate| candidate.clause(&clause)) == Some(true)
            })
            .await?;
        Ok(match read == Test::never() {
            true => indexed,
            false => Test::Any(vec![indexed, read]),
        })
    }

    /// The values of the parameter's vocabulary that begin with `start` and match.
    async fn beginning(
        &mut self,
        parameter: &SearchParameter,
        kind: Kind,
        start: &str,
        matches: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, Error> {
        let mut found: Vec<String> =
            sql::vocabulary(parameter.key.0, kind as i16, start, VALUES_MAX as i64 + 1)
                .build_query_scalar()
                .fetch_all(&mut *self.connection)
                .await?;
        looked_through(parameter, found.len())?;
        found.retain(|value| matches(value));
        bounded(parameter, found.len())?;
        Ok(found)
    }

    /// All values of the parameter's vocabulary that match.
    async fn any(
        &mut self,
        parameter: &SearchParameter,
        kind: Kind,
        matches: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, Error> {
        self.beginning(parameter, kind, "", matches).await
    }

    /// The rows of `keys`, and of all that is part of them, or that they are part of.
    async fn related(&mut self, keys: &[ResourceKey], below: bool) -> Result<Vec<i64>, Error> {
        let mut by_parent: HashMap<i16, Vec<i64>> = HashMap::new();
        for key in keys {
            let parent = hierarchy::parent_of(self.definitions, &key.resource_type);
            if let (Some(parent), Some(pk)) = (parent, self.known.rows.get(key)) {
                by_parent.entry(parent.key.0).or_default().push(*pk);
            }
        }
        let mut related = Vec::new();
        for (parent, rows) in by_parent {
            let found: Vec<i64> = sql::hierarchy(parent, rows, below, HIERARCHY_MAX as i64 + 1)
                .build_query_scalar()
                .fetch_all(&mut *self.connection)
                .await?;
            related.extend(found);
        }
        match related.len() > HIERARCHY_MAX {
            true => Err(too_costly(format!(
                "more than {HIERARCHY_MAX} resources are part of what the search names; name one that has fewer"
            ))),
            false => Ok(related),
        }
    }
}

/// The uri, and with any fragment.
fn uris(key: ParameterKey, uri: &str) -> [i64; 2] {
    [STORED.uri(key, uri), STORED.uri_before_fragment(key, uri)]
}

fn looked_through(parameter: &SearchParameter, values: usize) -> Result<(), Error> {
    match values > VALUES_MAX {
        true => Err(too_costly(format!(
            "{}.{} has more than {VALUES_MAX} values to look through; search by the beginning of a value, or by its whole",
            parameter.resource_type, parameter.code
        ))),
        false => Ok(()),
    }
}

fn bounded(parameter: &SearchParameter, matches: usize) -> Result<(), Error> {
    match matches > MATCHES_MAX {
        true => Err(too_costly(format!(
            "more than {MATCHES_MAX} values of {}.{} match; ask for more of the value",
            parameter.resource_type, parameter.code
        ))),
        false => Ok(()),
    }
}

fn too_costly(diagnostics: String) -> Error {
    Error::Refused(vec![Issue::error(IssueKind::TooCostly, diagnostics)])
}
