//! The fields of a [document](super::document), the same few whatever parameters a site has. Pure.
//!
//! Text was normalised before, so a bare Elasticsearch serves. Numbers are keywords ([`super::number`]), as are all
//! values that are looked up and never compared.

use serde_json::{Value, json};

/// Grows with every change of the fields and of what stands in them: an index of another layout is made anew.
pub(crate) const LAYOUT: i32 = 3;

/// What searches need of an index.
pub(crate) fn settings() -> Value {
    json!({"index.max_result_window": WINDOW_MAX, "index.max_terms_count": TERMS_MAX})
}

/// Most hits of one request, and most terms of one list.
pub(crate) const WINDOW_MAX: usize = 10_000;
pub(crate) const TERMS_MAX: usize = 65_536;

pub(crate) fn mappings() -> Value {
    // Only looked up.
    let looked_up = json!({"type": "keyword", "doc_values": false});
    // Only read back or sorted by.
    let read_back = |kind: &str| json!({"type": kind, "index": false});
    // Split at its spaces, and found: how well it matches, Postgres says.
    let words = json!({"type": "text", "analyzer": "whitespace", "norms": false});
    json!({
        "dynamic": "strict",
        // Postgres has it all; nothing reads a document back.
        "_source": {"enabled": false},
        "properties": {
            "pk": {"type": "long"},
            "type": {"type": "keyword"},
            "version": read_back("integer"),
            "digest": read_back("long"),
            "written": {"type": "long", "doc_values": false},
            "deleted": {"type": "boolean", "doc_values": false},
            "updated": {"type": "long"},
            "id": read_back("keyword"),
            "tokens": looked_up,
            // Read back where it is asked what points at something.
            "refs": {"type": "keyword"},
            "narrative": words,
            "content": words,
            "dates": {
                "type": "nested",
                "properties": {"key": {"type": "keyword", "doc_values": false}, "lo": {"type": "long"}, "hi": {"type": "long"}}
            },
            "quantities": {
                "type": "nested",
                "properties": {
                    "key": looked_up, "units": looked_up, "open": looked_up, "lo": looked_up, "hi": looked_up,
                    "at": read_back("keyword"),
                    // Distances are compared by the search as a whole: nothing reads a position back.
                    "place": {"type": "geo_point", "doc_values": false}
                }
            },
            "strings": {
                "type": "nested",
                "properties": {"key": looked_up, "value": {"type": "keyword"}, "cut": {"type": "boolean", "doc_values": false}}
            }
        }
    })
}
