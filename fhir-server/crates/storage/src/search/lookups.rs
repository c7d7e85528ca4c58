//! Many look-ups in one statement: searches by tokens, such as identifiers, and by ids, of which a batch has several. What waits to be put into the
//! index of tokens is read through once for all of them, and they need no transaction: the statement is a snapshot by itself.

use super::bodies::{self, Stored};
use super::plan::LOOKUPS_MAX;
use super::statistics::Statistics;
use super::values::{self, Known};
use super::{SearchPage, flat::Test, resolve, too_costly, total};
use crate::binary::stored_text;
use crate::read::{StoredResource, retrying};
use crate::{Error, Store};
use fhir_definitions::Definitions;
use fhir_search::position::is_contains;
use fhir_search::query::{Clause, Contained, SortBy, SortKey, Summary};
use fhir_search::{Query, union};
use sqlx::PgConnection;

/// Rows that are read by tokens. Where there are more, each is searched for itself.
const ROWS_MAX: i64 = 500;

/// What one of the searches asks for.
enum Wanted<'q> {
    /// One of these tokens.
    Tokens(Vec<i64>),
    /// One of these ids, of a type.
    Ids(i16, &'q [String]),
}

/// Place of the search, whether there were more rows than are read, and the resource.
type Row = (i32, bool, i16, String, i32, i64, String);

/// The values of the searches as columns, each with the place of its search.
#[derive(Default)]
struct Columns<'q> {
    places: Vec<i32>,
    tokens: Vec<i64>,
    id_places: Vec<i32>,
    types: Vec<i16>,
    ids: Vec<&'q str>,
}

impl Store {
    /// The first pages of those of `queries` that are look-ups and have no second page; `None` of the others, which are to be searched for themselves.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub async fn look_up(&self, queries: &[&Query]) -> Result<Vec<Option<SearchPage>>, Error> {
        let definitions = self.definitions();
        let pool = &self.inner.lookup_pool;
        let mut pages = vec![None; queries.len()];
        let (asked, rows) = retrying!(pool, {
            async {
                let mut connection = pool.acquire().await?;
                let statistics = self.inner.statistics(&mut connection).await?;
                let (asked, columns) = columns(&definitions, &statistics.1, queries);
                let rows = match asked.contains(&true) {
                    true => read(&mut connection, columns).await?,
                    false => Vec::new(),
                };
                Ok((asked, rows))
            }
            .await
        })
        .map_err(|error| too_costly(Error::from(error)))?;
        if rows.first().is_some_and(|row| row.1) {
            return Ok(pages);
        }
        let mut found: Vec<Vec<StoredResource>> = vec![Vec::new(); queries.len()];
        for (place, _, number, id, version, last_updated_ms, content) in rows {
            let stored: Stored = (number, id, version, last_updated_ms, content);
            found[place as usize].extend(bodies::stored(&definitions, stored));
        }
        for (place, matches) in found.into_iter().enumerate() {
            let query = queries[place];
            if asked[place] && matches.len() <= query.count {
                pages[place] = Some(SearchPage {
                    total: total::of_one_page(query.total, matches.len()),
                    matches,
                    ..SearchPage::default()
                });
            }
        }
        Ok(pages)
    }
}

/// Which of the queries are looked up, and what for.
fn columns<'q>(
    definitions: &Definitions,
    statistics: &Statistics,
    queries: &[&'q Query],
) -> (Vec<bool>, Columns<'q>) {
    let mut columns = Columns::default();
    let mut asked = Vec::with_capacity(queries.len());
    for (place, query) in queries.iter().enumerate() {
        let wanted = wanted(definitions, statistics, query);
        asked.push(wanted.is_some());
        match wanted {
            Some(Wanted::Tokens(tokens)) => {
                columns.places.extend(tokens.iter().map(|_| place as i32));
                columns.tokens.extend(tokens);
            }
            Some(Wanted::Ids(number, ids)) => {
                columns.id_places.extend(ids.iter().map(|_| place as i32));
                columns.types.extend(ids.iter().map(|_| number));
                columns.ids.extend(ids.iter().map(String::as_str));
            }
            None => {}
        }
    }
    (asked, columns)
}

