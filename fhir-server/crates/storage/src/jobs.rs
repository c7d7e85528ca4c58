//! Jobs: requests that are kept, worked on by one server at a time, and whose results are kept until they are fetched or expire.
//!
//! Nothing here knows what a job is about. A server claims one, says every now and then that it is alive, and hands in the result; what a
//! server that died had claimed is claimed again. Part of no backup: a restored job would be done a second time.

use crate::error::Error;
use crate::store::Store;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

/// What a server takes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub id: Uuid,
    pub request: Vec<u8>,
    /// Whether it may be done although others have begun it.
    pub repeatable: bool,
    /// How often it was claimed, with this time.
    pub attempts: u16,
}

/// Where a job is; times in milliseconds since 1970 UTC, `now_ms` by the database's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub now_ms: i64,
    pub begun_ms: Option<i64>,
    pub finished_ms: Option<i64>,
    /// Jobs that come before it, while it waits.
    pub before: u64,
    pub result: Option<Vec<u8>>,
}

impl Store {
    /// Keeps a job; not where `max` are kept already, finished ones too. It is there to stay when this returns.
    ///
    /// # Errors
    /// What the database says.
    pub async fn add_job(
        &self,
        id: Uuid,
        request: &[u8],
        repeatable: bool,
        max: usize,
    ) -> Result<bool, Error> {
        let added = sqlx::query(
            "INSERT INTO job (id, request, repeatable) SELECT $1::uuid, $2, $3 WHERE (SELECT count(*) FROM job) < $4",
        )
        .bind(id.to_string())
        .bind(request)
        .bind(repeatable)
        .bind(max as i64)
        .execute(&self.inner.write_pool)
        .await?;
        Ok(added.rows_affected() == 1)
    }

    /// The oldest job that nobody works on, for `owner`, who is heard of within `lease_seconds` again, and works on those `running` whoever
    /// has been heard of.
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim_job(
        &self,
        owner: Uuid,
        lease_seconds: u32,
        running: &[Uuid],
    ) -> Result<Option<Claimed>, Error> {
        let row = sqlx::query(
            "UPDATE job SET owner = $1::uuid, alive_until = now() + make_interval(secs => $2), begun = coalesce(begun, now()), \
             attempts = attempts + 1 \
             WHERE id = (SELECT id FROM job WHERE finished IS NULL AND (owner IS NULL OR alive_until < now()) \
                 AND id <> ALL($3::text[]::uuid[]) \
               ORDER BY created LIMIT 1 FOR UPDATE SKIP LOCKED) \
             RETURNING id::text, request, repeatable, attempts",
        )
        .bind(owner.to_string())
        .bind(f64::from(lease_seconds))
        .bind(texts(running))
        .fetch_optional(&self.inner.write_pool)
        .await?;
        row.map(|row| {
            Ok::<Claimed, sqlx::Error>(Claimed {
                id: id(&row)?,
                request: row.try_get::<Option<_>, _>(1)?.unwrap_or_default(),
                repeatable: row.try_get(2)?,
                attempts: row.try_get::<i16, _>(3)?.unsigned_abs(),
            })
        })
        .transpose()
        .map_err(Error::from)
    }

    /// Says that `owner` works on the jobs `running`; gives those that are still its own.
    ///
    /// # Errors
    /// What the database says.
    pub async fn hold_jobs(
        &self,
        owner: Uuid,
        lease_seconds: u32,
        running: &[Uuid],
    ) -> Result<Vec<Uuid>, Error> {
        let rows = sqlx::query(
            "UPDATE job SET alive_until = now() + make_interval(secs => $2) WHERE finished IS NULL AND owner = $1::uuid \
             AND id = ANY($3::text[]::uuid[]) RETURNING id::text",
        )
        .bind(owner.to_string())
        .bind(f64::from(lease_seconds))
        .bind(texts(running))
        .fetch_all(&self.inner.write_pool)
        .await?;
        let ids: Result<Vec<Uuid>, sqlx::Error> = rows.iter().map(id).collect();
        Ok(ids?)
    }

    /// Lets others have the jobs that `owner` has begun and that may be begun again.
    ///
    /// # Errors
    /// What the database says.
    pub async fn leave_jobs(&self, owner: Uuid) -> Result<(), Error> {
        sqlx::query(
            "UPDATE job SET owner = NULL, attempts = attempts - 1 WHERE finished IS NULL AND owner = $1::uuid AND repeatable",
        )
        .bind(owner.to_string())
        .execute(&self.inner.write_pool)
        .await?;
        Ok(())
    }

    /// Hands in what became of a job. Nothing where it is not `owner`'s any more.
    ///
    /// # Errors
    /// What the database says.
    pub async fn finish_job(&self, id: Uuid, owner: Uuid, result: &[u8]) -> Result<(), Error> {
        sqlx::query(
            "UPDATE job SET finished = now(), result = $3, owner = NULL, request = NULL \
             WHERE id = $1::uuid AND owner = $2::uuid AND finished IS NULL",
        )
        .bind(id.to_string())
        .bind(owner.to_string())
        .bind(result)
        .execute(&self.inner.write_pool)
        .await?;
        Ok(())
    }

