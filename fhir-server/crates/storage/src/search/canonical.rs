//! References by canonical URL in searches: which resources they lead to, and which resources hold them. What a canonical leads to is said by
//! [`fhir_search::canonical`]; the index has `url|version`, `url`, and `url|` where the version is left open.
//!
//! Refuses, as `too-costly`, a chain over more than [`CANONICALS_MAX`] resources: each is looked up by its URL.

use super::flat::Test;
use super::resolve::Resolver;
use super::{bodies, sql};
use crate::Error;
use fhir_definitions::{Definitions, ParameterType, SearchParameter};
use fhir_model::{Issue, IssueKind};
use fhir_search::canonical::{Canonical, canonicals, order};
use fhir_search::token::STORED;
use sqlx::PgConnection;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Most resources of one step whose canonical URLs are followed.
const CANONICALS_MAX: usize = 1_000;
/// Most URLs, each in each type that it may be of, that are looked up at a time.
const LOOKUPS_MAX: usize = 20_000;

/// A resource that canonicals can lead to.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub pk: i64,
    /// Of its type.
    pub number: i16,
    pub url: String,
    pub version: Option<String>,
    /// Whether a canonical without version leads to it.
    pub latest: bool,
}

impl Named {
    /// The hashes, one of which a resource has that refers to this one by the parameter.
    fn tokens(&self, parameter: &SearchParameter) -> impl Iterator<Item = i64> + use<> {
        let key = parameter.key;
        let versioned = self.version.as_ref().map(|it| format!("{}|{it}", self.url));
        let open = self.latest.then(|| format!("{}|", self.url));
        versioned
            .into_iter()
            .chain(open)
            .map(move |url| STORED.url(key, &url))
    }
}

impl Resolver<'_> {
    /// Holds for rows whose canonicals by the parameter lead to a row for which `inner` does.
    pub(super) async fn canonical_chain(
        &mut self,
        parameter: &SearchParameter,
        inner: &Test,
    ) -> Result<Test, Error> {
        let found = self.canonical_sources(parameter, inner).await?;
        found.ok_or_else(too_many_at_a_step)
    }

    /// The same; `None` where too many rows are led to.
    pub(super) async fn canonical_sources(
        &mut self,
        parameter: &SearchParameter,
        inner: &Test,
    ) -> Result<Option<Test>, Error> {
        let Some(rows) = self.few(inner).await? else {
            return Ok(None);
        };
        let named = named(self.connection, self.definitions, &rows).await?;
        let tokens: Vec<i64> = named.iter().flat_map(|it| it.tokens(parameter)).collect();
        Ok(Some(match tokens.is_empty() {
            true => Test::never(),
            false => Test::Tokens(tokens),
        }))
    }

    /// The rows of `types` to which canonicals by the parameter lead, of rows for which `inner` holds.
    pub(super) async fn canonical_has(
        &mut self,
        parameter: &SearchParameter,
        inner: &Test,
        types: &[String],
    ) -> Result<Vec<i64>, Error> {
        let found = self.canonical_targets(parameter, inner, types).await?;
        found.ok_or_else(too_many_at_a_step)
    }

    /// The same; `None` where too many rows lead.
    pub(super) async fn canonical_targets(
        &mut self,
        parameter: &SearchParameter,
        inner: &Test,
        types: &[String],
    ) -> Result<Option<Vec<i64>>, Error> {
        let Some(rows) = self.few(inner).await? else {
            return Ok(None);
        };
        let sources = bodies::rows(self.connection, self.definitions, &rows).await?;
        let mut references = BTreeSet::new();
        for source in &sources {
            references.extend(canonicals(parameter, &source.json()));
        }
        let found = led_to(self.connection, self.definitions, &references, types).await?;
        Ok(Some(found))
    }

    async fn few(&mut self, inner: &Test) -> Result<Option<Vec<i64>>, Error> {
        let rows: Vec<i64> = sql::rows(inner, CANONICALS_MAX as i64 + 1)
            .build_query_scalar()
            .fetch_all(&mut *self.connection)
            .await?;
        Ok((rows.len() <= CANONICALS_MAX).then_some(rows))
    }
}

/// Those of `rows` that have a url.
pub(super) async fn named(
    connection: &mut PgConnection,
    definitions: &Definitions,
    rows: &[i64],
) -> Result<Vec<Named>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let own: Vec<(i16, String)> = sqlx::query_as(
        "SELECT DISTINCT type, content->>'url' FROM resource \
         WHERE pk = ANY($1) AND jsonb_typeof(content->'url') = 'string'",
    )
    .bind(rows)
    .fetch_all(&mut *connection)
    .await?;
    let mut all = by_url(connection, definitions, &own.into_iter().collect()).await?;
    let rows: HashSet<i64> = rows.iter().copied().collect();
    all.retain(|named| rows.contains(&named.pk));
    Ok(all)
}

