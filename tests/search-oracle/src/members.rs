//! Lists, Groups and CareTeams, and whom they refer to (<https://hl7.org/fhir/R5/search.html#list>).

use crate::reference::{self, Target};
use crate::{World, time};
use fhir_model::ResourceKey;
use serde_json::Value;

impl World<'_> {
    /// Whether one of the collections refers to the resource; with a time, as to a member that is active then.
    pub(crate) fn is_member(
        &self,
        collections: &[ResourceKey],
        active_at: Option<i64>,
        key: &ResourceKey,
    ) -> bool {
        let is_true = |value: &Value, name: &str| value[name] == Value::Bool(true);
        let members = collections
            .iter()
            .filter_map(|key| self.get(key))
            .flat_map(|it| {
                let (list, inner, ended, period) = match it.key.resource_type.as_str() {
                    "List" => ("entry", "item", "deleted", "-"),
                    "Group" => ("member", "entity", "inactive", "period"),
                    _ => ("participant", "member", "-", "coveragePeriod"),
                };
                let all = it.body[list].as_array().into_iter().flatten();
                all.filter(move |one| active_at.is_none() || !is_true(one, ended))
                    .filter(move |one| match (active_at, time::period(&one[period])) {
                        (Some(now), Some(span)) => {
                            span.from.is_none_or(|from| from <= now)
                                && span.to.is_none_or(|to| to > now)
                        }
                        _ => true,
                    })
                    .filter_map(move |one| one[inner]["reference"].as_str())
            });
        members
            .into_iter()
            .any(|text| match reference::address(text, self.definitions) {
                Target::Here(member, _) => member == *key,
                Target::There(_) => false,
            })
    }
}
