//! Bundles of type searchset and history, written around the stored text: no body is parsed or built again.

use fhir_model::date::instant_text;
use fhir_model::issue::operation_outcome;
use fhir_model::{Issue, IssueKind, Severity};
use fhir_search::Query;
use fhir_search::reference::chains_over_version;
use fhir_storage::{History, HistoryVersion, Method, SearchPage, StoredResource, Version};
use serde_json::Value;
use std::fmt::Write as _;

/// The links of a page.
pub struct Links {
    pub self_url: String,
    /// Relation and URL of other pages.
    pub others: Vec<(&'static str, String)>,
}

/// A searchset (<https://hl7.org/fhir/R5/bundle.html#searchset>): matches, what they include, and an outcome where
/// something was ignored or is explained.
pub fn write(base: &str, links: &Links, query: &Query, page: &SearchPage) -> String {
    let mut bundle = Writer::start("searchset", None, page.total, links, bodies_bytes(page));
    for (mode, resources) in [("match", &page.matches), ("include", &page.includes)] {
        for stored in resources {
            bundle.resource(base, stored);
            let _ = write!(bundle.text, r#","search":{{"mode":"{mode}""#);
            let score = page.scores.get(&stored.key);
            if let (Some(score), "match") = (score, mode) {
                let _ = write!(bundle.text, r#","score":{score}"#);
            }
            bundle.text.push_str("}}");
        }
    }
    let told = page.explained.iter().map(|line| Issue {
        severity: Severity::Information,
        ..Issue::error(IssueKind::Informational, line.as_str())
    });
    let mut issues = query.issues.clone();
    issues.extend(of_versions(query, page));
    issues.extend(told);
    if !issues.is_empty() {
        let outcome = operation_outcome(&issues);
        bundle.next_entry();
        // It is nowhere, but every entry has a fullUrl (bdl-15).
        let full_url = uuid::Uuid::new_v4().urn();
        let _ = write!(
            bundle.text,
            r#""fullUrl":"{full_url}","resource":{outcome},"search":{{"mode":"outcome"}}}}"#
        );
    }
    bundle.end()
}

/// A warning where a chain looked at the current version of what is referred to by another
/// (<https://hl7.org/fhir/R5/search.html#versions>).
fn of_versions(query: &Query, page: &SearchPage) -> Option<Issue> {
    let mut versioned = page
        .matches
        .iter()
        .filter(|stored| stored.body.contains("/_history/"));
    let over = versioned.any(|stored| {
        let resource = serde_json::from_str(&stored.body).unwrap_or_default();
        chains_over_version(query, &resource)
    });
    over.then(|| Issue {
        severity: Severity::Warning,
        ..Issue::error(
            IssueKind::Informational,
            "some of these references name a version; the chain looked at the current one",
        )
    })
}

/// A page of a history (<https://hl7.org/fhir/R5/bundle.html#history>). `meta.lastUpdated` is the time up to which nothing is missing: where the
/// next `_since` begins. A patch is shown as the PUT of what it made (<https://hl7.org/fhir/R5/http.html#history>).
pub fn write_history(base: &str, links: &Links, history: &History) -> String {
    let mut bundle = Writer::start("history", history.horizon_ms, history.total, links, 0);
    for HistoryVersion {
        version,
        method,
        created,
    } in &history.versions
    {
        let key = version.key();
        let (method, url) = match method {
            Method::Post => ("POST", key.resource_type.clone()),
            Method::Put | Method::Patch => ("PUT", key.to_string()),
            Method::Delete => ("DELETE", key.to_string()),
        };
        let status = match (version, created) {
            (Version::Deleted { .. }, _) => "204 No Content",
            // The first version, or one that brought it back.
            (Version::Present(_), true) => "201 Created",
            (Version::Present(_), false) => "200 OK",
        };
        match version {
            Version::Present(stored) => bundle.resource(base, stored),
            Version::Deleted { .. } => {
                bundle.next_entry();
                let full_url = quoted(&format!("{base}/{key}"));
                let _ = write!(bundle.text, r#""fullUrl":{full_url}"#);
            }
        }
        let _ = write!(
            bundle.text,
            r#","request":{{"method":"{method}","url":"{url}"}},"response":{{"status":"{status}","etag":"W/\"{}\"","lastModified":"{}"}}}}"#,
            version.number(),
            instant_text(version.last_updated_ms()),
        );
    }
    bundle.end()
}

struct Writer {
    text: String,
    entries: usize,
}

impl Writer {
    fn start(
        kind: &str,
        last_updated_ms: Option<i64>,
        total: Option<u64>,
        links: &Links,
        bodies_bytes: usize,
    ) -> Writer {
        let mut text = String::with_capacity(bodies_bytes + 1024);
        text.push_str(r#"{"resourceType":"Bundle""#);
        if let Some(ms) = last_updated_ms {
            let _ = write!(text, r#","meta":{{"lastUpdated":"{}"}}"#, instant_text(ms));
        }
        let _ = write!(text, r#","type":"{kind}""#);
        if let Some(total) = total {
            let _ = write!(text, r#","total":{total}"#);
        }
        let _ = write!(
            text,
            r#","link":[{{"relation":"self","url":{}}}"#,
            quoted(&links.self_url)
        );
        for (relation, url) in &links.others {
            let url = quoted(url);
            let _ = write!(text, r#",{{"relation":"{relation}","url":{url}}}"#);
        }
        text.push(']');
        Writer { text, entries: 0 }
    }

    /// Opens an entry; whoever calls this closes it.
    fn next_entry(&mut self) {
        self.text.push_str(match self.entries {
            0 => r#","entry":[{"#,
            _ => ",{",
        });
        self.entries += 1;
    }

    fn resource(&mut self, base: &str, stored: &StoredResource) {
        self.next_entry();
        let full_url = quoted(&format!("{base}/{}", stored.key));
        let _ = write!(
            self.text,
            r#""fullUrl":{full_url},"resource":{}"#,
            stored.body
        );
    }

    fn end(mut self) -> String {
        self.text
            .push_str(if self.entries > 0 { "]}" } else { "}" });
        self.text
    }
}

fn bodies_bytes(page: &SearchPage) -> usize {
    let all = page.matches.iter().chain(&page.includes);
    all.map(|stored| stored.body.len() + 200).sum()
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
