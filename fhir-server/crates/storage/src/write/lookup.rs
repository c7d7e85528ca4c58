//! What the database says under the locks: which resources the conditions match, and so who the changes are for.

use super::plan::{Action, Identity, Plan, Planned, at, duplicate, refuse};
use super::written::{Written, distinct};
use crate::change::Read;
use crate::error::{CommitError, Error};
use crate::policy::Policies;
use crate::read;
use crate::search::{Matched, too_costly};
use crate::store::Store;
use fhir_definitions::Definitions;
use fhir_model::{IssueKind, ResourceKey};
use fhir_search::Query;
use fhir_search::matching::Candidate;
use sqlx::{Connection, PgConnection};
use std::collections::{HashMap, HashSet};

/// Matches looked at of a patch's condition: one decides, two are too many, one more may turn out to be none.
const FOUND_MAX: usize = 3;

/// Who the changes are for, and where the conditional references lead.
pub(super) struct Resolved {
    /// The key of each change; `None`: a delete whose condition matches nothing.
    pub keys: Vec<Option<ResourceKey>>,
    /// The match of each change by condition that has one.
    pub matched: HashMap<usize, Matched>,
    /// What a delete by condition matches beside that.
    pub also: Vec<(usize, Matched)>,
    /// The conditional references, by their text.
    pub conditional: HashMap<String, Matched>,
}

