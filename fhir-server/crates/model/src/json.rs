//! Reading JSON from outside: bounded, and refusing what Postgres could not keep.

use crate::decimal::Decimal;
use crate::issue::{Issue, IssueKind};
use serde_json::Value;

/// Deepest nesting that is read. serde_json itself stops at 128.
pub const DEPTH_MAX: usize = 100;

/// Reads a JSON document. Refuses broken JSON, `\u0000` anywhere, nesting beyond [`DEPTH_MAX`] and numbers that no decimal can hold.
///
/// # Errors
/// One [`Issue`] with the line and column (never the text), or with the FHIRPath-like place of the value.
pub fn parse(bytes: &[u8]) -> Result<Value, Issue> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        Issue::error(
            IssueKind::Syntax,
            format!(
                "not valid JSON at line {}, column {}",
                error.line(),
                error.column()
            ),
        )
    })?;
    check(&value, &mut String::new(), 0)?;
    Ok(value)
}

fn check(value: &Value, path: &mut String, depth: usize) -> Result<(), Issue> {
    if depth > DEPTH_MAX {
        return Err(Issue::error(
            IssueKind::TooCostly,
            format!("nested deeper than {DEPTH_MAX} levels"),
        )
        .at(path.as_str()));
    }
    let length = path.len();
    match value {
        Value::String(text) if text.contains('\0') => Err(Issue::error(
            IssueKind::Value,
            "the character U+0000 is not allowed",
        )
        .at(path.as_str())),
        Value::Number(number) if Decimal::parse(number.as_str()).is_none() => Err(Issue::error(
            IssueKind::Value,
            "the number is too large or too long to be stored exactly",
        )
        .at(path.as_str())),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            path.push_str(&format!("[{index}]"));
            check(item, path, depth + 1)?;
            path.truncate(length);
            Ok(())
        }),
        Value::Object(object) => object.iter().try_for_each(|(name, item)| {
            if name.contains('\0') {
                return Err(
                    Issue::error(IssueKind::Value, "the character U+0000 is not allowed")
                        .at(path.as_str()),
                );
            }
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            check(item, path, depth + 1)?;
            path.truncate(length);
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// `resource.resourceType`, if it is there and a string.
pub fn resource_type(resource: &Value) -> Option<&str> {
    resource.get("resourceType")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards() {
        for (text, kind, place) in [
            (r#"{"a":"#, IssueKind::Syntax, None),
            (
                r#"{"a":[{"b":"x\u0000"}]}"#,
                IssueKind::Value,
                Some("a[0].b"),
            ),
            (r#"{"a":1e999999}"#, IssueKind::Value, Some("a")),
        ] {
            let issue = parse(text.as_bytes()).unwrap_err();
            assert_eq!(
                (issue.kind, issue.expression.as_deref()),
                (kind, place),
                "{text}"
            );
        }
        assert!(parse("[".repeat(200).as_bytes()).is_err());
        assert_eq!(parse(br#"{"v":1.50}"#).unwrap()["v"].to_string(), "1.50");
    }
}
