//! The one write road (design section 4): everything pure first, then one READ COMMITTED transaction that locks, looks, prepares and applies;
//! for new resources, which need no look, one statement.
//!
//! Locks are taken in one order by everyone, so that two commits wait for each other but never deadlock: advisory locks by number,
//! then existing rows by (type, id), then new rows by (type, id). What fails by contention all the same is tried again here.

mod apply;
mod body;
mod commit_new;
mod documented;
mod ground;
mod integrity;
mod keys;
mod links;
mod lookup;
mod meta;
mod patch;
mod plan;
mod prepare;
mod references;
mod reindex;
mod stop;
mod together;
mod turns;
mod work;
mod written;

pub(crate) use keys::Keys;
pub use reindex::{Progress, Step};
pub(crate) use together::Together;
pub(crate) use turns::Turns;

use crate::change::{Answer, Change, Outcome, Read};
use crate::definitions::PARAMETER;
use crate::error::{CommitError, Error};
use crate::held::Held;
use crate::policy::Rules;
use crate::read;
use crate::search::{Planning, search_in};
use crate::store::Store;
use crate::vocabulary::Learned;
use fhir_definitions::Definitions;
use fhir_model::{IssueKind, ResourceKey};
use ground::Hold;
use plan::{Plan, refuse};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stop::{Stop, whole};
use work::Work;

/// The advisory lock that writes hold shared, and a change of the definitions alone.
pub(crate) const EPOCH_LOCK: i64 = -1;
/// Attempts at a commit that others are in the way of.
const ATTEMPTS: u32 = 10;

