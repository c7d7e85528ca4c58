//! One state of the database, held: every search on it sees the same resources, whatever is written meanwhile.

use super::elastic::Engine;
use super::{Asked, Page, Planning, SearchPage, bodies};
use crate::held::Held;
use crate::read::{self, StoredResource, Version, retrying};
use crate::{Error, Store};
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use fhir_search::Query;
use sqlx::PgConnection;
use std::sync::Arc;

/// A REPEATABLE READ READ ONLY transaction on a connection of the search pool, which it holds until it is closed or dropped.
pub struct Snapshot {
    connection: Held,
    planning: Planning,
    definitions: Arc<Definitions>,
    store: Store,
}

/// As [`Planning`] begins.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL plan_cache_mode = force_generic_plan";

impl Store {
    /// The state of now.
    ///
    /// # Errors
    /// `Unavailable` when no connection is free in time.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let pool = &self.inner.search_pool;
        let connection = retrying!(pool, Held::begun(pool, BEGIN).await)?;
        Ok(Snapshot {
            connection,
            planning: Planning::default(),
            definitions: self.definitions(),
            store: self.clone(),
        })
    }
}

impl Snapshot {
    /// One page, by Postgres: an index has no state that could be held.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub async fn search(&mut self, query: &Query, at: Page) -> Result<SearchPage, Error> {
        self.search_by(query, &at, Engine::Postgres(None)).await
    }

    pub(super) async fn search_by(
        &mut self,
        query: &Query,
        at: &Page,
        engine: Engine<'_>,
    ) -> Result<SearchPage, Error> {
        let definitions = Arc::clone(&self.definitions);
        let inner = Arc::clone(&self.store.inner);
        let (connection, planning) = (&mut self.connection, &mut self.planning);
        let asked = Asked { query, at, engine };
        super::search_by(connection, planning, &definitions, &inner, asked).await
    }

    /// The version that is current in this state.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read(&mut self, key: &ResourceKey) -> Result<Option<Version>, Error> {
        let Some(number) = self.definitions.type_number(&key.resource_type) else {
            return Ok(None);
        };
        let row = read::current(&mut *self.connection, number, key).await?;
        Ok(row.map(|row| read::version_of(key, row)))
    }

    /// Those of `keys` that are there, in any order.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_all(&mut self, keys: &[ResourceKey]) -> Result<Vec<StoredResource>, Error> {
        let number = |key: &ResourceKey| self.definitions.type_number(&key.resource_type);
        let (numbers, ids): (Vec<i16>, Vec<&str>) = keys
            .iter()
            .filter_map(|key| Some((number(key)?, key.id.as_str())))
            .unzip();
        let rows: Vec<i64> = sqlx::query_scalar(
            "SELECT r.pk FROM unnest($1::smallint[], $2::text[]) AS n(type, id) \
             JOIN resource r ON r.type = n.type AND r.id = n.id COLLATE \"C\"",
        )
        .bind(numbers)
        .bind(ids)
        .fetch_all(&mut *self.connection)
        .await?;
        bodies::bodies(&mut self.connection, &self.definitions, &rows).await
    }

    /// What a statement of another module needs that is to be planned for its values.
    pub(crate) async fn parts(&mut self) -> Result<(&mut PgConnection, &Definitions), Error> {
        self.planning.by_values(&mut self.connection).await?;
        Ok((&mut self.connection, &self.definitions))
    }

    /// Calls `visit` with every match, page by page in the order of the query; includes are not read. Returns how many there were.
    ///
    /// # Errors
    /// As [`Store::search`], and what `visit` returns, which ends it.
    pub async fn for_each(
        &mut self,
        query: &Query,
        mut visit: impl FnMut(StoredResource) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let query = Query {
            includes: Vec::new(),
            total: fhir_search::query::Total::None,
            ..query.clone()
        };
        let mut at = Page::First;
        let mut count = 0;
        loop {
            let page = self.search(&query, at).await?;
            for resource in page.matches {
                count += 1;
                visit(resource)?;
            }
            match page.next {
                Some(next) => at = Page::After(next),
                None => return Ok(count),
            }
        }
    }

    /// Gives the connection back at once; dropping does so a little later.
    ///
    /// # Errors
    /// Database errors.
    pub async fn close(self) -> Result<(), Error> {
        Ok(self.connection.roll_back().await?)
    }
}
