//! Tokens (<https://hl7.org/fhir/R5/search.html#token>): which system and code each element type offers.
//!
//! | type | system | code |
//! |---|---|---|
//! | Coding, CodeableConcept, CodeableReference.concept | of each coding | of each coding |
//! | Identifier | system | value |
//! | code | implied by its binding, where that names one system | the code |
//! | ContactPoint | none to ask for | value |
//! | boolean, string, uri, id, numbers | none to ask for | the text |
//!
//! "None to ask for" is not the same as a missing system: `|code` finds the second only.

use crate::query::TokenMatch;
use fhir_model::json::{member, text};
use fhirpath::Node;
use serde_json::Value;

/// One token of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub system: System<'a>,
    pub code: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System<'a> {
    Named(&'a str),
    /// The element could have one and has not.
    Missing,
    /// The type has none.
    Inapplicable,
}

impl Token<'_> {
    /// The queries that find it.
    pub(crate) fn forms(self) -> impl Iterator<Item = TokenMatch> {
        let code = self.code.map(str::to_owned);
        let (exact, any) = match (self.system, code.clone()) {
            (System::Named(s), code) => (
                code.map(|code| TokenMatch::SystemAndCode(s.to_owned(), code)),
                Some(TokenMatch::System(s.to_owned())),
            ),
            (System::Missing, code) => (code.map(TokenMatch::NoSystem), None),
            (System::Inapplicable, _) => (None, None),
        };
        [code.map(TokenMatch::Code), exact, any]
            .into_iter()
            .flatten()
    }
}

/// Calls `visit` for every token of the element.
pub(crate) fn each<'a>(node: Node<'a>, visit: &mut dyn FnMut(Token<'a>)) {
    match node.type_name {
        "Coding" => coding(node.value, "code", visit),
        "Identifier" => coding(node.value, "value", visit),
        "CodeableConcept" => concept(node.value, visit),
        "CodeableReference" => {
            if let Some(value) = member(node.value, "concept") {
                concept(value, visit);
            }
        }
        "ContactPoint" => {
            if let Some(value) = text(node.value, "value") {
                visit(plain(value));
            }
        }
        _ => match node.value {
            Value::String(code) => visit(Token {
                system: node.system.map_or(System::Inapplicable, System::Named),
                code: Some(code),
            }),
            Value::Bool(true) => visit(plain("true")),
            Value::Bool(false) => visit(plain("false")),
            Value::Number(number) => visit(plain(number.as_str())),
            _ => {}
        },
    }
}

/// The types that an Identifier has, for `:of-type`: (system, code) pairs and the value.
pub(crate) fn identifier_types<'a>(
    node: Node<'a>,
    visit: &mut dyn FnMut(&'a str, &'a str, &'a str),
) {
    if node.type_name != "Identifier" {
        return;
    }
    if let (Some(value), Some(kind)) = (text(node.value, "value"), member(node.value, "type")) {
        concept(kind, &mut |token| {
            if let Token {
                system: System::Named(system),
                code: Some(code),
            } = token
            {
                visit(system, code, value);
            }
        });
    }
}

/// Whether its codes are of a code system or a fixed list: few, and asked for by their beginning (`:code-text`). Those of other types
/// (identifiers, telephone numbers, addresses) are as many as there are resources.
pub(crate) fn is_coded(type_name: &str) -> bool {
    matches!(
        type_name,
        "Coding" | "CodeableConcept" | "CodeableReference" | "code" | "boolean"
    )
}

/// The texts beside the codes of a token's element (`:text`): `CodeableConcept.text`, `Coding.display`, `Identifier.type.text`.
pub(crate) fn each_text<'a>(node: Node<'a>, visit: &mut dyn FnMut(&'a str)) {
    match node.type_name {
        "Coding" => text(node.value, "display").into_iter().for_each(visit),
        "CodeableConcept" => concept_texts(node.value, visit),
        "CodeableReference" => {
            if let Some(value) = member(node.value, "concept") {
                concept_texts(value, visit);
            }
        }
        "Identifier" => {
            let kind = member(node.value, "type");
            kind.and_then(|kind| text(kind, "text"))
                .into_iter()
                .for_each(visit);
        }
        _ => {}
    }
}

