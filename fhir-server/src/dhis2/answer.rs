//! What a DHIS2 server answers to a data value set.
//!
//! Two families of servers are in the field. Up to 2.42 each value stands alone: bad ones are ignored, the rest is committed, and the
//! answer is a 409 with status WARNING. From 2.43 the values of a data set, period and org unit stand or fall together, a warning is
//! a 200, and `imported` is always 0. Up to 2.37 the summary is the root of the answer. So the status code decides nothing, the body is
//! always read, and success is never taken from a count: reading back decides ([`super::submit`]).

use super::content::Source;
use fhir_definitions::DataError;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

/// An import summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// `SUCCESS`, `WARNING` or `ERROR`.
    pub status: String,
    /// imported, updated, ignored, deleted. As they stand; see above for what they mean.
    pub counts: [u64; 4],
    pub conflicts: Vec<Conflict>,
    /// Indexes of `dataValues` that were not taken.
    pub rejected: Vec<usize>,
}

/// Why values were not taken. The message is left out: its wording changes, and the code says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub code: String,
    pub indexes: Vec<usize>,
}

impl Answer {
    /// Reads the body of an answer; `None` when it holds no import summary (a proxy's page, a login form).
    pub fn parse(body: &[u8]) -> Option<Answer> {
        let root: Value = serde_json::from_slice(body).ok()?;
        let summary = root.get("response").unwrap_or(&root);
        // An error found before the import has no summary: {"status": "ERROR", "errorCode": "E8009", …}.
        let has_summary = summary.get("importCount").is_some();
        if !has_summary && root.get("errorCode").is_none() && root.get("status").is_none() {
            return None;
        }
        let status = summary
            .get("status")
            .or_else(|| root.get("status"))?
            .as_str()
            .filter(|status| !status.is_empty())?
            .to_string();
        let count = |name: &str| {
            summary
                .pointer(&format!("/importCount/{name}"))
                .and_then(Value::as_u64)
                .unwrap_or(0)
        };
        let conflicts = summary["conflicts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|conflict| Conflict {
                code: conflict["errorCode"]
                    .as_str()
                    .unwrap_or("unknown")
                    .to_string(),
                indexes: indexes(&conflict["indexes"]),
            });
        let mut conflicts: Vec<Conflict> = conflicts.collect();
        if let (true, Some(code)) = (conflicts.is_empty(), root["errorCode"].as_str()) {
            conflicts.push(Conflict {
                code: code.to_string(),
                indexes: Vec::new(),
            });
        }
        Some(Answer {
            status,
            counts: ["imported", "updated", "ignored", "deleted"].map(count),
            conflicts,
            rejected: indexes(&summary["rejectedIndexes"]),
        })
    }
}

fn indexes(list: &Value) -> Vec<usize> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|index| usize::try_from(index.as_u64()?).ok())
        .collect()
}

/// What an error code asks of us: `errors.yaml`.
#[derive(Clone, Debug, Default)]
pub struct ErrorClasses {
    classes: Vec<(std::ops::RangeInclusive<u32>, ErrorClass)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorClass {
    /// This one value.
    Value,
    /// Too early, too late or approved: the figures are held.
    Closed,
    /// The mappings do not fit the server, or the code is not known.
    Mapping,
    /// Nothing more can be sent until somebody gives the right.
    Access,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorsFile {
    mapping: Vec<Spanned<String>>,
    closed: Vec<Spanned<String>>,
    access: Vec<Spanned<String>>,
    value: Vec<Spanned<String>>,
}

impl ErrorClasses {
    /// # Errors
    /// One per code that is not like E7600 or E7600-E7604, or is there twice.
    pub fn read(source: &Source<'_>) -> Result<ErrorClasses, Vec<DataError>> {
        let file: ErrorsFile = source.parse()?;
        let mut errors = Vec::new();
        let mut classes: Vec<(std::ops::RangeInclusive<u32>, ErrorClass)> = Vec::new();
        for (list, class) in [
            (file.mapping, ErrorClass::Mapping),
            (file.closed, ErrorClass::Closed),
            (file.access, ErrorClass::Access),
            (file.value, ErrorClass::Value),
        ] {
            for written in list {
                let (first, last) = written
                    .value
                    .split_once('-')
                    .unwrap_or((&written.value, &written.value));
                match (number(first), number(last)) {
                    (Some(first), Some(last)) if first <= last => {
                        if classes
                            .iter()
                            .any(|(other, _)| first <= *other.end() && *other.start() <= last)
                        {
                            errors.push(source.at(&written, "this code is there twice"));
                        }
                        classes.push((first..=last, class));
                    }
                    _ => errors
                        .push(source.at(&written, "an error code is like E7600 or E7600-E7604")),
                }
            }
        }
        if errors.is_empty() {
            Ok(ErrorClasses { classes })
        } else {
            Err(errors)
        }
    }

    /// The class of a code. What is not known stops for somebody to look at.
    pub fn class(&self, code: &str) -> ErrorClass {
        let known = number(code)
            .and_then(|code| self.classes.iter().find(|(range, _)| range.contains(&code)));
        known.map_or(ErrorClass::Mapping, |(_, class)| *class)
    }
}

fn number(code: &str) -> Option<u32> {
    code.strip_prefix('E')
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expect: &str) {
        let found = Answer::parse(body.as_bytes()).map_or("-".into(), |answer| {
            let conflicts: Vec<String> = answer
                .conflicts
                .iter()
                .map(|c| format!("{}{:?}", c.code, c.indexes))
                .collect();
            format!(
                "{} {:?} {} {:?}",
                answer.status,
                answer.counts,
                conflicts.join(","),
                answer.rejected
            )
        });
        assert_eq!(found, expect, "{body}");
    }

    #[test]
    fn answers() {
        // 2.42, 409
        check(
            r#"{"httpStatus":"Conflict","httpStatusCode":409,"status":"WARNING","message":"One more conflicts encountered, please check import summary.",
            "response":{"responseType":"ImportSummary","status":"WARNING","importCount":{"imported":1,"updated":0,"ignored":1,"deleted":0},
            "conflicts":[{"object":"abc","objects":{"dataElement":"abc"},"value":"text","errorCode":"E7641","property":"period","indexes":[1]}],
            "rejectedIndexes":[1],"dataSetComplete":"false"}}"#,
            "WARNING [1, 0, 1, 0] E7641[1] [1]",
        );
        // 2.43: imported is always 0
        check(
            r#"{"status":"OK","response":{"status":"SUCCESS","importCount":{"imported":0,"updated":2,"ignored":0,"deleted":0},"rejectedIndexes":[]}}"#,
            "SUCCESS [0, 2, 0, 0]  []",
        );
        // 2.37: the summary is the root
        check(
            r#"{"responseType":"ImportSummary","status":"SUCCESS","importCount":{"imported":2,"updated":0,"ignored":0,"deleted":0}}"#,
            "SUCCESS [2, 0, 0, 0]  []",
        );
        // 2.43, refused before the import
        check(
            r#"{"httpStatus":"Conflict","httpStatusCode":409,"status":"ERROR","message":"…","errorCode":"E8002"}"#,
            "ERROR [0, 0, 0, 0] E8002[] []",
        );
        for nothing in ["", "<html>", "[]", "{}", "1", r#"{"error":"Unauthorized"}"#] {
            check(nothing, "-");
        }
    }
}
