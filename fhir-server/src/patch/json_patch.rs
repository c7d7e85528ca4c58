//! JSON Patch (RFC 6902) on the JSON of a resource. Numbers keep their text; `test` compares what they are.
//!
//! Own code, as the libraries bound nothing: a few `copy` operations double a document until memory ends, and nest it until the stack does.
//! Refuses more than [`OPERATIONS_MAX`] operations, copies of more than [`COPIED_MAX_BYTES`] together, and what nests too deep.

use fhir_model::decimal::Decimal;
use fhir_model::json::{DEPTH_MAX, text_bytes};
use fhir_model::{Issue, IssueKind};
use serde_json::{Map, Value};

/// Operations of a patch.
const OPERATIONS_MAX: usize = 1000;
/// Bytes of text that `copy` may add.
const COPIED_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A patch, understood.
#[derive(Clone, Debug)]
pub struct JsonPatch(Vec<Operation>);

#[derive(Clone, Debug)]
struct Operation {
    path: Pointer,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Add(Value),
    Remove,
    Replace(Value),
    Move(Pointer),
    Copy(Pointer),
    Test(Value),
}

/// A JSON Pointer (RFC 6901), as its decoded tokens.
type Pointer = Vec<String>;

impl JsonPatch {
    /// Takes a patch document apart.
    ///
    /// # Errors
    /// Syntax with the operation that is none; TooCostly.
    pub fn read(document: Value) -> Result<JsonPatch, Issue> {
        let Value::Array(operations) = document else {
            return Err(Issue::error(
                IssueKind::Syntax,
                "a JSON Patch is an array of operations",
            ));
        };
        if operations.len() > OPERATIONS_MAX {
            return Err(Issue::error(
                IssueKind::TooCostly,
                format!("the patch has more than {OPERATIONS_MAX} operations"),
            ));
        }
        let operations = operations.into_iter().enumerate();
        let read = operations.map(|(index, operation)| {
            operation_of(operation).map_err(|reason| refuse(IssueKind::Syntax, index, reason))
        });
        read.collect::<Result<_, _>>().map(JsonPatch)
    }

    /// Applies all operations, in order.
    ///
    /// # Errors
    /// BusinessRule with the first operation that cannot be done or whose test fails; the document is of no use then.
    pub fn apply(&self, document: &mut Value) -> Result<(), Issue> {
        let mut copied = 0;
        for (index, operation) in self.0.iter().enumerate() {
            apply(operation, document, &mut copied)
                .map_err(|(kind, reason)| refuse(kind, index, reason))?;
        }
        Ok(())
    }
}

type Refusal = (IssueKind, &'static str);

const NOTHING_THERE: Refusal = (
    IssueKind::BusinessRule,
    "nothing is at the path in the resource",
);

fn refuse(kind: IssueKind, index: usize, reason: &str) -> Issue {
    Issue::error(
        kind,
        format!("operation {index} of the patch, counted from 0: {reason}"),
    )
}

fn operation_of(operation: Value) -> Result<Operation, &'static str> {
    let Value::Object(mut members) = operation else {
        return Err("it is not an object");
    };
    let path = pointer(&members, "path")?;
    let value = |members: &mut Map<String, Value>| members.remove("value").ok_or("it has no value");
    let what = match members.get("op").and_then(Value::as_str) {
        Some("add") => What::Add(value(&mut members)?),
        Some("remove") => What::Remove,
        Some("replace") => What::Replace(value(&mut members)?),
        Some("test") => What::Test(value(&mut members)?),
        Some("copy") => What::Copy(pointer(&members, "from")?),
        Some("move") => {
            let from = pointer(&members, "from")?;
            if path.len() > from.len() && path.starts_with(&from) {
                return Err("a value cannot be moved into itself");
            }
            What::Move(from)
        }
        _ => return Err("op must be add, remove, replace, move, copy or test"),
    };
    Ok(Operation { path, what })
}

fn pointer(members: &Map<String, Value>, name: &str) -> Result<Pointer, &'static str> {
    const BROKEN: &str = "path and from must be JSON Pointers";
    let text = members.get(name).and_then(Value::as_str).ok_or(BROKEN)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let tokens = text.strip_prefix('/').ok_or(BROKEN)?.split('/');
    let decoded = tokens.map(|token| {
        let escapes = token.match_indices('~').map(|(at, _)| &token[at + 1..]);
        let mut escapes = escapes;
        match escapes.all(|rest| rest.starts_with(['0', '1'])) {
            true => Ok(token.replace("~1", "/").replace("~0", "~")),
            false => Err(BROKEN),
        }
    });
    decoded.collect()
}

