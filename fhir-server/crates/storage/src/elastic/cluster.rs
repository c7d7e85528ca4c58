//! Indexes as the cluster has them: made, looked at, refreshed, deleted.
//!
//! An index has a name that no other ever had, and is written through an alias of its own: a write that finds no such alias fails, where it
//! would make an index anew, and an empty one, by its name.

use super::Elastic;
use super::client::{ElasticError, Method};
use super::mapping::{LAYOUT, mappings, settings};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// The document of an index that is no resource: the version of the last batch.
pub(super) const MARK: &str = "mark";
/// Most elements of one resource that hold dates, quantities or strings; a document with more is parked.
const NESTED_MAX: u32 = 100_000;
/// How long the cluster may take for what is no search and no bulk request.
const WITHIN: Duration = Duration::from_secs(30);

/// What is known of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Missing,
    /// Of this generation, with the version of its mark.
    There {
        mark: i64,
    },
    /// Not one of ours, or not any more.
    Foreign,
}

/// One copy of each shard. One that the cluster has given up may not know it: cut off from the other nodes, and not from us, it goes on to
/// answer searches with what it had, and nothing in its answers tells.
const COPIES: [(&str, &str); 2] = [
    ("index.auto_expand_replicas", "false"),
    ("index.number_of_replicas", "0"),
];

/// The alias that the index is written through.
pub(super) fn write_alias(index: &str) -> String {
    format!("{index}.write")
}

impl Elastic {
    /// Makes an empty index.
    ///
    /// # Errors
    /// What the cluster says.
    pub(super) async fn create(&self, generation: &str) -> Result<String, ElasticError> {
        let id = Uuid::new_v4().simple().to_string();
        let index = format!("{}-{}", self.settings.index, &id[..16]);
        let mut mappings = mappings();
        mappings["_meta"] = json!({"generation": generation, "layout": LAYOUT});
        let mut settings = settings();
        settings["index.number_of_shards"] = self.settings.shards.into();
        for (name, value) in COPIES {
            settings[name] = value.into();
        }
        // The indexer refreshes: only then the outbox may forget.
        settings["index.refresh_interval"] = "-1".into();
        settings["index.mapping.nested_objects.limit"] = NESTED_MAX.into();
        let body = json!({
            "settings": settings,
            "mappings": mappings,
            "aliases": {write_alias(&index): {}},
        });
        let path = format!("/{index}");
        self.client
            .send(Method::Put, &path, Some(&body), WITHIN)
            .await?;
        Ok(index)
    }

    /// Lets the index have one copy, should somebody have given it more.
    ///
    /// # Errors
    /// What the cluster says.
    pub(super) async fn keep_one_copy(&self, index: &str) -> Result<(), ElasticError> {
        let path = format!("/{index}/_settings/index.*replicas?flat_settings=true");
        let answer = self.client.send(Method::Get, &path, None, WITHIN).await?;
        let there = &answer[index]["settings"];
        if COPIES.iter().all(|(name, value)| there[*name] == *value) {
            return Ok(());
        }
        let body: Value = COPIES
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect();
        let path = format!("/{index}/_settings");
        self.client
            .send(Method::Put, &path, Some(&body), WITHIN)
            .await
            .map(drop)
    }

    /// # Errors
    /// What the cluster says.
    pub(super) async fn presence(
        &self,
        index: &str,
        generation: &str,
    ) -> Result<Presence, ElasticError> {
        let path = format!("/{index}/_mapping");
        let answer = match self.client.send(Method::Get, &path, None, WITHIN).await {
            Err(error) if error.is_missing() => return Ok(Presence::Missing),
            answer => answer?,
        };
        let meta = &answer[index]["mappings"]["_meta"];
        if meta["generation"] != generation || meta["layout"] != LAYOUT {
            return Ok(Presence::Foreign);
        }
        let path = format!("/{index}/_doc/{MARK}?_source=false");
        let mark = match self.client.send(Method::Get, &path, None, WITHIN).await {
            Err(error) if error.is_missing() => 0,
            answer => answer?["_version"].as_i64().unwrap_or_default(),
        };
        Ok(Presence::There { mark })
    }

    /// Makes what was written findable.
    ///
    /// # Errors
    /// What the cluster says, also of one shard.
    pub(super) async fn refresh(&self, indexes: &[String]) -> Result<(), ElasticError> {
        let path = format!("/{}/_refresh", indexes.join(","));
        let answer = self.client.send(Method::Post, &path, None, WITHIN).await?;
        match answer["_shards"]["failed"].as_u64() {
            Some(0) => Ok(()),
            _ => Err(ElasticError::Refused {
                status: 503,
                kind: "refresh of a shard".into(),
            }),
        }
    }

    /// # Errors
    /// What the cluster says.
    pub(super) async fn delete(&self, index: &str) -> Result<(), ElasticError> {
        let path = format!("/{index}");
        match self.client.send(Method::Delete, &path, None, WITHIN).await {
            Err(error) if error.is_missing() => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Lets the alias that people know lead to the index, and to no other.
    ///
    /// # Errors
    /// What the cluster says.
    pub(super) async fn point_alias(&self, index: &str) -> Result<(), ElasticError> {
        let alias = &self.settings.index;
        let path = format!("/_alias/{alias}");
        let answer = match self.client.send(Method::Get, &path, None, WITHIN).await {
            Err(error) if error.is_missing() => Value::Null,
            answer => answer?,
        };
        let has: Vec<&String> = answer
            .as_object()
            .map(|indexes| indexes.keys().collect())
            .unwrap_or_default();
        if has == [index] {
            return Ok(());
        }
        let mut actions: Vec<Value> = has
            .iter()
            .map(|other| json!({"remove": {"index": other, "alias": alias}}))
            .collect();
        actions.push(json!({"add": {"index": index, "alias": alias}}));
        let body = json!({"actions": actions});
        self.client
            .send(Method::Post, "/_aliases", Some(&body), WITHIN)
            .await
            .map(drop)
    }
}
