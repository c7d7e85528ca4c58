//! Small commits of new resources that come at the same time are made as one: a statement and a commit cost what the index rows of several
//! resources do. Nobody waits for company: a commit begins at once where none is under way, and the next one is of all that came meanwhile.
//!
//! They share the way, not the end: where a commit of several fails, each is tried by itself (docs/adr/0003-one-write-road.md).

use super::plan::{Action, Plan};
use super::rest_after;
use super::stop::{Stop, whole};
use crate::change::Outcome;
use crate::error::Error;
use crate::held::Held;
use crate::store::{LOCK_TIMEOUT_MS, Store};
use fhir_definitions::Definitions;
use fhir_model::json;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Resources of one commit at most: the locks of more would often be in the way of others.
const CHANGES_MAX: usize = 32;
/// Of the texts of those that come together: longer ones are written down by who brings them, on whatever thread that is, and hold up nobody.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Commits under way at once, each on a connection of its own. The second begins only when somebody has waited for this long: one is held up by
/// the lock of a larger commit, or there is more than one connection of the database can do.
const LANES_MAX: u32 = 4;
const PATIENCE: Duration = Duration::from_millis(10);
/// How long a commit may take: longer than it waits for a lock. No request ends it, and where Postgres has vanished without a word, nothing else would.
const COMMIT_MAX: Duration = Duration::from_millis(2 * LOCK_TIMEOUT_MS);

#[derive(Default)]
pub(crate) struct Together(Mutex<Lanes>);

#[derive(Default)]
struct Lanes {
    waiting: VecDeque<Waiting>,
    under_way: u32,
}

struct Waiting {
    definitions: Arc<Definitions>,
    plan: Plan,
    reply: oneshot::Sender<Said>,
}

/// The plan is there for another attempt.
type Said = (Plan, Result<Vec<Outcome>, Stop>);

impl Together {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    /// Whether one more lane is to be opened for those that wait; it is then counted.
    fn open(&mut self, lanes_max: u32) -> bool {
        let opens = !self.waiting.is_empty() && self.under_way < lanes_max;
        self.under_way += u32::from(opens);
        opens
    }

    /// The next commit of a lane: who waits the longest, and those behind that fit to it. Where nobody waits, the lane counts no longer.
    fn take(&mut self) -> Vec<Waiting> {
        let mut taken: Vec<Waiting> = Vec::new();
        let mut changes = 0;
        while let Some(next) = self.waiting.front() {
            changes += next.plan.changes.len();
            let fits = |first: &Waiting| {
                changes <= CHANGES_MAX && Arc::ptr_eq(&first.definitions, &next.definitions)
            };
            if !taken.first().is_none_or(fits) {
                break;
            }
            taken.extend(self.waiting.pop_front());
        }
        self.under_way -= u32::from(taken.is_empty());
        taken
    }
}

/// Counted in [`Lanes::under_way`] until nobody waits, or its work has panicked.
struct Lane {
    store: Store,
    is_counted: bool,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.store.inner.together.lanes().under_way -= u32::from(self.is_counted);
    }
}

impl Plan {
    /// Whether it may wait for a commit of others, and be made with others.
    pub(super) fn is_small(&self) -> bool {
        let resources = self
            .changes
            .iter()
            .filter_map(|change| match &change.action {
                Action::Write { resource, .. } => Some(resource),
                Action::Delete { .. } => None,
            });
        let texts = resources.flat_map(|resource| resource.values());
        self.changes.len() <= CHANGES_MAX / 4
            && texts.map(json::text_bytes).sum::<usize>() <= TEXT_BYTES_MAX
    }
}

impl Store {
    /// Commits a plan of which [`Plan::is_new`], together with others that come at the same time. Goes on when the caller does not.
    ///
    /// # Errors
    /// The plan is lost where the work on it has panicked.
    pub(super) async fn commit_together(
        &self,
        definitions: Arc<Definitions>,
        plan: Plan,
    ) -> Result<Said, Error> {
        let (reply, mut said) = oneshot::channel();
        let waiting = Waiting {
            definitions,
            plan,
            reply,
        };
        self.inner.together.lanes().waiting.push_back(waiting);
        let mut lanes_max = 1;
        loop {
            if self.inner.together.lanes().open(lanes_max) {
                let lane = Lane {
                    store: self.clone(),
                    is_counted: true,
                };
                tokio::spawn(lane.work());
            }
            match timeout(PATIENCE, &mut said).await {
                Ok(Ok(said)) => return Ok(said),
                Ok(Err(_)) => return Err(Error::Unavailable(sqlx::Error::WorkerCrashed)),
                Err(_) => lanes_max = LANES_MAX,
            }
        }
    }

