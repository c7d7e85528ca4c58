//! `_include` and `_revinclude` (<https://hl7.org/fhir/R5/search.html#include>): the rows that go with the matches of a page.
//!
//! A match never comes again as an include, and no row comes twice. Targets that are deleted or absent add nothing. More than
//! [`INCLUDES_MAX`] is `too-costly`, never a part of them. Refuses parameters that hold canonical URLs only.

use super::sql::reference;
use crate::Error;
use fhir_definitions::{Definitions, ParameterType, SearchParameter};
use fhir_model::{Issue, IssueKind};
use fhir_search::query::Include;
use sqlx::PgConnection;
use std::collections::HashSet;

/// Most included resources of one page.
pub(super) const INCLUDES_MAX: usize = 1_000;
/// Most times that `:iterate` goes on from what it found.
const ROUNDS_MAX: usize = 16;

/// The rows that `includes` add to `matches`.
pub(super) async fn included(
    connection: &mut PgConnection,
    definitions: &Definitions,
    includes: &[Include],
    matches: &[i64],
) -> Result<Vec<i64>, Error> {
    if let Some(parameter) = includes.iter().find_map(canonical) {
        return Err(Error::Refused(vec![Issue::error(
            IssueKind::NotSupported,
            format!(
                "{}:{} holds canonical URLs, which includes do not follow",
                parameter.resource_type, parameter.code
            ),
        )]));
    }
    let mut seen: HashSet<i64> = matches.iter().copied().collect();
    let mut all = Vec::new();
    let mut from = matches.to_vec();
    for round in 0.. {
        let mut found = Vec::new();
        for include in includes
            .iter()
            .filter(|include| round == 0 || include.iterate)
        {
            let rows = match include.reverse {
                false => targets(connection, definitions, include, &from).await?,
                true => sources(connection, definitions, include, &from).await?,
            };
            found.extend(rows.into_iter().filter(|pk| seen.insert(*pk)));
        }
        all.extend_from_slice(&found);
        if all.len() > INCLUDES_MAX || round == ROUNDS_MAX {
            return Err(too_costly());
        }
        if found.is_empty() {
            break;
        }
        from = found;
    }
    Ok(all)
}

/// The include's parameter, if its elements name their targets by canonical URL only.
fn canonical(include: &Include) -> Option<&SearchParameter> {
    let parameter = include.parameter.as_deref()?;
    let types = parameter.program.as_ref()?.types();
    let all = types
        .iter()
        .all(|name| matches!(*name, "canonical" | "uri"));
    (!types.is_empty() && all).then_some(parameter)
}

fn too_costly() -> Error {
    Error::Refused(vec![Issue::error(
        IssueKind::TooCostly,
        format!(
            "the page would include more than {INCLUDES_MAX} resources, or follow references more than {ROUNDS_MAX} times; ask for a smaller _count"
        ),
    )])
}

/// What rows of the include's source type among `from` point at.
async fn targets(
    connection: &mut PgConnection,
    definitions: &Definitions,
    include: &Include,
    from: &[i64],
) -> Result<Vec<i64>, Error> {
    Ok(sqlx::query_scalar(
        "SELECT DISTINCT t.pk FROM entry e CROSS JOIN unnest(e.refs) r \
         JOIN entry t ON t.pk = (r & ((1::bigint << 40) - 1)) \
         WHERE e.pk = ANY($1) AND r >> 40 = ANY($2) AND ($3::smallint IS NULL OR t.type = $3) ORDER BY t.pk LIMIT $4",
    )
    .bind(from)
    .bind(keys(definitions, include).map(i64::from).collect::<Vec<_>>())
    .bind(target(definitions, include)?)
    .bind(INCLUDES_MAX as i64 * 2 + 1)
    .fetch_all(connection)
    .await?)
}

/// The rows of the include's source type that point at one of `from`.
async fn sources(
    connection: &mut PgConnection,
    definitions: &Definitions,
    include: &Include,
    from: &[i64],
) -> Result<Vec<i64>, Error> {
    let to: Vec<i64> = match target(definitions, include)? {
        None => from.to_vec(),
        Some(number) => {
            sqlx::query_scalar("SELECT pk FROM entry WHERE pk = ANY($1) AND type = $2")
                .bind(from)
                .bind(number)
                .fetch_all(&mut *connection)
                .await?
        }
    };
    let references: Vec<i64> = keys(definitions, include)
        .flat_map(|key| to.iter().map(move |pk| reference(key, *pk)))
        .collect();
    if references.is_empty() {
        return Ok(Vec::new());
    }
    Ok(
        sqlx::query_scalar("SELECT pk FROM entry WHERE refs && $1 ORDER BY pk LIMIT $2")
            .bind(references)
            .bind(INCLUDES_MAX as i64 * 2 + 1)
            .fetch_all(connection)
            .await?,
    )
}

/// The include's parameter, or every reference parameter of its source type.
fn keys<'a>(definitions: &'a Definitions, include: &'a Include) -> impl Iterator<Item = i16> + 'a {
    let named = include.parameter.iter();
    let every = definitions
        .search_parameters(&include.source)
        .iter()
        .filter(|parameter| {
            include.parameter.is_none() && parameter.kind == ParameterType::Reference
        });
    named.chain(every).map(|parameter| parameter.key.0)
}

fn target(definitions: &Definitions, include: &Include) -> Result<Option<i16>, Error> {
    let Some(name) = &include.target else {
        return Ok(None);
    };
    match definitions.type_number(name) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::Refused(vec![Issue::error(
            IssueKind::UnknownType,
            format!("there is no resource type {name} on this server"),
        )])),
    }
}