impl Store {
    /// The matches of each change by condition.
    pub(super) async fn matches<'p>(
        &self,
        connection: &mut PgConnection,
        definitions: &Definitions,
        plan: &'p Plan,
    ) -> Result<HashMap<usize, Vec<Matched>>, (usize, Error)> {
        let by_condition = |(index, change): (usize, &'p Planned)| match &change.identity {
            Identity::Match { query, .. } => Some((index, query.as_ref())),
            Identity::New(_) | Identity::Id(_) => None,
        };
        let conditions = plan.changes.iter().enumerate().filter_map(by_condition);
        let limit = plan.found_max();
        self.of_conditions(connection, definitions, conditions.collect(), limit)
            .await
    }

    /// At most `limit` matches of each condition, by the place that came with it.
    async fn of_conditions(
        &self,
        connection: &mut PgConnection,
        definitions: &Definitions,
        conditions: Vec<(usize, &Query)>,
        limit: usize,
    ) -> Result<HashMap<usize, Vec<Matched>>, (usize, Error)> {
        let mut plain = Vec::new();
        let mut matches = HashMap::new();
        for (place, query) in conditions {
            match plain_tokens(query) {
                Some(tokens) => plain.push((place, query, tokens)),
                None => {
                    let found = self.matched(connection, definitions, query, limit).await;
                    matches.insert(place, found.map_err(|error| (place, error))?);
                }
            }
        }
        if let Some((first, ..)) = plain.first() {
            let first = *first;
            let found = self
                .having_tokens(connection, definitions, plain, limit)
                .await;
            matches.extend(found.map_err(|error| (first, too_costly(Error::from(error))))?);
        }
        Ok(matches)
    }

    /// The resources that have all tokens of a condition. One statement for all conditions.
    async fn having_tokens(
        &self,
        connection: &mut PgConnection,
        definitions: &Definitions,
        conditions: Vec<(usize, &Query, Vec<i64>)>,
        limit: usize,
    ) -> Result<HashMap<usize, Vec<Matched>>, sqlx::Error> {
        let mut tokens: Vec<i64> = Vec::new();
        let mut ends: Vec<i32> = Vec::new();
        for (_, _, wanted) in &conditions {
            tokens.extend(wanted);
            ends.push(tokens.len() as i32);
        }
        let rows: Vec<(i64, i64, i16, String, i32, Option<String>)> = sqlx::query_as(
            "SELECT c.place, r.pk, r.type, r.id, r.version, coalesce(r.source, r.content::text) FROM ( \
               SELECT place, ($1::bigint[])[lag(t_end, 1, 0) OVER (ORDER BY place) + 1 : t_end] AS tokens \
               FROM unnest($2::int[]) WITH ORDINALITY AS c(t_end, place)) c \
             CROSS JOIN LATERAL (SELECT pk FROM entry WHERE tokens @> c.tokens LIMIT $3) e \
             CROSS JOIN LATERAL (SELECT * FROM resource WHERE pk = e.pk LIMIT 1) r",
        )
        .bind(tokens)
        .bind(ends)
        .bind(limit as i64)
        .fetch_all(connection)
        .await?;
        let mut matches: HashMap<usize, Vec<Matched>> = HashMap::new();
        for (place, pk, number, id, version, text) in rows {
            let (index, query, _) = &conditions[place as usize - 1];
            let Some(resource_type) = definitions.type_name(number) else {
                continue;
            };
            let key = ResourceKey::new(resource_type, id);
            if self.matches_itself(definitions, query, &key, text.as_deref()) {
                let matched = Matched { pk, key, version };
                matches.entry(*index).or_default().push(matched);
            }
        }
        Ok(matches)
    }

    /// At most `limit` matches of any condition.
    async fn matched(
        &self,
        connection: &mut PgConnection,
        definitions: &Definitions,
        query: &Query,
        limit: usize,
    ) -> Result<Vec<Matched>, Error> {
        // A generic plan would not know how rare the values are.
        sqlx::query("SET LOCAL plan_cache_mode = force_custom_plan")
            .execute(&mut *connection)
            .await?;
        let mut found =
            crate::search::match_in(connection, definitions, &self.inner, query, limit).await?;
        let pks: Vec<i64> = found.iter().map(|found| found.pk).collect();
        let texts: Vec<(i64, Option<String>)> = sqlx::query_as(
            "SELECT pk, coalesce(source, content::text) FROM resource WHERE pk = ANY ($1)",
        )
        .bind(pks)
        .fetch_all(connection)
        .await?;
        let texts: HashMap<i64, Option<String>> = texts.into_iter().collect();
        found.retain(|found| {
            let text = texts.get(&found.pk).and_then(Option::as_deref);
            self.matches_itself(definitions, query, &found.key, text)
        });
        Ok(found)
    }

    /// The one match of a patch's condition.
    pub(super) async fn only_match(
        &self,
        connection: &mut PgConnection,
        definitions: &Definitions,
        query: &Query,
    ) -> Result<ResourceKey, Error> {
        let mut transaction = connection.begin().await?;
        let settings = format!(
            "SET LOCAL statement_timeout = {}",
            self.inner.settings.statement_timeout_ms
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(settings))
            .execute(&mut *transaction)
            .await?;
        let mut found = self
            .matched(&mut transaction, definitions, query, FOUND_MAX)
            .await?;
        transaction.rollback().await?;
        match (found.pop(), found.is_empty()) {
            (Some(one), true) => Ok(one.key),
            (None, _) => Err(refuse(
                IssueKind::NotFound,
                "the condition matches nothing, so there is nothing to patch",
            )),
            _ => Err(refuse(
                IssueKind::MultipleMatches,
                "the condition matches several resources",
            )),
        }
    }

    /// A second look, at the resource itself: a 64-bit hash in the index may agree by accident. What the resource alone cannot decide
    /// (a chain) was decided by the search.
    fn matches_itself(
        &self,
        definitions: &Definitions,
        query: &Query,
        key: &ResourceKey,
        text: Option<&str>,
    ) -> bool {
        let Some(text) = text else { return false };
        let whole = read::whole(&key.resource_type, text);
        let resource = serde_json::from_str(&whole).ok();
        resource.is_some_and(|resource| {
            Candidate::read(definitions, &resource, self.base())
                .is_some_and(|candidate| candidate.matches(query) != Some(false))
        })
    }

    /// Decides who each change is for, and resolves conditional references: those may lead to what the commit itself writes, so they come last
    /// (<https://hl7.org/fhir/R5/http.html#trules>).
    pub(super) async fn resolved(
        &self,
        connection: &mut PgConnection,
        definitions: &Definitions,
        plan: &Plan,
        matches: &HashMap<usize, Vec<Matched>>,
    ) -> Result<Resolved, CommitError> {
        let mut resolved = Resolved {
            keys: Vec::with_capacity(plan.changes.len()),
            matched: HashMap::new(),
            also: Vec::new(),
            conditional: HashMap::new(),
        };
        let limit = plan.found_max();
        let mut deletions = 0;
        let deleted = deleted(plan, matches);
        for (index, change) in plan.changes.iter().enumerate() {
            let mut found = matches.get(&index).cloned().unwrap_or_default();
            if change.is_create() {
                // Deletions come before creates.
                found.retain(|found| !deleted.contains(&found.key));
            }
            if let (Identity::Match { .. }, Action::Delete { at_most }) =
                (&change.identity, &change.action)
                && *at_most > 1
            {
                deletions += found.len();
                if deletions > *at_most {
                    let text = format!(
                        "the conditions match more than {at_most} resources, and no more may be deleted at once; nothing is deleted"
                    );
                    return Err(at(index)(refuse(IssueKind::TooCostly, &text)));
                }
            }
            let key = match (&found[..], &change.identity, &change.action) {
                ([one], Identity::Match { fresh, given, .. }, _) => {
                    if *given && *fresh != one.key.id {
                        let text = "the id in the resource is not that of the resource matched";
                        return Err(at(index)(refuse(IssueKind::Syntax, text)));
                    }
                    resolved.matched.insert(index, one.clone());
                    Some(one.key.clone())
                }
                ([], Identity::Match { .. }, Action::Delete { .. }) => None,
                ([first, rest @ ..], _, Action::Delete { at_most }) if *at_most > 1 => {
                    resolved.matched.insert(index, first.clone());
                    resolved
                        .also
                        .extend(rest.iter().map(|one| (index, one.clone())));
                    Some(first.key.clone())
                }
                ([], identity, _) => Some(change.key(identity.id())),
                _ => {
                    let text = "the condition matches several resources";
                    return Err(at(index)(refuse(IssueKind::MultipleMatches, text)));
                }
            };
            resolved.keys.push(key);
        }
        let written = Written::of(plan, &resolved);
        resolved.refuse_overlap(plan, &written)?;
        let references = distinct(&plan.conditional);
        let conditions = references.iter().map(|(.., query)| query).enumerate();
        let mut matches = self
            .of_conditions(connection, definitions, conditions.collect(), limit)
            .await
            .map_err(|(place, error)| at(references[place].0)(error))?;
        for (place, (index, text, query)) in references.into_iter().enumerate() {
            let mut found = matches.remove(&place).unwrap_or_default();
            // What the commit changes is judged by what it becomes.
            found.retain(|found| !written.keys.contains(&found.key));
            let here = written.matching(plan, &resolved, query);
            found.extend(here.into_iter().map(|(_, matched)| matched));
            let [one] = &found[..] else {
                let (kind, diagnostics) = match found.is_empty() {
                    true => (
                        IssueKind::NotFound,
                        "a conditional reference matches nothing",
                    ),
                    false => (
                        IssueKind::MultipleMatches,
                        "a conditional reference matches several resources",
                    ),
                };
                return Err(at(*index)(refuse(kind, diagnostics)));
            };
            resolved.conditional.insert(text.clone(), one.clone());
        }
        Ok(resolved)
    }
}

