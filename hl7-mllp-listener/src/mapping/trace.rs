//! Which rule wrote which element, for people who write maps. Costs a copy of each resource for each rule: never on while messages are served.

use serde_json::{Map as Object, Value as Json};
use std::cell::RefCell;

/// Most steps that are noted of a message.
const STEPS_MAX: usize = 100_000;

/// One element that a rule wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which resource of the message.
    pub draft: usize,
    /// Index in [`super::program::Program::maps`].
    pub map: usize,
    /// Of the rule in the map's file.
    pub line: usize,
    /// `name[0].family`.
    pub path: String,
    /// As JSON.
    pub value: String,
}

/// Collects steps.
#[derive(Debug, Default)]
pub struct Trace(RefCell<Vec<Step>>);

impl Trace {
    pub(super) fn note(
        &self,
        (draft, map, line): (usize, usize, usize),
        before: &Object<String, Json>,
        after: &Object<String, Json>,
    ) {
        let mut steps = self.0.borrow_mut();
        let mut add = |path: &str, value: &Json| {
            if steps.len() < STEPS_MAX {
                steps.push(Step {
                    draft,
                    map,
                    line,
                    path: path.to_owned(),
                    value: value.to_string(),
                });
            }
        };
        for (name, value) in after {
            changes(name.clone(), before.get(name), value, &mut add);
        }
    }

    /// The steps, in the order they were made.
    pub fn steps(self) -> Vec<Step> {
        self.0.into_inner()
    }
}

/// The leaves that are new or different.
fn changes(path: String, before: Option<&Json>, after: &Json, add: &mut impl FnMut(&str, &Json)) {
    match after {
        Json::Object(members) => {
            for (name, value) in members {
                let before = before.and_then(|before| before.get(name));
                changes(format!("{path}.{name}"), before, value, add);
            }
        }
        Json::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let before = before.and_then(|before| before.get(index));
                changes(format!("{path}[{index}]"), before, value, add);
            }
        }
        leaf if before != Some(leaf) => add(&path, leaf),
        _ => {}
    }
}
