//! What is kept of a report: the figures as a MeasureReport, what the server answered as a Task, each with its history
//! (<https://hl7.org/fhir/R5/measurereport.html>, <https://hl7.org/fhir/R5/task.html>).
//!
//! One MeasureReport per data set, period and org unit, under an id made of the three; a report that says the same again gets no new
//! version. What no org unit could be charged with is a MeasureReport of its own. The Task of a MeasureReport is its journal: each
//! version is a step, and the last answer is in its outputs. The MeasureReport is also the memory of what
//! was sent: that is how a correction deletes what is no longer counted.

use super::aggregate::NotCounted;
use super::period::Period;
use super::plan::{Plan, Slice, ValueKey};
use super::submit::{Attempt, State, Submission};
use fhir_model::key::is_id;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Codes of populations.
const POPULATION: &str = "http://terminology.hl7.org/CodeSystem/measure-population";
/// System of the identifier that all reports of a data set and period share.
pub const REPORT: &str = "urn:dhis2:report";
/// Systems of the target's own ids. The id schemes of the target say what kind of ids they are.
const DATA_ELEMENT: &str = "urn:dhis2:data-element";
const CATEGORY_OPTION_COMBO: &str = "urn:dhis2:category-option-combo";
const ORG_UNIT: &str = "urn:dhis2:org-unit";

/// The logical id of the MeasureReport, and of the Task, of a slice; without an org unit, of what was not counted.
pub fn report_id(plan: &Plan, org_unit: Option<&str>) -> String {
    let written = format!(
        "dhis2-{}-{}-{}",
        plan.id,
        plan.period.id,
        org_unit.unwrap_or("not-counted")
    );
    if is_id(&written) {
        return written;
    }
    let hash = Sha256::digest(written.as_bytes());
    let hex: String = hash
        .iter()
        .take(20)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("dhis2-{hex}")
}

/// The identifier that all reports of a data set's file and a period share.
pub fn report_identifier(data_set_id: &str, period: &Period) -> String {
    format!("{data_set_id}/{}", period.id)
}

/// The figures of a slice. `pending`: what was sent before and is not known to be deleted at the server; it stays here, with 0, so that
/// the next report deletes it.
pub fn measure_report(plan: &Plan, slice: &Slice, pending: &[ValueKey]) -> Value {
    let mut by_element: BTreeMap<&str, Vec<(&ValueKey, u64)>> = BTreeMap::new();
    let pending = pending.iter().map(|key| (key, &0));
    for (key, count) in slice.values.iter().chain(pending) {
        by_element
            .entry(&key.data_element)
            .or_default()
            .push((key, *count));
    }
    let groups = by_element.into_iter().map(|(data_element, values)| {
        let total: u64 = values.iter().map(|(_, count)| count).sum();
        let strata: Vec<Value> = values
            .iter()
            .map(|(key, count)| {
                json!({
                    "valueCodeableConcept": combo(key),
                    "population": [population("measure-population", *count)],
                })
            })
            .collect();
        let mut group = json!({
            "code": coded(DATA_ELEMENT, data_element),
            "population": [population("measure-population", total)],
        });
        if values
            .iter()
            .any(|(key, _)| key.category_option_combo.is_some())
        {
            group["stratifier"] =
                json!([{"code": {"text": "category option combo"}, "stratum": strata}]);
        }
        group
    });
    let groups: Vec<Value> = groups.collect();
    let mut report = report(plan, report_id(plan, Some(&slice.org_unit)));
    report["reporter"] = json!({"identifier": {"system": ORG_UNIT, "value": slice.org_unit}});
    report["group"] = json!(groups);
    report
}

