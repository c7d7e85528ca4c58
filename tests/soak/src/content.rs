//! What is written. Every resource carries its name, by which it is found, and a mark that differs from version to version.

use load_driver::generate;
use serde_json::{Value, json};

/// Identifiers of this system stay: one name, one resource.
pub const NAME: &str = "http://soak.example.org/name";
/// Identifiers of this system are of one version.
pub const MARK: &str = "http://soak.example.org/mark";
/// Generated REST content and patients of messages have different record numbers.
pub const REST_SEED: u64 = 71;
pub const MESSAGE_SEED: u64 = 72;

/// MSH-3 and MSH-4 of messages.
pub const SENDERS: [&str; 2] = ["REG.CAMP4", "LAB.CAMP4"];

/// The Patient of a name.
pub fn patient(name: &str, mark: &str) -> Value {
    let mut patient =
        generate::patient(REST_SEED, xxhash_rust::xxh3::xxh3_64(name.as_bytes()) >> 16);
    add_identifier(&mut patient, NAME, name);
    add_identifier(&mut patient, MARK, mark);
    patient
}

/// Replaces the mark.
pub fn mark(resource: &mut Value, mark: &str) {
    let identifiers = resource["identifier"].as_array_mut();
    if let Some(identifiers) = identifiers {
        identifiers.retain(|identifier| identifier["system"] != MARK);
    }
    add_identifier(resource, MARK, mark);
}

/// A transaction of one record: ten linked entries. Returns it with the names of its entries, the patient first; `is_conditional`: each entry
/// is a conditional create, so that it may be repeated.
pub fn transaction(name: &str, number: u64, is_conditional: bool) -> (Value, Vec<String>) {
    let mut bundle = generate::transaction(REST_SEED, number, 1);
    let mut names = Vec::new();
    for (place, entry) in bundle["entry"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let name = format!("{name}.{place}");
        add_identifier(&mut entry["resource"], NAME, &name);
        if is_conditional {
            entry["request"]["ifNoneExist"] = json!(format!("identifier={NAME}|{name}"));
        }
        names.push(name);
    }
    (bundle, names)
}

/// The value of a resource's identifier of a system.
pub fn identifier<'a>(resource: &'a Value, system: &str) -> Option<&'a str> {
    let mut identifiers = resource["identifier"].as_array()?.iter();
    let found = identifiers.find(|identifier| identifier["system"] == system)?;
    found["value"].as_str()
}

/// The names of types as the ledger keeps them.
pub fn type_name(resource: &Value) -> &'static str {
    match resource["resourceType"].as_str() {
        Some("Patient") => "Patient",
        Some("Encounter") => "Encounter",
        Some("Observation") => "Observation",
        _ => "Condition",
    }
}

fn add_identifier(resource: &mut Value, system: &str, value: &str) {
    if let Some(members) = resource.as_object_mut() {
        let identifiers = members.entry("identifier").or_insert_with(|| json!([]));
        if let Some(identifiers) = identifiers.as_array_mut() {
            identifiers.push(json!({"system": system, "value": value}));
        }
    }
}
