//! `_include` and `_revinclude` (<https://hl7.org/fhir/R5/search.html#include>): what goes with the matches of a page.
//!
//! - A match never comes again as an include, and nothing comes twice. Targets that are contained, elsewhere, deleted or absent add nothing.
//! - A versioned reference brings the version it names, which may be an older one; from there `:iterate` goes no further. A version that is not there
//!   adds nothing.
//! - Canonical references lead as [`fhir_search::canonical`] says, in both directions to the types alone that their parameter names.
//!
//! More than [`INCLUDES_MAX`] is `too-costly`, never a part of them.

use super::bodies::{self, Row};
use super::canonical;
use super::sql::reference;
use crate::Error;
use crate::read::StoredResource;
use fhir_definitions::{Definitions, ParameterType, SearchParameter};
use fhir_model::{Issue, IssueKind, ResourceKey};
use fhir_search::canonical::{canonicals, holds_canonicals};
use fhir_search::query::Include;
use fhir_search::reference::{literals, named};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Most included resources of one page.
pub(super) const INCLUDES_MAX: usize = 1_000;
/// Most times that `:iterate` goes on from what it found.
const ROUNDS_MAX: usize = 16;
/// Most pairs of a parameter and a target that `_revinclude` looks for at a time.
const LOOKUPS_MAX: usize = 20_000;

/// What `includes` add to `matches`.
pub(super) async fn included(
    connection: &mut PgConnection,
    definitions: &Definitions,
    base: Option<&str>,
    includes: &[Include],
    matches: &[Row],
) -> Result<Vec<StoredResource>, Error> {
    let mut search = Search {
        connection,
        definitions,
        base,
        rows: BTreeSet::new(),
        versions: BTreeSet::new(),
    };
    let mut seen: HashSet<i64> = matches.iter().map(|row| row.pk).collect();
    let mut older = BTreeSet::new();
    let mut all: Vec<StoredResource> = Vec::new();
    let mut before = Vec::new();
    for round in 0.. {
        let from = if round == 0 { matches } else { &before };
        for include in includes {
            if round > 0 && !include.iterate {
                continue;
            }
            match include.reverse {
                false => search.targets(include, from).await?,
                true => search.sources(include, from).await?,
            }
        }
        let rows: Vec<i64> = std::mem::take(&mut search.rows)
            .into_iter()
            .filter(|pk| seen.insert(*pk))
            .collect();
        let mut versions = std::mem::take(&mut search.versions);
        versions.retain(|version| older.insert(*version));
        let found = rows.len() + versions.len();
        if all.len() + found > INCLUDES_MAX || (round == ROUNDS_MAX && found > 0) {
            return Err(too_costly(format!(
                "the page would include more than {INCLUDES_MAX} resources, or follow references more than {ROUNDS_MAX} times; ask for a smaller _count"
            )));
        }
        if found == 0 {
            break;
        }
        before = bodies::rows(search.connection, definitions, &rows).await?;
        all.extend(before.iter().map(|row| row.resource.clone()));
        all.extend(bodies::versions(search.connection, definitions, &versions).await?);
    }
    Ok(all)
}

fn too_costly(reason: String) -> Error {
    Error::Refused(vec![Issue::error(IssueKind::TooCostly, reason)])
}

struct Search<'a> {
    connection: &'a mut PgConnection,
    definitions: &'a Definitions,
    base: Option<&'a str>,
    /// Found: rows, and older versions of rows.
    rows: BTreeSet<i64>,
    versions: BTreeSet<(i64, i32)>,
}

