//! Referential integrity, where a site wants it (docs/adr/0020-policies-of-writes.md).
//!
//! Who writes a reference locks the row it leads to against deletion (FOR SHARE, in the one order of all row locks), who deletes locks it
//! for himself, and looks afterwards, with a snapshot of its own, for whoever refers to it: one of the two sees the other.

use super::Stop;
use super::plan::{at, refuse};
use crate::error::Error;
use fhir_definitions::{Definitions, ParameterType};
use fhir_model::reference::Reference;
use fhir_model::{Issue, IssueKind, ResourceKey};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use std::collections::BTreeSet;

/// A reference to this server, that must lead somewhere.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The change it is in.
    pub change: usize,
    pub key: ResourceKey,
    /// `Observation.subject`.
    pub place: String,
}

/// The literal references of a resource to this server. What stands in the entries of a Bundle is the Bundle's own.
pub(super) fn targets(
    resource: &Map<String, Value>,
    base: Option<&str>,
    change: usize,
) -> Vec<Target> {
    let resource_type = resource.get("resourceType").and_then(Value::as_str);
    let resource_type = resource_type.unwrap_or_default();
    let mut found = Vec::new();
    if resource_type != "Bundle" {
        let mut place = resource_type.to_owned();
        collect(resource, base, &mut place, &mut |key, place| {
            found.push(Target {
                change,
                key,
                place: place.to_owned(),
            });
        });
    }
    found
}

fn collect(
    object: &Map<String, Value>,
    base: Option<&str>,
    place: &mut String,
    found: &mut dyn FnMut(ResourceKey, &str),
) {
    for (name, value) in object {
        if let (Value::String(text), "reference") = (value, name.as_str()) {
            if let Reference::Local { key, .. } = Reference::parse(text, base) {
                found(key, place);
            }
            continue;
        }
        let length = place.len();
        place.push('.');
        place.push_str(name);
        match value {
            Value::Object(object) => collect(object, base, place, found),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Value::Object(object) = item {
                        let length = place.len();
                        place.push_str(&format!("[{index}]"));
                        collect(object, base, place, found);
                        place.truncate(length);
                    }
                }
            }
            _ => {}
        }
        place.truncate(length);
    }
}

/// The refusal of a reference that leads nowhere.
pub(super) fn missing(target: &Target) -> Error {
    let reason = format!(
        "{} is not there, and references must lead to something here",
        target.key
    );
    Error::refused(Issue::error(IssueKind::BusinessRule, reason).at(target.place.clone()))
}

/// Refuses deletions (change, key, row key) of what others still refer to. After the deletions are applied, so that what the commit itself
/// deletes or changes counts no more.
pub(super) async fn refuse_referenced(
    connection: &mut PgConnection,
    definitions: &Definitions,
    deletions: &[(usize, ResourceKey, i64)],
) -> Result<(), Stop> {
    if deletions.is_empty() {
        return Ok(());
    }
    // One parameter is of several types.
    let parameters: BTreeSet<i64> = definitions
        .resource_types()
        .iter()
        .flat_map(|name| definitions.search_parameters(name))
        .filter(|parameter| parameter.kind == ParameterType::Reference)
        .map(|parameter| i64::from(parameter.key.0) << 40)
        .collect();
    // A thousand parameters for each: a few deletions at a time.
    for deletions in deletions.chunks(50) {
        let pks = deletions.iter().map(|(.., pk)| pk);
        let references: Vec<i64> = pks
            .flat_map(|pk| parameters.iter().map(move |parameter| parameter | pk))
            .collect();
        let ends: Vec<i32> = (1..=deletions.len())
            .map(|number| (number * parameters.len()) as i32)
            .collect();
        let found: Option<(i64, i16, String)> = sqlx::query_as(
            "SELECT d.place, r.type, r.id FROM ( \
               SELECT place, ($1::bigint[])[lag(r_end, 1, 0) OVER (ORDER BY place) + 1 : r_end] AS refs \
               FROM unnest($2::int[]) WITH ORDINALITY AS d(r_end, place)) d \
             CROSS JOIN LATERAL (SELECT pk FROM entry WHERE refs && d.refs LIMIT 1) e \
             CROSS JOIN LATERAL (SELECT type, id FROM resource WHERE pk = e.pk LIMIT 1) r LIMIT 1",
        )
        .bind(references)
        .bind(ends)
        .fetch_optional(&mut *connection)
        .await?;
        if let Some((place, number, id)) = found {
            let (change, key, _) = &deletions[place as usize - 1];
            let referrer = definitions.type_name(number).unwrap_or("another resource");
            let reason = format!("{referrer}/{id} refers to {key}, which stays for that");
            return Err(at(*change)(refuse(IssueKind::Conflict, &reason)).into());
        }
    }
    Ok(())
}
