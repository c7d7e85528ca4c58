//! One search, asked of the engine page by page, and of the oracle.

use crate::search::{Page, SearchPage};
use crate::{Error, Store, StoredResource};
use fastrand::Rng;
use fhir_model::{IssueKind, ResourceKey};
use fhir_search::Query;
use fhir_search::query::{Clause, Contained, Summary, Total};
use search_oracle::{Found, World, sorted};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most pages of one search.
const PAGES_MAX: usize = 500;

/// What came of it.
pub enum Compared {
    Same {
        query: Box<Query>,
        /// Neither nothing nor everything of the types searched.
        telling: bool,
        pages: usize,
        matches: usize,
    },
    /// Not answered, with the reason.
    Refused(String),
}

/// How the engine is asked.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// `_count`.
    count: usize,
    /// In a transaction that several searches share.
    snapshot: bool,
    /// From the last page back to the first, too.
    back: bool,
}

impl Manner {
    pub fn drawn(rng: &mut Rng, query: &Query) -> Manner {
        let counts = [1, 2, 3, 5, 7, 10, 20, query.count, query.count, query.count];
        Manner {
            count: counts[rng.usize(..counts.len())],
            snapshot: rng.u8(..4) == 0,
            back: rng.u8(..4) == 0,
        }
    }

    pub fn each_by_itself(self) -> Manner {
        Manner {
            snapshot: false,
            ..self
        }
    }
}

/// Where the two do not agree.
#[derive(Debug)]
pub struct Difference {
    what: String,
    engine: Vec<String>,
    oracle: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (engine, oracle) = (self.engine.join(" "), self.oracle.join(" "));
        write!(f, "{}\n  engine {engine}\n  oracle {oracle}", self.what)
    }
}

/// Compares the engine's answer to `given` with the oracle's to `query`. They are the same but where a fault is planted.
pub async fn compare(
    store: &Store,
    world: &World<'_>,
    given: &Query,
    query: &Query,
    manner: Manner,
) -> Result<Compared, Difference> {
    let mut expected = match world.matches(query) {
        Ok(expected) => expected,
        Err(unknown) => return Ok(Compared::Refused(unknown.to_string())),
    };
    let keys: BTreeSet<ResourceKey> = expected.iter().map(|found| found.key.clone()).collect();
    let given = Query {
        count: manner.count,
        ..given.clone()
    };
    let pages = match pages(store, &given, manner.snapshot).await {
        Ok(pages) => pages,
        Err(Error::Refused(issues)) if issues[0].kind == IssueKind::NotSupported => {
            return Ok(Compared::Refused(without_names(&issues[0].diagnostics)));
        }
        // A machine that stands still for a while.
        Err(Error::Unavailable(_)) => return Ok(Compared::Refused("the database".into())),
        Err(error) => return Err(difference(&format!("{error:?}"), &[], &keys)),
    };
    let engine: Vec<ResourceKey> = pages
        .iter()
        .flat_map(|page| page.matches.iter().map(|found| found.key.clone()))
        .collect();
    let total = expected.len() as u64;
    totals(query, &pages, total).map_err(|what| difference(&what, &engine, &keys))?;
    if query.summary != Summary::Count {
        let shown = expected.len().saturating_sub(query.offset);
        let shown = shown.min(query.results_max.unwrap_or(usize::MAX));
        let distinct: BTreeSet<&ResourceKey> = engine.iter().collect();
        if engine.len() != shown
            || distinct.len() != shown
            || !distinct.iter().all(|key| keys.contains(key))
        {
            return Err(difference("other matches", &engine, &keys));
        }
        scores(query, &pages).map_err(|what| difference(&what, &engine, &keys))?;
        for found in &mut expected {
            let mut scores = pages.iter().filter_map(|page| page.scores.get(&found.key));
            found.score = scores.next().copied();
        }
        order(world, query, &expected, &engine)
            .map_err(|what| difference(&what, &engine, &keys))?;
        includes(world, query, &pages)?;
        // Pages with contained resources lead forward alone; those after an offset have others before them.
        if manner.back
            && query.contained == Contained::False
            && query.offset == 0
            && let Some(other) = other_way_back(store, &given, &pages).await
        {
            let what = format!("pages backwards differ: {}", other.join(" "));
            return Err(difference(&what, &engine, &keys));
        }
    }
    let searched = world
        .searched(query)
        .unwrap_or_else(|unknown| panic!("{unknown}"));
    Ok(Compared::Same {
        telling: total > 0 && total < searched as u64,
        query: Box::new(query.clone()),
        pages: pages.len(),
        matches: engine.len(),
    })
}

