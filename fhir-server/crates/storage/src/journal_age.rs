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
    /// Only those whose Binary is still there.
    pub have_raw: bool,
}

/// An entry, by the ids of its resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    pub task_id: String,
    /// `None`: it names none.
    pub binary_id: Option<String>,
    /// Where to go on after it.
    pub pk: i64,
}

impl Store {
    /// At most `limit` old entries with a `pk` beyond `after`, in order of it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn old_journal_entries(
        &self,
        which: OldEntries,
        after: i64,
        limit: i64,
    ) -> Result<Vec<JournalEntry>, Error> {
        let definitions = self.definitions();
        let number = |name| definitions.type_number(name).unwrap_or(-1);
        let rows: Vec<(i64, String, Option<String>)> = sqlx::query_as(
            "SELECT t.pk, t.id, m.id FROM entry e JOIN resource t ON t.pk = e.pk \
             LEFT JOIN LATERAL (SELECT b.id FROM resource b WHERE b.type = $2 AND b.content IS NOT NULL \
               AND b.id = split_part(t.content #>> '{input,0,valueReference,reference}', '/', 2)) m ON true \
             WHERE e.type = $1 AND e.last_updated < 'epoch'::timestamptz + interval '1 second' * $3 AND t.pk > $4 \
               AND t.content #>> '{businessStatus,coding,0,system}' = $5 \
               AND (t.content #>> '{businessStatus,coding,0,code}' = 'applied') = $6 \
               AND (m.id IS NOT NULL OR NOT $7) \
             ORDER BY t.pk LIMIT $8",
        )
        .bind(number("Task"))
        .bind(number("Binary"))
        .bind(which.before_seconds)
        .bind(after)
        .bind(JOURNAL_SYSTEM)
        .bind(which.are_applied)
        .bind(which.have_raw)
        .bind(limit)
        .fetch_all(&self.inner.write_pool)
        .await?;
        let entry = |(pk, task_id, binary_id)| JournalEntry {
            task_id,
            binary_id,
            pk,
        };
        Ok(rows.into_iter().map(entry).collect())
    }
}