    /// Where a job is; `None` where there is none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn job(&self, id: Uuid) -> Result<Option<Job>, Error> {
        let row = sqlx::query(
            "SELECT (extract(epoch FROM now()) * 1000)::bigint, (extract(epoch FROM begun) * 1000)::bigint, \
               (extract(epoch FROM finished) * 1000)::bigint, \
               (SELECT count(*) FROM job b WHERE b.finished IS NULL AND b.begun IS NULL AND b.created < j.created), result \
             FROM job j WHERE id = $1::uuid",
        )
        .bind(id.to_string())
        .fetch_optional(&self.inner.write_pool)
        .await?;
        row.map(|row| {
            Ok::<Job, sqlx::Error>(Job {
                now_ms: row.try_get(0)?,
                begun_ms: row.try_get(1)?,
                finished_ms: row.try_get(2)?,
                before: row.try_get::<i64, _>(3)?.unsigned_abs(),
                result: row.try_get(4)?,
            })
        })
        .transpose()
        .map_err(Error::from)
    }

    /// Forgets a job, done or not; whether there was one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn remove_job(&self, id: Uuid) -> Result<bool, Error> {
        let removed = sqlx::query("DELETE FROM job WHERE id = $1::uuid")
            .bind(id.to_string())
            .execute(&self.inner.write_pool)
            .await?;
        Ok(removed.rows_affected() == 1)
    }

    /// Forgets what was finished longer than `lifetime_seconds` ago.
    ///
    /// # Errors
    /// What the database says.
    pub async fn expire_jobs(&self, lifetime_seconds: u32) -> Result<(), Error> {
        sqlx::query("DELETE FROM job WHERE finished < now() - make_interval(secs => $1)")
            .bind(f64::from(lifetime_seconds))
            .execute(&self.inner.write_pool)
            .await?;
        Ok(())
    }
}

fn texts(ids: &[Uuid]) -> Vec<String> {
    ids.iter().map(Uuid::to_string).collect()
}

fn id(row: &PgRow) -> Result<Uuid, sqlx::Error> {
    let text: String = row.try_get(0)?;
    Uuid::parse_str(&text).map_err(|error| sqlx::Error::Decode(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const LEASE: u32 = 60;

    #[tokio::test]
    async fn one_server_at_a_time() {
        let store = testing::store().await;
        let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
        let [first, second, third] = [(); 3].map(|()| Uuid::new_v4());
        assert!(store.add_job(first, b"1", true, 2).await.unwrap());
        assert!(store.add_job(second, b"2", false, 2).await.unwrap());
        assert!(!store.add_job(third, b"3", true, 2).await.unwrap(), "full");
        assert_eq!(store.job(second).await.unwrap().unwrap().before, 1);
        assert_eq!(store.job(third).await.unwrap(), None);

        let claimed = store.claim_job(a, LEASE, &[]).await.unwrap().unwrap();
        let expect = Claimed {
            id: first,
            request: b"1".to_vec(),
            repeatable: true,
            attempts: 1,
        };
        assert_eq!(claimed, expect);
        // One that works on it does not take it on again, however late it is.
        let late = store.claim_job(b, 0, &[]).await.unwrap().unwrap().id;
        assert_eq!(store.claim_job(b, LEASE, &[late]).await.unwrap(), None);
        // A server that is not heard of again.
        assert_eq!(late, second);
        let again = store.claim_job(a, LEASE, &[]).await.unwrap().unwrap();
        assert_eq!(
            (again.id, again.repeatable, again.attempts),
            (second, false, 2)
        );
        assert_eq!(store.claim_job(b, LEASE, &[]).await.unwrap(), None);

        // It comes back: too late.
        store.finish_job(second, b, b"wrong").await.unwrap();
        assert_eq!(store.job(second).await.unwrap().unwrap().result, None);
        store.finish_job(second, a, b"right").await.unwrap();
        let job = store.job(second).await.unwrap().unwrap();
        assert_eq!(job.result.as_deref(), Some(&b"right"[..]));
        assert!(job.finished_ms >= job.begun_ms && job.begun_ms.is_some());
        assert_eq!(
            store.hold_jobs(a, LEASE, &[first, second]).await.unwrap(),
            [first]
        );
        assert!(store.hold_jobs(a, LEASE, &[]).await.unwrap().is_empty());
        assert!(
            store
                .hold_jobs(b, LEASE, &[first])
                .await
                .unwrap()
                .is_empty()
        );

        // A server that ends in order leaves what may be begun again.
        store.leave_jobs(a).await.unwrap();
        assert_eq!(
            store
                .claim_job(b, LEASE, &[])
                .await
                .unwrap()
                .unwrap()
                .attempts,
            1
        );
        assert!(store.remove_job(first).await.unwrap());
        assert!(!store.remove_job(first).await.unwrap());
        assert!(
            store
                .hold_jobs(b, LEASE, &[first])
                .await
                .unwrap()
                .is_empty()
        );

        store.expire_jobs(LEASE).await.unwrap();
        assert!(store.job(second).await.unwrap().is_some());
        store.expire_jobs(0).await.unwrap();
        assert_eq!(store.job(second).await.unwrap(), None);
    }
}
