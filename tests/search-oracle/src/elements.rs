//! The elements that a search parameter selects, by the whole FHIRPath engine and the text of its expression
//! (<https://hl7.org/fhir/R5/searchparameter-definitions.html#SearchParameter.expression>).
//!
//! `resolve() is Type` is decided by what the reference says: the resource need not be there. A Reference without an address says its type
//! in `type`.

use fhir_definitions::{Component, Definitions, SearchParameter};
use fhirpath::{Context, Host, Item, Program, TypeModel};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// One element.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub value: Value,
    /// `CodeableConcept`, `code`, `Period`, …
    pub type_name: String,
    /// Of a `code`: the code system of its binding.
    pub system: Option<String>,
    /// What leads to it in the resource; `None` where it was computed.
    pub place: Option<Vec<Step>>,
}

/// From a value to one in it.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Member(String),
    Item,
}

/// The resource with nothing but its type, its id, and the way to the element.
pub(crate) fn alone(body: &Value, element: &Element) -> Option<Value> {
    let mut value = element.value.clone();
    for step in element.place.as_ref()?.iter().rev() {
        value = match step {
            Step::Member(name) => json!({name.as_str(): value}),
            Step::Item => json!([value]),
        };
    }
    for name in ["resourceType", "id"] {
        value[name] = body.get(name)?.clone();
    }
    Some(value)
}

/// The way from `value` to the very `element`.
fn place(value: &Value, element: &Value) -> Option<Vec<Step>> {
    if std::ptr::eq(value, element) {
        return Some(Vec::new());
    }
    let further = |step: Step, inner: &Value| {
        let rest = place(inner, element)?;
        Some(std::iter::once(step).chain(rest).collect())
    };
    match value {
        Value::Object(members) => members
            .iter()
            .find_map(|(name, inner)| further(Step::Member(name.clone()), inner)),
        Value::Array(items) => items.iter().find_map(|inner| further(Step::Item, inner)),
        _ => None,
    }
}

/// What was selected of a resource before, by parameter.
#[derive(Default)]
pub(crate) struct Elements(RefCell<HashMap<i16, Rc<Vec<Element>>>>);

impl Elements {
    /// Of a resource that stands in `root`, or is it.
    pub(crate) fn of(
        &self,
        parameter: &SearchParameter,
        body: &Value,
        root: &Value,
        definitions: &Definitions,
        programs: &Programs,
    ) -> Rc<Vec<Element>> {
        if let Some(found) = self.0.borrow().get(&parameter.key.0) {
            return Rc::clone(found);
        }
        let context = Context::new(root, definitions).host(&WhatTheTextSays);
        let focus = fhirpath::Element {
            value: Some(body),
            sibling: None,
            type_name: &parameter.resource_type,
            resource: body,
        };
        let found = Rc::new(programs.select(
            &parameter.expression,
            &context,
            &Item::Element(focus),
            body,
            definitions,
        ));
        self.0
            .borrow_mut()
            .insert(parameter.key.0, Rc::clone(&found));
        found
    }
}

/// What a composite's component selects in one of the composite's elements.
pub(crate) fn of_component(
    component: &Component,
    element: &Element,
    body: &Value,
    definitions: &Definitions,
    programs: &Programs,
) -> Vec<Element> {
    let context = Context::new(body, definitions).host(&WhatTheTextSays);
    let focus = fhirpath::Element {
        value: Some(&element.value),
        sibling: None,
        type_name: &element.type_name,
        resource: body,
    };
    programs.select(
        &component.expression,
        &context,
        &Item::Element(focus),
        body,
        definitions,
    )
}

/// Compiled branches, by the text of the expression.
#[derive(Default)]
pub(crate) struct Programs(RefCell<HashMap<String, Rc<Vec<Branch>>>>);

struct Branch {
    whole: Program,
    /// Where it ends in the name of an element: what that is an element of, and the name.
    parent: Option<(Program, String)>,
}

impl Programs {
    fn select(
        &self,
        expression: &str,
        context: &Context<'_>,
        focus: &Item<'_>,
        body: &Value,
        definitions: &Definitions,
    ) -> Vec<Element> {
        let branches = self.branches(expression);
        let mut found = Vec::new();
        for branch in branches.iter() {
            let items = branch
                .whole
                .evaluate_on(context, focus)
                .unwrap_or_else(|error| panic!("{expression}: {error}"));
            if items.is_empty() {
                continue;
            }
            let system = branch.parent.as_ref().and_then(|(parent, name)| {
                let parents = parent.evaluate_on(context, focus).ok()?;
                let of = parents.first()?.type_info().name;
                definitions.code_system(of, name)
            });
            found.extend(items.iter().filter_map(|item| element(item, &system, body)));
        }
        found
    }

    fn branches(&self, expression: &str) -> Rc<Vec<Branch>> {
        let mut known = self.0.borrow_mut();
        let branches = known.entry(expression.to_owned()).or_insert_with(|| {
            let compiled = |text: &str| {
                let text = said(text.trim());
                Program::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
            };
            // A parameter may have none: `_in`.
            let parts = match expression {
                "" => Vec::new(),
                expression => split(expression),
            };
            Rc::new(
                parts
                    .iter()
                    .map(|text| Branch {
                        whole: compiled(text),
                        parent: compiled(text).split_last().ok(),
                    })
                    .collect(),
            )
        });
        Rc::clone(branches)
    }
}

fn element(item: &Item<'_>, system: &Option<String>, body: &Value) -> Option<Element> {
    let (type_name, value) = item.to_fhir()?;
    Some(Element {
        place: place(body, &value),
        value: value.into_owned(),
        type_name: type_name.to_owned(),
        system: system.clone().filter(|_| type_name == "code"),
    })
}

/// The operands of the unions at the top.
fn split(expression: &str) -> Vec<&str> {
    let (mut depth, mut start, mut quoted) = (0, 0, false);
    let mut parts = Vec::new();
    for (at, c) in expression.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            '|' if !quoted && depth == 0 => {
                parts.push(&expression[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&expression[start..]);
    parts
}

/// `resolve() is Type`, where nothing is resolved also by what the Reference declares.
fn said(expression: &str) -> String {
    let mut out = String::new();
    let mut rest = expression;
    while let Some((before, after)) = rest.split_once("resolve() is ") {
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (name, tail) = after.split_at(end);
        out += before;
        out += &format!(
            "((resolve() is {name}) or (resolve().exists().not() and ($this is Reference) and type = '{name}'))"
        );
        rest = tail;
    }
    out + rest
}

/// Finds a resource of the type that the reference names.
struct WhatTheTextSays;

impl Host for WhatTheTextSays {
    fn resolve(&self, reference: &str) -> Option<Value> {
        let plain = reference.split(['|', '?']).next()?;
        let plain = plain.split("/_history/").next()?;
        let mut parts = plain.rsplit('/');
        parts.next()?;
        let name = parts.next()?;
        let is_type = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.bytes().all(|b| b.is_ascii_alphabetic());
        is_type.then(|| json!({"resourceType": name}))
    }
}
