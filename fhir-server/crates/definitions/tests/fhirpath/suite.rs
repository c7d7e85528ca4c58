//! The tests of the suite's XML file.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

pub struct Case {
    pub name: String,
    /// A file name, `.xml` where it has no other ending; may be empty.
    pub input: String,
    pub expression: String,
    /// `syntax`, `semantic` or `execution`: an error is expected.
    pub invalid: String,
    pub mode: String,
    /// Only whether the result is empty is of interest.
    pub predicate: bool,
    pub ordered: bool,
    pub skip_static_check: bool,
    pub output: Vec<Expected>,
}

pub struct Expected {
    pub type_name: String,
    pub text: String,
}

impl Expected {
    pub fn canonical(&self) -> String {
        canonical(&self.type_name, &self.text)
    }
}

/// The suite calls partial dates `dateTime` in places where the result is a date, and writes both as literals.
pub fn canonical(type_name: &str, text: &str) -> String {
    let text = text.strip_prefix('@').unwrap_or(text);
    match type_name {
        "date" | "dateTime" => format!("date {text}"),
        "time" => format!("time {}", text.strip_prefix('T').unwrap_or(text)),
        // -0.0 is a text, not a number.
        "decimal" if text.trim_start_matches(['-', '0', '.']).is_empty() => {
            format!("decimal {}", text.trim_start_matches('-'))
        }
        // 2 / 2 is 1, however many places the result has.
        other => format!("{other} {text}"),
    }
}

pub fn read(text: &str) -> Vec<Case> {
    let mut reader = Reader::from_str(text);
    let mut cases = Vec::new();
    let mut case: Option<Case> = None;
    let mut target = String::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) => match tag.local_name().as_ref() {
                b"test" => case = Some(start(&tag)),
                b"expression" => {
                    target = "expression".into();
                    if let Some(case) = &mut case {
                        case.invalid = attribute(&tag, "invalid").unwrap_or_default();
                    }
                }
                b"output" => {
                    target = "output".into();
                    if let Some(case) = &mut case {
                        case.output.push(Expected {
                            type_name: attribute(&tag, "type").unwrap_or_default(),
                            text: String::new(),
                        });
                    }
                }
                _ => {}
            },
            Event::Text(text) => append(&mut case, &target, &text.decode().unwrap()),
            Event::GeneralRef(reference) => {
                let text = super::xml::entity(&reference);
                append(&mut case, &target, &text);
            }
            Event::End(tag) => match tag.local_name().as_ref() {
                b"test" => cases.extend(case.take()),
                b"expression" | b"output" => target.clear(),
                _ => {}
            },
            Event::Eof => return cases,
            _ => {}
        }
    }
}

fn start(tag: &BytesStart) -> Case {
    let text = |name: &str| attribute(tag, name).unwrap_or_default();
    Case {
        name: text("name"),
        input: text("inputfile"),
        expression: String::new(),
        invalid: String::new(),
        mode: text("mode"),
        predicate: text("predicate") == "true",
        ordered: text("ordered") != "false",
        skip_static_check: text("skipStaticCheck") == "true",
        output: Vec::new(),
    }
}

fn append(case: &mut Option<Case>, target: &str, text: &str) {
    let Some(case) = case else {
        return;
    };
    match target {
        "expression" => case.expression.push_str(text),
        "output" => case.output.last_mut().unwrap().text.push_str(text),
        _ => {}
    }
}

fn attribute(tag: &BytesStart, name: &str) -> Option<String> {
    let found = tag.try_get_attribute(name).unwrap()?;
    Some(super::xml::attribute_text(&found))
}