fn wanted<'q>(
    definitions: &Definitions,
    statistics: &Statistics,
    query: &'q Query,
) -> Option<Wanted<'q>> {
    let ([kind], [clause]) = (&query.types[..], &query.filter[..]) else {
        return None;
    };
    let by_update = |key: &SortKey| matches!(key.by, SortBy::LastUpdated) && key.descending;
    let is_plain = query.sort.iter().all(by_update)
        && query.includes.is_empty()
        && query.graph.is_none()
        && query.contained == Contained::False
        && query.summary != Summary::Count
        && query.count > 0
        && query.offset == 0
        && query.results_max.is_none()
        && !query.explain;
    if !is_plain {
        return None;
    }
    match clause {
        Clause::Id(ids) => Some(Wanted::Ids(definitions.type_number(kind)?, ids)),
        Clause::Param {
            parameter,
            modifier,
            values,
        } if *kind == parameter.resource_type
            && !is_contains(parameter)
            && union::of_members(clause).is_none()
            && !resolve::looks_up(clause) =>
        {
            let test = values::param(parameter, *modifier, values, &Known::default()).ok()?;
            let Test::Tokens(tokens) = test else {
                return None;
            };
            // What many have is not looked up.
            let is_rare = |token: &i64| statistics.token(*token) <= LOOKUPS_MAX;
            tokens.iter().all(is_rare).then_some(Wanted::Tokens(tokens))
        }
        _ => None,
    }
}

async fn read(
    connection: &mut PgConnection,
    columns: Columns<'_>,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(STATEMENT)
        .bind(columns.places)
        .bind(columns.tokens)
        .bind(columns.id_places)
        .bind(columns.types)
        .bind(columns.ids)
        .bind(ROWS_MAX)
        .fetch_all(connection)
        .await
}

// The limit stands outside of the part that the index gives, which is still read no further than it. All else is looked up row by row, whatever the
// planner believes of the tables.
const STATEMENT: &str = concat!(
    "WITH m AS MATERIALIZED (SELECT pk, tokens FROM entry WHERE tokens && $2::bigint[]), ",
    "l AS MATERIALIZED (SELECT * FROM m LIMIT $6), ",
    "f AS (SELECT n.place, l.pk FROM l CROSS JOIN LATERAL (SELECT place FROM unnest($1::int[], $2::bigint[]) AS u(place, token) ",
    "WHERE token = ANY (l.tokens)) n ",
    "UNION SELECT n.place, r.pk FROM unnest($3::int[], $4::smallint[], $5::text[]) AS n(place, type, id) ",
    "CROSS JOIN LATERAL (SELECT pk FROM resource WHERE type = n.type AND id = n.id LIMIT 1) r) ",
    "SELECT f.place, (SELECT count(*) FROM l) >= $6, r.type, r.id, r.version, (extract(epoch FROM r.last_updated) * 1000)::bigint, ",
    stored_text!("r", "r"),
    " FROM f CROSS JOIN LATERAL (SELECT * FROM resource WHERE pk = f.pk LIMIT 1) r ",
    "WHERE r.content IS NOT NULL ORDER BY f.place, r.last_updated DESC, r.pk DESC",
);

#[cfg(test)]
mod tests {
    use crate::change::{Change, Target};
    use crate::{Page, Store, testing};
    use fhir_model::ResourceKey;
    use fhir_search::parse::{Context, parse};
    use fhir_search::{Handling, Query};
    use serde_json::json;

    fn query(store: &Store, kind: &str, parameters: &[(&str, &str)]) -> Query {
        let definitions = store.definitions();
        let context = Context {
            definitions: &definitions,
            terminology: None,
            base: None,
            handling: Handling::Strict,
            now_micros: 0,
            count_default: 20,
            count_max: 1_000,
        };
        let owned: Vec<(String, String)> = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        parse(&context, &[kind], &owned).expect("a search that is understood")
    }

    async fn put(store: &Store, kind: &str, id: &str, values: &[&str]) {
        let identifiers: Vec<_> = values
            .iter()
            .map(|value| json!({"system": "urn:s", "value": value}))
            .collect();
        let change = Change::Update {
            target: Target::Id(ResourceKey::new(kind, id)),
            resource: json!({"resourceType": kind, "id": id, "identifier": identifiers}),
            full_url: None,
            version: crate::VersionMatch::Any,
            may_create: true,
        };
        store.commit(vec![change]).await.expect("it is written");
    }

