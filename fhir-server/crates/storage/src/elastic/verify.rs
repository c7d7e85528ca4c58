//! Compares the index with Postgres, resource by resource, while both are written.
//!
//! What differs at first sight is looked at again: a resource whose outbox row is there, or that is parked, is none that a search believes the
//! index of. What then differs although nothing was written meanwhile does differ.

use super::Elastic;
use super::client::ElasticError;
use super::document;
use super::indexer;
use super::state::State;
use crate::error::Error;
use crate::store::Store;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Resources that are compared at one time.
const BATCH: i64 = 1_000;
/// How often what differs is looked at again while it is being written.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);
/// How long the cluster may take for a page.
const WITHIN: Duration = Duration::from_secs(30);

/// What is wrong with a resource in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// It is not there.
    Missing,
    /// It is there and not in Postgres.
    Extra,
    /// It is another version, or is found by other values.
    Different,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub resource_type: String,
    /// Its key in the database.
    pub pk: i64,
    pub finding: Finding,
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub index: String,
    /// Resources that were compared.
    pub in_postgres: u64,
    pub in_index: u64,
    /// Resources that differ because they are to be written yet.
    pub waiting: u64,
    /// Resources that the index does not take.
    pub parked: u64,
    pub found: Vec<Found>,
    /// Indexes with the name of this site that it does not know: of before a restore, or of another site.
    pub unknown: Vec<String>,
}

/// What the index has of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
struct There {
    digest: i64,
    type_number: i16,
}