async fn pages(store: &Store, query: &Query, in_snapshot: bool) -> Result<Vec<SearchPage>, Error> {
    let mut snapshot = match in_snapshot {
        true => Some(store.snapshot().await?),
        false => None,
    };
    let mut pages = Vec::new();
    let mut at = Page::First;
    while pages.len() < PAGES_MAX {
        let page = match &mut snapshot {
            Some(snapshot) => snapshot.search(query, at).await?,
            None => store.search(query, at).await?,
        };
        let next = page.next.clone();
        pages.push(page);
        match next {
            Some(next) => at = Page::After(next),
            None => break,
        }
    }
    if let Some(snapshot) = snapshot {
        snapshot.close().await?;
    }
    Ok(pages)
}

/// From page to page back: what is not the same as on the way there, all before the last page.
async fn other_way_back(store: &Store, query: &Query, pages: &[SearchPage]) -> Option<Vec<String>> {
    let (last, before) = pages.split_last()?;
    let there = before.iter().flat_map(|page| &page.matches);
    let there: Vec<String> = there.map(|found| found.key.to_string()).collect();
    let mut back: Vec<String> = Vec::new();
    let mut at = last.previous.clone();
    for _ in 0..PAGES_MAX {
        let Some(keyset) = at else { break };
        match store.search(query, Page::After(keyset)).await {
            Ok(page) => {
                let keys = page.matches.iter().map(|found| found.key.to_string());
                back.splice(0..0, keys);
                at = page.previous;
            }
            Err(error) => return Some(vec![format!("{error:?}")]),
        }
    }
    (back != there).then_some(back)
}

/// All pages say the same total, and where one is asked for it is right.
fn totals(query: &Query, pages: &[SearchPage], right: u64) -> Result<(), String> {
    let counted = query.summary == Summary::Count;
    for page in pages {
        let fits = match (page.total, query.total) {
            (Some(total), _) if counted => total == right,
            (total, Total::None) => total.is_none() && !counted,
            (Some(total), Total::Accurate | Total::Default) => total == right,
            (Some(_), Total::Estimate) | (None, Total::Default) => !counted,
            (None, _) => false,
        };
        if !fits || page.total != pages[0].total {
            return Err(format!("total {:?} instead of {right}", page.total));
        }
        if page.matches.len() > query.count {
            return Err(format!("{} matches on a page", page.matches.len()));
        }
    }
    Ok(())
}

/// Between 0 and 1, for every match where words are asked for by themselves.
fn scores(query: &Query, pages: &[SearchPage]) -> Result<(), String> {
    let by_words = |clause: &Clause| matches!(clause, Clause::Text { .. });
    let asked = query.filter.iter().any(by_words);
    for page in pages {
        let scored = |found: &StoredResource| page.scores.contains_key(&found.key);
        let fits = |score: &f64| (0.0..=1.0).contains(score);
        if asked && !page.matches.iter().all(scored) || !page.scores.values().all(fits) {
            return Err(format!("scores {:?}", page.scores));
        }
    }
    Ok(())
}

fn order(
    world: &World<'_>,
    query: &Query,
    expected: &[Found<'_>],
    engine: &[ResourceKey],
) -> Result<(), String> {
    let by_key: BTreeMap<&ResourceKey, &Found<'_>> =
        expected.iter().map(|found| (&found.key, found)).collect();
    let answer: Vec<&Found<'_>> = engine
        .iter()
        .filter_map(|key| by_key.get(key).copied())
        .collect();
    match sorted(world, query, &answer).unwrap_or_else(|unknown| panic!("{unknown}")) {
        None => Ok(()),
        Some(place) => Err(format!(
            "{} and {} are out of order",
            engine[place],
            engine[place + 1]
        )),
    }
}

/// Each page has what belongs to its own matches; a contained resource that is answered itself brings nothing.
fn includes(world: &World<'_>, query: &Query, pages: &[SearchPage]) -> Result<(), Difference> {
    for page in pages {
        let whole = page
            .matches
            .iter()
            .filter(|found| !found.key.id.contains('#'));
        let matches: Vec<ResourceKey> = whole.map(|found| found.key.clone()).collect();
        let expected = world
            .included(&query.includes, &matches)
            .unwrap_or_else(|unknown| panic!("{unknown}"));
        let engine: Vec<ResourceKey> = page
            .includes
            .iter()
            .map(|found| found.key.clone())
            .collect();
        if engine.len() != expected.len() || engine.iter().any(|key| !expected.contains(key)) {
            return Err(difference("other includes", &engine, &expected));
        }
    }
    Ok(())
}

fn difference(what: &str, engine: &[ResourceKey], oracle: &BTreeSet<ResourceKey>) -> Difference {
    Difference {
        what: what.to_owned(),
        engine: engine.iter().map(ToString::to_string).collect(),
        oracle: oracle.iter().map(ToString::to_string).collect(),
    }
}

/// A refusal without the parameter that it names, so that equal reasons count together.
pub fn without_names(diagnostics: &str) -> String {
    let words = diagnostics.split(' ').map(|word| {
        let named = word.contains(['.', ':']) || word.starts_with(|c: char| c.is_ascii_uppercase());
        if named { "…" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}
