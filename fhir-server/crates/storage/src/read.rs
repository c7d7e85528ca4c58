//! Reads: current version, one version, history of an instance.

/// A stored version of a resource.
#[derive(Clone, Debug)]
pub struct StoredResource {
    pub key: fhir_model::ResourceKey,
    pub version: i32,
    /// Milliseconds since 1970 UTC.
    pub last_updated_ms: i64,
    /// JSON text with resourceType.
    pub body: String,
}

/// A version of a resource: a body or a deletion.
#[derive(Clone, Debug)]
pub enum Version {
    Present(StoredResource),
    Deleted {
        key: fhir_model::ResourceKey,
        version: i32,
        last_updated_ms: i64,
    },
}
