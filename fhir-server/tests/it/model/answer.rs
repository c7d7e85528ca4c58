//! What came back, whether alone or in an entry of a bundle, and whether it is what must.

use super::semantics::{Expect, Key, stored};
use crate::site::Answer;
use serde_json::Value;
use std::collections::BTreeMap;

pub struct Seen {
    pub status: u16,
    pub location: String,
    pub etag: String,
    /// Null where there is none.
    pub resource: Value,
    /// An answer of its own, which must bring the resource that it is about.
    whole: bool,
}

impl Seen {
    pub fn alone(answer: &Answer) -> Seen {
        Seen {
            status: answer.status,
            location: answer.header("location").to_string(),
            etag: answer.header("etag").to_string(),
            resource: serde_json::from_str(&answer.text).unwrap_or_default(),
            whole: true,
        }
    }

    pub fn entry(entry: &Value) -> Seen {
        let text = |name: &str| entry["response"][name].as_str().unwrap_or_default();
        let status = text("status").get(..3);
        Seen {
            status: status.and_then(|code| code.parse().ok()).unwrap_or(0),
            location: text("location").to_string(),
            etag: text("etag").to_string(),
            resource: entry["resource"].clone(),
            whole: false,
        }
    }

    /// The id and the version in the Location.
    pub fn place(&self) -> Option<(&str, u64)> {
        let mut parts = self.location.rsplit('/');
        let version = parts.next()?.parse().ok()?;
        Some((parts.nth(1)?, version))
    }

    pub fn version(&self) -> Option<u64> {
        let number = self.etag.strip_prefix("W/\"")?.strip_suffix('"')?;
        number.parse().ok()
    }

    pub fn check(&self, expect: &Expect) -> Result<(), String> {
        let status = match expect {
            Expect::Refused(any) if any.contains(&self.status) => return Ok(()),
            Expect::Refused(_) => 0,
            Expect::Resource { status, .. } => *status,
            Expect::Deleted(_) => 204,
            Expect::Labels { .. } | Expect::Count(_) | Expect::Matches(_) | Expect::History(_) => {
                200
            }
        };
        let right = status == self.status
            && match expect {
                Expect::Refused(_) => false,
                Expect::Deleted(version) => version.is_none() || self.version() == *version,
                Expect::Resource {
                    status,
                    key,
                    version,
                    body,
                } => self.is_resource(*status, key, *version, body),
                Expect::Labels { version, tags } => {
                    let meta = &self.resource["parameter"][0]["valueMeta"];
                    self.version() == Some(*version)
                        && meta["versionId"] == version.to_string().as_str()
                        && meta["tag"] == *tags
                }
                Expect::Count(count) => {
                    self.resource["total"] == *count && self.resource.get("entry").is_none()
                }
                Expect::Matches(bodies) => matches(&self.resource).as_ref() == Some(bodies),
                Expect::History(versions) => history(&self.resource).as_ref() == Some(versions),
            };
        match right {
            true => Ok(()),
            false => Err(format!(
                "expected {expect:?}\n     got {} {} {} {}",
                self.status, self.location, self.etag, self.resource
            )),
        }
    }

    fn is_resource(&self, status: u16, key: &Key, version: u64, body: &Value) -> bool {
        let placed = self.place() == Some((&key.1, version));
        let bare = !self.whole && self.resource.is_null();
        self.version() == Some(version)
            && (placed || self.location.is_empty() && status != 201)
            && (bare || is_version(&self.resource, version) && told(&self.resource) == *body)
    }
}

/// A resource without what the server says about it.
fn told(resource: &Value) -> Value {
    stored(resource, resource["id"].as_str().unwrap_or_default())
}

fn is_version(resource: &Value, version: u64) -> bool {
    resource["meta"]["versionId"] == version.to_string().as_str()
        && resource["meta"]["lastUpdated"].is_string()
}

fn entries(bundle: &Value) -> impl Iterator<Item = &Value> {
    bundle["entry"].as_array().into_iter().flatten()
}

/// Bodies by id; `None` where an id comes twice or the total is another number.
fn matches(bundle: &Value) -> Option<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for entry in entries(bundle) {
        let resource = &entry["resource"];
        let id = resource["id"].as_str()?.to_string();
        if found.insert(id, told(resource)).is_some() {
            return None;
        }
    }
    (bundle["total"] == found.len()).then_some(found)
}

/// From the newest: version, status, body. `None` where it does not fit together, or the times do not grow.
pub fn history(bundle: &Value) -> Option<Vec<(u64, u16, Option<Value>)>> {
    let mut versions = Vec::new();
    let mut later = None;
    for entry in entries(bundle) {
        let seen = Seen::entry(entry);
        let version = seen.version()?;
        let time = entry["response"]["lastModified"].as_str()?;
        if later.is_some_and(|later: &str| later <= time) {
            return None;
        }
        later = Some(time);
        let deleted = entry["request"]["method"] == "DELETE";
        if deleted != seen.resource.is_null() || !deleted && !is_version(&seen.resource, version) {
            return None;
        }
        let body = (!deleted).then(|| told(&seen.resource));
        versions.push((version, seen.status, body));
    }
    (bundle["total"] == versions.len()).then_some(versions)
}
