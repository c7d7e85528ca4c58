//! The work list: a Task for every code that a message used and the ConceptMap of its vocabulary does not know. Messages that used it
//! name it in their journal entry; when the ConceptMap is completed they are run again, and the item is done.
//!
//! An item is made once, however many messages use the code: the messages are found by `Task?output=Task/<item>`.

use crate::identity::SiteSecret;
use crate::journal::{JOURNAL_SYSTEM, input, put_new, put_version, typed};
use crate::mapping::UnmappedCode;
use crate::server_api::search_token;
use serde_json::{Value as Json, json};

/// Task.code of an item.
pub const ITEM_CODE: &str = "map-code";
/// Task.identifier of an item: `<vocabulary>|<system>|<code>`.
const ITEM_SYSTEM: &str = "urn:hl7v2:unmapped-code";

/// A code on the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub id: String,
    code: UnmappedCode,
}

impl Item {
    pub fn new(secret: &SiteSecret, code: &UnmappedCode) -> Item {
        let system = code.system.as_deref().unwrap_or_default();
        Item {
            id: secret.derived_id("Task", &["unmapped", &code.vocabulary, system, &code.code]),
            code: code.clone(),
        }
    }

    /// The entry that puts it on the list: again, if it was done before.
    fn entry(&self, known: Option<&Json>, now: &str) -> Option<Json> {
        match known {
            None => Some(put_new(self.task(now))),
            Some(task) if task["status"] == "completed" => {
                let mut next = task.clone();
                next["status"] = "requested".into();
                next["lastModified"] = now.into();
                Some(put_version(next, task["meta"]["versionId"].as_str()?))
            }
            Some(_) => None,
        }
    }

    fn task(&self, now: &str) -> Json {
        let UnmappedCode {
            vocabulary,
            system,
            code,
            display,
        } = &self.code;
        let mut coding = json!({"code": code});
        if let Some(system) = system {
            coding["system"] = system.as_str().into();
        }
        if let Some(display) = display {
            coding["display"] = display.as_str().into();
        }
        let identifier = format!(
            "{vocabulary}|{}|{code}",
            system.as_deref().unwrap_or_default()
        );
        json!({
            "resourceType": "Task",
            "id": self.id,
            "identifier": [{"system": ITEM_SYSTEM, "value": identifier}],
            "status": "requested",
            "intent": "order",
            "code": {"coding": [{"system": JOURNAL_SYSTEM, "code": ITEM_CODE}]},
            "description": format!("The ConceptMap {vocabulary} does not know this code."),
            "authoredOn": now,
            "lastModified": now,
            "input": [
                typed("vocabulary", "valueString", vocabulary.as_str().into()),
                typed("code", "valueCoding", coding),
            ],
        })
    }
}

/// What an item of the list is about; `None` of any other Task.
pub fn unmapped_code(task: &Json) -> Option<UnmappedCode> {
    if task["code"]["coding"][0]["code"] != ITEM_CODE {
        return None;
    }
    let coding = &input(task, "code")?["valueCoding"];
    let text = |name: &str| coding[name].as_str().map(str::to_owned);
    Some(UnmappedCode {
        vocabulary: input(task, "vocabulary")?["valueString"]
            .as_str()?
            .to_owned(),
        system: text("system"),
        code: text("code")?,
        display: text("display"),
    })
}

/// The search for what is known of items; none without items.
pub fn search(items: &[Item]) -> Option<String> {
    let ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
    (!ids.is_empty()).then(|| format!("Task?_id={}&_count={}", ids.join(","), ids.len()))
}

/// The entries for items that are not on the list.
pub fn entries(items: &[Item], tasks: &[Json], now: &str) -> Vec<Json> {
    let known = |item: &Item| tasks.iter().find(|task| task["id"] == *item.id);
    items
        .iter()
        .filter_map(|item| item.entry(known(item), now))
        .collect()
}

/// An item that is done.
pub fn done(task: &Json, now: &str) -> Option<Json> {
    let mut next = task.clone();
    next["status"] = "completed".into();
    next["lastModified"] = now.into();
    Some(put_version(next, task["meta"]["versionId"].as_str()?))
}

/// The search for open items, the oldest first.
pub fn open_items() -> String {
    let code = search_token(JOURNAL_SYSTEM, ITEM_CODE);
    format!("Task?code={code}&status=requested&_sort=authored-on&_count=100")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_made_and_read() {
        let secret = SiteSecret::new([1; 16]).unwrap();
        let code = UnmappedCode {
            vocabulary: "PatientClass".into(),
            system: Some("urn:s".into()),
            code: "X".into(),
            display: None,
        };
        let item = Item::new(&secret, &code);
        let mut task = item.entry(None, "2026-01-01T00:00:00Z").unwrap()["resource"].take();
        assert_eq!(unmapped_code(&task), Some(code.clone()));
        task["meta"] = json!({"versionId": "1"});
        assert_eq!(item.entry(Some(&task), "2026-01-02T00:00:00Z"), None);
        let entry = done(&task, "2026-01-02T00:00:00Z").unwrap();
        assert_eq!(entry["request"]["ifMatch"], "W/\"1\"");
        let again = item
            .entry(Some(&entry["resource"]), "2026-01-03T00:00:00Z")
            .unwrap();
        assert_eq!(again["resource"]["status"], "requested");
        let other = UnmappedCode {
            code: "Y".into(),
            ..code
        };
        assert_ne!(Item::new(&secret, &other).id, item.id);
        assert_eq!(unmapped_code(&json!({"resourceType": "Task"})), None);
    }
}