impl Resolved {
    /// Where each change has an id and none is by condition.
    pub(super) fn new(plan: &Plan) -> Resolved {
        let keys = plan.changes.iter();
        Resolved {
            keys: keys
                .map(|change| Some(change.key(change.identity.id())))
                .collect(),
            matched: HashMap::new(),
            also: Vec::new(),
            conditional: HashMap::new(),
        }
    }

    /// The rows to lock, as (type number, id).
    pub(super) fn rows<'a>(&'a self, plan: &Plan) -> Vec<(i16, &'a str)> {
        let pairs = plan.changes.iter().zip(&self.keys);
        let may_be_there =
            |change: &Planned| plan.look_for_new || !matches!(change.identity, Identity::New(_));
        let also = self
            .also
            .iter()
            .map(|(index, matched)| (plan.changes[*index].type_number, matched.key.id.as_str()));
        pairs
            .filter(|(change, _)| may_be_there(change))
            .filter_map(|(change, key)| Some((change.type_number, key.as_ref()?.id.as_str())))
            .chain(also)
            .collect()
    }

    /// What is read at the end, if all of it are resources that the commit does not change: they are read with the rows that it locks.
    pub(super) fn read_ahead<'r>(&self, reads: &'r [Read]) -> Option<Vec<&'r ResourceKey>> {
        let own: HashSet<&ResourceKey> = self.keys.iter().flatten().collect();
        let also: HashSet<&ResourceKey> = self.also.iter().map(|(_, own)| &own.key).collect();
        let keys = reads.iter().map(|read| match read {
            Read::Instance(key, _) if !own.contains(key) && !also.contains(key) => Some(key),
            _ => None,
        });
        keys.collect()
    }

    /// The rows that references lead to and that must stay, as (type number, id).
    pub(super) fn shared_rows<'a>(
        &'a self,
        definitions: &Definitions,
        plan: &'a Plan,
        policies: Policies,
    ) -> Vec<(i16, &'a str)> {
        if !policies.targets_exist {
            return Vec::new();
        }
        let literal = plan.must_exist.iter().map(|target| &target.key);
        let conditional = self.conditional.values().map(|matched| &matched.key);
        literal
            .chain(conditional)
            .filter_map(|key| {
                Some((
                    definitions.type_number(&key.resource_type)?,
                    key.id.as_str(),
                ))
            })
            .collect()
    }

    /// Two changes of one resource; only two conditional creates may find the same one. A condition that would match what another
    /// change of the commit writes is such a pair too.
    fn refuse_overlap(&self, plan: &Plan, written: &Written) -> Result<(), CommitError> {
        let mut seen: HashMap<&ResourceKey, bool> = HashMap::new();
        let mut conditions = HashSet::new();
        for (index, matched) in &self.also {
            if seen.insert(&matched.key, false).is_some() {
                return Err(at(*index)(duplicate()));
            }
        }
        for (index, key) in self.keys.iter().enumerate() {
            let Some(key) = key else { continue };
            let found = self.is_found(plan, index);
            if let Some(before) = seen.insert(key, found)
                && !(before && found)
            {
                return Err(at(index)(duplicate()));
            }
            if let Identity::Match { query, .. } = &plan.changes[index].identity
                && !self.matched.contains_key(&index)
            {
                let others = written.matching(plan, self, query);
                if let Some((other, _)) = others.iter().find(|(_, other)| other.key != *key) {
                    return Err(at(index.max(*other))(duplicate()));
                }
                if !conditions.insert(plan.changes[index].condition(query)) {
                    return Err(at(index)(duplicate()));
                }
            }
        }
        Ok(())
    }

    /// A conditional create that finds its resource writes nothing.
    pub(super) fn is_found(&self, plan: &Plan, index: usize) -> bool {
        self.matched.contains_key(&index) && plan.changes[index].is_create()
    }
}

/// What the commit deletes, by id or by condition.
fn deleted(plan: &Plan, matches: &HashMap<usize, Vec<Matched>>) -> HashSet<ResourceKey> {
    let mut deleted = HashSet::new();
    for (index, change) in plan.changes.iter().enumerate() {
        match (&change.action, &change.identity) {
            (Action::Delete { .. }, Identity::Id(id)) => {
                deleted.insert(change.key(id));
            }
            (Action::Delete { .. }, Identity::Match { .. }) => {
                let found = matches.get(&index).into_iter().flatten();
                deleted.extend(found.map(|found| found.key.clone()));
            }
            _ => {}
        }
    }
    deleted
}

/// The stored tokens that decide the condition alone; `None` when it says more than "has these tokens".
pub(super) fn plain_tokens(query: &Query) -> Option<Vec<i64>> {
    use fhir_search::query::{Clause, Modifier, ValueMatch};
    let plain = |clause: &Clause| {
        matches!(clause, Clause::Param { parameter, modifier: Modifier::None, values }
            if parameter.members.is_empty() && matches!(values[..], [ValueMatch::Token(_)]))
    };
    let all = query.types.len() == 1 && !query.filter.is_empty() && query.filter.iter().all(plain);
    all.then(|| query.atoms())
}