impl Search<'_> {
    /// What rows of the include's source type among `from` point at.
    async fn targets(&mut self, include: &Include, from: &[Row]) -> Result<(), Error> {
        let is_source = |row: &&Row| {
            let source = include.source.as_ref();
            source.is_none_or(|name| *name == row.resource.key.resource_type)
        };
        let from: Vec<&Row> = from.iter().filter(is_source).collect();
        let is_versioned = |row: &&Row| row.resource.body.contains("/_history/");
        let (versioned, plain): (Vec<&Row>, Vec<&Row>) =
            from.iter().partition(|row| is_versioned(row));
        self.by_row(include, &plain).await?;
        let pairs = self.pairs(include, &versioned).await?;
        self.by_version(include, &versioned, pairs);
        self.by_canonical(include, &from).await
    }

    async fn by_row(&mut self, include: &Include, from: &[&Row]) -> Result<(), Error> {
        if from.is_empty() {
            return Ok(());
        }
        let found: Vec<i64> = sqlx::query_scalar(
            "SELECT DISTINCT t.pk FROM entry e CROSS JOIN unnest(e.refs) n \
             JOIN entry t ON t.pk = (n & ((1::bigint << 40) - 1)) \
             WHERE e.pk = ANY($1) AND ($2::bigint IS NULL OR n >> 40 = $2) AND ($3::smallint IS NULL OR t.type = $3) \
             ORDER BY t.pk LIMIT $4",
        )
        .bind(from.iter().map(|row| row.pk).collect::<Vec<_>>())
        // A row refers by the parameters of its type only.
        .bind(include.parameter.as_ref().map(|it| i64::from(it.key.0)))
        .bind(self.number_of(include)?)
        .bind(INCLUDES_MAX as i64 * 2 + 1)
        .fetch_all(&mut *self.connection)
        .await?;
        self.rows.extend(found);
        Ok(())
    }

    /// The references of rows that name versions.
    async fn pairs(&mut self, include: &Include, from: &[&Row]) -> Result<Vec<Pair>, Error> {
        if from.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<i64> = from.iter().map(|row| row.pk).collect();
        let keys = include.parameter.as_ref().map(|it| i64::from(it.key.0));
        let found: Vec<(i64, i64, i16, String, i32)> = sqlx::query_as(
            "SELECT DISTINCT e.pk, t.pk, t.type, r.id, r.version FROM entry e CROSS JOIN unnest(e.refs) n \
             JOIN entry t ON t.pk = (n & ((1::bigint << 40) - 1)) JOIN resource r ON r.pk = t.pk \
             WHERE e.pk = ANY($1) AND ($2::bigint IS NULL OR n >> 40 = $2) AND ($3::smallint IS NULL OR t.type = $3) \
             ORDER BY t.pk LIMIT $4",
        )
        .bind(rows)
        .bind(keys)
        .bind(self.number_of(include)?)
        .bind(PAIRS_MAX as i64 + 1)
        .fetch_all(&mut *self.connection)
        .await?;
        if found.len() > PAIRS_MAX {
            return Err(too_costly(format!(
                "the resources of the page hold more than {PAIRS_MAX} references; ask for a smaller _count"
            )));
        }
        let pair = |(source, target, number, id, version)| Pair {
            source,
            target,
            key: ResourceKey::new(self.definitions.type_name(number).unwrap_or_default(), id),
            version,
        };
        Ok(found.into_iter().map(pair).collect())
    }

    /// Each reference of rows that name versions, as it is written.
    fn by_version(&mut self, include: &Include, from: &[&Row], pairs: Vec<Pair>) {
        let mut of_source: BTreeMap<i64, Vec<Pair>> = BTreeMap::new();
        for pair in pairs {
            of_source.entry(pair.source).or_default().push(pair);
        }
        for row in from {
            let Some(pairs) = of_source.get(&row.pk) else {
                continue;
            };
            let resource = row.json();
            let here = parameters(self.definitions, include, &row.resource.key.resource_type);
            let mut written: HashMap<ResourceKey, BTreeSet<Option<&str>>> = HashMap::new();
            for (name, version) in literals(&here, &resource) {
                if let Some(key) = named(name, self.base) {
                    written.entry(key).or_default().insert(version);
                }
            }
            for pair in pairs {
                let Some(versions) = written.get(&pair.key) else {
                    self.rows.insert(pair.target);
                    continue;
                };
                if versions.contains(&None) {
                    self.rows.insert(pair.target);
                }
                for version in versions.iter().flatten() {
                    match version.parse() {
                        Ok(version) if version == pair.version => {
                            self.rows.insert(pair.target);
                        }
                        Ok(version) => {
                            self.versions.insert((pair.target, version));
                        }
                        Err(_) => {}
                    }
                }
            }
        }
    }

    async fn by_canonical(&mut self, include: &Include, from: &[&Row]) -> Result<(), Error> {
        let mut wanted: BTreeMap<Vec<String>, BTreeSet<_>> = BTreeMap::new();
        for row in from {
            let mut here = parameters(self.definitions, include, &row.resource.key.resource_type);
            here.retain(|it| holds_canonicals(it));
            if here.is_empty() {
                continue;
            }
            let resource = row.json();
            for parameter in here {
                let found = canonicals(parameter, &resource);
                if !found.is_empty() {
                    let types = target_types(self.definitions, include, parameter);
                    wanted.entry(types).or_default().extend(found);
                }
            }
        }
        for (types, references) in wanted {
            let definitions = self.definitions;
            let found =
                canonical::led_to(self.connection, definitions, &references, &types).await?;
            self.rows.extend(found);
        }
        Ok(())
    }

    /// The rows of the include's source type that point at one of `from`.
    async fn sources(&mut self, include: &Include, from: &[Row]) -> Result<(), Error> {
        let is_target = |row: &&Row| {
            let target = include.target.as_ref();
            target.is_none_or(|name| *name == row.resource.key.resource_type)
        };
        let from: Vec<&Row> = from.iter().filter(is_target).collect();
        if from.is_empty() {
            return Ok(());
        }
        let sources = match &include.source {
            Some(name) => vec![name.clone()],
            None => self.types_in_use().await?,
        };
        let definitions = self.definitions;
        let mut by: Vec<&SearchParameter> = sources
            .iter()
            .flat_map(|name| parameters(definitions, include, name))
            .collect();
        let reaches = |parameter: &SearchParameter, row: &Row| {
            include.parameter.is_some() || parameter.may_refer_to(&row.resource.key.resource_type)
        };
        let mut pairs = Vec::new();
        for row in &from {
            let reaching = by.iter().filter(|it| reaches(it, row));
            pairs.extend(reaching.map(|it| reference(it.key.0, row.pk)));
        }
        if pairs.len() > LOOKUPS_MAX {
            return Err(too_costly(
                "too many references are to be looked for; ask for a smaller _count, or name the type that refers".into(),
            ));
        }
        if !pairs.is_empty() {
            let found: Vec<i64> =
                sqlx::query_scalar("SELECT pk FROM entry WHERE refs && $1 ORDER BY pk LIMIT $2")
                    .bind(pairs)
                    .bind(INCLUDES_MAX as i64 * 2 + 1)
                    .fetch_all(&mut *self.connection)
                    .await?;
            self.rows.extend(found);
        }
        by.retain(|it| holds_canonicals(it));
        let has_url = |row: &&&Row| {
            let name = &row.resource.key.resource_type;
            definitions.search_parameter(name, "url").is_some()
        };
        let rows: Vec<i64> = from.iter().filter(has_url).map(|row| row.pk).collect();
        if !by.is_empty() && !rows.is_empty() {
            let named = canonical::named(self.connection, definitions, &rows).await?;
            let leads = |parameter: &SearchParameter, named: &canonical::Named| {
                let name = definitions.type_name(named.number);
                name.is_some_and(|name| parameter.may_refer_to(name))
            };
            let most = INCLUDES_MAX * 2 + 1;
            let found = canonical::referring(self.connection, &named, &by, leads, most).await?;
            self.rows.extend(found);
        }
        Ok(())
    }

    /// The types of which there are resources.
    async fn types_in_use(&mut self) -> Result<Vec<String>, Error> {
        let numbers: Vec<i16> = sqlx::query_scalar(
            "WITH RECURSIVE t(type) AS ((SELECT type FROM entry ORDER BY type LIMIT 1) \
             UNION ALL SELECT (SELECT type FROM entry WHERE type > t.type ORDER BY type LIMIT 1) FROM t WHERE t.type IS NOT NULL) \
             SELECT type FROM t WHERE type IS NOT NULL",
        )
        .fetch_all(&mut *self.connection)
        .await?;
        let names = numbers
            .into_iter()
            .filter_map(|number| self.definitions.type_name(number));
        Ok(names.map(str::to_owned).collect())
    }

    fn number_of(&self, include: &Include) -> Result<Option<i16>, Error> {
        let Some(name) = &include.target else {
            return Ok(None);
        };
        match self.definitions.type_number(name) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::Refused(vec![Issue::error(
                IssueKind::UnknownType,
                format!("there is no resource type {name} on this server"),
            )])),
        }
    }
}

/// The include's parameter, or every reference parameter of the type.
fn parameters<'d>(
    definitions: &'d Definitions,
    include: &'d Include,
    name: &str,
) -> Vec<&'d SearchParameter> {
    match &include.parameter {
        Some(parameter) => vec![parameter],
        None => {
            let all = definitions.search_parameters(name).iter();
            all.filter(|it| it.kind == ParameterType::Reference && it.code != "_in")
                .map(AsRef::as_ref)
                .collect()
        }
    }
}

/// The types that what the parameter's canonicals lead to may have.
fn target_types(
    definitions: &Definitions,
    include: &Include,
    parameter: &SearchParameter,
) -> Vec<String> {
    let all = match &include.target {
        Some(target) => std::slice::from_ref(target),
        None => definitions.resource_types(),
    };
    let may_be = all.iter().filter(|name| parameter.may_refer_to(name));
    may_be.cloned().collect()
}

/// Most references that are followed at a time; several may be to one resource.
const PAIRS_MAX: usize = 20_000;

/// A row that refers to another, which has this key and current version.
struct Pair {
    source: i64,
    target: i64,
    key: ResourceKey,
    version: i32,
}
