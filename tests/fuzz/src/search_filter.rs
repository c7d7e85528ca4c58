//! A `_filter`: its grammar, and the clause that it becomes for a patient and an observation.
//!
//! What is read can be written, and reads back the same; an error names a character of the text; no resource makes a clause panic.

use crate::search_url::{self, RESOURCES};
use fhir_search::{Candidate, Handling, filter};

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match filter::parse(text) {
        Ok(filter) => {
            let written = filter.to_string();
            let again = filter::parse(&written).expect("what is written can be read");
            assert_eq!(again.to_string(), written);
        }
        Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.at)),
    }
    let parameters = [("_filter".to_owned(), text.to_owned())];
    for resource_type in ["Patient", "Observation", "DocumentReference"] {
        match search_url::search(resource_type, &parameters, Handling::Strict) {
            Ok(query) => {
                assert!(query.atoms().is_sorted());
                for resource in RESOURCES.iter() {
                    let candidate = Candidate::read(&crate::shared::DEFINITIONS, resource, None);
                    candidate.expect("it has a type").matches(&query);
                }
            }
            Err(issues) => assert!(!issues.is_empty()),
        }
    }
}
