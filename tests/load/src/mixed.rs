//! A transaction of a hundred entries of every kind: what an exchange between two systems that both have a history looks like.
//!
//! Each is about four new records and the four of the transaction before it, so one after the other they meet no conflict.

use crate::generate::{self, IDENTIFIER_SYSTEM, OBSERVATIONS, RECORD_SIZE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Records that a transaction creates.
pub const RECORDS: u64 = 4;
/// Conditional creates of patients that are there, and of ones that are not.
const FOUND: u64 = 6;
const NEW: u64 = 6;

/// The records of the transaction before: the first one's number, and the places that its entries were given, in their order.
pub struct Before {
    pub first: u64,
    pub places: Vec<String>,
}

/// `before` is that of [`Before`]; `known` gives numbers of patients that are there.
pub fn transaction(
    seed: u64,
    first: u64,
    before: &Before,
    mut known: impl FnMut() -> u64,
) -> Value {
    let mut bundle = generate::transaction(seed, first, RECORDS);
    let entries = bundle["entry"].as_array_mut().expect("it has entries");
    for number in 0..FOUND + NEW {
        let n = match number < FOUND {
            true => known(),
            false => first + RECORDS + number,
        };
        let patient = generate::patient(seed, n);
        let condition = format!(
            "identifier={IDENTIFIER_SYSTEM}|{}",
            generate::person(seed, n).identifier
        );
        entries.push(json!({
            "fullUrl": format!("urn:uuid:ffffffff-0000-4000-8000-{number:012x}"),
            "resource": patient,
            "request": { "method": "POST", "url": "Patient", "ifNoneExist": condition },
        }));
    }
    for (record, places) in before.places.chunks(RECORD_SIZE as usize).enumerate() {
        let n = before.first + record as u64;
        let [patient, encounter, observations @ .., condition] = places else {
            continue;
        };
        for (k, observation) in observations.iter().enumerate() {
            let mut resource = generate::observation(seed, n, k as u64, patient, Some(encounter));
            resource["status"] = json!("amended");
            let (_, id) = observation.split_once('/').unwrap_or_default();
            resource["id"] = json!(id);
            entries.push(match k as u64 {
                k if k < OBSERVATIONS - 2 => json!({
                    "resource": resource,
                    "request": { "method": "PUT", "url": observation, "ifMatch": "W/\"1\"" },
                }),
                _ => get(observation.clone()),
            });
        }
        let patch = json!([{ "op": "replace", "path": "/active", "value": false }]).to_string();
        entries.push(json!({
            "resource": {
                "resourceType": "Binary", "contentType": "application/json-patch+json", "data": STANDARD.encode(patch),
            },
            "request": { "method": "PATCH", "url": patient },
        }));
        let mut visit = generate::encounter(seed, n, patient);
        visit["status"] = json!("discharged");
        let identifier = visit["identifier"][0].clone();
        let text = |name: &str| identifier[name].as_str().unwrap_or_default().to_owned();
        let url = format!("Encounter?identifier={}|{}", text("system"), text("value"));
        entries.push(json!({ "resource": visit, "request": { "method": "PUT", "url": url } }));
        entries.push(json!({ "request": { "method": "DELETE", "url": condition } }));
        entries.push(get(patient.clone()));
        entries.push(get(format!("Observation?subject={patient}&_count=10")));
    }
    bundle
}

fn get(url: String) -> Value {
    json!({ "request": { "method": "GET", "url": url } })
}

/// What the entries of a transaction must be answered.
pub fn statuses() -> impl Iterator<Item = &'static str> {
    let times = |status: &'static str, times: u64| std::iter::repeat_n(status, times as usize);
    let of_record = times("200", OBSERVATIONS + 2)
        .chain(["204", "200", "200"])
        .collect::<Vec<_>>();
    times("201", RECORDS * RECORD_SIZE)
        .chain(times("200", FOUND))
        .chain(times("201", NEW))
        .chain((0..RECORDS).flat_map(move |_| of_record.clone()))
}
