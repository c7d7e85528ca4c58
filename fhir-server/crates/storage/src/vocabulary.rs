//! The vocabulary of the site ([`fhir_search::vocabulary`]): rows are there before the resources that need them (docs/adr/0025-vocabulary.md).
//!
//! They are inserted in a commit of its own, in sorted order, so that writers wait for each other for a moment only and never deadlock. This
//! commit does not wait for the disk: the write that follows does, and the log is written in order. So a value counts as known only when
//! such a write was committed. Rows are never deleted, so what is known stays true.

use fhir_search::vocabulary::Entry;
use sqlx::PgConnection;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values remembered in each of two generations; the elder is forgotten when the younger is full.
const KNOWN_MAX: usize = 100_000;

/// What this process knows to be there.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    young: Hashes,
    old: Hashes,
}

type Hashes = HashSet<i64, BuildHasherDefault<AsItIs>>;

/// The hash of what is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |all, byte| all << 8 | u64::from(*byte));
    }

    fn write_i64(&mut self, hash: i64) {
        self.0 = hash.cast_unsigned();
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Values that were inserted by a commit whose write is still to come: their hashes, sorted.
#[derive(Debug, Default)]
pub(crate) struct Learned(Vec<i64>);

impl Vocabulary {
    /// Sees to it that all of `entries` are there. Outside of any transaction.
    pub(crate) async fn learn<'e>(
        &self,
        connection: &mut PgConnection,
        entries: impl Iterator<Item = &'e Entry>,
    ) -> Result<Learned, sqlx::Error> {
        self.insert(connection, INSERT_AND_COMMIT, entries, &Learned::default())
            .await
    }

    /// The same within a transaction, for what only came out there; `before` was learned for it.
    pub(crate) async fn complete<'e>(
        &self,
        transaction: &mut PgConnection,
        entries: impl Iterator<Item = &'e Entry>,
        before: &Learned,
    ) -> Result<(), sqlx::Error> {
        self.insert(transaction, INSERT, entries, before)
            .await
            .map(drop)
    }

    /// The write that `learned` was for is committed.
    pub(crate) fn confirm(&self, learned: Learned) {
        if learned.0.is_empty() {
            return;
        }
        let mut known = self.known();
        learned.0.into_iter().for_each(|hash| known.add(hash));
    }

    async fn insert<'e>(
        &self,
        connection: &mut PgConnection,
        statement: &'static str,
        entries: impl Iterator<Item = &'e Entry>,
        before: &Learned,
    ) -> Result<Learned, sqlx::Error> {
        let mut unknown = self.unknown(entries, before);
        if unknown.is_empty() {
            return Ok(Learned::default());
        }
        unknown.sort_unstable();
        unknown.dedup();
        let parameters: Vec<i16> = unknown.iter().map(|(entry, _)| entry.key.0).collect();
        let kinds: Vec<i16> = unknown.iter().map(|(entry, _)| entry.kind as i16).collect();
        let values: Vec<&str> = unknown.iter().map(|(e, _)| e.value.as_str()).collect();
        sqlx::query(statement)
            .bind(parameters)
            .bind(kinds)
            .bind(values)
            .execute(connection)
            .await?;
        let mut hashes: Vec<i64> = unknown.into_iter().map(|(_, hash)| hash).collect();
        hashes.sort_unstable();
        Ok(Learned(hashes))
    }

    fn unknown<'e>(
        &self,
        entries: impl Iterator<Item = &'e Entry>,
        before: &Learned,
    ) -> Vec<(&'e Entry, i64)> {
        let mut known = self.known();
        entries
            .map(|entry| (entry, entry.hash()))
            .filter(|(_, hash)| !known.has(*hash) && before.0.binary_search(hash).is_err())
            .collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What is asked for stays.
    fn has(&mut self, hash: i64) -> bool {
        if self.young.contains(&hash) {
            return true;
        }
        let old = self.old.contains(&hash);
        if old {
            self.add(hash);
        }
        old
    }

    fn add(&mut self, hash: i64) {
        if self.young.len() >= KNOWN_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash);
    }
}

macro_rules! insert {
    ($from:literal) => {
        concat!(
            "INSERT INTO vocabulary (parameter, kind, value) SELECT n.* FROM ",
            $from,
            "unnest($1::smallint[], $2::smallint[], $3::text[]) AS n(parameter, kind, value) ",
            "ORDER BY n.parameter, n.kind, n.value COLLATE \"C\" ON CONFLICT DO NOTHING"
        )
    };
}

