//! The terminology of R5, read from its table when first asked for and kept: one line per value set (`V`), code system (`S`) and concept map (`M`).

use super::{CodeSystem, ValueSet};
use crate::tables::TERMINOLOGY;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

type Kept<T> = Mutex<HashMap<String, Arc<T>>>;

pub(super) fn code_system(url: &str) -> Option<Arc<CodeSystem>> {
    static KEPT: OnceLock<Kept<CodeSystem>> = OnceLock::new();
    kept(&KEPT, 'S', url, CodeSystem::read_row)
}

pub(super) fn value_set(url: &str) -> Option<Arc<ValueSet>> {
    static KEPT: OnceLock<Kept<ValueSet>> = OnceLock::new();
    kept(&KEPT, 'V', url, ValueSet::read_row)
}

/// In the form of the resource, with what the table has of it.
pub(super) fn concept_map(url: &str) -> Option<Arc<Value>> {
    static KEPT: OnceLock<Kept<Value>> = OnceLock::new();
    kept(&KEPT, 'M', url, |row| {
        let mut map = row.clone();
        if let Some(members) = map.as_object_mut() {
            let url = members.remove("M").unwrap_or_default();
            members.insert("resourceType".into(), "ConceptMap".into());
            members.insert("url".into(), url);
        }
        map
    })
}

fn kept<T>(
    all: &OnceLock<Kept<T>>,
    kind: char,
    url: &str,
    read: fn(&Value) -> T,
) -> Option<Arc<T>> {
    let all = all.get_or_init(Kept::default);
    if let Some(found) = all.lock().unwrap_or_else(PoisonError::into_inner).get(url) {
        return Some(Arc::clone(found));
    }
    let row: Value = serde_json::from_str(line(kind, url)?).ok()?;
    let read = Arc::new(read(&row));
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(url.to_owned(), Arc::clone(&read));
    Some(read)
}

fn line(kind: char, url: &str) -> Option<&'static str> {
    lines().get(&(kind, url)).copied()
}

/// Every value set, in no order.
pub(super) fn value_set_urls() -> impl Iterator<Item = &'static str> {
    urls('V')
}

/// Every concept map, in no order.
pub(super) fn concept_map_urls() -> impl Iterator<Item = &'static str> {
    urls('M')
}

fn urls(kind: char) -> impl Iterator<Item = &'static str> {
    let all = lines().keys();
    all.filter(move |(of, _)| *of == kind).map(|(_, url)| *url)
}

/// `url`, `version` and `content` of every code system, in the order of the urls.
pub(super) fn code_system_heads() -> Vec<Value> {
    let lines = TERMINOLOGY.text().lines();
    let rows = lines.filter(|line| line.starts_with(r#"{"S":"#));
    rows.filter_map(|line| {
        let mut row: Value = serde_json::from_str(line).ok()?;
        let mut head = json!({ "url": row["S"].take(), "content": row["content"].take() });
        if let Some(version) = row["version"]
            .as_str()
            .filter(|version| !version.is_empty())
        {
            head["version"] = version.into();
        }
        Some(head)
    })
    .collect()
}

/// The code systems that have this code, in the order of the table.
pub(super) fn code_systems_of(code: &str) -> Vec<Arc<CodeSystem>> {
    static SYSTEMS: OnceLock<HashMap<Arc<str>, Vec<Arc<CodeSystem>>>> = OnceLock::new();
    let systems = SYSTEMS.get_or_init(|| {
        let mut by_code: HashMap<Arc<str>, Vec<Arc<CodeSystem>>> = HashMap::new();
        for line in TERMINOLOGY.text().lines() {
            let url = line
                .strip_prefix(r#"{"S":""#)
                .and_then(|rest| rest.split('"').next());
            let system = url.and_then(code_system);
            let Some(system) = system.filter(|system| system.is_searched()) else {
                continue;
            };
            for concept in system.concepts() {
                let code = Arc::clone(&concept.code);
                by_code.entry(code).or_default().push(Arc::clone(&system));
            }
        }
        by_code
    });
    systems.get(code).cloned().unwrap_or_default()
}

fn lines() -> &'static HashMap<(char, &'static str), &'static str> {
    static LINES: OnceLock<HashMap<(char, &'static str), &'static str>> = OnceLock::new();
    LINES.get_or_init(|| {
        TERMINOLOGY
            .text()
            .lines()
            .filter_map(|line| {
                // {"V":"http://…",
                let (url, _) = line.get(6..)?.split_once('"')?;
                Some(((line.get(2..3)?.chars().next()?, url), line))
            })
            .collect()
    })
}
