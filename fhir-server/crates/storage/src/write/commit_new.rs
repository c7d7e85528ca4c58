//! The short road, for resources under ids that nobody knows yet: nothing is there to be looked up, so one statement takes the locks,
//! writes and commits. Where it meets others or loses its connection, the long road goes on from there.

use super::ground::Ground;
use super::lookup::Resolved;
use super::plan::Plan;
use super::{Stop, apply, body, prepare};
use crate::change::Outcome;
use crate::read;
use crate::store::Store;
use fhir_definitions::Definitions;
use sqlx::PgConnection;

impl Store {
    /// Commits plans of which [`Plan::is_new`], all of them or none, but for those that cannot be written whatever is there: these end for
    /// themselves. When the connection is lost, whether they are committed is not known.
    pub(super) async fn commit_new(
        &self,
        connection: &mut PgConnection,
        definitions: &Definitions,
        plans: &[Plan],
    ) -> Result<Vec<Result<Vec<Outcome>, Stop>>, Stop> {
        let keys = &self.inner.keys;
        let targets = plans.iter().flat_map(|plan| &plan.targets);
        let targets = keys.targets(connection, targets).await?;
        let vocabulary = &self.inner.vocabulary;
        let entries = plans.iter().flat_map(Plan::vocabulary);
        let learned = vocabulary.learn(connection, entries).await?;
        let epoch = definitions.index().epoch;
        let mut locks: Vec<i64> = plans.iter().flat_map(|plan| &plan.locks).copied().collect();
        locks.sort_unstable();
        locks.dedup();
        let (mut ends, mut writes) = (Vec::with_capacity(plans.len()), Vec::new());
        for plan in plans {
            let fresh = keys.fresh(connection, plan.changes.len()).await?;
            let own = plan.targets.iter().map(|(_, key)| key);
            let own = own.filter_map(|key| Some((key.clone(), *targets.get(key)?)));
            let prepared = prepare::prepare(
                definitions,
                self.rules(),
                plan,
                Resolved::new(plan),
                Ground::default(),
                own.collect(),
                fresh,
            );
            ends.push(prepared.map(|prepared| {
                writes.extend(prepared.writes);
                prepared.outcomes
            }));
        }
        let Some(first) = writes.first() else {
            return Ok(ends);
        };
        // Ids that the server gives are all of one length.
        let instant_at = body::instant_at(&first.id, first.version);
        let now_ms = apply::commit_new(connection, &locks, epoch, instant_at, writes).await?;
        vocabulary.confirm(learned);
        for outcome in ends.iter_mut().flatten().flatten() {
            outcome.last_updated_ms = now_ms;
            if let (Some(key), Some(text)) = (&outcome.key, &mut outcome.body) {
                let at = instant_at + read::whole_offset(&key.resource_type);
                body::set_instant(text, at, now_ms);
            }
        }
        Ok(ends)
    }
}

#[cfg(test)]
mod tests {
    use crate::change::{Change, Effect, Outcome, Target};
    use crate::store::Store;
    use crate::testing;
    use crate::write::Stop;
    use crate::write::plan::Plan;
    use crate::write::{End, Work};
    use fhir_definitions::IndexState;
    use serde_json::json;
    use std::collections::HashMap;

    fn plan(store: &Store) -> Plan {
        let create = |resource_type: &str, number: serde_json::Number| Change::Create {
            target: Target::New {
                resource_type: resource_type.into(),
            },
            resource: json!({"resourceType": resource_type, "meta": {"source": "urn:x"}, "extension": [{"url": "urn:x", "valueDecimal": number}]}),
            full_url: None,
        };
        let changes = vec![
            create("Observation", "1.50".parse().unwrap()),
            create("Basic", "1e3".parse().unwrap()),
        ];
        Plan::new(&store.definitions(), store.rules(), changes, HashMap::new()).unwrap()
    }

    fn said(outcomes: &[Outcome]) -> Vec<(Effect, i32, i64, &str)> {
        let said = |outcome: &Outcome| (outcome.effect, outcome.version, outcome.last_updated_ms);
        outcomes
            .iter()
            .map(|outcome| {
                let (effect, version, ms) = said(outcome);
                (effect, version, ms, outcome.body.as_deref().unwrap())
            })
            .collect()
    }

    #[tokio::test]
    async fn it_says_what_is_stored() {
        let store = testing::store().await;
        let plan = plan(&store);
        assert!(plan.is_new());
        let Ok((outcomes, _)) = store
            .attempt(
                &store.definitions(),
                &Work::Planned(plan),
                &[],
                End::Committed,
            )
            .await
        else {
            panic!("nothing is in the way");
        };
        for outcome in &outcomes {
            let key = outcome.key.as_ref().unwrap();
            let stored = match store.read(key).await.unwrap() {
                Some(crate::Version::Present(stored)) => stored,
                other => panic!("{other:?}"),
            };
            let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(parse(&stored.body), parse(outcome.body.as_deref().unwrap()));
            assert_eq!(stored.last_updated_ms, outcome.last_updated_ms);
            let instant = fhir_model::date::instant_text(stored.last_updated_ms);
            assert_eq!(parse(&stored.body)["meta"]["lastUpdated"], instant);
        }
    }

    #[tokio::test]
    async fn what_was_committed_before_its_connection_broke_is_found() {
        let store = testing::store().await;
        let mut work = Work::Planned(plan(&store));
        let definitions = store.definitions();
        let Ok((first, _)) = store
            .attempt(&definitions, &work, &[], End::Committed)
            .await
        else {
            panic!("nothing is in the way");
        };
        if let Work::Planned(plan) = &mut work {
            plan.look_for_new = true;
        }
        let Ok((again, _)) = store
            .attempt(&definitions, &work, &[], End::Committed)
            .await
        else {
            panic!("it is there");
        };
        let parsed = |outcomes: &[Outcome]| -> Vec<_> {
            let all = said(outcomes).into_iter();
            all.map(|(effect, version, ms, body)| {
                let body: serde_json::Value = serde_json::from_str(body).unwrap();
                (effect, version, ms, body)
            })
            .collect()
        };
        assert_eq!(parsed(&first), parsed(&again));
        let versions: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox")
            .fetch_one(&store.inner.write_pool)
            .await
            .unwrap();
        assert_eq!(versions, 2);
    }

    #[tokio::test]
    async fn other_definitions_stop_it() {
        let store = testing::store().await;
        let plan = plan(&store);
        let held = store.definitions();
        let other = held.with_index(IndexState {
            epoch: held.index().epoch + 1,
            ..held.index().clone()
        });
        let stopped = store
            .attempt(&other, &Work::Planned(plan), &[], End::Committed)
            .await;
        assert!(matches!(stopped, Err(Stop::Contended)));
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM resource")
            .fetch_one(&store.inner.write_pool)
            .await
            .unwrap();
        assert_eq!(rows, 0);
    }
}
