//! JSON Merge Patch (RFC 7396): the members to set, `null` for those to remove, objects inside likewise, arrays as a whole.
//!
//! FHIR does not name it, and servers may have more patches than it names (<https://hl7.org/fhir/R5/http.html#patch>); fhirpy and the clients
//! of Aidbox send no other.

use fhir_model::{Issue, IssueKind};
use serde_json::{Map, Value};

/// A merge patch, understood.
#[derive(Clone, Debug)]
pub struct MergePatch(Map<String, Value>);

impl MergePatch {
    /// # Errors
    /// Syntax where it is no object: it would stand for the whole resource.
    pub fn read(document: Value) -> Result<MergePatch, Issue> {
        match document {
            Value::Object(members) => Ok(MergePatch(members)),
            _ => Err(Issue::error(
                IssueKind::Syntax,
                "a merge patch is an object of the members that change",
            )),
        }
    }

    pub fn apply(&self, resource: &mut Value) {
        if let Value::Object(members) = resource {
            merge(members, &self.0);
        }
    }
}

/// As deep as the patch is nested, which reading it has bounded.
fn merge(members: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(members.shift_remove(name)),
            Value::Object(inner) => {
                let member = members.entry(name.as_str()).or_insert(Value::Null);
                if !member.is_object() {
                    *member = Value::Object(Map::new());
                }
                if let Value::Object(member) = member {
                    merge(member, inner);
                }
            }
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The test cases of RFC 7396, appendix A, whose documents are objects.
    #[test]
    fn as_the_rfc_has_it() {
        for (before, patch, after) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            let mut found = before.clone();
            MergePatch::read(patch.clone()).unwrap().apply(&mut found);
            assert_eq!(found, after, "{before} with {patch}");
        }
        for patch in [json!(["c"]), json!(null), json!("bar")] {
            assert!(MergePatch::read(patch).is_err());
        }
    }
}