impl Store {
    /// Compares the index that is searched with what is in Postgres. With `repair`, what differs is put into the outbox.
    ///
    /// # Errors
    /// [`Error::Start`] where no index is complete; [`Error::Index`]; database errors.
    pub async fn index_verify(&self, repair: bool) -> Result<Verified, Error> {
        let elastic = indexer::elastic(self)?;
        let mut connection = elastic.pool.acquire().await?;
        let state = State::read(&mut connection).await?;
        let active = state.active.clone().filter(|_| !state.indexes().is_empty());
        let none = || Error::Start("no search index is complete yet".into());
        let index = active.ok_or_else(none)?;
        let mut verified = Verified {
            unknown: unknown(elastic, &mut connection, &state).await?,
            index: index.clone(),
            ..Verified::default()
        };
        let mut found = Vec::new();
        let mut after = 0;
        loop {
            let pks: Vec<i64> =
                sqlx::query_scalar("SELECT pk FROM entry WHERE pk > $1 ORDER BY pk LIMIT $2")
                    .bind(after)
                    .bind(BATCH)
                    .fetch_all(&mut *connection)
                    .await?;
            let last = pks.last().copied().filter(|_| pks.len() as i64 == BATCH);
            let upto = last.unwrap_or(i64::MAX);
            let here = here(elastic, &mut connection, &pks).await?;
            let there = range(elastic, &index, after, upto).await?;
            verified.in_postgres += here.len() as u64;
            verified.in_index += there.len() as u64;
            let suspects = differing(&here, &there);
            self.look_again(
                elastic,
                &mut connection,
                &index,
                suspects,
                &mut verified,
                &mut found,
            )
            .await?;
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        if repair {
            mend(&mut connection, &found).await?;
        }
        let definitions = self.definitions();
        verified.found = found
            .into_iter()
            .map(|(pk, type_number, finding)| Found {
                resource_type: definitions.type_name(type_number).unwrap_or("?").to_owned(),
                pk,
                finding,
            })
            .collect();
        verified.found.sort_unstable();
        Ok(verified)
    }

    /// Whether all that was written by now is in the index.
    ///
    /// # Errors
    /// Database errors.
    pub async fn index_is_idle(&self) -> Result<bool, Error> {
        let elastic = indexer::elastic(self)?;
        let idle = sqlx::query_scalar(
            "SELECT NOT EXISTS (SELECT FROM outbox) AND NOT EXISTS (SELECT FROM search_index_fill) \
             AND (SELECT active IS NOT NULL AND building IS NULL FROM search_index)",
        )
        .fetch_one(&elastic.pool)
        .await?;
        Ok(idle)
    }

    async fn look_again(
        &self,
        elastic: &Elastic,
        connection: &mut PgConnection,
        index: &str,
        mut suspects: BTreeSet<i64>,
        verified: &mut Verified,
        found: &mut Vec<(i64, i16, Finding)>,
    ) -> Result<(), Error> {
        for attempt in 1.. {
            if suspects.is_empty() {
                break;
            }
            let moment = Moment::of(elastic, connection, index, &suspects).await?;
            for pk in moment.waiting.iter().chain(&moment.parked) {
                suspects.remove(pk);
            }
            verified.parked += moment.parked.len() as u64;
            verified.waiting += moment.waiting.difference(&moment.parked).count() as u64;
            let there = of_keys(elastic, index, &suspects).await?;
            let then = Moment::of(elastic, connection, index, &suspects).await?;
            suspects.retain(|pk| {
                moment.here.get(pk).map(|row| row.0) != there.get(pk).map(|doc| doc.digest)
            });
            for pk in suspects.clone() {
                let is_same = moment.here.get(&pk) == then.here.get(&pk)
                    && !then.waiting.contains(&pk)
                    && !then.parked.contains(&pk);
                if is_same || attempt == ATTEMPTS {
                    suspects.remove(&pk);
                    let (here, there) = (moment.here.get(&pk), there.get(&pk));
                    let finding = match (here, there) {
                        (Some(_), None) => Finding::Missing,
                        (None, _) => Finding::Extra,
                        (Some(_), Some(_)) => Finding::Different,
                    };
                    let type_number = here.map(|row| row.1).or(there.map(|doc| doc.type_number));
                    found.push((pk, type_number.unwrap_or_default(), finding));
                }
            }
            if !suspects.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

/// Of some resources, as one snapshot has them.
struct Moment {
    /// Digest and type of those that are there to be found.
    here: BTreeMap<i64, (i64, i16)>,
    waiting: BTreeSet<i64>,
    parked: BTreeSet<i64>,
}

impl Moment {
    async fn of(
        elastic: &Elastic,
        connection: &mut PgConnection,
        index: &str,
        pks: &BTreeSet<i64>,
    ) -> Result<Moment, Error> {
        let pks: Vec<i64> = pks.iter().copied().collect();
        let mut snapshot = connection
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let here = here(elastic, &mut snapshot, &pks).await?;
        let waiting: Vec<i64> =
            sqlx::query_scalar("SELECT pk FROM outbox WHERE seq >= $1 AND pk = ANY ($2)")
                .bind(elastic.low.get())
                .bind(&pks)
                .fetch_all(&mut *snapshot)
                .await?;
        let parked: Vec<i64> = sqlx::query_scalar(
            "SELECT pk FROM search_index_parked WHERE index = $1 AND pk = ANY ($2)",
        )
        .bind(index)
        .bind(&pks)
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.rollback().await?;
        Ok(Moment {
            here,
            waiting: waiting.into_iter().collect(),
            parked: parked.into_iter().collect(),
        })
    }
}

/// Digest and type of those that are there to be found.
async fn here(
    elastic: &Elastic,
    connection: &mut PgConnection,
    pks: &[i64],
) -> Result<BTreeMap<i64, (i64, i16)>, Error> {
    let mut here = BTreeMap::new();
    document::each(connection, &elastic.types, pks, |row| {
        if row.entry.is_some() {
            let digest = document::of(&row)["digest"].as_i64().unwrap_or_default();
            here.insert(row.pk, (digest, row.type_number));
        }
    })
    .await?;
    Ok(here)
}

fn differing(here: &BTreeMap<i64, (i64, i16)>, there: &BTreeMap<i64, There>) -> BTreeSet<i64> {
    let all = here.keys().chain(there.keys());
    all.filter(|pk| here.get(pk).map(|row| row.0) != there.get(pk).map(|doc| doc.digest))
        .copied()
        .collect()
}

/// Documents of resources with keys above `after` and up to `upto`.
async fn range(
    elastic: &Elastic,
    index: &str,
    after: i64,
    upto: i64,
) -> Result<BTreeMap<i64, There>, ElasticError> {
    let mut all = BTreeMap::new();
    let mut after = after;
    loop {
        let page = page(
            elastic,
            index,
            json!({"range": {"pk": {"gt": after, "lte": upto}}}),
        )
        .await?;
        let Some((last, _)) = page.last_key_value() else {
            return Ok(all);
        };
        after = *last;
        all.extend(page);
    }
}

async fn of_keys(
    elastic: &Elastic,
    index: &str,
    pks: &BTreeSet<i64>,
) -> Result<BTreeMap<i64, There>, ElasticError> {
    let mut all = BTreeMap::new();
    let pks: Vec<i64> = pks.iter().copied().collect();
    for some in pks.chunks(BATCH as usize) {
        all.extend(page(elastic, index, json!({"terms": {"pk": some}})).await?);
    }
    Ok(all)
}

/// The first of the documents in the order of their keys.
async fn page(
    elastic: &Elastic,
    index: &str,
    filter: Value,
) -> Result<BTreeMap<i64, There>, ElasticError> {
    let body = json!({
        "query": {"bool": {"filter": [filter], "must_not": [{"term": {"deleted": true}}]}},
        "sort": [{"pk": "asc"}],
        "size": BATCH,
        "_source": false,
        "docvalue_fields": ["pk", "digest", "type"],
        "track_total_hits": false,
    });
    let path =
        format!("/{index}/_search?allow_partial_search_results=false&filter_path=hits.hits.fields");
    let method = super::client::Method::Post;
    let answer = elastic
        .client
        .send(method, &path, Some(&body), WITHIN)
        .await?;
    let hits = answer["hits"]["hits"].as_array().map(Vec::as_slice);
    let hits = hits.unwrap_or_default().iter();
    hits.map(|hit| {
        let fields = &hit["fields"];
        let type_number = fields["type"][0]
            .as_str()
            .and_then(|text| text.parse().ok());
        let there = There {
            digest: fields["digest"][0].as_i64().unwrap_or_default(),
            type_number: type_number.unwrap_or_default(),
        };
        Some((fields["pk"][0].as_i64()?, there))
    })
    .collect::<Option<_>>()
    .ok_or(ElasticError::Unreadable)
}

/// Lets the indexer write them again. Of what Postgres does not have, it writes a tombstone.
async fn mend(
    connection: &mut PgConnection,
    found: &[(i64, i16, Finding)],
) -> Result<(), sqlx::Error> {
    let (pks, types): (Vec<i64>, Vec<i16>) = found
        .iter()
        .map(|(pk, type_number, _)| (*pk, *type_number))
        .unzip();
    sqlx::query(
        "INSERT INTO outbox (pk, type, version) SELECT pk, type, 0 FROM unnest($1::bigint[], $2::smallint[]) AS n(pk, type)",
    )
    .bind(pks)
    .bind(types)
    .execute(connection)
    .await
    .map(drop)
}

async fn unknown(
    elastic: &Elastic,
    connection: &mut PgConnection,
    state: &State,
) -> Result<Vec<String>, Error> {
    let retired: Vec<String> = sqlx::query_scalar("SELECT index FROM search_index_retired")
        .fetch_all(connection)
        .await?;
    let path = format!(
        "/{}-*/_mapping?filter_path=*.mappings._meta",
        elastic.settings.index
    );
    let method = super::client::Method::Get;
    let answer = elastic.client.send(method, &path, None, WITHIN).await?;
    let known = |index: &String| {
        [&state.active, &state.building].contains(&&Some(index.clone())) || retired.contains(index)
    };
    let all = answer.as_object().map(|indexes| indexes.keys());
    let all = all.into_iter().flatten();
    Ok(all.filter(|index| !known(index)).cloned().collect())
}
