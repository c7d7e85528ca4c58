//! Membership (`_list`, `_in`): the rows that Lists, Groups and CareTeams refer to (<https://hl7.org/fhir/R5/search.html#list>).
//!
//! Refuses collections with more than [`MEMBERS_MAX`] members together, as `too-costly`.

use super::bodies;
use super::flat::Test;
use super::resolve::Resolver;
use crate::Error;
use crate::read::StoredResource;
use fhir_model::{Issue, IssueKind, PartialDate, ResourceKey};
use fhir_search::reference::named;
use serde_json::Value;
use std::collections::HashSet;

/// Most members of all collections that a search names.
const MEMBERS_MAX: usize = 100_000;

/// Where a collection refers to its members: type and search parameter, and in the resource the list, the reference of one and its period.
struct Collection {
    resource_type: &'static str,
    parameter: &'static str,
    members: &'static str,
    reference: &'static str,
    period: &'static str,
    /// A flag that says that it is a member no longer.
    gone: &'static str,
}

const COLLECTIONS: [Collection; 3] = [
    Collection {
        resource_type: "List",
        parameter: "item",
        members: "entry",
        reference: "item",
        period: "",
        gone: "deleted",
    },
    Collection {
        resource_type: "Group",
        parameter: "member",
        members: "member",
        reference: "entity",
        period: "period",
        gone: "inactive",
    },
    Collection {
        resource_type: "CareTeam",
        parameter: "participant",
        members: "participant",
        reference: "member",
        period: "coveragePeriod",
        gone: "",
    },
];

impl Resolver<'_> {
    /// The members of `collections`; only those that are active at a time, in microseconds since 1970.
    pub(super) async fn members(
        &mut self,
        collections: &[ResourceKey],
        active_at: Option<i64>,
    ) -> Result<Test, Error> {
        let rows = collections
            .iter()
            .filter_map(|key| self.known.rows.get(key));
        let rows: Vec<i64> = rows.copied().collect();
        if rows.is_empty() {
            return Ok(Test::never());
        }
        let parameters = COLLECTIONS.iter().filter_map(|it| {
            self.definitions
                .search_parameter(it.resource_type, it.parameter)
        });
        let keys: Vec<i64> = parameters.map(|it| i64::from(it.key.0)).collect();
        let found: Vec<(i64, i64, i16, String)> = sqlx::query_as(
            "SELECT e.pk, t.pk, t.type, t.id FROM entry e CROSS JOIN unnest(e.refs) r \
             JOIN resource t ON t.pk = (r & ((1::bigint << 40) - 1)) \
             WHERE e.pk = ANY($1) AND r >> 40 = ANY($2) LIMIT $3",
        )
        .bind(&rows)
        .bind(keys)
        .bind(MEMBERS_MAX as i64 + 1)
        .fetch_all(&mut *self.connection)
        .await?;
        if found.len() > MEMBERS_MAX {
            return Err(Error::Refused(vec![Issue::error(
                IssueKind::TooCostly,
                format!("the lists and groups of the search have more than {MEMBERS_MAX} members"),
            )]));
        }
        let mut members: Vec<i64> = match active_at {
            None => found.into_iter().map(|(_, member, ..)| member).collect(),
            Some(now) => {
                let active = self.active(&rows, now).await?;
                let is_active = |(collection, _, number, id): &(i64, i64, i16, String)| {
                    let name = self.definitions.type_name(*number).unwrap_or_default();
                    active.contains(&(*collection, ResourceKey::new(name, id)))
                };
                let found = found.into_iter().filter(is_active);
                found.map(|(_, member, ..)| member).collect()
            }
        };
        members.sort_unstable();
        members.dedup();
        Ok(Test::Rows(members))
    }

    /// The active members of each collection.
    async fn active(
        &mut self,
        rows: &[i64],
        now: i64,
    ) -> Result<HashSet<(i64, ResourceKey)>, Error> {
        let found = bodies::rows(self.connection, self.definitions, rows).await?;
        let mut active = HashSet::new();
        for row in &found {
            for key in active_members(&row.resource, self.base, now) {
                active.insert((row.pk, key));
            }
        }
        Ok(active)
    }
}

fn active_members(stored: &StoredResource, base: Option<&str>, now: i64) -> Vec<ResourceKey> {
    let name = &stored.key.resource_type;
    let Some(collection) = COLLECTIONS.iter().find(|it| it.resource_type == name) else {
        return Vec::new();
    };
    let resource: Value = serde_json::from_str(&stored.body).unwrap_or_default();
    let members = resource.get(collection.members).and_then(Value::as_array);
    members
        .into_iter()
        .flatten()
        .filter(|member| member.get(collection.gone) != Some(&Value::Bool(true)))
        .filter(|member| {
            let period = member.get(collection.period);
            period.is_none_or(|period| covers(period, now))
        })
        .filter_map(|member| {
            let reference = member
                .get(collection.reference)?
                .get("reference")?
                .as_str()?;
            named(reference, base)
        })
        .collect()
}

fn covers(period: &Value, now: i64) -> bool {
    let bound = |name| {
        let text = period.get(name)?.as_str()?;
        Some(PartialDate::parse(text)?.range)
    };
    bound("start").is_none_or(|start| start.lo <= now)
        && bound("end").is_none_or(|end| now < end.hi)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn active() {
        // 2024-06-01.
        let now = 1_717_200_000_000_000;
        let member = |id: &str| json!({"reference": format!("Patient/{id}")});
        for (resource, expect) in [
            (
                json!({"resourceType": "List", "entry": [
                    {"item": member("1")}, {"item": member("2"), "deleted": true}, {"item": {"display": "x"}},
                    {"item": {"reference": "http://h/fhir/Patient/3/_history/2"}, "deleted": false}, {"item": {"reference": "http://elsewhere/Patient/4"}}]}),
                vec!["Patient/1", "Patient/3"],
            ),
            (
                json!({"resourceType": "Group", "member": [
                    {"entity": member("1"), "inactive": true}, {"entity": member("2"), "period": {"end": "2024-05"}},
                    {"entity": member("3"), "period": {"start": "2024-06-02"}}, {"entity": member("4"), "period": {"start": "2024", "end": "2024"}},
                    {"entity": member("5"), "period": {}}]}),
                vec!["Patient/4", "Patient/5"],
            ),
            (
                json!({"resourceType": "CareTeam", "participant": [
                    {"member": member("1"), "coveragePeriod": {"end": "2023"}}, {"member": member("2"), "coverageTiming": {}}, {"onBehalfOf": member("3")}]}),
                vec!["Patient/2"],
            ),
            (json!({"resourceType": "Patient"}), vec![]),
        ] {
            let stored = StoredResource {
                key: ResourceKey::new(resource["resourceType"].as_str().unwrap(), "x"),
                version: 1,
                last_updated_ms: 0,
                body: resource.to_string(),
            };
            let active = active_members(&stored, Some("http://h/fhir"), now);
            let active: Vec<String> = active.iter().map(ToString::to_string).collect();
            assert_eq!(active, expect, "{resource}");
        }
    }
}
