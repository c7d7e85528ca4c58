//! Resources written over REST: the search by name, the history, the transactions.

use super::{Checker, Scope, in_parts, resources_of};
use crate::content::{MARK, NAME, identifier};
use crate::ledger::{Deletion, Entry, Kind, Print, print};
use crate::writer::tagged;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// One version as the history tells it.
struct Version {
    number: u32,
    /// `None`: a deletion.
    print: Option<Print>,
    time: String,
    mark: Option<String>,
}

/// Who a resource of a transaction belongs to.
type Subjects = HashMap<String, String>;

impl Checker {
    pub(super) async fn resources(&self, scope: Scope) -> usize {
        let mut by_type: HashMap<&str, Vec<(String, Entry)>> = HashMap::new();
        {
            let book = self.ledger.book();
            for (name, entry) in &book.entries {
                if scope == Scope::All || book.touched.contains(name) {
                    let entries = by_type.entry(entry.resource_type).or_default();
                    entries.push((name.clone(), entry.clone()));
                }
            }
        }
        let mut subjects = Subjects::new();
        let mut count = 0;
        for (resource_type, entries) in &by_type {
            count += entries.len();
            let parts = in_parts(entries, async |part| self.part(resource_type, part).await).await;
            subjects.extend(parts.into_iter().flatten());
        }
        self.transactions(scope, &subjects);
        count
    }

    async fn part(&self, resource_type: &str, entries: Vec<(String, Entry)>) -> Subjects {
        let names: Vec<String> = entries
            .iter()
            .map(|(name, _)| format!("{NAME}|{name}"))
            .collect();
        let path = format!(
            "/{resource_type}?identifier={}&_count=1000",
            names.join(",")
        );
        let bundle = self.get(&path).await;
        let mut found: HashMap<&str, Vec<&Value>> = HashMap::new();
        for resource in resources_of(&bundle, "match") {
            let name = identifier(resource, NAME).unwrap_or_default();
            found.entry(name).or_default().push(resource);
        }
        let mut histories = self.histories(resource_type, &entries, &found).await;
        let mut subjects = Subjects::new();
        let mut stale = Vec::new();
        for (name, mut entry) in entries {
            let matches = found.remove(name.as_str()).unwrap_or_default();
            let history = histories.remove(&name).unwrap_or_default();
            self.compare(&name, &mut entry, &matches, &history);
            if let Some(subject) = matches
                .first()
                .and_then(|found| found["subject"]["reference"].as_str())
            {
                subjects.insert(name.clone(), subject.to_owned());
            }
            stale.extend(stale_marks(&history));
            self.ledger.book().entries.insert(name, entry);
        }
        self.stale(resource_type, &stale).await;
        subjects
    }

    /// The versions by name, oldest first, of what has an id.
    async fn histories(
        &self,
        resource_type: &str,
        entries: &[(String, Entry)],
        found: &HashMap<&str, Vec<&Value>>,
    ) -> HashMap<String, Vec<Version>> {
        let with_id: Vec<(&String, String)> = entries
            .iter()
            .filter_map(|(name, entry)| {
                let seen = || {
                    found.get(name.as_str())?.first()?["id"]
                        .as_str()
                        .map(str::to_owned)
                };
                Some((name, entry.id.clone().or_else(seen)?))
            })
            .collect();
        let requests: Vec<Value> = with_id
            .iter()
            .map(|(_, id)| json!({"request": {"method": "GET", "url": format!("{resource_type}/{id}/_history?_count=1000")}}))
            .collect();
        if requests.is_empty() {
            return HashMap::new();
        }
        let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": requests});
        let answer = self.ask(Method::POST, "", Some(&batch)).await;
        let histories = with_id.iter().enumerate().map(|(place, (name, _))| {
            let history = &answer["entry"][place]["resource"];
            let mut versions: Vec<Version> = history["entry"]
                .as_array()
                .into_iter()
                .flatten()
                .map(version)
                .collect();
            if !versions
                .iter()
                .map(|version| version.number)
                .rev()
                .is_sorted()
            {
                self.find(
                    Kind::History,
                    format!("{name}: the history is not newest first"),
                );
            }
            versions.sort_by_key(|version| version.number);
            ((*name).clone(), versions)
        });
        histories.collect()
    }

    /// One identity against everything that was said of it. Afterwards the entry says what is there.
    fn compare(&self, name: &str, entry: &mut Entry, matches: &[&Value], history: &[Version]) {
        if matches.len() > 1 {
            let ids: Vec<&Value> = matches.iter().map(|found| &found["id"]).collect();
            self.find(
                Kind::Doubled,
                format!("{name} is {} resources: {ids:?}", matches.len()),
            );
        }
        let found = matches.first();
        let seen = found.and_then(|found| found["id"].as_str());
        if entry.id.is_none() {
            entry.id = seen.map(str::to_owned);
        }
        let is_due = !entry.versions.is_empty();
        if history.is_empty() {
            if is_due {
                let id = entry.id.as_deref().unwrap_or_default();
                self.find(
                    Kind::Lost,
                    format!("{name}: {id} was acknowledged and is not there"),
                );
            }
            entry.possible.clear();
            return;
        }
        self.compare_versions(name, entry, history);

        let newest = history.last();
        let is_deleted = newest.is_some_and(|newest| newest.print.is_none());
        if entry.deletion == Deletion::Done && !is_deleted {
            self.find(Kind::Lost, format!("{name}: its deletion was acknowledged"));
        }
        if is_deleted && entry.deletion == Deletion::None {
            self.find(
                Kind::Changed,
                format!("{name} is deleted, and nobody did that"),
            );
        }
        match found {
            Some(_) if is_deleted => {
                self.find(
                    Kind::Index,
                    format!("{name} is deleted, and the search finds it"),
                );
            }
            None if !is_deleted => {
                self.find(
                    Kind::Index,
                    format!("{name} is there, and the search does not find it"),
                );
            }
            Some(found) if newest.and_then(|newest| newest.print) != Some(print(found)) => {
                let text = format!("{name}: the search shows another version than the newest");
                self.find(Kind::Index, text);
            }
            _ => {}
        }
        if seen.is_some() && seen != entry.id.as_deref() {
            self.find(
                Kind::Doubled,
                format!("{name} was acknowledged as {:?} and is {seen:?}", entry.id),
            );
        }
        entry.deletion = match is_deleted {
            true => Deletion::Done,
            false => Deletion::None,
        };
        let written = history
            .iter()
            .filter_map(|version| Some((version.number, version.print?)));
        entry.versions = written.collect::<BTreeMap<_, _>>();
        entry.possible.clear();
    }

