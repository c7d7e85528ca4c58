//! A patch of any kind: the first line is its Content-Type, the rest the patch. It is applied to a Patient and to an Observation.
//!
//! Refused with a reason, or the same resource each time, of the same type and id, which can be written and read again.

use crate::search_url::{observation, patient};
use fhir_model::json;
use fhir_server::patch::Patch;

pub fn run(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n');
    let (content_type, document) = input.split_at(end.unwrap_or(input.len()));
    let Ok(content_type) = std::str::from_utf8(content_type) else {
        return;
    };
    let patch = match Patch::of(content_type, document.get(1..).unwrap_or_default()) {
        Ok(patch) => patch.program(),
        Err(failure) => {
            let first = failure.issues.first();
            assert!(first.is_some_and(|issue| !issue.diagnostics.is_empty()));
            return;
        }
    };
    for before in [patient(), observation()] {
        let after = patch.apply(before.clone());
        match &after {
            Ok(after) => {
                for name in ["resourceType", "id"] {
                    assert_eq!(after.get(name), before.get(name));
                }
                let again = json::parse(after.to_string().as_bytes());
                assert_eq!(again.ok().as_ref(), Some(after), "the result is JSON");
            }
            Err(issues) => {
                assert!(!issues.is_empty());
                assert!(issues.iter().all(|issue| !issue.diagnostics.is_empty()));
            }
        }
        assert_eq!(after, patch.apply(before), "applied twice");
    }
}
