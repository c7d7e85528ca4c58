//! How an expectation is held against an answer.
//!
//! Objects: each member named must match, others are free. Arrays: same length, item by item; `{$has: X}`: some item matches X;
//! `{$none: X}`: no item does; `{$length: n}`. Strings `/…/` are regular expressions. `$any`: anything present. `$absent`: not there.
//! Numbers are compared as they are written.

use serde_json::Value;

/// The first difference, with its place, or `None`.
pub fn difference(expect: &Value, got: Option<&Value>, place: &str) -> Option<String> {
    match (expect, got) {
        (Value::String(s), None) if s == "$absent" => None,
        (Value::String(s), Some(_)) if s == "$absent" => Some(format!("{place} is there")),
        (_, None) => Some(format!("{place} is missing")),
        (Value::String(s), Some(_)) if s == "$any" => None,
        (Value::String(s), Some(got)) if s.len() > 2 && s.starts_with('/') && s.ends_with('/') => {
            let text = got.as_str().map_or_else(|| got.to_string(), str::to_owned);
            match regex::Regex::new(&s[1..s.len() - 1]) {
                Ok(pattern) if pattern.is_match(&text) => None,
                Ok(_) => Some(format!("{place} is {text:?}, not {s}")),
                Err(error) => Some(format!("{place}: {error}")),
            }
        }
        (Value::Object(expect), Some(got)) => {
            if let Some(item) = expect.get("$has") {
                let items = got.as_array().map(Vec::as_slice).unwrap_or_default();
                return (!items
                    .iter()
                    .any(|i| difference(item, Some(i), place).is_none()))
                .then(|| format!("{place} has no item like {item}"));
            }
            if let Some(item) = expect.get("$none") {
                let items = got.as_array().map(Vec::as_slice).unwrap_or_default();
                return items
                    .iter()
                    .any(|i| difference(item, Some(i), place).is_none())
                    .then(|| format!("{place} has an item like {item}"));
            }
            if let Some(length) = expect.get("$length") {
                let found = got.as_array().map_or(0, Vec::len);
                return (length.as_u64() != Some(found as u64))
                    .then(|| format!("{place} has {found} items, not {length}"));
            }
            expect.iter().find_map(|(name, value)| {
                difference(value, got.get(name), &format!("{place}.{name}"))
            })
        }
        (Value::Array(expect), Some(got)) => {
            let items = got.as_array().map(Vec::as_slice).unwrap_or_default();
            if items.len() != expect.len() {
                return Some(format!(
                    "{place} has {} items, not {}",
                    items.len(),
                    expect.len()
                ));
            }
            expect
                .iter()
                .zip(items)
                .enumerate()
                .find_map(|(i, (e, g))| difference(e, Some(g), &format!("{place}[{i}]")))
        }
        (expect, Some(got)) => (expect != got).then(|| format!("{place} is {got}, not {expect}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences() {
        for (expect, got, same) in [
            (json!({"a": 1}), json!({"a": 1, "b": 2}), true),
            (json!({"a": 1}), json!({"a": 2}), false),
            (json!({"a": 1}), json!({}), false),
            (json!({"a": "$absent"}), json!({}), true),
            (json!({"a": "$absent"}), json!({"a": null}), false),
            (json!({"a": "$any"}), json!({"a": []}), true),
            (json!("/^W.+/"), json!("W/\"1\""), true),
            (json!("/^x/"), json!("y"), false),
            (json!([1, 2]), json!([1]), false),
            (json!([1]), json!([1]), true),
            (json!({"$has": {"a": 1}}), json!([{"a": 2}, {"a": 1}]), true),
            (json!({"$has": {"a": 3}}), json!([{"a": 2}]), false),
            (json!({"$none": {"a": 3}}), json!([{"a": 2}]), true),
            (json!({"$none": {"a": 2}}), json!([{"a": 2}]), false),
            (json!({"$length": 2}), json!([1, 1]), true),
            (json!({"$length": 0}), json!([1]), false),
            (json!("1"), json!(1), false),
        ] {
            assert_eq!(
                difference(&expect, Some(&got), "x").is_none(),
                same,
                "{expect} {got}"
            );
        }
    }
}