    fn compare_versions(&self, name: &str, entry: &Entry, history: &[Version]) {
        for (place, version) in history.iter().enumerate() {
            if version.number as usize != place + 1 {
                self.find(
                    Kind::History,
                    format!("{name}: version {} is missing", place + 1),
                );
                break;
            }
        }
        for pair in history.windows(2) {
            let (earlier, later) = (&pair[0], &pair[1]);
            if earlier.time >= later.time || earlier.time.len() != later.time.len() {
                let text = format!(
                    "{name}: version {} is of {} and version {} of {}",
                    earlier.number, earlier.time, later.number, later.time
                );
                self.find(Kind::History, text);
            }
        }
        let there: HashMap<u32, Option<Print>> = history
            .iter()
            .map(|version| (version.number, version.print))
            .collect();
        for (number, print) in &entry.versions {
            match there.get(number) {
                None => self.find(
                    Kind::Lost,
                    format!("{name}: version {number} was acknowledged"),
                ),
                Some(found) if *found != Some(*print) => {
                    self.find(
                        Kind::Changed,
                        format!("{name}: version {number} has another content"),
                    );
                }
                Some(_) => {}
            }
        }
        let mut possible = entry.possible.clone();
        for version in history {
            let Some(print) = version
                .print
                .filter(|_| !entry.versions.contains_key(&version.number))
            else {
                continue;
            };
            match possible.iter().position(|sent| *sent == print) {
                Some(at) => drop(possible.swap_remove(at)),
                None => {
                    let text = format!(
                        "{name}: version {} was written by nobody, or twice",
                        version.number
                    );
                    self.find(Kind::Changed, text);
                }
            }
        }
    }

    /// The index has forgotten older versions.
    async fn stale(&self, resource_type: &str, marks: &[String]) {
        for part in marks.chunks(super::AT_ONCE) {
            let values: Vec<String> = part.iter().map(|mark| format!("{MARK}|{mark}")).collect();
            let path = format!("/{resource_type}?identifier={}", values.join(","));
            let bundle = self.get(&path).await;
            for found in resources_of(&bundle, "match") {
                let text = format!(
                    "{resource_type}/{} is found by what it said before",
                    found["id"]
                );
                self.find(Kind::Index, text);
            }
        }
    }

    /// All of a transaction or nothing, acknowledged or not, and its references lead to its own patient.
    fn transactions(&self, scope: Scope, subjects: &Subjects) {
        let mut wrong = Vec::new();
        {
            let book = self.ledger.book();
            let first = match scope {
                Scope::All => 0,
                Scope::Touched => book.touched_transactions,
            };
            for names in &book.transactions[first..] {
                let present: Vec<&Entry> = names
                    .iter()
                    .filter_map(|name| book.entries.get(name))
                    .filter(|entry| entry.is_present())
                    .collect();
                if present.len() != names.len() && !present.is_empty() {
                    let (name, of) = (&names[0], names.len());
                    wrong.push(format!(
                        "{} of the {of} resources of {name} are there",
                        present.len()
                    ));
                    continue;
                }
                let Some(patient) = present.first().and_then(|entry| entry.id.as_deref()) else {
                    continue;
                };
                let patient = format!("Patient/{patient}");
                for name in &names[1..] {
                    if subjects
                        .get(name)
                        .is_some_and(|subject| *subject != patient)
                    {
                        wrong.push(format!("{name} is of {}, not of {patient}", subjects[name]));
                    }
                }
            }
        }
        for text in wrong {
            self.find(Kind::Half, text);
        }
    }
}

fn version(entry: &Value) -> Version {
    let resource = &entry["resource"];
    let response = &entry["response"];
    let is_deletion = entry["request"]["method"] == "DELETE";
    let number = resource["meta"]["versionId"]
        .as_str()
        .and_then(|text| text.parse().ok());
    let number = number.or_else(|| response["etag"].as_str().and_then(tagged));
    let time = response["lastModified"]
        .as_str()
        .or(resource["meta"]["lastUpdated"].as_str());
    Version {
        number: number.unwrap_or_default(),
        print: (!is_deletion).then(|| print(resource)),
        time: time.unwrap_or_default().to_owned(),
        mark: identifier(resource, MARK).map(str::to_owned),
    }
}

/// Marks of older versions.
fn stale_marks(history: &[Version]) -> Vec<String> {
    let newest = history.last().and_then(|newest| newest.mark.as_ref());
    let all: HashSet<&String> = history
        .iter()
        .filter_map(|version| version.mark.as_ref())
        .collect();
    let stale = all.into_iter().filter(|mark| Some(*mark) != newest);
    stale.cloned().collect()
}