    /// What a look-up finds is what a search finds, in its order; what it leaves is more than it is for.
    #[tokio::test]
    async fn they_find_what_searches_find() {
        let store = testing::store().await;
        for (kind, id, values) in [
            ("Patient", "a", &["1", "2"][..]),
            ("Patient", "b", &["2"]),
            ("Patient", "gone", &["2"]),
            ("Encounter", "a", &["1"]),
            ("Observation", "o1", &["9"]),
            ("Observation", "o2", &["8"]),
        ] {
            put(&store, kind, id, values).await;
        }
        let gone = Change::Delete {
            target: Target::Id(ResourceKey::new("Patient", "gone")),
            version: crate::VersionMatch::Any,
            at_most: 1,
        };
        store.commit(vec![gone]).await.expect("it is deleted");
        put(&store, "Patient", "a", &["1", "2", "3"]).await;
        let ask = |kind, parameters: &[(&str, &str)]| query(&store, kind, parameters);
        let cases = [
            (true, ask("Patient", &[("identifier", "urn:s|1")])),
            (true, ask("Patient", &[("identifier", "urn:s|1,urn:s|2")])),
            (true, ask("Patient", &[("identifier", "none")])),
            (true, ask("Encounter", &[("identifier", "1")])),
            (true, ask("Observation", &[("_id", "o2,o1,none")])),
            (true, ask("Patient", &[("_id", "gone")])),
            (
                true,
                ask(
                    "Patient",
                    &[
                        ("identifier", "urn:s|3"),
                        ("_sort", "-_lastUpdated"),
                        ("_count", "1"),
                        ("_total", "none"),
                    ],
                ),
            ),
            // A second page, and searches that are no look-ups.
            (
                false,
                ask("Patient", &[("identifier", "urn:s|2"), ("_count", "1")]),
            ),
            (
                false,
                ask("Patient", &[("identifier", "1"), ("_sort", "_id")]),
            ),
            (
                false,
                ask("Patient", &[("identifier", "1"), ("_sort", "_lastUpdated")]),
            ),
            (false, ask("Patient", &[("identifier:not", "1")])),
            (false, ask("Patient", &[("identifier:missing", "true")])),
            (false, ask("Patient", &[("_count", "5")])),
            (false, ask("Patient", &[("_id", "a"), ("identifier", "1")])),
            (false, ask("Observation", &[("subject", "Patient/a")])),
            (
                false,
                ask(
                    "Encounter",
                    &[("_id", "a"), ("_include", "Encounter:patient")],
                ),
            ),
        ];
        let queries: Vec<&Query> = cases.iter().map(|(_, query)| query).collect();
        let found = store.look_up(&queries).await.expect("they are looked up");
        for (query, together) in queries.iter().zip(&found) {
            let alone = store.look_up(&[query]).await.expect("it is looked up");
            let count = |page: &Option<crate::SearchPage>| page.as_ref().map(|p| p.matches.len());
            assert_eq!(count(&alone[0]), count(together), "{:?}", query.applied);
        }
        let mut matches = 0;
        for ((is_lookup, query), page) in cases.iter().zip(found) {
            assert_eq!(page.is_some(), *is_lookup, "{:?}", query.applied);
            let Some(page) = page else { continue };
            let searched = store.search(query, Page::First).await.expect("it is found");
            let said = |page: &crate::SearchPage| -> Vec<(String, i32, i64, String)> {
                let all = page.matches.iter();
                all.map(|own| {
                    let key = own.key.to_string();
                    (key, own.version, own.last_updated_ms, own.body.clone())
                })
                .collect()
            };
            assert_eq!(said(&page), said(&searched), "{:?}", query.applied);
            assert_eq!(page.total, searched.total, "{:?}", query.applied);
            assert_eq!((page.next, searched.next), (None, None));
            matches += page.matches.len();
        }
        assert_eq!(matches, 7);
    }

    /// A token of very many is left to searches, all of them.
    #[tokio::test]
    async fn many_rows_are_left_to_searches() {
        let store = testing::store().await;
        let many = super::ROWS_MAX as usize;
        let create = |number: usize| Change::Create {
            target: Target::New {
                resource_type: "Basic".into(),
            },
            resource: json!({"resourceType": "Basic", "identifier": [{"value": "all"}, {"value": number.to_string()}]}),
            full_url: None,
        };
        let all = (0..many).map(create).collect();
        store.commit(all).await.expect("they are written");
        let one = query(&store, "Basic", &[("identifier", "7")]);
        let every = query(
            &store,
            "Basic",
            &[("identifier", "all"), ("_count", "1000")],
        );
        let found = store.look_up(&[&one]).await.expect("it is looked up");
        assert_eq!(found[0].as_ref().map(|page| page.matches.len()), Some(1));
        let found = store.look_up(&[&one, &every]).await.expect("it is tried");
        assert!(found.iter().all(Option::is_none));
    }
}
