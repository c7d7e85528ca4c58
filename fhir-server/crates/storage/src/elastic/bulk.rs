//! Bulk requests: documents with their external version, and what became of each.
//!
//! 409 is as good as done: what is there was read later. An item that may be taken later (429, 5xx, a block, a shard that is away) stays to be
//! done. What else is refused will be refused again: the document is parked.

use super::client::ElasticError;
use super::cluster::MARK;
use super::document::{self, IndexRows};
use super::{Elastic, cluster};
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// About how long a request may be.
const BULK_BYTES: usize = 4 << 20;
/// Resources that are read at one time, and the bytes of their bodies, as they lie in the database, that are a measure of their rows.
const READ_ROWS: usize = 500;
const READ_BYTES: i64 = 8 << 20;

/// Of errors that do not pass: the wait for another state of the cluster would be for ever.
const LASTING: [u16; 4] = [400, 413, 405, 415];

/// What became of the documents of one batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// In every index.
    pub done: BTreeSet<i64>,
    /// index, pk: why not.
    pub parked: BTreeMap<(String, i64), Parked>,
    /// To be tried again: in an index they are not.
    pub again: BTreeSet<i64>,
    /// What the last of those was told.
    pub trouble: Option<ElasticError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parked {
    pub type_number: i16,
    pub reason: String,
}

impl Elastic {
    /// Writes the documents of the resources, as Postgres has them now, into the indexes. `version` must have been taken before, and after all
    /// was committed that must be in it. Of `pks` without a resource (with their type) a tombstone is written.
    ///
    /// # Errors
    /// Database errors, and what the cluster says of requests as a whole.
    pub(super) async fn write_documents(
        &self,
        connection: &mut PgConnection,
        indexes: &[String],
        version: i64,
        pks: &BTreeMap<i64, i16>,
    ) -> Result<Outcome, Trouble> {
        let mut outcome = Outcome::default();
        let mut batch = Batch::default();
        batch.mark(indexes, version);
        for group in groups(connection, pks).await? {
            let rows = document::read(connection, &self.types, &group).await?;
            let mut missing: BTreeSet<i64> = group.into_iter().collect();
            for row in &rows {
                missing.remove(&row.pk);
                batch.document(indexes, version, row);
                if batch.lines.len() >= BULK_BYTES {
                    self.send(std::mem::take(&mut batch), &mut outcome).await?;
                }
            }
            for pk in missing {
                let tombstone = IndexRows {
                    pk,
                    type_number: pks[&pk],
                    version: 0,
                    written: 0,
                    entry: None,
                };
                batch.document(indexes, version, &tombstone);
            }
        }
        self.send(batch, &mut outcome).await?;
        let failed = outcome.parked.keys().map(|(_, pk)| pk);
        for pk in failed.chain(&outcome.again) {
            outcome.done.remove(pk);
        }
        Ok(outcome)
    }

