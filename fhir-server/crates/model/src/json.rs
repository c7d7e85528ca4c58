//! Reading JSON from outside: bounded, and refusing what Postgres could not keep.

use crate::decimal::Decimal;
use crate::issue::{Issue, IssueKind};
use crate::reference::is_type_name;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Deepest nesting that is read. serde_json itself stops at 128.
pub const DEPTH_MAX: usize = 100;

/// Reads a JSON document. Refuses broken JSON, a name twice in one object, `\u0000` anywhere, nesting beyond [`DEPTH_MAX`] and numbers
/// that no decimal can hold. Numbers keep their text.
///
/// # Errors
/// One [`Issue`] with the line and column (never the text), or with the FHIRPath-like place of the value.
pub fn parse(bytes: &[u8]) -> Result<Value, Issue> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut value = Unique
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| {
            let what = match error.to_string().starts_with(TWICE) {
                true => TWICE,
                false => "not valid JSON",
            };
            Issue::error(
                IssueKind::Syntax,
                format!("{what} at line {}, column {}", error.line(), error.column()),
            )
        })?;
    check(&value)?;
    restore_exponents(&mut value, bytes);
    Ok(value)
}

/// Refuses in a value that was never text what [`parse`] refuses in it.
///
/// # Errors
/// As [`parse`], with the place of the value.
pub fn check(value: &Value) -> Result<(), Issue> {
    let named = resource_type(value).filter(|name| is_type_name(name));
    let mut place = named.unwrap_or_default().to_owned();
    check_below(value, &mut place, 0)
}

/// The bytes its text has at least: names and values, without what escapes add.
pub fn text_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| text_bytes(item) + 1).sum::<usize>(),
        Value::Object(object) => {
            let members = object.iter();
            2 + members
                .map(|(name, item)| name.len() + text_bytes(item) + 4)
                .sum::<usize>()
        }
    }
}

const TWICE: &str = "a name stands twice in one object";

/// A JSON value whose objects have each name once (<https://hl7.org/fhir/R5/json.html>): of two, readers would take different ones.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Unique)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    /// Objects, and numbers: with `arbitrary_precision` serde_json hands a number over as a map with one name of its own.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.is_empty() && name == NUMBER {
                let text: String = members.next_value()?;
                let number = text.parse::<Number>();
                return number.map(Value::Number).map_err(A::Error::custom);
            }
            let value = members.next_value_seed(Unique)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Value::Object(object))
    }
}

const NUMBER: &str = "$serde_json::private::Number";

/// serde_json writes `1E3` as `1e+3`. Puts the literals back: they stand in the value in the order of the bytes.
fn restore_exponents(value: &mut Value, bytes: &[u8]) {
    fn walk(value: &mut Value, literals: &mut std::vec::IntoIter<&str>) {
        match value {
            Value::Number(number) if number.as_str().contains(['e', 'E']) => {
                if let Some(literal) = literals.next()
                    && literal != number.as_str()
                {
                    // Hidden from the documentation, but the only way to a literal that is kept as it is.
                    *number = Number::from_string_unchecked(literal.to_owned());
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, literals)),
            Value::Object(object) => object.values_mut().for_each(|item| walk(item, literals)),
            _ => {}
        }
    }
    let literals = exponent_literals(bytes);
    if !literals.is_empty() {
        walk(value, &mut literals.into_iter());
    }
}

