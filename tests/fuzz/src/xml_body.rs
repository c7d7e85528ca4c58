//! A body in XML, up to the JSON that is stored.
//!
//! Refused with a reason, or a resource; one that is valid can be written in XML, plain and indented, and read again as the same.

use crate::shared::DEFINITIONS;
use fhir_model::Issue;
use fhir_server::xml;

pub fn run(input: &[u8]) {
    let resource = match xml::read(input) {
        Ok(resource) => resource,
        Err(issue) => {
            let reason = issue.diagnostics;
            assert!(!reason.is_empty(), "refused without a reason");
            return;
        }
    };
    if DEFINITIONS.validate(&resource).iter().any(Issue::is_error) {
        return;
    }
    for pretty in [false, true] {
        let text = xml::write(resource.clone(), pretty).unwrap_or_else(|failure| {
            panic!("what came as XML cannot be written: {failure:?}\n{resource}")
        });
        let again = xml::read(text.as_bytes())
            .unwrap_or_else(|issue| panic!("what was written cannot be read: {issue:?}\n{text}"));
        assert_eq!(again, resource, "{text}");
    }
}