const INSERT: &str = insert!("");

const INSERT_AND_COMMIT: &str = concat!(
    "WITH s AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)) ",
    insert!("s, "),
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, Store, Target, testing};
    use fhir_definitions::ParameterKey;
    use fhir_search::vocabulary::Kind;
    use serde_json::json;

    fn entry(value: &str) -> Entry {
        Entry {
            key: ParameterKey(7),
            kind: Kind::Text,
            value: value.to_owned(),
        }
    }

    #[tokio::test]
    async fn each_value_is_inserted_once_and_known_when_its_write_is_committed() {
        let store = testing::store().await;
        let mut connection = store.inner.write_pool.acquire().await.unwrap();
        let vocabulary = Vocabulary::default();
        let entries = [entry("b"), entry("a"), entry("b")];
        let learned = vocabulary
            .learn(&mut connection, entries.iter())
            .await
            .unwrap();
        assert_eq!(learned.0.len(), 2);
        let again = vocabulary
            .learn(&mut connection, entries.iter())
            .await
            .unwrap();
        assert_eq!(again.0, learned.0, "nothing was committed by it");
        vocabulary.confirm(learned);
        let known = vocabulary
            .learn(&mut connection, entries.iter())
            .await
            .unwrap();
        assert!(known.0.is_empty());
        let values: Vec<String> =
            sqlx::query_scalar("SELECT value FROM vocabulary WHERE parameter = 7")
                .fetch_all(&mut *connection)
                .await
                .unwrap();
        assert_eq!(values, ["a", "b"]);
        let setting: String = sqlx::query_scalar("SHOW synchronous_commit")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(setting, "on", "writes wait for the disk");
    }

    /// Values of the vocabulary that begin with `start`, of all parameters.
    async fn stored(store: &Store, start: &str) -> Vec<String> {
        let sql = "SELECT DISTINCT value FROM vocabulary WHERE starts_with(value, $1) ORDER BY 1";
        let values = sqlx::query_scalar(sql).bind(start);
        values.fetch_all(&store.inner.write_pool).await.unwrap()
    }

    fn procedure(text: &str) -> Change {
        Change::Create {
            target: Target::New {
                resource_type: "Procedure".into(),
            },
            resource: json!({"resourceType": "Procedure", "status": "completed", "code": {"text": text}, "subject": {"reference": "Patient/1"}}),
            full_url: None,
        }
    }

    #[tokio::test]
    async fn values_are_there_with_their_resources() {
        let store = testing::store().await;
        store
            .rehearse(vec![procedure("only rehearsed")])
            .await
            .unwrap();
        assert!(stored(&store, "only").await.is_empty());
        store
            .commit(vec![procedure("First"), procedure("Firstly")])
            .await
            .unwrap();
        assert_eq!(stored(&store, "first").await, ["first", "firstly"]);
        // What is known is not asked for again: rows that are taken away stay away.
        let forget = sqlx::query("DELETE FROM vocabulary WHERE starts_with(value, 'first')");
        forget.execute(&store.inner.write_pool).await.unwrap();
        store.commit(vec![procedure("First")]).await.unwrap();
        assert!(stored(&store, "first").await.is_empty());
        *store.inner.vocabulary.known() = Known::default();
        store.reindex().await.unwrap();
        assert_eq!(stored(&store, "first").await, ["first", "firstly"]);
    }

    #[tokio::test]
    async fn what_comes_out_in_a_transaction_is_completed_there() {
        let store = testing::store().await;
        let mut transaction = store.inner.write_pool.begin().await.unwrap();
        let vocabulary = Vocabulary::default();
        let entries = [entry("late")];
        let before = Learned::default();
        vocabulary
            .complete(&mut transaction, entries.iter(), &before)
            .await
            .unwrap();
        assert!(stored(&store, "late").await.is_empty());
        transaction.commit().await.unwrap();
        assert_eq!(stored(&store, "late").await, ["late"]);
        assert!(vocabulary.known().young.is_empty());
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_used() {
        let mut known = Known::default();
        for hash in 0..5 * KNOWN_MAX as i64 {
            known.add(hash);
            assert!(known.has(0), "{hash}");
        }
        assert!(known.young.len() <= KNOWN_MAX && known.old.len() <= KNOWN_MAX);
        assert!(known.has(0));
        assert!(!known.has(1));
    }
}