    async fn send(&self, batch: Batch, outcome: &mut Outcome) -> Result<(), Trouble> {
        let within = Duration::from_millis(self.settings.bulk_timeout_ms);
        let mut waiting = vec![batch];
        while let Some(batch) = waiting.pop() {
            if batch.items.is_empty() {
                continue;
            }
            let path = "/_bulk?require_alias=true&filter_path=items.*.status,items.*.error.type";
            match self.client.send_lines(path, &batch.lines, within).await {
                Ok(answer) => batch.settle(&answer, outcome)?,
                // Longer than the cluster takes (http.max_content_length): in halves, down to one that is.
                Err(ElasticError::Refused { status: 413, .. }) if batch.items.len() > 1 => {
                    waiting.extend(batch.halves());
                }
                Err(error @ ElasticError::Refused { status: 413, .. }) => {
                    let item = &batch.items[0];
                    outcome.refuse(item, 413, &error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Why a batch was not written.
#[derive(Debug)]
pub(super) enum Trouble {
    Database(crate::error::Error),
    Elastic(ElasticError),
}

impl From<crate::error::Error> for Trouble {
    fn from(error: crate::error::Error) -> Trouble {
        Trouble::Database(error)
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Trouble {
        Trouble::Database(error.into())
    }
}

impl From<ElasticError> for Trouble {
    fn from(error: ElasticError) -> Trouble {
        Trouble::Elastic(error)
    }
}

impl From<Trouble> for crate::error::Error {
    fn from(trouble: Trouble) -> crate::error::Error {
        match trouble {
            Trouble::Database(error) => error,
            Trouble::Elastic(error) => crate::error::Error::Index(error),
        }
    }
}

#[derive(Clone, Debug)]
struct Item {
    index: String,
    /// `None`: the mark.
    pk: Option<i64>,
    type_number: i16,
    /// Where its lines end.
    end: usize,
}

#[derive(Debug, Default)]
struct Batch {
    lines: String,
    items: Vec<Item>,
}

impl Batch {
    fn mark(&mut self, indexes: &[String], version: i64) {
        for index in indexes {
            self.add(index, MARK, version, &json!({"deleted": true}));
            self.item(index, None, 0);
        }
    }

    fn document(&mut self, indexes: &[String], version: i64, rows: &IndexRows) {
        let document = document::of(rows);
        for index in indexes {
            self.add(index, &rows.pk.to_string(), version, &document);
            self.item(index, Some(rows.pk), rows.type_number);
        }
    }

    fn add(&mut self, index: &str, id: &str, version: i64, document: &Value) {
        let action = json!({"index": {
            "_index": cluster::write_alias(index), "_id": id, "version": version, "version_type": "external",
        }});
        self.lines.push_str(&action.to_string());
        self.lines.push('\n');
        self.lines.push_str(&document.to_string());
        self.lines.push('\n');
    }

    fn item(&mut self, index: &str, pk: Option<i64>, type_number: i16) {
        self.items.push(Item {
            index: index.to_owned(),
            pk,
            type_number,
            end: self.lines.len(),
        });
    }

    fn halves(mut self) -> [Batch; 2] {
        let at = self.items.len() / 2;
        let end = self.items[at - 1].end;
        let lines = self.lines.split_off(end);
        let mut items = self.items.split_off(at);
        for item in &mut items {
            item.end -= end;
        }
        [self, Batch { lines, items }]
    }

    fn settle(self, answer: &Value, outcome: &mut Outcome) -> Result<(), ElasticError> {
        let answers = answer["items"].as_array();
        let answers = answers.filter(|answers| answers.len() == self.items.len());
        for (item, answer) in self
            .items
            .iter()
            .zip(answers.ok_or(ElasticError::Unreadable)?)
        {
            let status = answer["index"]["status"].as_u64().unwrap_or_default();
            let kind = answer["index"]["error"]["type"]
                .as_str()
                .unwrap_or_default();
            match status {
                200..=299 | 409 => outcome.done.extend(item.pk),
                status => outcome.refuse(item, status as u16, kind),
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn refuse(&mut self, item: &Item, status: u16, kind: &str) {
        match item.pk {
            Some(pk) if LASTING.contains(&status) => {
                let parked = Parked {
                    type_number: item.type_number,
                    reason: format!("{status} {kind}"),
                };
                self.parked.insert((item.index.clone(), pk), parked);
            }
            pk => {
                self.again.extend(pk);
                let kind = kind.to_owned();
                self.trouble = Some(ElasticError::Refused { status, kind });
            }
        }
    }
}

/// The keys, cut into groups whose rows are read at one time.
async fn groups(
    connection: &mut PgConnection,
    pks: &BTreeMap<i64, i16>,
) -> Result<Vec<Vec<i64>>, sqlx::Error> {
    let all: Vec<i64> = pks.keys().copied().collect();
    let sizes: Vec<(i64, i32)> = sqlx::query_as(
        "SELECT pk, coalesce(pg_column_size(content), 0) FROM resource WHERE pk = ANY ($1)",
    )
    .bind(&all)
    .fetch_all(connection)
    .await?;
    let sizes: BTreeMap<i64, i32> = sizes.into_iter().collect();
    let mut groups = Vec::new();
    let (mut group, mut bytes) = (Vec::new(), 0);
    for pk in all {
        let size = i64::from(sizes.get(&pk).copied().unwrap_or_default());
        if !group.is_empty() && (group.len() >= READ_ROWS || bytes + size > READ_BYTES) {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        group.push(pk);
        bytes += size;
    }
    groups.push(group);
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(pks: &[i64]) -> Batch {
        let mut batch = Batch::default();
        batch.mark(&["a".into()], 7);
        for pk in pks {
            let rows = IndexRows {
                pk: *pk,
                type_number: 3,
                version: 1,
                written: 1,
                entry: None,
            };
            batch.document(&["a".into()], 7, &rows);
        }
        batch
    }

    #[test]
    fn each_item_has_its_end() {
        let items = |statuses: &[(u16, &str)]| {
            let items: Vec<Value> = statuses
                .iter()
                .map(|(status, kind)| json!({"index": {"status": status, "error": {"type": kind}}}))
                .collect();
            json!({ "items": items })
        };
        let mut outcome = Outcome::default();
        let answer = items(&[
            (201, ""),
            (200, ""),
            (409, "version_conflict_engine_exception"),
            (400, "document_parsing_exception"),
            (429, "es_rejected_execution_exception"),
            (403, "cluster_block_exception"),
            (503, "unavailable_shards_exception"),
        ]);
        batch(&[1, 2, 3, 4, 5, 6])
            .settle(&answer, &mut outcome)
            .unwrap();
        assert_eq!(outcome.done, BTreeSet::from([1, 2]));
        assert_eq!(outcome.again, BTreeSet::from([4, 5, 6]));
        let parked = &outcome.parked[&("a".to_owned(), 3)];
        assert_eq!(parked.reason, "400 document_parsing_exception");
        assert_eq!(
            outcome.trouble.unwrap().to_string(),
            "the search index refused a request: 503 unavailable_shards_exception"
        );
        // An answer of other length says nothing.
        let short = batch(&[1]).settle(&items(&[(201, "")]), &mut Outcome::default());
        assert_eq!(short, Err(ElasticError::Unreadable));
    }

    #[test]
    fn halves_have_their_lines() {
        let whole = batch(&[1, 2, 3]);
        let lines = whole.lines.clone();
        let [first, second] = whole.halves();
        assert_eq!(format!("{}{}", first.lines, second.lines), lines);
        for half in [first, second] {
            assert_eq!(half.items.len(), 2);
            assert_eq!(half.items.last().unwrap().end, half.lines.len());
        }
    }
}
