//! The units of UCUM that the site uses, read where a search has a quantity in one: it is then asked for in each that is commensurable
//! (<https://hl7.org/fhir/R5/search.html#quantity>); and where a search is sorted by quantities: they are compared in base units.
//!
//! They only become more, and a unit is there before the resources that have it, so reading them before the search takes no transaction.

use super::flat::Scales;
use crate::Error;
use fhir_definitions::ParameterType;
use fhir_model::{Issue, IssueKind};
use fhir_search::Query;
use fhir_search::query::{Clause, SortBy, ValueMatch};
use fhir_search::token::STORED;
use fhir_search::unit::{Scale, UCUM, Unit, code_of, of_match};
use fhir_search::vocabulary::{Kind, UNITS};
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// Most units that a search can go through.
const UNITS_MAX: usize = 1_000;

/// As `system|code`; none where the search needs none.
pub(super) async fn used(
    connection: &mut PgConnection,
    query: &Query,
) -> Result<Vec<String>, Error> {
    match query.filter.iter().any(asks) {
        true => all(connection).await,
        false => Ok(Vec::new()),
    }
}

/// How numbers in the units compare; empty where the search is sorted by no quantity.
pub(super) async fn scales(connection: &mut PgConnection, query: &Query) -> Result<Scales, Error> {
    if !query.sort.iter().any(|key| is_quantity(&key.by)) {
        return Ok(Scales::default());
    }
    let units = all(connection).await?;
    let codes = units.iter().filter_map(|unit| code_of(unit));
    let by_hash: BTreeMap<i64, Scale> = codes
        .filter_map(|code| Some((STORED.unit(UCUM, code), Unit::parse(code)?.scale())))
        .collect();
    Ok(Scales {
        units: by_hash.keys().copied().collect(),
        factors: by_hash.values().map(|it| it.factor.to_plain()).collect(),
        offsets: by_hash.values().map(|it| it.offset.to_plain()).collect(),
    })
}

fn is_quantity(by: &SortBy) -> bool {
    match by {
        SortBy::Parameter(parameters) => parameters
            .iter()
            .any(|it| it.kind == ParameterType::Quantity),
        SortBy::Chain { by, .. } => is_quantity(by),
        SortBy::LastUpdated | SortBy::Id | SortBy::Score => false,
    }
}

async fn all(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    let units: Vec<String> = sqlx::query_scalar(
        "SELECT value FROM vocabulary WHERE parameter = $1 AND kind = $2 AND value >= $3 AND value < $4 LIMIT $5",
    )
    .bind(UNITS.0)
    .bind(Kind::Unit as i16)
    .bind(format!("{UCUM}|"))
    .bind(format!("{UCUM}}}"))
    .bind(UNITS_MAX as i64 + 1)
    .fetch_all(connection)
    .await?;
    match units.len() > UNITS_MAX {
        true => Err(Error::Refused(vec![Issue::error(
            IssueKind::TooCostly,
            format!(
                "the resources of this server have more than {UNITS_MAX} units; search for number||code, and sort by no quantity"
            ),
        )])),
        false => Ok(units),
    }
}

/// Whether a quantity can be in other units than the one asked for.
fn asks(clause: &Clause) -> bool {
    match clause {
        Clause::Param { values, .. } => values.iter().any(of_quantity),
        Clause::Chain { clause, .. } => clause.by_type.iter().any(|(_, clause)| asks(clause)),
        Clause::ByType(clause) => clause.by_type.iter().any(|(_, clause)| asks(clause)),
        Clause::Has { clause, .. } | Clause::Not(clause) | Clause::Element { clause, .. } => {
            asks(clause)
        }
        Clause::Any(clauses) | Clause::All(clauses) => clauses.iter().any(asks),
        _ => false,
    }
}

fn of_quantity(value: &ValueMatch) -> bool {
    match value {
        ValueMatch::Quantity { unit, .. } => of_match(unit).is_some(),
        ValueMatch::Composite(parts) => parts.iter().any(of_quantity),
        _ => false,
    }
}
