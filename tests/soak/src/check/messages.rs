//! Messages: one journal entry each, one report with its results, one patient for a record number.

use super::{Checker, Scope, in_parts, resources_of};
use crate::ledger::{Kind, Message};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Results of an ORU.
pub(super) const RESULTS: u64 = 10;

pub(super) fn is_result(text: &str) -> bool {
    text.contains("|ORU^R01^ORU_R01|")
}

/// How many patients the accepted messages are about.
pub(super) fn records(messages: &HashMap<String, Message>) -> u64 {
    let accepted = messages.values().filter(|message| message.accepted);
    let records: HashSet<&str> = accepted
        .flat_map(|message| records_of(&message.text))
        .collect();
    records.len() as u64
}

/// PID-3.1, and MRG-1.1 of a merge.
fn records_of(text: &str) -> impl Iterator<Item = &str> {
    let field = |name: &str, n: usize| {
        let mut lines = text.split('\r').map(|line| line.split('|'));
        let mut line = lines.find(|line| line.clone().next() == Some(name))?;
        line.nth(n)?.split('^').next()
    };
    [field("PID", 3), field("MRG", 1)].into_iter().flatten()
}

/// `<MSH-3>:<MSH-4>#<MSH-10>`.
fn journal_name(text: &str) -> String {
    let field = |n| text.split('|').nth(n).unwrap_or_default();
    format!("{}:{}#{}", field(2), field(3), field(9))
}

/// The numbers in OBX-5, in order.
fn values(text: &str) -> Vec<&str> {
    let lines = text.split('\r').filter(|line| line.starts_with("OBX|"));
    let mut values: Vec<&str> = lines.filter_map(|line| line.split('|').nth(5)).collect();
    values.sort_unstable();
    values
}

impl Checker {
    pub(super) async fn messages(&self, scope: Scope) -> usize {
        let mut messages: Vec<(String, Message)> = Vec::new();
        {
            let book = self.ledger.book();
            for (control_id, message) in &book.messages {
                if scope == Scope::All || book.touched_messages.contains(control_id) {
                    messages.push((control_id.clone(), message.clone()));
                }
            }
        }
        in_parts(&messages, async |part| {
            self.journal(&part).await;
            self.reports(&part).await;
        })
        .await;
        let accepted = messages.iter().filter(|(_, message)| message.accepted);
        let records: HashSet<String> = accepted
            .flat_map(|(_, message)| records_of(&message.text))
            .map(str::to_owned)
            .collect();
        let records: Vec<String> = records.into_iter().collect();
        in_parts(&records, async |part| self.patients(&part).await).await;
        self.merges(&messages).await;
        messages.len()
    }

    async fn journal(&self, messages: &[(String, Message)]) {
        let names: Vec<String> = messages
            .iter()
            .map(|(_, message)| journal_name(&message.text))
            .collect();
        let asked: Vec<String> = names
            .iter()
            .map(|name| format!("urn:hl7v2:message|{}", name.replace('#', "%23")))
            .collect();
        let bundle = self
            .get(&format!("/Task?identifier={}&_count=1000", asked.join(",")))
            .await;
        let mut found: HashMap<&str, Vec<&str>> = HashMap::new();
        for task in resources_of(&bundle, "match") {
            let name = crate::content::identifier(task, "urn:hl7v2:message").unwrap_or_default();
            let ending = task["businessStatus"]["coding"][0]["code"]
                .as_str()
                .unwrap_or_default();
            found.entry(name).or_default().push(ending);
        }
        for ((control_id, message), name) in messages.iter().zip(&names) {
            match found.get(name.as_str()).map_or(&[][..], Vec::as_slice) {
                ["applied"] => {}
                [] if !message.accepted => {}
                [] => self.find(
                    Kind::Lost,
                    format!("{control_id} was accepted and is not in the journal"),
                ),
                [ending] => self.find(
                    Kind::Changed,
                    format!("{control_id} was accepted, and the journal says {ending}"),
                ),
                several => self.find(
                    Kind::Doubled,
                    format!("{control_id} is {} times in the journal", several.len()),
                ),
            }
        }
    }

    /// The reports with their results.
    async fn reports(&self, messages: &[(String, Message)]) {
        let results: Vec<_> = messages
            .iter()
            .filter(|(_, message)| message.accepted && is_result(&message.text))
            .collect();
        if results.is_empty() {
            return;
        }
        let asked: Vec<String> = results
            .iter()
            .map(|(control_id, _)| format!("F{control_id}"))
            .collect();
        let path = format!(
            "/DiagnosticReport?identifier={}&_include=DiagnosticReport:result&_count=100",
            asked.join(",")
        );
        let bundle = self.get(&path).await;
        let observations: HashMap<&str, &Value> = resources_of(&bundle, "include")
            .filter_map(|observation| Some((observation["id"].as_str()?, observation)))
            .collect();
        for (control_id, message) in results {
            let filler = format!("F{control_id}");
            let reports: Vec<&Value> = resources_of(&bundle, "match")
                .filter(|report| {
                    let mut identifiers = report["identifier"].as_array().into_iter().flatten();
                    identifiers.any(|identifier| identifier["value"] == filler.as_str())
                })
                .collect();
            let [report] = &reports[..] else {
                let kind = match reports.is_empty() {
                    true => Kind::Lost,
                    false => Kind::Doubled,
                };
                self.find(kind, format!("{control_id} has {} reports", reports.len()));
                continue;
            };
            let found = report["result"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|result| {
                    let id = result["reference"].as_str()?.strip_prefix("Observation/")?;
                    Some(observations.get(id)?["valueQuantity"]["value"].to_string())
                });
            let mut found: Vec<String> = found.collect();
            found.sort_unstable();
            if found != values(&message.text) {
                let text = format!("{control_id} has the results {found:?}");
                self.find(Kind::Half, text);
            }
        }
    }

    /// Who was merged away is inactive, and nothing is told of him any more.
    async fn merges(&self, messages: &[(String, Message)]) {
        let accepted = messages.iter().filter(|(_, message)| message.accepted);
        let merged: HashSet<&str> = accepted
            .filter_map(|(_, message)| records_of(&message.text).nth(1))
            .collect();
        for record in merged {
            let path = format!("/Patient?identifier={record}&active=false&_summary=count");
            if self.get(&path).await["total"] != 1 {
                let text = format!("the patient {record} was merged away, and is not inactive");
                self.find(Kind::Lost, text);
            }
        }
        for kind in ["Observation", "DiagnosticReport", "Encounter"] {
            let path = format!("/{kind}?subject:Patient.active=false&_summary=count");
            let total = &self.get(&path).await["total"];
            if *total != 0 {
                let text = format!("{total} {kind} are of patients who were merged away");
                self.find(Kind::Half, text);
            }
        }
    }

    /// Each number is that of one patient; who was merged into another stays the one that has it, and the other had it.
    async fn patients(&self, records: &[String]) {
        let bundle = self
            .get(&format!(
                "/Patient?identifier={}&_count=1000",
                records.join(",")
            ))
            .await;
        for record in records {
            let found = resources_of(&bundle, "match").filter(|patient| {
                let identifiers = patient["identifier"].as_array().into_iter().flatten();
                let mut current = identifiers.filter(|identifier| identifier["use"] != "old");
                current.any(|identifier| identifier["value"] == record.as_str())
            });
            match found.count() {
                1 => {}
                0 => self.find(Kind::Lost, format!("no patient has the number {record}")),
                several => self.find(
                    Kind::Doubled,
                    format!("{several} patients have the number {record}"),
                ),
            }
        }
    }
}
