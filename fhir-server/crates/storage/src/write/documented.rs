//! What the resources of a commit are found by: their search documents, made by one set of definitions or made again by another.

use super::plan::{Action, Plan};
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use fhir_search::document::identity_atoms;
use fhir_search::{SearchDocument, search_document};
use serde_json::{Map, Value};

impl Plan {
    /// Makes the search documents again, by other definitions.
    pub(super) fn index_by(&mut self, definitions: &Definitions, base: Option<&str>) {
        self.targets.clear();
        for change in &mut self.changes {
            if let Action::Write {
                resource, document, ..
            } = &mut change.action
            {
                *document = documented(definitions, base, resource, &mut self.targets).0;
            }
        }
        self.leave_out_own_targets();
    }
}

/// The search document and the identities of a resource; the targets of its references are added.
pub(super) fn documented(
    definitions: &Definitions,
    base: Option<&str>,
    resource: &mut Map<String, Value>,
    targets: &mut Vec<(i16, ResourceKey)>,
) -> (SearchDocument, Vec<i64>) {
    // The functions of the search crate read whole resources; the map is lent to them as one.
    let whole = Value::Object(std::mem::take(resource));
    let document = search_document(definitions, &whole, base);
    let identities = identity_atoms(definitions, &whole, base);
    if let Value::Object(map) = whole {
        *resource = map;
    }
    for reference in &document.references {
        if let Some(number) = definitions.type_number(&reference.target.resource_type) {
            targets.push((number, reference.target.clone()));
        }
    }
    (document, identities)
}