fn apply(operation: &Operation, document: &mut Value, copied: &mut usize) -> Result<(), Refusal> {
    let path = &operation.path;
    match &operation.what {
        What::Add(value) => add(document, path, value.clone()),
        What::Remove => remove(document, path).map(drop),
        What::Replace(value) => {
            let place = find(document, path).ok_or(NOTHING_THERE)?;
            check_depth(path, value)?;
            *place = value.clone();
            Ok(())
        }
        What::Move(from) if from == path => find(document, path).map(drop).ok_or(NOTHING_THERE),
        What::Move(from) => {
            let value = remove(document, from)?;
            add(document, path, value)
        }
        What::Copy(from) => {
            let value = find(document, from).ok_or(NOTHING_THERE)?;
            *copied += text_bytes(value);
            if *copied > COPIED_MAX_BYTES {
                return Err((IssueKind::TooCostly, "the patch copies too much"));
            }
            let value = value.clone();
            add(document, path, value)
        }
        What::Test(wanted) => match find(document, path) {
            Some(found) if equal(found, wanted) => Ok(()),
            Some(_) => Err((IssueKind::BusinessRule, "the test failed")),
            None => Err(NOTHING_THERE),
        },
    }
}

fn find<'v>(document: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(document, |value, token| match value {
        Value::Object(members) => members.get_mut(token),
        Value::Array(items) => items.get_mut(index(token)?),
        _ => None,
    })
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), Refusal> {
    check_depth(path, &value)?;
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match find(document, parents).ok_or(NOTHING_THERE)? {
        Value::Object(members) => {
            members.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(items) => {
            let at = match last.as_str() {
                "-" => Some(items.len()),
                last => index(last).filter(|at| *at <= items.len()),
            };
            items.insert(at.ok_or(NOTHING_THERE)?, value);
            Ok(())
        }
        _ => Err(NOTHING_THERE),
    }
}

fn remove(document: &mut Value, path: &[String]) -> Result<Value, Refusal> {
    let (last, parents) = path.split_last().ok_or((
        IssueKind::BusinessRule,
        "the whole resource cannot be taken away",
    ))?;
    let removed = match find(document, parents) {
        // Names keep their order.
        Some(Value::Object(members)) => members.shift_remove(last),
        Some(Value::Array(items)) => index(last)
            .filter(|at| *at < items.len())
            .map(|at| items.remove(at)),
        _ => None,
    };
    removed.ok_or(NOTHING_THERE)
}

/// Digits without a leading zero.
fn index(token: &str) -> Option<usize> {
    let plain =
        token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    token.parse().ok().filter(|_| plain)
}

fn check_depth(path: &[String], value: &Value) -> Result<(), Refusal> {
    fn fits(value: &Value, left: usize) -> bool {
        match value {
            Value::Array(items) => left > 0 && items.iter().all(|item| fits(item, left - 1)),
            Value::Object(members) => left > 0 && members.values().all(|item| fits(item, left - 1)),
            _ => true,
        }
    }
    match DEPTH_MAX.checked_sub(path.len()) {
        Some(left) if fits(value, left) => Ok(()),
        _ => Err((
            IssueKind::BusinessRule,
            "the resource would be nested too deep",
        )),
    }
}

/// RFC 6902, 4.6: numbers by value, objects whatever the order of their names.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let decimal = |number: &serde_json::Number| Decimal::parse(number.as_str());
            a == b || matches!((decimal(a), decimal(b)), (Some(a), Some(b)) if a == b)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(name, a): (&String, &Value)| b.get(name).is_some_and(|b| equal(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_model::json;

    fn check(document: &str, patch: &str, expect: Result<&str, IssueKind>) {
        let mut document = json::parse(document.as_bytes()).unwrap();
        let patch = json::parse(patch.as_bytes()).unwrap();
        let result = JsonPatch::read(patch.clone()).and_then(|it| it.apply(&mut document));
        let result = result
            .map(|()| document.to_string())
            .map_err(|issue| issue.kind);
        assert_eq!(result, expect.map(str::to_string), "{patch}");
    }

    #[test]
    fn operations() {
        let no = Err(IssueKind::BusinessRule);
        for (document, patch, expect) in [
            (
                r#"{"a":1}"#,
                r#"{"op":"add","path":"/b","value":1.50}"#,
                Ok(r#"{"a":1,"b":1.50}"#),
            ),
            (
                r#"{"a":1}"#,
                r#"{"op":"add","path":"/a","value":2}"#,
                Ok(r#"{"a":2}"#),
            ),
            (
                r#"{"a":[1,2]}"#,
                r#"{"op":"add","path":"/a/1","value":9}"#,
                Ok(r#"{"a":[1,9,2]}"#),
            ),
            (
                r#"{"a":[1]}"#,
                r#"{"op":"add","path":"/a/1","value":9}"#,
                Ok(r#"{"a":[1,9]}"#),
            ),
            (
                r#"{"a":[1]}"#,
                r#"{"op":"add","path":"/a/-","value":9}"#,
                Ok(r#"{"a":[1,9]}"#),
            ),
            (
                r#"{"a":[1]}"#,
                r#"{"op":"add","path":"/a/2","value":9}"#,
                no,
            ),
            (
                r#"{"a":[1]}"#,
                r#"{"op":"add","path":"/a/01","value":9}"#,
                no,
            ),
            (
                r#"{"a":[1]}"#,
                r#"{"op":"add","path":"/a/x","value":9}"#,
                no,
            ),
            (r#"{"a":1}"#, r#"{"op":"add","path":"/b/c","value":9}"#, no),
            (r#"{"a":1}"#, r#"{"op":"add","path":"/a/c","value":9}"#, no),
            (
                r#"{"a":1}"#,
                r#"{"op":"add","path":"","value":{"b":2}}"#,
                Ok(r#"{"b":2}"#),
            ),
            (
                r#"{"a":1,"b":2,"c":3}"#,
                r#"{"op":"remove","path":"/a"}"#,
                Ok(r#"{"b":2,"c":3}"#),
            ),
            (
                r#"{"a":[1,2]}"#,
                r#"{"op":"remove","path":"/a/0"}"#,
                Ok(r#"{"a":[2]}"#),
            ),
            (r#"{"a":[1]}"#, r#"{"op":"remove","path":"/a/1"}"#, no),
            (r#"{"a":[1]}"#, r#"{"op":"remove","path":"/a/-"}"#, no),
            (r#"{"a":1}"#, r#"{"op":"remove","path":""}"#, no),
            (
                r#"{"a":1,"b":2}"#,
                r#"{"op":"replace","path":"/a","value":3}"#,
                Ok(r#"{"a":3,"b":2}"#),
            ),
            (
                r#"{"a":1}"#,
                r#"{"op":"replace","path":"/b","value":3}"#,
                no,
            ),
            (
                r#"{"a":{"b":1},"c":{}}"#,
                r#"{"op":"move","from":"/a/b","path":"/c/d"}"#,
                Ok(r#"{"a":{},"c":{"d":1}}"#),
            ),
            (
                r#"{"a":[1,2,3]}"#,
                r#"{"op":"move","from":"/a/0","path":"/a/2"}"#,
                Ok(r#"{"a":[2,3,1]}"#),
            ),
            (
                r#"{"a":1}"#,
                r#"{"op":"move","from":"/a","path":"/a"}"#,
                Ok(r#"{"a":1}"#),
            ),
            (r#"{"a":1}"#, r#"{"op":"move","from":"/b","path":"/b"}"#, no),
            (
                r#"{"a":{"b":1}}"#,
                r#"{"op":"copy","from":"/a","path":"/c"}"#,
                Ok(r#"{"a":{"b":1},"c":{"b":1}}"#),
            ),
            (
                r#"{"a":{"b":1}}"#,
                r#"{"op":"copy","from":"/x","path":"/c"}"#,
                no,
            ),
            (
                r#"{"a":1.50}"#,
                r#"{"op":"test","path":"/a","value":1.5}"#,
                Ok(r#"{"a":1.50}"#),
            ),
            (
                r#"{"a":1e2}"#,
                r#"{"op":"test","path":"/a","value":100}"#,
                Ok(r#"{"a":1e2}"#),
            ),
            (r#"{"a":1}"#, r#"{"op":"test","path":"/a","value":"1"}"#, no),
            (
                r#"{"a":{"x":1,"y":[2]}}"#,
                r#"{"op":"test","path":"/a","value":{"y":[2.0],"x":1}}"#,
                Ok(r#"{"a":{"x":1,"y":[2]}}"#),
            ),
            (
                r#"{"a":[1,2]}"#,
                r#"{"op":"test","path":"/a","value":[2,1]}"#,
                no,
            ),
            (
                r#"{"a":1}"#,
                r#"{"op":"test","path":"/b","value":null}"#,
                no,
            ),
            (
                r#"{"a/b":1,"m~n":2}"#,
                r#"{"op":"replace","path":"/a~1b","value":3}"#,
                Ok(r#"{"a/b":3,"m~n":2}"#),
            ),
            (
                r#"{"a/b":1,"m~n":2}"#,
                r#"{"op":"remove","path":"/m~0n"}"#,
                Ok(r#"{"a/b":1}"#),
            ),
            (
                r#"{"~1":1,"a":2}"#,
                r#"{"op":"remove","path":"/~01"}"#,
                Ok(r#"{"a":2}"#),
            ),
        ] {
            check(document, &format!("[{patch}]"), expect);
        }
    }

    #[test]
    fn all_or_nothing_is_decided_by_the_first_that_fails() {
        check(
            r#"{"a":1}"#,
            r#"[{"op":"add","path":"/b","value":2},{"op":"test","path":"/a","value":1},{"op":"remove","path":"/a"}]"#,
            Ok(r#"{"b":2}"#),
        );
        let patch = r#"[{"op":"test","path":"/a","value":2},{"op":"remove","path":"/a"}]"#;
        check(r#"{"a":1}"#, patch, Err(IssueKind::BusinessRule));
    }

    #[test]
    fn what_is_no_patch() {
        for patch in [
            "{}",
            "1",
            "[1]",
            "[{}]",
            r#"[{"op":"add"}]"#,
            r#"[{"op":"add","path":"/a"}]"#,
            r#"[{"op":"add","path":"a","value":1}]"#,
            r#"[{"op":"add","path":"/a~2","value":1}]"#,
            r#"[{"op":"add","path":"/a~","value":1}]"#,
            r#"[{"op":"add","path":1,"value":1}]"#,
            r#"[{"op":"Add","path":"/a","value":1}]"#,
            r#"[{"op":"copy","path":"/a"}]"#,
            r#"[{"op":"move","from":"/a","path":"/a/b"}]"#,
        ] {
            check(r#"{"a":{}}"#, patch, Err(IssueKind::Syntax));
        }
    }

    /// The official tests (`json-patch-tests.json` of `org.hl7.fhir.testcases:fhir-test-cases`).
    #[test]
    fn official_suite() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../.cache/r5-patch/json-patch-tests.json"
        );
        let Ok(text) = std::fs::read(file) else {
            eprintln!("skipped: no .cache/r5-patch, run scripts/fetch-fhir-packages.sh examples");
            return;
        };
        let cases: Value = serde_json::from_slice(&text).unwrap();
        let cases = cases.as_array().unwrap();
        for case in cases {
            let mut document = case["doc"].clone();
            let applied =
                JsonPatch::read(case["patch"].clone()).and_then(|patch| patch.apply(&mut document));
            match case.get("expected") {
                Some(expected) => {
                    assert_eq!(applied.map(|()| &document), Ok(expected), "{case}");
                }
                None => assert!(applied.is_err() && case.get("error").is_some(), "{case}"),
            }
        }
        assert!(cases.len() > 10, "{}", cases.len());
    }

    #[test]
    fn limits() {
        let many =
            |operation: &str, count: usize| format!("[{}]", vec![operation; count].join(","));
        let test = r#"{"op":"test","path":"/a","value":{}}"#;
        check(
            r#"{"a":{}}"#,
            &many(test, OPERATIONS_MAX),
            Ok(r#"{"a":{}}"#),
        );
        check(
            r#"{"a":{}}"#,
            &many(test, OPERATIONS_MAX + 1),
            Err(IssueKind::TooCostly),
        );
        // Doubled at each step, in breadth and in depth.
        let wider = r#"{"op":"copy","from":"/a","path":"/a/-"}"#;
        check(
            r#"{"a":[1,2]}"#,
            &many(wider, 64),
            Err(IssueKind::TooCostly),
        );
        let deeper = r#"{"op":"copy","from":"/a","path":"/a/0"}"#;
        let nested = r#"{"a":["0123456789"]}"#;
        assert!(matches!(
            JsonPatch::read(json::parse(many(deeper, 200).as_bytes()).unwrap())
                .unwrap()
                .apply(&mut json::parse(nested.as_bytes()).unwrap()),
            Err(issue) if matches!(issue.kind, IssueKind::BusinessRule | IssueKind::TooCostly)
        ));
        let inside = format!(
            r#"[{{"op":"add","path":"{}","value":1}}]"#,
            "/0".repeat(DEPTH_MAX + 1)
        );
        check("[]", &inside, Err(IssueKind::BusinessRule));
    }
}