fn concept_texts<'a>(value: &'a Value, visit: &mut dyn FnMut(&'a str)) {
    let written = text(value, "text");
    written.into_iter().for_each(&mut *visit);
    if let Some(Value::Array(codings)) = member(value, "coding") {
        let displays = codings.iter().filter_map(|coding| text(coding, "display"));
        // Most concepts say one text twice.
        let others = displays.filter(|display| Some(*display) != written);
        others.for_each(visit);
    }
}

fn concept<'a>(value: &'a Value, visit: &mut dyn FnMut(Token<'a>)) {
    if let Some(Value::Array(codings)) = member(value, "coding") {
        for value in codings {
            coding(value, "code", visit);
        }
    }
}

fn coding<'a>(value: &'a Value, code: &str, visit: &mut dyn FnMut(Token<'a>)) {
    let system = text(value, "system").map_or(System::Missing, System::Named);
    let code = text(value, code);
    if code.is_some() || matches!(system, System::Named(_)) {
        visit(Token { system, code });
    }
}

fn plain(code: &str) -> Token<'_> {
    Token {
        system: System::Inapplicable,
        code: Some(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokens() {
        for (type_name, value, expect) in [
            ("Coding", json!({"system": "s", "code": "c"}), "s|c"),
            ("Coding", json!({"code": "c"}), "|c"),
            ("Coding", json!({"system": "s"}), "s|-"),
            ("Coding", json!({"display": "d"}), ""),
            (
                "CodeableConcept",
                json!({"coding": [{"system": "s", "code": "c"}, {"code": "d"}], "text": "t"}),
                "s|c |d",
            ),
            ("CodeableConcept", json!({"text": "t"}), ""),
            (
                "CodeableReference",
                json!({"concept": {"coding": [{"code": "c"}]}, "reference": {"reference": "A/1"}}),
                "|c",
            ),
            (
                "Identifier",
                json!({"system": "s", "value": "v", "type": {"coding": [{"code": "MR"}]}}),
                "s|v",
            ),
            ("Identifier", json!({"value": "v"}), "|v"),
            (
                "ContactPoint",
                json!({"system": "phone", "value": "1"}),
                "1",
            ),
            ("code", json!("male"), "implied|male"),
            ("boolean", json!(false), "false"),
            ("positiveInt", json!(7), "7"),
            ("Coding", json!([1, "x"]), ""),
            (
                "CodeableConcept",
                json!({"coding": {"code": "not an array"}}),
                "",
            ),
            ("Identifier", json!(null), ""),
        ] {
            let mut found = Vec::new();
            let system = (type_name == "code").then_some("implied");
            each(
                Node {
                    value: &value,
                    type_name,
                    system,
                },
                &mut |t| {
                    let code = t.code.unwrap_or("-");
                    found.push(match t.system {
                        System::Named(system) => format!("{system}|{code}"),
                        System::Missing => format!("|{code}"),
                        System::Inapplicable => code.to_owned(),
                    });
                },
            );
            assert_eq!(found.join(" "), expect, "{value}");
        }
    }

    #[test]
    fn texts() {
        for (type_name, value, expect) in [
            ("Coding", json!({"code": "c", "display": "d"}), "d"),
            (
                "CodeableConcept",
                json!({"coding": [{"display": "d"}, {"display": "t"}, {"code": "c"}], "text": "t"}),
                "t d",
            ),
            (
                "CodeableReference",
                json!({"concept": {"text": "t"}, "reference": {"display": "r"}}),
                "t",
            ),
            (
                "Identifier",
                json!({"value": "v", "type": {"text": "t", "coding": [{"display": "d"}]}, "assigner": {"display": "a"}}),
                "t",
            ),
            ("ContactPoint", json!({"value": "1"}), ""),
            ("code", json!("male"), ""),
            ("CodeableConcept", json!("odd"), ""),
        ] {
            let mut found = Vec::new();
            let node = Node {
                value: &value,
                type_name,
                system: None,
            };
            each_text(node, &mut |text| found.push(text));
            assert_eq!(found.join(" "), expect, "{value}");
        }
    }

    #[test]
    fn of_type() {
        let value = json!({"value": "v", "type": {"coding": [{"system": "s", "code": "MR"}, {"code": "X"}]}});
        let mut found = Vec::new();
        let node = Node {
            value: &value,
            type_name: "Identifier",
            system: None,
        };
        identifier_types(node, &mut |s, c, v| found.push((s, c, v)));
        assert_eq!(found, [("s", "MR", "v")]);
    }
}