/// The numbers that have an exponent, in order. `bytes` are valid JSON.
fn exponent_literals(bytes: &[u8]) -> Vec<&str> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'-' | b'0'..=b'9' => {
                let rest = &bytes[at..];
                let of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let length = rest
                    .iter()
                    .position(|byte| !of_number(byte))
                    .unwrap_or(rest.len());
                let literal = str::from_utf8(&rest[..length]).unwrap_or_default();
                if literal.contains(['e', 'E']) {
                    found.push(literal);
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn check_below(value: &Value, path: &mut String, depth: usize) -> Result<(), Issue> {
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
            IssueKind::BusinessRule,
            "the number is too large or too long to be stored exactly",
        )
        .at(path.as_str())),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            path.push_str(&format!("[{index}]"));
            check_below(item, path, depth + 1)?;
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
            check_below(item, path, depth + 1)?;
            path.truncate(length);
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// `resource.resourceType`, if it is there and a string.
pub fn resource_type(resource: &Value) -> Option<&str> {
    text(resource, "resourceType")
}

/// A member of an object. Elements of FHIR have few, and looking at the name of each costs less than hashing one.
pub fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let members = value.as_object()?;
    if members.len() > LOOKED_THROUGH_MAX {
        return members.get(name);
    }
    let mut members = members.iter();
    Some(members.find(|(key, _)| *key == name)?.1)
}

/// Most members that are looked through.
const LOOKED_THROUGH_MAX: usize = 16;

/// A member that is a string.
pub fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    member(value, name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        for count in [1, LOOKED_THROUGH_MAX, LOOKED_THROUGH_MAX + 1] {
            let all = (0..count).map(|number| (number.to_string(), Value::from(number)));
            let object = Value::Object(all.collect());
            for number in 0..count {
                let found = member(&object, &number.to_string());
                assert_eq!(found, Some(&Value::from(number)), "of {count}");
            }
            assert_eq!(member(&object, "other"), None);
        }
        assert_eq!(member(&Value::from(1), "a"), None);
        assert_eq!(text(&serde_json::json!({"a": 1, "b": "x"}), "b"), Some("x"));
        assert_eq!(text(&serde_json::json!({"a": 1}), "a"), None);
    }

    #[test]
    fn of_a_tree() {
        let tree =
            serde_json::json!({"resourceType": "Basic", "a": [1.5, "xy", null, true, {}], "b": ""});
        let text = tree.to_string();
        let bytes = text_bytes(&tree);
        assert!(
            bytes <= text.len() + 3 && bytes + 3 >= text.len(),
            "{bytes}: {text}"
        );
        assert!(check(&tree).is_ok());
        let issue = check(&serde_json::json!({"resourceType": "Basic", "a": ["\0"]})).unwrap_err();
        assert_eq!(issue.expression.as_deref(), Some("Basic.a[0]"));
    }

    #[test]
    fn guards() {
        for (text, kind, place) in [
            (r#"{"a":"#, IssueKind::Syntax, None),
            (
                r#"{"a":[{"b":"x\u0000"}]}"#,
                IssueKind::Value,
                Some("a[0].b"),
            ),
            (r#"{"a":1e999999}"#, IssueKind::BusinessRule, Some("a")),
            (
                r#"{"resourceType":"Basic","a":["\u0000"]}"#,
                IssueKind::Value,
                Some("Basic.a[0]"),
            ),
            (r#"{"a":1,"b":{"c":1,"c":2}}"#, IssueKind::Syntax, None),
            (
                r#"{"$serde_json::private::Number":{}}"#,
                IssueKind::Syntax,
                None,
            ),
        ] {
            let issue = parse(text.as_bytes()).unwrap_err();
            assert_eq!(
                (issue.kind, issue.expression.as_deref()),
                (kind, place),
                "{text}"
            );
        }
        assert!(parse("[".repeat(200).as_bytes()).is_err());
        for text in [
            "1.50", "1.20e3", "1.2E3", "1e+3", "-1e-3", "-0.0", "-0", "100", "-7",
        ] {
            let read = parse(
                format!(r#"{{"e":"1e5 \" 2e6","u":5e-1,"v":[true,{text}],"w":3E+2,"x":false}}"#)
                    .as_bytes(),
            )
            .unwrap();
            assert_eq!(
                (
                    read["v"][1].to_string().as_str(),
                    read["w"].to_string().as_str()
                ),
                (text, "3E+2"),
                "{text}"
            );
        }
        assert!(parse(br#"{"a":1} x"#).is_err());
    }
}
