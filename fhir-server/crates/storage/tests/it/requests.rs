//! Changes in the words of the REST interface, for tests.

use fhir_model::{Issue, ResourceKey};
use fhir_search::Query;
use fhir_search::parse::{Context, Handling, parse};
use fhir_storage::{Change, Program, Store, Target, VersionMatch};
use serde_json::Value;

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub fn key(text: &str) -> ResourceKey {
    let (resource_type, id) = text.split_once('/').unwrap();
    ResourceKey::new(resource_type, id)
}

/// `POST Type`.
pub fn post(body: &str) -> Change {
    let resource = json(body);
    Change::Create {
        target: Target::New {
            resource_type: resource["resourceType"].as_str().unwrap().into(),
        },
        resource,
        full_url: None,
    }
}

/// `POST` of a transaction entry with this fullUrl.
pub fn post_as(full_url: &str, body: &str) -> Change {
    let Change::Create {
        target, resource, ..
    } = post(body)
    else {
        unreachable!()
    };
    Change::Create {
        target,
        resource,
        full_url: Some(full_url.into()),
    }
}

/// `POST` with `If-None-Exist`.
pub fn post_if_none(store: &Store, condition: &str, body: &str) -> Change {
    let resource = json(body);
    Change::Create {
        target: matching(
            store,
            resource["resourceType"].as_str().unwrap(),
            condition,
            None,
        ),
        resource,
        full_url: None,
    }
}

/// `PUT Type/id`.
pub fn put(at: &str, version: VersionMatch, body: &str) -> Change {
    Change::Update {
        target: Target::Id(key(at)),
        resource: json(body),
        full_url: None,
        version,
        may_create: true,
    }
}

/// `PUT Type?condition`; `id`: of the body.
pub fn put_matching(store: &Store, condition: &str, id: Option<&str>, body: &str) -> Change {
    let resource = json(body);
    Change::Update {
        target: matching(
            store,
            resource["resourceType"].as_str().unwrap(),
            condition,
            id,
        ),
        resource,
        full_url: None,
        version: VersionMatch::Any,
        may_create: true,
    }
}

/// `DELETE Type/id`.
pub fn delete(at: &str, version: VersionMatch) -> Change {
    Change::Delete {
        target: Target::Id(key(at)),
        version,
        at_most: 1,
    }
}

/// `DELETE Type?condition`.
pub fn delete_matching(store: &Store, resource_type: &str, condition: &str) -> Change {
    Change::Delete {
        target: matching(store, resource_type, condition, None),
        version: VersionMatch::Any,
        at_most: 1,
    }
}

pub fn matching(store: &Store, resource_type: &str, condition: &str, id: Option<&str>) -> Target {
    Target::Match {
        resource_type: resource_type.into(),
        query: Box::new(query(store, resource_type, condition)),
        id: id.map(str::to_owned),
    }
}

pub fn query(store: &Store, resource_type: &str, parameters: &str) -> Query {
    let context = Context {
        definitions: &store.definitions(),
        terminology: None,
        base: Some("http://localhost/fhir"),
        handling: Handling::Strict,
        count_default: 20,
        count_max: 1000,
        now_micros: 0,
    };
    let pairs: Vec<(String, String)> = parameters
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    parse(&context, &[resource_type], &pairs).unwrap()
}

/// `PATCH Type/id`.
pub fn patch(
    at: &str,
    version: VersionMatch,
    program: impl Fn(Value) -> Result<Value, Vec<Issue>> + Send + Sync + 'static,
) -> Change {
    Change::Patch {
        target: Target::Id(key(at)),
        program: Program::new(program),
        version,
    }
}

/// `PATCH Type?condition`.
pub fn patch_matching(
    store: &Store,
    resource_type: &str,
    condition: &str,
    program: impl Fn(Value) -> Result<Value, Vec<Issue>> + Send + Sync + 'static,
) -> Change {
    Change::Patch {
        target: matching(store, resource_type, condition, None),
        program: Program::new(program),
        version: VersionMatch::Any,
    }
}
