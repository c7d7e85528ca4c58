//! Operations that the specification does not have: their OperationDefinitions are part of the program, and are read at
//! `[base]/OperationDefinition/[id]` where nobody has stored another one under that id (docs/adr/0019-own-definitions.md).

use crate::reply::Reply;
use crate::request::Request;
use fhir_definitions::OperationDefinition;
use serde_json::Value;
use std::sync::LazyLock;

/// One of them.
#[derive(Debug)]
pub struct Own {
    pub id: String,
    /// Its `url` is relative to the base of the request.
    pub definition: OperationDefinition,
    resource: Value,
}

const FILES: [&str; 5] = [
    include_str!("definitions/fhirpath.json"),
    include_str!("definitions/diff.json"),
    include_str!("definitions/diff-versions.json"),
    include_str!("definitions/reindex.json"),
    include_str!("definitions/reindex-status.json"),
];

/// All of them.
pub static OWN: LazyLock<Vec<Own>> = LazyLock::new(|| {
    FILES
        .iter()
        .map(|text| {
            let resource: Value =
                serde_json::from_str(text).expect("the program's own files are JSON");
            let id = resource["id"].as_str().unwrap_or_default().to_string();
            let mut definition = OperationDefinition::read(&resource);
            definition.url = format!("OperationDefinition/{id}");
            Own {
                id,
                definition,
                resource,
            }
        })
        .collect()
});

impl Own {
    /// The resource as it is served at `base`.
    pub fn at(&self, base: &str) -> Value {
        let mut resource = self.resource.clone();
        resource["url"] = format!("{base}/{}", self.definition.url).into();
        resource["version"] = env!("CARGO_PKG_VERSION").into();
        resource
    }
}

/// What a read of an OperationDefinition finds that is not stored.
pub fn read(request: &Request) -> Option<Reply> {
    let is_there =
        |own: &&Own| request.resource_type == "OperationDefinition" && own.id == request.id;
    let own = OWN.iter().find(is_there)?;
    Some(Reply {
        key: Some(request.key()),
        ..Reply::document(own.at(&request.base).to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_definitions::Definitions;

    #[test]
    fn valid() {
        let definitions = Definitions::load(&[]).unwrap();
        for own in OWN.iter() {
            let issues = definitions.validate(&own.at("http://127.0.0.1/fhir"));
            assert_eq!(issues, [], "{}", own.id);
            assert!(fhir_model::is_id(&own.id) && !own.definition.code.is_empty());
        }
    }
}