    async fn commit_these(&self, these: Vec<Waiting>) {
        let Some(definitions) = these.first().map(|first| first.definitions.clone()) else {
            return;
        };
        let (plans, replies): (Vec<Plan>, Vec<_>) = these
            .into_iter()
            .map(|waiting| (waiting.plan, waiting.reply))
            .unzip();
        let ends = match timeout(COMMIT_MAX, self.ends(&definitions, &plans)).await {
            Ok(Ok(ends)) => ends,
            Ok(Err(stop)) if plans.len() == 1 => vec![Err(stop)],
            // Each finds out by itself what is in the way, and whether it was committed after all.
            Ok(Err(_)) | Err(_) => plans.iter().map(|_| Err(Stop::Contended)).collect(),
        };
        for ((plan, end), reply) in plans.into_iter().zip(ends).zip(replies) {
            // Who has gone away meanwhile does not want to know.
            let _ = reply.send((plan, end));
        }
    }

    async fn ends(
        &self,
        definitions: &Definitions,
        plans: &[Plan],
    ) -> Result<Vec<Result<Vec<Outcome>, Stop>>, Stop> {
        match Held::of(&self.inner.write_pool).await {
            Ok(mut connection) => {
                connection.work();
                let ends = self.commit_new(&mut connection, definitions, plans).await;
                rest_after(&mut connection, &ends);
                ends
            }
            Err(sqlx::Error::PoolTimedOut) => {
                let busy = || Err(whole(Error::Unavailable(sqlx::Error::PoolTimedOut)).into());
                Ok(plans.iter().map(|_| busy()).collect())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Lane {
    /// Until nobody waits.
    async fn work(mut self) {
        loop {
            let these = self.store.inner.together.lanes().take();
            if these.is_empty() {
                self.is_counted = false;
                return;
            }
            self.store.commit_these(these).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHANGES_MAX, COMMIT_MAX, LANES_MAX, PATIENCE, Plan, TEXT_BYTES_MAX};
    use crate::change::{Change, Outcome, Target};
    use crate::error::{CommitError, Error};
    use crate::store::Store;
    use crate::testing;
    use crate::write::EPOCH_LOCK;
    use crate::write::tests::holding;
    use serde_json::{Value, json};
    use sqlx::Connection;
    use std::collections::{HashMap, HashSet};
    use tokio::task::JoinSet;

    type Ends = JoinSet<(usize, Result<Vec<Outcome>, CommitError>)>;

    fn create(resource: Value) -> Change {
        Change::Create {
            target: Target::New {
                resource_type: resource["resourceType"].as_str().unwrap().into(),
            },
            resource,
            full_url: None,
        }
    }

    fn plan(store: &Store, change: Change) -> Plan {
        Plan::new(
            &store.definitions(),
            store.rules(),
            vec![change],
            HashMap::new(),
        )
        .unwrap()
    }

    /// One commit each, begun at the same time.
    fn commit_all(store: &Store, numbers: impl IntoIterator<Item = Value>) -> Ends {
        let mut ends = JoinSet::new();
        for (place, number) in numbers.into_iter().enumerate() {
            let store = store.clone();
            let extension = json!([{"url": "urn:x", "valueDecimal": number}]);
            let create = create(json!({"resourceType": "Basic", "extension": extension}));
            ends.spawn(async move { (place, store.commit(vec![create]).await) });
        }
        ends
    }

    /// The resources, and the transactions that wrote them.
    async fn written(store: &Store) -> (i64, i64) {
        sqlx::query_as("SELECT count(*), count(DISTINCT txid::text) FROM outbox")
            .fetch_one(&store.inner.write_pool)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn what_comes_at_the_same_time_is_one_commit() {
        let store = testing::store().await;
        let other = holding(&store, &[EPOCH_LOCK]).await;
        let commits = 2 * CHANGES_MAX;
        let ends = commit_all(&store, (0..commits).map(Value::from));
        tokio::time::sleep(4 * PATIENCE).await;
        other.close().await.unwrap();
        let ends = ends.join_all().await;
        let mut ids = HashSet::new();
        for (place, end) in ends {
            let outcome = &end.unwrap()[0];
            // Each is told of its own.
            let body: Value = serde_json::from_str(outcome.body.as_deref().unwrap()).unwrap();
            assert_eq!(body["extension"][0]["valueDecimal"], place);
            let key = outcome.key.clone().unwrap();
            assert_eq!(body["id"], *key.id);
            assert!(store.read(&key).await.unwrap().is_some());
            ids.insert(key.id);
        }
        assert_eq!(ids.len(), commits);
        let (resources, transactions) = written(&store).await;
        assert_eq!(resources, commits as i64);
        assert!(transactions <= i64::from(LANES_MAX), "{transactions}");
        assert_eq!(store.inner.together.lanes().under_way, 0);
    }

    #[tokio::test]
    async fn one_that_waits_for_a_lock_does_not_hold_up_the_others() {
        let store = testing::store().await;
        let identifier = json!([{"system": "urn:x", "value": "1"}]);
        let patient = || create(json!({"resourceType": "Patient", "identifier": identifier}));
        let locks = plan(&store, patient()).locks;
        assert!(!locks.is_empty());
        let other = holding(&store, &locks).await;
        let waits = tokio::spawn({
            let (store, patient) = (store.clone(), patient());
            async move { store.commit(vec![patient]).await }
        });
        tokio::time::sleep(PATIENCE / 2).await;
        for (_, end) in commit_all(&store, [1.into(), 2.into()]).join_all().await {
            end.unwrap();
        }
        assert!(!waits.is_finished());
        other.close().await.unwrap();
        waits.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_long_is_written_down_by_who_brings_it() {
        let store = testing::store().await;
        for (bytes, expect) in [(TEXT_BYTES_MAX / 2, true), (TEXT_BYTES_MAX, false)] {
            let long = create(json!({"resourceType": "Basic", "language": "x".repeat(bytes)}));
            assert_eq!(plan(&store, long).is_small(), expect);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_stored_takes_nobody_with_it() {
        let store = testing::store().await;
        let other = holding(&store, &[EPOCH_LOCK]).await;
        // More digits than a number of Postgres has.
        let too_large: Value = serde_json::from_str("1e200000").unwrap();
        let numbers = [1.into(), too_large, 3.into(), 4.into()];
        let ends = commit_all(&store, numbers);
        tokio::time::sleep(4 * PATIENCE).await;
        other.close().await.unwrap();
        for (place, end) in ends.join_all().await {
            match (place, end) {
                (1, end) => assert!(matches!(end.unwrap_err().error, Error::Refused(_))),
                (_, end) => assert_eq!(end.unwrap().len(), 1),
            }
        }
        assert_eq!(written(&store).await.0, 3);
    }

    /// The process of the database that waits for an advisory lock, as soon as one does.
    async fn waiting(store: &Store) -> i32 {
        let waits = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        loop {
            let process = sqlx::query_scalar(waits).fetch_optional(&store.inner.search_pool);
            if let Some(process) = process.await.unwrap() {
                return process;
            }
        }
    }

    fn signal(process: i32, signal: &str) {
        let sent = std::process::Command::new("kill")
            .args([signal, &process.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    #[tokio::test]
    async fn a_database_that_says_nothing_is_not_waited_for() {
        let store = testing::store().await;
        let other = holding(&store, &[EPOCH_LOCK]).await;
        let ends = commit_all(&store, [1.into()]);
        let process = waiting(&store).await;
        signal(process, "-STOP");
        assert_eq!(store.inner.together.lanes().under_way, 1);
        tokio::time::timeout(2 * COMMIT_MAX, async {
            while store.inner.together.lanes().under_way > 0 {
                tokio::time::sleep(PATIENCE).await;
            }
        })
        .await
        .expect("the lane is given up");
        // What went on without us is not done twice.
        other.close().await.unwrap();
        signal(process, "-CONT");
        for (_, end) in ends.join_all().await {
            end.unwrap();
        }
        assert_eq!(written(&store).await.0, 1);
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_others_in_peace() {
        let store = testing::store().await;
        let other = holding(&store, &[EPOCH_LOCK]).await;
        let mut gone = commit_all(&store, [1.into(), 2.into()]);
        tokio::time::sleep(PATIENCE).await;
        gone.abort_all();
        while gone.join_next().await.is_some() {}
        let stay = commit_all(&store, [3.into()]);
        tokio::time::sleep(4 * PATIENCE).await;
        other.close().await.unwrap();
        for (_, end) in stay.join_all().await {
            end.unwrap();
        }
        assert!(written(&store).await.0 >= 1);
    }
}