/// What was not counted, by data element and reason; `None` when everything was.
pub fn not_counted_report(plan: &Plan) -> Option<Value> {
    let groups = plan.not_counted().filter(|(_, _, _, reasons)| !reasons.is_empty()).map(|(data_element, _, facts, reasons)| {
        let left: u64 = reasons.values().sum();
        let strata: Vec<Value> = reasons.iter().map(|(reason, count)| not_counted(reason, *count)).collect();
        json!({
            "code": coded(DATA_ELEMENT, data_element),
            "population": [population("initial-population", facts), population("measure-population-exclusion", left)],
            "stratifier": [{"code": {"text": "reason"}, "stratum": strata}],
        })
    });
    let groups: Vec<Value> = groups.collect();
    if groups.is_empty() {
        return None;
    }
    let mut report = report(plan, report_id(plan, None));
    report["group"] = json!(groups);
    Some(report)
}

/// The journal of a slice: before it is sent (`None`), and after.
pub fn task(plan: &Plan, slice: &Slice, submission: Option<&Submission>) -> Value {
    let id = report_id(plan, Some(&slice.org_unit));
    let mut task = json!({
        "resourceType": "Task",
        "id": id,
        "status": submission.map_or("in-progress", |submission| task_status(submission.state)),
        "intent": "order",
        "code": {"text": "Submit a data value set to DHIS2"},
        "focus": {"reference": format!("MeasureReport/{id}")},
    });
    let Some(submission) = submission else {
        return task;
    };
    task["businessStatus"] = json!({"text": words(submission.state)});
    let mut output = vec![
        number("attempts", submission.attempts.len()),
        number("confirmed", submission.confirmed),
        number("unconfirmed", submission.unconfirmed.len()),
    ];
    match submission.attempts.last() {
        Some(Attempt::Answered { status, answer }) => {
            output.push(number("HTTP status", usize::from(*status)));
            output.push(text("status", answer.status.clone()));
            for (name, count) in ["imported", "updated", "ignored", "deleted"]
                .iter()
                .zip(answer.counts)
            {
                output.push(number(name, usize::try_from(count).unwrap_or(usize::MAX)));
            }
        }
        Some(Attempt::Unreadable { status }) => {
            output.push(number("HTTP status", usize::from(*status)))
        }
        Some(Attempt::NoAnswer) | None => {}
    }
    for (key, code) in &submission.unconfirmed {
        let combo = key.category_option_combo.as_deref().unwrap_or("default");
        let code = code.as_deref().unwrap_or("no reason given");
        output.push(text(
            "not there",
            format!("{} {combo}: {code}", key.data_element),
        ));
    }
    task["output"] = json!(output);
    task
}

/// The org unit of a MeasureReport of ours, and the values that the server may hold because of it. `None`: of no org unit.
pub fn reported(report: &Value) -> Option<(String, Vec<ValueKey>)> {
    let org_unit = report.pointer("/reporter/identifier/value")?.as_str()?;
    Some((org_unit.to_string(), values(report)))
}

fn values(report: &Value) -> Vec<ValueKey> {
    let mut keys = Vec::new();
    let code = |concept: &Value| {
        concept
            .pointer("/coding/0/code")
            .and_then(Value::as_str)
            .map(str::to_string)
    };
    for group in report["group"].as_array().into_iter().flatten() {
        let Some(data_element) = code(&group["code"]) else {
            continue;
        };
        let strata = group
            .pointer("/stratifier/0/stratum")
            .and_then(Value::as_array);
        match strata {
            None => keys.push(ValueKey {
                data_element,
                category_option_combo: None,
            }),
            Some(strata) => keys.extend(strata.iter().map(|stratum| ValueKey {
                data_element: data_element.clone(),
                category_option_combo: code(&stratum["valueCodeableConcept"]),
            })),
        }
    }
    keys
}

fn report(plan: &Plan, id: String) -> Value {
    json!({
        "resourceType": "MeasureReport",
        "id": id,
        "identifier": [{"system": REPORT, "value": report_identifier(&plan.id, &plan.period)}],
        "status": "complete",
        "type": "summary",
        "period": {"start": plan.period.start.to_string(), "end": plan.period.end.to_string()},
    })
}