/// The rows of `types` that the references lead to.
pub(super) async fn led_to(
    connection: &mut PgConnection,
    definitions: &Definitions,
    references: &BTreeSet<Canonical>,
    types: &[String],
) -> Result<Vec<i64>, Error> {
    let numbers = types
        .iter()
        .filter_map(|name| definitions.type_number(name));
    let wanted = numbers
        .flat_map(|number| references.iter().map(move |it| (number, it.url.clone())))
        .collect();
    let found = by_url(connection, definitions, &wanted).await?;
    let leads = |named: &&Named| {
        let reference = |version: Option<String>| {
            references.contains(&Canonical {
                url: named.url.clone(),
                version,
            })
        };
        (named.latest && reference(None))
            || (named.version.is_some() && reference(named.version.clone()))
    };
    Ok(found.iter().filter(leads).map(|named| named.pk).collect())
}

/// Every version of what has one of these types and URLs.
async fn by_url(
    connection: &mut PgConnection,
    definitions: &Definitions,
    wanted: &HashSet<(i16, String)>,
) -> Result<Vec<Named>, Error> {
    let tokens: Vec<i64> = wanted
        .iter()
        .filter_map(|(number, url)| {
            let parameter = definitions.search_parameter(definitions.type_name(*number)?, "url")?;
            (parameter.kind == ParameterType::Uri).then(|| STORED.uri(parameter.key, url))
        })
        .collect();
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    if tokens.len() > LOOKUPS_MAX {
        return Err(too_costly(
            "too many canonical references are to be followed; ask for fewer resources, or name the type they lead to".into(),
        ));
    }
    /// Key, type, url, version, when it was updated.
    type Row = (i64, i16, Option<String>, Option<String>, i64);
    let mut rows: Vec<Row> = sqlx::query_as(
        "SELECT e.pk, e.type, r.content->>'url', r.content->>'version', (extract(epoch FROM e.last_updated) * 1000)::bigint \
         FROM entry e JOIN resource r ON r.pk = e.pk WHERE e.tokens && $1 LIMIT $2",
    )
    .bind(tokens)
    .bind(LOOKUPS_MAX as i64 + 1)
    .fetch_all(connection)
    .await?;
    if rows.len() > LOOKUPS_MAX {
        return Err(too_costly(
            "the canonical references lead to too many versions of resources".into(),
        ));
    }
    // The latest version comes last, and of those the one that was changed last.
    rows.sort_by(|a, b| {
        order(a.3.as_deref(), b.3.as_deref()).then_with(|| (a.4, a.0).cmp(&(b.4, b.0)))
    });
    let mut latest: HashMap<String, i64> = HashMap::new();
    let mut all = Vec::with_capacity(rows.len());
    for (pk, number, url, version, _) in rows {
        // Two texts may share a hash.
        let Some(url) = url.filter(|url| wanted.contains(&(number, url.clone()))) else {
            continue;
        };
        latest.insert(url.clone(), pk);
        all.push(Named {
            pk,
            number,
            url,
            version,
            latest: false,
        });
    }
    for named in &mut all {
        named.latest = latest.get(&named.url) == Some(&named.pk);
    }
    Ok(all)
}

/// Rows that refer to one of these by one of the parameters that may lead to it, `limit` at the most.
pub(super) async fn referring(
    connection: &mut PgConnection,
    named: &[Named],
    parameters: &[&SearchParameter],
    leads: impl Fn(&SearchParameter, &Named) -> bool,
    limit: usize,
) -> Result<Vec<i64>, Error> {
    let mut tokens = Vec::new();
    for parameter in parameters {
        let reached = named.iter().filter(|named| leads(parameter, named));
        tokens.extend(reached.flat_map(|named| named.tokens(parameter)));
    }
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    if tokens.len() > LOOKUPS_MAX {
        return Err(too_costly(
            "too many canonical references are to be looked for; ask for a smaller _count, or name the type that refers".into(),
        ));
    }
    Ok(
        sqlx::query_scalar("SELECT pk FROM entry WHERE tokens && $1 ORDER BY pk LIMIT $2")
            .bind(tokens)
            .bind(limit as i64)
            .fetch_all(connection)
            .await?,
    )
}

fn too_many_at_a_step() -> Error {
    too_costly(format!(
        "more than {CANONICALS_MAX} resources stand at one step of a chain of canonical references; add a condition to that step"
    ))
}

fn too_costly(reason: String) -> Error {
    Error::Refused(vec![Issue::error(IssueKind::TooCostly, reason)])
}
