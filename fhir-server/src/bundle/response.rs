//! The Bundle that answers a batch or transaction: one entry per entry, in the order of the request.

use crate::reply::Reply;
use serde_json::Value;
use std::fmt::Write as _;

/// Writes the bundle around the bodies of the replies. Locations are relative to the base, as in the specification's example.
pub fn write(kind: &str, base: &str, replies: &[Reply]) -> String {
    let bodies_bytes: usize = replies
        .iter()
        .map(|reply| 200 + reply.body.as_ref().map_or(0, String::len))
        .sum();
    let mut text = String::with_capacity(bodies_bytes + 64);
    let _ = write!(text, r#"{{"resourceType":"Bundle","type":"{kind}""#);
    for (index, reply) in replies.iter().enumerate() {
        text.push_str(if index == 0 { r#","entry":["# } else { "," });
        entry(&mut text, base, reply);
    }
    text.push_str(if replies.is_empty() { "}" } else { "]}" });
    text
}

fn entry(text: &mut String, base: &str, reply: &Reply) {
    text.push('{');
    let outcome = reply.body.as_ref().filter(|_| reply.is_outcome);
    if let Some(body) = reply.body.as_ref().filter(|_| outcome.is_none()) {
        if let Some(key) = &reply.key {
            let _ = write!(
                text,
                r#""fullUrl":{},"#,
                Value::from(format!("{base}/{key}"))
            );
        }
        let _ = write!(text, r#""resource":{body},"#);
    }
    // `201 Created`, as the status line would say.
    let _ = write!(text, r#""response":{{"status":"{}""#, reply.status);
    let members = [
        ("location", reply.location.clone()),
        ("etag", reply.etag.clone()),
        ("lastModified", reply.instant()),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            let _ = write!(text, r#","{name}":{}"#, Value::from(value));
        }
    }
    if let Some(outcome) = outcome {
        let _ = write!(text, r#","outcome":{outcome}"#);
    }
    text.push_str("}}");
}
