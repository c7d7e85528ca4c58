//! Which entries of the HL7 v2 journal are old: a Task of the journal, and the Binary with the message as it was received.

use crate::error::Error;
use crate::store::Store;

/// The system of Task.businessStatus of an entry of the journal.
const JOURNAL_SYSTEM: &str = "urn:hl7v2:journal";

/// Which entries are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldEntries {
    /// Last changed before this time, in seconds since 1970.
    pub before_seconds: i64,
    /// Those that were applied, or all others.
    pub are_applied: bool,
    /// Only those whose Binary is still there, or has versions left in the history.
    pub have_raw: bool,
}

/// An entry, by the ids of its resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    pub task_id: String,
    /// `None`: nothing of it is left.
    pub binary_id: Option<String>,
    /// Where to go on after it: when it was last changed, in microseconds since 1970, and its key.
    pub place: (i64, i64),
}

impl Store {
    /// At most `limit` old entries whose `place` is beyond `after`, in order of it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn old_journal_entries(
        &self,
        which: OldEntries,
        after: (i64, i64),
        limit: i64,
    ) -> Result<Vec<JournalEntry>, Error> {
        let definitions = self.definitions();
        let number = |name| definitions.type_number(name).unwrap_or(-1);
        // In the order of the index `entry_updated`.
        let rows: Vec<(i64, i64, String, Option<String>)> = sqlx::query_as(
            "SELECT (extract(epoch FROM e.last_updated) * 1000000)::bigint, e.pk, t.id, m.id FROM entry e JOIN resource t ON t.pk = e.pk \
             LEFT JOIN LATERAL (SELECT b.id FROM resource b WHERE b.type = $2 \
               AND b.id = split_part(t.content #>> '{input,0,valueReference,reference}', '/', 2) \
               AND (b.content IS NOT NULL OR EXISTS (SELECT FROM resource_history h WHERE h.pk = b.pk))) m ON true \
             WHERE e.type = $1 AND e.last_updated < 'epoch'::timestamptz + interval '1 second' * $3 \
               AND (e.last_updated, e.pk) > ('epoch'::timestamptz + interval '1 microsecond' * $4, $5) \
               AND t.content #>> '{businessStatus,coding,0,system}' = $6 \
               AND (t.content #>> '{businessStatus,coding,0,code}' = 'applied') = $7 \
               AND (m.id IS NOT NULL OR NOT $8) \
             ORDER BY e.last_updated, e.pk LIMIT $9",
        )
        .bind(number("Task"))
        .bind(number("Binary"))
        .bind(which.before_seconds)
        .bind(after.0)
        .bind(after.1)
        .bind(JOURNAL_SYSTEM)
        .bind(which.are_applied)
        .bind(which.have_raw)
        .bind(limit)
        .fetch_all(&self.inner.write_pool)
        .await?;
        let entry = |(micros, pk, task_id, binary_id)| JournalEntry {
            task_id,
            binary_id,
            place: (micros, pk),
        };
        Ok(rows.into_iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, Target, VersionMatch, testing};
    use fhir_model::ResourceKey;
    use serde_json::{Value, json};

    fn put(resource: Value) -> Change {
        let text = |name: &str| resource[name].as_str().unwrap();
        Change::Update {
            target: Target::Id(ResourceKey::new(text("resourceType"), text("id"))),
            resource,
            full_url: None,
            version: VersionMatch::Any,
            may_create: true,
        }
    }

    /// What the journal says, one entry at a time.
    async fn found(store: &Store) -> Vec<String> {
        let which = OldEntries {
            before_seconds: i64::from(i32::MAX),
            are_applied: true,
            have_raw: true,
        };
        let (mut after, mut found) = ((0, 0), Vec::new());
        while let Some(entry) = store
            .old_journal_entries(which, after, 1)
            .await
            .unwrap()
            .pop()
        {
            after = entry.place;
            found.push(format!("{} {}", entry.task_id, entry.binary_id.unwrap()));
        }
        found.sort();
        found
    }

    /// Entries of one time are each found once; bytes that are deleted and still in the history are found too.
    #[tokio::test]
    async fn entries_lead_to_their_bytes() {
        let store = testing::store().await;
        let resources = ["1", "2", "3"].into_iter().flat_map(|id| {
            [
                json!({"resourceType": "Binary", "id": id, "contentType": "x-application/hl7-v2+er7", "data": "TVNI"}),
                json!({
                    "resourceType": "Task",
                    "id": id,
                    "businessStatus": {"coding": [{"system": JOURNAL_SYSTEM, "code": "applied"}]},
                    "input": [{"valueReference": {"reference": format!("Binary/{id}")}}],
                }),
            ]
        });
        store.commit(resources.map(put).collect()).await.unwrap();
        assert_eq!(found(&store).await, ["1 1", "2 2", "3 3"]);
        let key = ResourceKey::new("Binary", "2");
        let delete = Change::Delete {
            target: Target::Id(key.clone()),
            version: VersionMatch::Any,
            at_most: 1,
        };
        store.commit(vec![delete]).await.unwrap();
        assert_eq!(found(&store).await, ["1 1", "2 2", "3 3"]);
        store.delete_history(&key, None).await.unwrap();
        assert_eq!(found(&store).await, ["1 1", "3 3"]);
    }
}
