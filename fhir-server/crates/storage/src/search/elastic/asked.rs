//! One search's view of the index: what of it is pending, and the requests made to it.

use super::{Answer, MASKED_MAX, Reason, Request, Stop, joins, translate};
use crate::elastic::client::ElasticError;
use crate::elastic::pending::{self, Probe};
use crate::elastic::{AskedFor, Elastic, Freshness, WhenDown};
use crate::search::flat::Test;
use crate::search::resolve::{chains, type_number};
use crate::search::trace::Trace;
use crate::{Error, Snapshot, Store};
use fhir_definitions::Definitions;
use fhir_search::Query;
use fhir_search::query::{Clause, Contained};
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long is waited for the index to catch up, before Postgres answers.
const WAIT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(25);

/// An index that may be searched, and how it differs from the snapshot of the search.
pub(in crate::search) struct Indexed<'e> {
    pub elastic: &'e Elastic,
    pub index: String,
    /// Rows that were written and are not in the index yet, in order.
    pub pending: Vec<i64>,
    /// Whose writes the snapshot sees. `None`: later writes and stale documents do not matter (`eventual`).
    pub seen: Option<Seen>,
    /// Whether Postgres answers what costs less there.
    pub by_estimate: bool,
    /// What texts are read by.
    pub(super) definitions: Arc<Definitions>,
    /// The same copies of the shards are asked all along: others may be of an earlier moment.
    copies: String,
}

/// The transactions that a snapshot does not see: those from `end` on, and of those before it the ones that were open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::search) struct Seen {
    end: i64,
    open: Vec<i64>,
}

impl Seen {
    async fn of(connection: &mut PgConnection) -> Result<Seen, Error> {
        let snapshot: String = sqlx::query_scalar("SELECT pg_current_snapshot()::text")
            .fetch_one(connection)
            .await?;
        let unknown = || sqlx::Error::Protocol("a snapshot of another form".into());
        Ok(Seen::read(&snapshot).ok_or_else(unknown)?)
    }

    /// From the text form of Postgres: `xmin:xmax:open,open`.
    fn read(snapshot: &str) -> Option<Seen> {
        let mut parts = snapshot.split(':').skip(1);
        let end = parts.next()?.parse().ok()?;
        let open = parts.next()?.split(',').filter(|number| !number.is_empty());
        let open = open.map(|number| number.parse().ok());
        Some(Seen {
            end,
            open: open.collect::<Option<_>>()?,
        })
    }

    /// Documents that others wrote.
    fn later(&self) -> Value {
        let beyond = json!({"range": {"written": {"gte": self.end}}});
        match self.open.is_empty() {
            true => beyond,
            false => {
                json!({"bool": {"should": [beyond, {"terms": {"written": self.open}}], "minimum_should_match": 1}})
            }
        }
    }
}

/// Why no index is asked for it: what concerns a few resources named by id, or other resources than those that are indexed.
fn unsuited(query: &Query) -> Option<Reason> {
    if query.contained != Contained::False {
        return Some("contained");
    }
    let by_id = |clause: &Clause| matches!(clause, Clause::Id(_));
    query.filter.iter().any(by_id).then_some("by id")
}

/// That there is no answer of the index; gives the reason.
///
/// # Errors
/// [`Error::Index`] where the operator wants no answers of Postgres then.
pub(super) fn down(elastic: &Elastic, error: ElasticError) -> Result<Reason, Error> {
    let reason = error.reason();
    elastic.fallbacks.count(reason);
    match elastic.settings.when_down {
        WhenDown::Postgres => Ok(reason),
        WhenDown::Refuse => Err(Error::Index(error)),
    }
}

impl<'e> Indexed<'e> {
    /// The index for a search, with the snapshot that it is compared with; or why there is none.
    ///
    /// # Errors
    /// As [`down`]; database errors.
    pub async fn open(
        store: &Store,
        elastic: &'e Elastic,
        query: &Query,
    ) -> Result<Result<(Indexed<'e>, Snapshot), Reason>, Error> {
        if let Some(reason) = unsuited(query) {
            elastic.fallbacks.count(reason);
            return Ok(Err(reason));
        }
        if elastic.client.is_resting() {
            return Ok(Err(down(elastic, ElasticError::Resting)?));
        }
        let freshness = query.freshness.unwrap_or(elastic.settings.freshness);
        let until = Instant::now() + WAIT;
        loop {
            let mut snapshot = store.snapshot().await?;
            let (connection, definitions) = snapshot.parts().await?;
            let types = touched(definitions, query)?;
            let probe = pending::probe(elastic, connection, &types, MASKED_MAX).await?;
            let (found, reason) = match probe {
                Probe::Ready { index, pending } => (Some((index, pending)), ""),
                Probe::Behind { index } if freshness == Freshness::Eventual => {
                    (Some((index, Vec::new())), "")
                }
                Probe::Behind { .. } => (None, "behind"),
                Probe::None => (None, "no index"),
            };
            if let Some((index, pending)) = found {
                let seen = Seen::of(connection).await?;
                let is_strong = freshness == Freshness::Strong;
                let indexed = Indexed {
                    elastic,
                    index,
                    copies: format!("search-{}", seen.end),
                    pending: if is_strong { pending } else { Vec::new() },
                    seen: is_strong.then_some(seen),
                    by_estimate: elastic.settings.asked == AskedFor::ByEstimate,
                    definitions: store.definitions(),
                };
                return Ok(Ok((indexed, snapshot)));
            }
            snapshot.close().await?;
            if reason == "no index" || Instant::now() >= until {
                return Ok(Err(down(elastic, ElasticError::Unsearchable(reason))?));
            }
            sleep(PAUSE).await;
        }
    }

