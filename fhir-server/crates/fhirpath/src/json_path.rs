//! A path program in the SQL/JSON path language (SQL:2016, `jsonpath` of Postgres, lax mode), for what is to be selected where the resource
//! is stored. Names and literals are quoted, so an expression of a client's own search parameter is no more than data in it.
//!
//! It selects what [`PathProgram::run`] selects from a valid resource. Refuses `first()` below an element that may repeat, and what a
//! reference to a contained resource leads to: `resolve() is Type` is answered by the text and type of the reference.

use crate::path::{Body, Branch, Condition, Path, PathProgram, Step};
use serde_json::Value;

/// One path and the FHIR type of what it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath<'a> {
    pub text: String,
    pub type_name: &'a str,
}

impl PathProgram {
    /// The paths that together select what the program does; `None` where the language cannot say it.
    pub fn json_paths(&self) -> Option<Vec<JsonPath<'_>>> {
        match &self.body {
            Body::Select(branches) => branches
                .iter()
                .flat_map(|branch| branch.paths.iter().map(|path| (branch.first, path)))
                .map(|(first, path)| {
                    Some(JsonPath {
                        text: match first && path.repeats {
                            true => return None,
                            false => written("$", &path.steps)?,
                        },
                        type_name: &path.type_name,
                    })
                })
                .collect(),
            Body::Test(condition) => Some(vec![JsonPath {
                // What is unknown is false.
                text: format!("exists($ ? ({}))", holds(condition)?),
                type_name: "boolean",
            }]),
        }
    }
}

fn written(focus: &str, steps: &[Step]) -> Option<String> {
    let mut text = focus.to_owned();
    for (place, step) in steps.iter().enumerate() {
        match step {
            Step::Child(name) => {
                text.push('.');
                text.push_str(&quoted(name));
            }
            Step::Where(condition) => text.push_str(&format!(" ? ({})", holds(condition)?)),
            // Of what one element holds; of several, each would give its first.
            Step::First if place == 1 => text.push_str("[0]"),
            Step::First => return None,
        }
    }
    Some(text)
}

/// The condition on `@`.
fn holds(condition: &Condition) -> Option<String> {
    Some(match condition {
        Condition::Exists(branches) => {
            let exists = |path: &Path| Some(format!("exists({})", written("@", &path.steps)?));
            any(branches, exists)?
        }
        Condition::Equals {
            branches,
            literal,
            negated: false,
        } => any(branches, |path| {
            Some(format!("{} == {literal}", written("@", &path.steps)?))
        })?,
        // A value of another type is not equal: comparing the two is unknown.
        Condition::Equals {
            branches, literal, ..
        } => any(branches, |path| {
            Some(format!(
                "exists({} ? (@ != {literal} || (@ == {literal}) is unknown))",
                written("@", &path.steps)?
            ))
        })?,
        Condition::And(a, b) => format!("({}) && ({})", holds(a)?, holds(b)?),
        Condition::Or(a, b) => format!("({}) || ({})", holds(a)?, holds(b)?),
        Condition::RefersTo(type_name) => {
            let pattern = quoted(&format!(
                r"(^|/){type_name}(/[^/?#|]+(/_history/[^/]+)?([|#].*)?$|\?)"
            ));
            let any_type = quoted(r"(^|/)[A-Z][A-Za-z]*(/[^/?#|]+(/_history/[^/]+)?([|#].*)?$|\?)");
            format!(
                r#"(@ like_regex {pattern}) || (@."reference" like_regex {pattern}) || (@."type" == {} && !(@."reference" like_regex {any_type}))"#,
                quoted(type_name)
            )
        }
        Condition::ResourceType(type_name) => {
            format!(r#"@."resourceType" == {}"#, quoted(type_name))
        }
    })
}

fn any(branches: &[Branch], write: impl Fn(&Path) -> Option<String>) -> Option<String> {
    let paths = branches.iter().flat_map(|branch| &branch.paths);
    let all: Vec<String> = paths.map(write).collect::<Option<_>>()?;
    Some(match all.len() {
        1 => all.into_iter().next()?,
        _ => all
            .iter()
            .map(|one| format!("({one})"))
            .collect::<Vec<_>>()
            .join(" || "),
    })
}

/// A string of the path language is a string of JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
