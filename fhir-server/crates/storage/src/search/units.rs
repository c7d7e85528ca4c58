//! The units of UCUM that the site uses, read where a search has a quantity in one: it is then asked for in each that is commensurable
//! (<https://hl7.org/fhir/R5/search.html#quantity>).
//!
//! They only become more, and a unit is there before the resources that have it, so reading them before the search takes no transaction.

use crate::Error;
use fhir_model::{Issue, IssueKind};
use fhir_search::Query;
use fhir_search::query::{Clause, ValueMatch};
use fhir_search::unit::{UCUM, of_match};
use fhir_search::vocabulary::{Kind, UNITS};
use sqlx::PgConnection;

/// Most units that a search can go through.
const UNITS_MAX: usize = 1_000;

/// As `system|code`; none where the search needs none.
pub(super) async fn used(
    connection: &mut PgConnection,
    query: &Query,
) -> Result<Vec<String>, Error> {
    if !query.filter.iter().any(asks) {
        return Ok(Vec::new());
    }
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
                "the resources of this server have more than {UNITS_MAX} units; search for number||code"
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