impl Store {
    /// Commits all of the changes, or none of them. The outcomes are in the order of the changes.
    ///
    /// # Errors
    /// [`Error::Refused`] with the change that is refused: not what its precondition says (`VersionConflict`), several matches
    /// (`MultipleMatches`), one identity twice (`Duplicate`), a bad id or type. [`Error::Unavailable`] when the database is not
    /// reachable or too busy; if it went away during the commit itself, whether that happened is not known.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Outcome>, CommitError> {
        Ok(self.transact(changes, &[]).await?.0)
    }

    /// As [`Store::commit`], and then reads in the same transaction, which see the changes. A read that fails undoes the changes; its
    /// index in the error counts on after the changes.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn transact(
        &self,
        changes: Vec<Change>,
        reads: &[Read],
    ) -> Result<(Vec<Outcome>, Vec<Answer>), CommitError> {
        self.run(changes, reads, End::Committed).await
    }

    /// What [`Store::commit`] would say of these changes now. Nothing of them stays, but for the numbers of targets that are not there yet
    /// (rows without content, as a commit of a reference leaves them).
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn rehearse(&self, changes: Vec<Change>) -> Result<Vec<Outcome>, CommitError> {
        Ok(self.run(changes, &[], End::RolledBack).await?.0)
    }

    async fn run(
        &self,
        changes: Vec<Change>,
        reads: &[Read],
        end: End,
    ) -> Result<(Vec<Outcome>, Vec<Answer>), CommitError> {
        let defines = changes
            .iter()
            .any(|change| change.resource_type() == PARAMETER);
        let mut definitions = self.definitions();
        let mut work = Work::new(&definitions, self.rules(), changes)?;
        let _turns = match &work {
            Work::Patches(changes) => self.inner.turns.of(changes).await,
            Work::Planned(_) => Vec::new(),
        };
        let mut contended = 0;
        let mut lost = 0;
        let mut redefined = 0;
        let mut made = None;
        work = match work {
            Work::Planned(plan) if is_new(&plan, reads, end) && plan.is_small() => {
                let together = self.commit_together(Arc::clone(&definitions), plan);
                let (plan, outcomes) = together.await.map_err(whole)?;
                made = Some(outcomes.map(|outcomes| (outcomes, Vec::new())));
                Work::Planned(plan)
            }
            work => work,
        };
        loop {
            let attempt = match made.take() {
                Some(made) => made,
                None => self.attempt(&definitions, &work, reads, end).await,
            };
            // Another one finds out whether this one was committed after all, or what is in the way.
            if let Work::Planned(plan) = &mut work {
                plan.look_for_new = true;
            }
            match attempt {
                Ok(done) => {
                    self.inner.disk_full.store(false, Ordering::Relaxed);
                    if defines && end == End::Committed {
                        self.redefine().await;
                    }
                    return Ok(done);
                }
                Err(Stop::Final(error)) => {
                    if error.error.is_disk_full() {
                        self.inner.disk_full.store(true, Ordering::Relaxed);
                    }
                    return Err(error);
                }
                Err(Stop::Lost(_)) if lost <= self.inner.settings.write_connections => lost += 1,
                Err(Stop::Contended) if contended < ATTEMPTS => {
                    contended += 1;
                    tokio::time::sleep(pause(contended)).await;
                }
                Err(Stop::Redefined) if redefined < ATTEMPTS => {
                    redefined += 1;
                    self.refresh().await.map_err(whole)?;
                    let before = std::mem::replace(&mut definitions, self.definitions());
                    if work.asks_for_own(&before, reads) {
                        return Err(whole(refuse(
                            IssueKind::Transient,
                            "the search parameters have changed meanwhile; try again",
                        )));
                    }
                    if let Work::Planned(plan) = &mut work {
                        plan.index_by(&definitions, self.base());
                    }
                }
                Err(Stop::Lost(error)) => return Err(whole(Error::Unavailable(error))),
                Err(Stop::Contended | Stop::Redefined) => {
                    return Err(whole(refuse(
                        IssueKind::Transient,
                        "too many others change the same resources; try again",
                    )));
                }
            }
        }
    }

    async fn attempt(
        &self,
        definitions: &Definitions,
        work: &Work,
        reads: &[Read],
        end: End,
    ) -> Result<(Vec<Outcome>, Vec<Answer>), Stop> {
        let mut connection = Held::of(&self.inner.write_pool).await?;
        connection.work();
        let done = match work {
            Work::Planned(plan) if is_new(plan, reads, end) => {
                let alone = std::slice::from_ref(plan);
                let ends = self.commit_new(&mut connection, definitions, alone).await;
                let outcomes =
                    ends.and_then(|ends| ends.into_iter().collect::<Result<Vec<_>, _>>());
                outcomes.map(|outcomes| (outcomes.into_iter().flatten().collect(), Vec::new()))
            }
            Work::Planned(plan) => {
                self.attempt_on(&mut connection, definitions, plan, &[], reads, end)
                    .await
            }
            Work::Patches(changes) => {
                match self.planned(&mut connection, definitions, changes).await {
                    Ok(plan) => {
                        self.attempt_on(&mut connection, definitions, &plan, changes, reads, end)
                            .await
                    }
                    Err(stop) => Err(stop),
                }
            }
        };
        rest_after(&mut connection, &done);
        done
    }

    /// `patches`: what the plan was made from, where there are patches in it.
    async fn attempt_on(
        &self,
        connection: &mut Held,
        definitions: &Definitions,
        plan: &Plan,
        patches: &[Change],
        reads: &[Read],
        end: End,
    ) -> Result<(Vec<Outcome>, Vec<Answer>), Stop> {
        let keys = &self.inner.keys;
        let targets = keys.targets(connection, &plan.targets).await?;
        let fresh = keys.fresh(connection, plan.changes.len()).await?;
        let vocabulary = &self.inner.vocabulary;
        let learned = match end {
            End::Committed => vocabulary.learn(connection, plan.vocabulary()).await?,
            End::RolledBack => Learned::default(),
        };

        let begin = AssertSqlSafe(begin(plan, self.inner.settings.statement_timeout_ms));
        let mut transaction = connection.begin_with(begin).await?;
        let matches = self.matches(&mut transaction, definitions, plan).await?;
        let resolved = self
            .resolved(&mut transaction, definitions, plan, &matches)
            .await?;
        let rules = self.rules();
        let shared = resolved.shared_rows(definitions, plan, rules.policies);
        let ahead = resolved.read_ahead(reads);
        let mut rows = Vec::with_capacity(plan.changes.len() + reads.len());
        let own = resolved.rows(plan).into_iter();
        rows.extend(own.map(|key| (key, Hold::Change)));
        rows.extend(shared.into_iter().map(|key| (key, Hold::Stay)));
        rows.extend(ahead.iter().flatten().filter_map(|key| {
            let number = definitions.type_number(&key.resource_type)?;
            Some(((number, key.id.as_str()), Hold::Read))
        }));
        let ground = ground::lock_rows(&mut transaction, definitions, rows).await?;
        let ahead = ahead.map(|keys| ground.read(&keys));
        // Index rows may only be made by the definitions that the database is indexed by.
        if ground.epoch != definitions.index().epoch {
            return Err(Stop::Redefined);
        }
        let renewed = match patches.is_empty() {
            true => None,
            false => patch::renewed(definitions, rules, plan, patches, &ground)?,
        };
        let plan = renewed.as_ref().unwrap_or(plan);
        let prepared =
            prepare::prepare(definitions, rules, plan, resolved, ground, targets, fresh)?;
        keys.give_back(prepared.unused_keys);
        if end == End::Committed {
            // References that were resolved here, and patches of what had changed meanwhile, may have brought others.
            let entries = apply::vocabulary(&prepared.writes);
            vocabulary
                .complete(&mut transaction, entries.into_iter(), &learned)
                .await?;
        }
        if !prepared.writes.is_empty() {
            apply::apply(&mut transaction, prepared.writes).await?;
        }
        if rules.policies.targets_stay {
            integrity::refuse_referenced(&mut transaction, definitions, &prepared.deleted).await?;
        }
        let answers = self
            .answers(&mut transaction, definitions, plan, reads, ahead)
            .await?;
        let ended = match end {
            End::Committed => transaction.commit().await,
            End::RolledBack => transaction.rollback().await,
        };
        match ended {
            Ok(()) => {
                vocabulary.confirm(learned);
                Ok((prepared.outcomes, answers))
            }
            Err(error) if read::connection_lost(&error) => {
                Err(Stop::Final(whole(Error::Unavailable(error))))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn base(&self) -> Option<&str> {
        self.inner.settings.base.as_deref()
    }

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules {
            base: self.base(),
            policies: self.inner.settings.policies,
        }
    }

    /// What was committed may have changed the definitions. Where that cannot be seen to now, the servers of the database do so in a moment.
    async fn redefine(&self) {
        if let Err(error) = self.adopt(false).await {
            tracing::warn!(%error, "a SearchParameter was stored and is not used yet");
        }
    }

    async fn answers(
        &self,
        connection: &mut PgConnection,
        definitions: &Definitions,
        plan: &Plan,
        reads: &[Read],
        ahead: Option<HashMap<ResourceKey, read::Row>>,
    ) -> Result<Vec<Answer>, Stop> {
        let mut answers = Vec::with_capacity(reads.len());
        let instances = reads.iter().filter_map(|read| match read {
            Read::Instance(key, _) => Some(key),
            Read::Version(..) | Read::Search(..) => None,
        });
        let instances = match ahead {
            Some(ahead) => ahead,
            None => read::currents(connection, definitions, instances).await?,
        };
        if reads.iter().any(|read| matches!(read, Read::Search(..))) {
            let settings = format!(
                "SET LOCAL statement_timeout = {}",
                self.inner.settings.statement_timeout_ms
            );
            sqlx::raw_sql(AssertSqlSafe(settings))
                .execute(&mut *connection)
                .await?;
        }
        let mut planning = Planning::default();
        for (index, read) in reads.iter().enumerate() {
            let answer = self
                .answer(connection, &mut planning, definitions, &instances, read)
                .await;
            answers
                .push(answer.map_err(|error| Stop::of(Some(plan.changes.len() + index), error))?);
        }
        Ok(answers)
    }

    async fn answer(
        &self,
        connection: &mut PgConnection,
        planning: &mut Planning,
        definitions: &Definitions,
        instances: &HashMap<ResourceKey, read::Row>,
        read: &Read,
    ) -> Result<Answer, Error> {
        let (key, row) = match read {
            Read::Search(query, page) => {
                let store = &self.inner;
                let page = search_in(connection, planning, definitions, store, query, page);
                return Ok(Answer::Page(Box::new(page.await?)));
            }
            Read::Instance(key, version) => {
                let row = instances.get(key).cloned();
                let current = row.as_ref().filter(|(.., text)| text.is_some());
                version.check(current.map(|(version, ..)| *version))?;
                (key, row)
            }
            Read::Version(key, version) => match definitions.type_number(&key.resource_type) {
                Some(number) => (
                    key,
                    read::one_version(&mut *connection, number, key, *version).await?,
                ),
                None => (key, None),
            },
        };
        Ok(Answer::Version(row.map(|row| read::version_of(key, row))))
    }
}

/// The locks are taken in a statement of their own: what follows must see everything that was committed before they were given.
///
/// A condition is a search, and bounded like one.
fn begin(plan: &Plan, statement_timeout_ms: u64) -> String {
    let mut begin = String::from("BEGIN; ");
    if plan.has_conditions() {
        begin.push_str(&format!(
            "SET LOCAL statement_timeout = {statement_timeout_ms}; "
        ));
    }
    begin.push_str(&format!(
        "SELECT pg_advisory_xact_lock_shared({EPOCH_LOCK})"
    ));
    if !plan.locks.is_empty() {
        let list: Vec<String> = plan.locks.iter().map(i64::to_string).collect();
        begin.push_str("; SELECT pg_advisory_xact_lock(k) FROM unnest('{");
        begin.push_str(&list.join(","));
        begin.push_str("}'::bigint[]) AS k");
    }
    begin
}

/// Where a lock was not given in BEGIN, the transaction has begun, and the driver does not know that: dropping the connection ends it.
fn rest_after<T>(connection: &mut Held, done: &Result<T, Stop>) {
    if !matches!(done, Err(stop) if stop.is_of_database()) {
        connection.rest();
    }
}

/// Whether a commit is done in one statement.
fn is_new(plan: &Plan, reads: &[Read], end: End) -> bool {
    reads.is_empty() && end == End::Committed && plan.is_new()
}

/// Grows with each attempt, and differs between processes and moments.
fn pause(attempt: u32) -> Duration {
    let spread = u64::from(uuid::Uuid::now_v7().as_u128() as u8);
    Duration::from_millis(u64::from(attempt) * (5 + spread / 16))
}

/// How the transaction ends, when nothing was in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Committed,
    RolledBack,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Target;
    use crate::testing;
    use serde_json::json;
    use std::time::Duration;

    /// One connection, on which a lock is waited for no longer than this.
    async fn store(lock_timeout_ms: u32) -> Store {
        let mut settings = testing::settings(testing::empty_database().await);
        settings.write_connections = 1;
        let definitions = Definitions::load(&[]).unwrap();
        let store = Store::open(settings, definitions.into()).await.unwrap();
        let set = format!("SET lock_timeout = {lock_timeout_ms}");
        sqlx::raw_sql(AssertSqlSafe(set))
            .execute(&store.inner.write_pool)
            .await
            .unwrap();
        store
    }

    /// A write that takes its locks in a statement of their own.
    async fn write(store: &Store) -> Result<(), CommitError> {
        let update = Change::Update {
            target: Target::Id(fhir_model::ResourceKey::new("Basic", "1")),
            version: crate::change::VersionMatch::Any,
            may_create: true,
            resource: json!({"resourceType": "Basic", "id": "1"}),
            full_url: None,
        };
        store.commit(vec![update]).await.map(drop)
    }

    /// Another connection, which holds these locks until it is closed.
    pub(super) async fn holding(store: &Store, locks: &[i64]) -> PgConnection {
        let mut other = PgConnection::connect(&store.inner.settings.url)
            .await
            .unwrap();
        sqlx::query("SELECT pg_advisory_lock(k) FROM unnest($1::bigint[]) AS k")
            .bind(locks)
            .execute(&mut other)
            .await
            .unwrap();
        other
    }

    #[tokio::test]
    async fn a_lock_that_is_not_given_leaves_no_transaction_behind() {
        let store = store(20).await;
        let other = holding(&store, &[EPOCH_LOCK]).await;
        let Error::Refused(issues) = write(&store).await.unwrap_err().error else {
            panic!("nobody can tell that the write only has to be tried again")
        };
        assert_eq!(issues[0].kind, IssueKind::Transient);
        other.close().await.unwrap();
        write(&store).await.unwrap();
    }

    #[tokio::test]
    async fn nor_does_one_that_nobody_waits_for() {
        let store = store(0).await;
        let mut other = holding(&store, &[EPOCH_LOCK]).await;
        let given_up = tokio::time::timeout(Duration::from_millis(100), write(&store)).await;
        assert!(given_up.is_err());
        sqlx::query("SELECT pg_advisory_unlock_all()")
            .execute(&mut other)
            .await
            .unwrap();
        // The only connection is there again when what was given up has ended.
        store.ping().await.unwrap();
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'",
        )
        .fetch_one(&mut other)
        .await
        .unwrap();
        assert_eq!(open, 0);
    }
}