fn not_counted(reason: &NotCounted, count: u64) -> Value {
    json!({
        "valueCodeableConcept": {"text": reason.reason()},
        "population": [population("measure-population-exclusion", count)],
    })
}

fn population(code: &str, count: u64) -> Value {
    json!({"code": {"coding": [{"system": POPULATION, "code": code}]}, "count": count})
}

/// The default combo has no code here.
fn combo(key: &ValueKey) -> Value {
    match &key.category_option_combo {
        Some(code) => coded(CATEGORY_OPTION_COMBO, code),
        None => json!({"text": "default"}),
    }
}

fn coded(system: &str, code: &str) -> Value {
    json!({"coding": [{"system": system, "code": code}]})
}

fn number(name: &str, value: usize) -> Value {
    json!({"type": {"text": name}, "valueUnsignedInt": value})
}

fn text(name: &str, value: String) -> Value {
    json!({"type": {"text": name}, "valueString": value})
}

fn task_status(state: State) -> &'static str {
    match state {
        State::Confirmed => "completed",
        State::Held => "on-hold",
        State::Partly | State::Failed | State::Forbidden | State::Unreachable => "failed",
    }
}

/// The state for a person.
pub fn words(state: State) -> &'static str {
    match state {
        State::Confirmed => "every value is there",
        State::Partly => "some values were refused",
        State::Held => "the period is closed",
        State::Failed => "the mappings do not fit the server",
        State::Forbidden => "no right to send",
        State::Unreachable => "no answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhis2::aggregate::Tabulation;
    use crate::dhis2::answer::Answer;
    use crate::dhis2::content::tests::content;
    use crate::dhis2::period::PeriodType;
    use crate::dhis2::plan::plan;
    use fhir_definitions::Definitions;
    use std::collections::BTreeSet;

    #[test]
    fn reports_are_valid_and_remember_what_was_sent() {
        let content = content();
        let one = |combo: Option<&str>| Tabulation {
            facts: 5,
            counts: BTreeMap::from([(
                "CLINIC A".to_string(),
                BTreeMap::from([(combo.map(str::to_string), 3)]),
            )]),
            not_counted: BTreeMap::from([(NotCounted::NoOrgUnit, 2)]),
        };
        let tabulations = vec![one(None), one(None), one(None), one(Some("MALE_UNDER_5"))];
        let period = PeriodType::Monthly.parse("2026-10").unwrap();
        let plan = plan(
            "opd-monthly",
            &content.data_sets["opd-monthly"],
            &period,
            tabulations,
            &BTreeMap::new(),
        );
        let slice = &plan.slices[0];
        let pending = [ValueKey {
            data_element: "OUTPATIENT_VISITS".into(),
            category_option_combo: None,
        }];
        let report = measure_report(&plan, slice, &pending);
        let (org_unit, found) = reported(&report).unwrap();
        let found: BTreeSet<ValueKey> = found.into_iter().collect();
        let all = slice.values.keys().chain(&pending).cloned().collect();
        assert_eq!((org_unit.as_str(), found), ("CLINIC A", all));
        let submission = Submission {
            attempts: vec![Attempt::Answered {
                status: 409,
                answer: Answer {
                    status: "WARNING".into(),
                    ..Answer::default()
                },
            }],
            state: State::Held,
            confirmed: 3,
            unconfirmed: BTreeMap::from([(
                slice.values.keys().next().unwrap().clone(),
                Some("E7640".to_string()),
            )]),
        };
        let definitions = Definitions::load(&[]).unwrap();
        let not_counted = not_counted_report(&plan).unwrap();
        assert_eq!(
            not_counted["group"][0]["stratifier"][0]["stratum"][0]["population"][0]["count"],
            2
        );
        for resource in [
            report,
            not_counted,
            task(&plan, slice, None),
            task(&plan, slice, Some(&submission)),
        ] {
            assert_eq!(definitions.validate(&resource), [], "{resource}");
            assert!(is_id(resource["id"].as_str().unwrap()), "{resource}");
        }
    }
}