    /// One page of what the request is for.
    pub(super) async fn ask(
        &self,
        request: &Request<'_>,
        behind: Option<Value>,
        trace: &mut Trace,
    ) -> Result<Answer, Stop> {
        let body = request.body(behind)?;
        trace.note(|| format!("elasticsearch: {}", without_values(&body)));
        let answer = self.send(&body).await?;
        let last = hits(&answer).last().map(|hit| hit["sort"].clone());
        let total = &answer["hits"]["total"];
        Ok(Answer {
            rows: rows(&answer)?,
            last,
            matches: (
                total["value"].as_u64().unwrap_or_default(),
                total["relation"] == "eq",
            ),
        })
    }

    /// Rows whose documents are of later writes than the snapshot sees, as far as they are not masked. What an earlier request has seen of
    /// them, this one sees too.
    pub(super) async fn later(
        &self,
        types: &[i16],
        filter: &[Test],
        mask: &[i64],
    ) -> Result<Vec<i64>, Stop> {
        let Some(seen) = &self.seen else {
            return Ok(Vec::new());
        };
        // Joined rows may be of any type.
        let mut all = match filter.iter().any(joins::joins) {
            true => Vec::new(),
            false => vec![translate::query(&Test::Type(types.to_vec()))?],
        };
        all.push(seen.later());
        self.rows_to_mask(all, mask).await
    }

    /// Row keys, one more than may be masked at the most, of documents that meet all of these and are not masked.
    pub(super) async fn rows_to_mask(
        &self,
        all: Vec<Value>,
        mask: &[i64],
    ) -> Result<Vec<i64>, Stop> {
        let query = json!({"bool": {"filter": all, "must_not": [{"terms": {"pk": mask}}]}});
        self.some_rows(&query, MASKED_MAX + 1, None).await
    }

    /// Row keys that the query finds, `most` of them, in their order, from behind one on.
    pub(super) async fn some_rows(
        &self,
        query: &Value,
        most: usize,
        behind: Option<i64>,
    ) -> Result<Vec<i64>, Stop> {
        let mut body = json!({
            "size": most,
            "_source": false,
            "stored_fields": "_none_",
            "track_total_hits": false,
            "query": query,
            "sort": [{"pk": {"order": "asc"}}],
        });
        if let Some(behind) = behind {
            body["search_after"] = json!([behind]);
        }
        rows(&self.send(&body).await?)
    }

    pub(super) async fn send(&self, body: &Value) -> Result<Value, ElasticError> {
        let path = format!(
            "/{}/_search?allow_partial_search_results=false&preference={}&filter_path=hits.total,hits.hits.sort,aggregations",
            self.index, self.copies
        );
        #[cfg(test)]
        let body = &super::fault::planted(body);
        self.elastic.client.search(&path, body).await
    }
}

/// The row keys of hits, by which they are sorted.
fn rows(answer: &Value) -> Result<Vec<i64>, Stop> {
    let rows = hits(answer)
        .iter()
        .map(|hit| hit["sort"].as_array()?.last()?.as_i64());
    Ok(rows.collect::<Option<_>>().ok_or("answer without rows")?)
}

fn hits(answer: &Value) -> &[Value] {
    let hits = answer["hits"]["hits"].as_array();
    hits.map_or(&[], Vec::as_slice)
}

/// Numbers of the types whose rows can change the answer; none: those of all.
fn touched(definitions: &Definitions, query: &Query) -> Result<Vec<i16>, Error> {
    if query.filter.iter().any(chains) {
        return Ok(Vec::new());
    }
    let types = query.types.iter();
    types.map(|name| type_number(definitions, name)).collect()
}

/// What `_explain` shows of a request: never a value of the search, nor a hash of one.
fn without_values(body: &Value) -> Value {
    match body {
        Value::Object(members) => {
            let shown = members.iter().map(|(name, value)| {
                let is_form = matches!(
                    name.as_str(),
                    "path"
                        | "order"
                        | "mode"
                        | "missing"
                        | "size"
                        | "track_total_hits"
                        | "score_mode"
                );
                let value = match is_form {
                    true => value.clone(),
                    false => without_values(value),
                };
                (name.clone(), value)
            });
            Value::Object(shown.collect())
        }
        Value::Array(items) if items.iter().all(|item| item.is_object()) => {
            items.iter().map(without_values).collect()
        }
        Value::Array(items) => format!("{} values", items.len()).into(),
        _ => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_whose_writes_are_later() {
        let (end, open) = (110, vec![100, 107]);
        assert_eq!(Seen::read("100:110:100,107"), Some(Seen { end, open }));
        let open = Vec::new();
        assert_eq!(Seen::read("110:110:"), Some(Seen { end, open }));
        assert_eq!(Seen::read("110"), None);
    }

    #[test]
    fn shows_no_values() {
        let body = json!({
            "size": 3, "search_after": [1, "a"],
            "query": {"bool": {"filter": [{"terms": {"tokens": ["ab", "cd"]}}, {"range": {"dates.lo": {"gte": 5}}}]}}
        });
        let shown = json!({
            "size": 3, "search_after": "2 values",
            "query": {"bool": {"filter": [{"terms": {"tokens": "2 values"}}, {"range": {"dates.lo": {"gte": "?"}}}]}}
        });
        assert_eq!(without_values(&body), shown);
    }
}
