//! Words in an index in Elasticsearch: it finds what reading finds, and the order by scores is the same by both engines, pages and pending writes included.

use super::cases::{search, shown, understood};
use super::indexed::{self, answered, drop_index, index};
use crate::{Change, Page, SearchPage, Store, Target, VersionMatch};
use fhir_model::ResourceKey;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

fn change(id: &str, shown: &str, code: &str) -> Change {
    let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{shown}</div>");
    Change::Update {
        target: Target::Id(ResourceKey::new("Basic", id)),
        resource: json!({
            "resourceType": "Basic", "id": id, "code": {"text": code, "coding": [{"code": "c", "display": "Bone marrow"}]},
            "text": {"status": "generated", "div": div}
        }),
        full_url: None,
        version: VersionMatch::Any,
        may_create: true,
    }
}

/// The same page by Postgres.
async fn by_postgres(store: &Store, url: &str, at: Page) -> SearchPage {
    let query = understood(store, url).unwrap();
    let mut snapshot = store.snapshot().await.unwrap();
    let page = snapshot.search(&query, at).await.unwrap();
    snapshot.close().await.unwrap();
    page
}

/// Ids with scores, in order.
fn scored(page: &SearchPage) -> Vec<(String, f64)> {
    let each = page.matches.iter();
    each.map(|found| (found.key.id.clone(), page.scores[&found.key]))
        .collect()
}

/// A store with texts in which the word stands more or less often; `None` where there is no Elasticsearch.
async fn loaded() -> Option<Store> {
    let store = indexed::store(&[], |settings| settings.joins.batch = 2).await?;
    let long = format!("liver {}", "and so on ".repeat(60));
    let changes = vec![
        change("once", "liver of somebody who came", "x"),
        change("long", &long, "x"),
        change("often", "liver, liver and liver", "x"),
        change("short", "liver", "x"),
        change("none", "spleen", "liver"),
    ];
    store.commit(changes).await.unwrap();
    index(&store, None).await;
    Some(store)
}

const BEST_FIRST: &str = "Basic?_text=liver&_sort=-_score";

#[tokio::test(flavor = "multi_thread")]
async fn the_best_come_first() {
    let Some(store) = loaded().await else { return };
    let page = search(&store, BEST_FIRST, Page::First).await.unwrap();
    assert_eq!(shown(&page), "often short once long");
    let scores = scored(&page);
    assert!(
        scores.windows(2).all(|two| two[0].1 > two[1].1),
        "{scores:?}"
    );
    for url in [
        BEST_FIRST,
        "Basic?_text=liver&_sort=_score",
        "Basic?_content=liver,spleen&_sort=-_score,_id",
        "Basic?_content=liver&_text=so&_sort=-_score&_total=accurate&_count=1",
        "Basic?_text=liver&_content=\"bone marrow\"&_sort=-_score,_lastUpdated",
        "Basic?_content=liver",
        "Basic?_content=liver&_summary=count",
    ] {
        let page = search(&store, url, Page::First).await.unwrap();
        let same = by_postgres(&store, url, Page::First).await;
        assert_eq!(shown(&page), shown(&same), "{url}");
        assert_eq!(scored(&page), scored(&same), "{url}");
    }
    assert_eq!(answered(&store), (8, BTreeMap::new()));
    drop_index(&store).await;
}

/// What is not in the index yet stands at its place, and what the index has of it nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn writes_change_the_order_at_once() {
    let Some(store) = loaded().await else { return };
    let changes = vec![
        change("new", "liver liver liver liver liver liver", "x"),
        change("often", "gone", "x"),
        change("long", "liver and more liver", "x"),
    ];
    store.commit(changes).await.unwrap();
    for state in ["pending", "in the index"] {
        let page = search(&store, BEST_FIRST, Page::First).await.unwrap();
        assert_eq!(shown(&page), "new long short once", "{state}");
        index(&store, None).await;
    }
    assert_eq!(answered(&store), (2, BTreeMap::new()));
    drop_index(&store).await;
}

/// Each row of all pages comes once, there and back, whoever answers which page.
#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other() {
    let Some(store) = loaded().await else { return };
    let alike = (0..7).map(|n| change(&format!("alike{n}"), "liver of nobody", "x"));
    store.commit(alike.collect()).await.unwrap();
    index(&store, None).await;
    let url = format!("{BEST_FIRST}&_count=2");
    let whole = search(&store, BEST_FIRST, Page::First).await.unwrap();
    for changes_engines in [false, true] {
        let (mut at, mut pages) = (Page::First, Vec::new());
        loop {
            let page = match changes_engines && pages.len() % 2 == 1 {
                true => by_postgres(&store, &url, at).await,
                false => search(&store, &url, at).await.unwrap(),
            };
            let next = page.next.clone();
            pages.push(page);
            match next {
                Some(next) => at = Page::After(next),
                None => break,
            }
        }
        let all: Vec<_> = pages.iter().flat_map(scored).collect();
        assert_eq!(all, scored(&whole), "{changes_engines}");
        let distinct: BTreeSet<_> = all.iter().map(|(id, _)| id).collect();
        assert_eq!(distinct.len(), 11);
        let previous = pages.last().and_then(|page| page.previous.clone());
        let before = Page::After(previous.unwrap());
        let back = search(&store, &url, before).await.unwrap();
        assert_eq!(scored(&back), scored(&pages[pages.len() - 2]));
    }
    let (_, by_postgres) = answered(&store);
    assert!(by_postgres.is_empty(), "{by_postgres:?}");
    drop_index(&store).await;
}

/// Words that are longer than the index has them, side by side in one element and in two, beginnings, the name of the type.
#[tokio::test(flavor = "multi_thread")]
async fn finds_the_words_that_are_there() {
    let Some(store) = indexed::store(&[], |_| {}).await else {
        return;
    };
    let (longest, longer) = ("x".repeat(200), "x".repeat(201));
    let (very_long, wide) = (format!("{longer}yy"), "\u{e9}\u{4e2d}".repeat(120));
    let changes = vec![
        change("a", &format!("one {longest} two"), "three"),
        change("b", &format!("one {longer} two"), "four"),
        change("c", &format!("one {very_long} two"), "three four"),
        change("d", &format!("one {wide} two"), "bone"),
    ];
    store.commit(changes).await.unwrap();
    index(&store, None).await;
    for words in [
        longest.as_str(),
        longer.as_str(),
        very_long.as_str(),
        wide.as_str(),
        "xxx*",
        "\"two three\"",
        "\"three four\"",
        "three-four",
        "three-fo*",
        "\"four bone\"",
        "\"one two\"",
        "basic",
        "bas* AND NOT three",
        "\u{4e2d}*",
        "e\u{4e2d}*",
    ] {
        for of in ["_content", "_text"] {
            let url = format!("Basic?{of}={words}&_sort=_id");
            let page = search(&store, &url, Page::First).await.unwrap();
            let same = by_postgres(&store, &url, Page::First).await;
            assert_eq!(shown(&page), shown(&same), "{url}");
        }
    }
    // What the index has no words for is read, and the index asked for those rows.
    let (by_index, by_postgres) = answered(&store);
    assert!(
        by_index >= 22 && by_postgres.is_empty(),
        "{by_index} {by_postgres:?}"
    );
    drop_index(&store).await;
}
