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
pub struct Trace(RefCell<Steps>);

#[derive(Debug, Default)]
struct Steps {
    done: Vec<Step>,
    /// Of the drafts that are being made, the innermost last: a value makes a draft of its own before the one it stands in is done, and
    /// gets its number before it.
    open: Vec<Vec<Step>>,
    noted: usize,
}

impl Trace {
    /// A draft begins.
    pub(super) fn begin(&self) {
        self.0.borrow_mut().open.push(Vec::new());
    }

    /// The draft that began last is done, with this number, or came to nothing.
    pub(super) fn end(&self, draft: Option<usize>) {
        let steps = &mut *self.0.borrow_mut();
        let own = steps.open.pop().unwrap_or_default();
        if let Some(draft) = draft {
            let numbered = own.into_iter().map(|step| Step { draft, ..step });
            steps.done.extend(numbered);
        }
    }

    /// A rule of the draft that began last.
    pub(super) fn note(
        &self,
        map: usize,
        line: usize,
        before: &Object<String, Json>,
        after: &Object<String, Json>,
    ) {
        let steps = &mut *self.0.borrow_mut();
        let Some(own) = steps.open.last_mut() else {
            return;
        };
        let mut add = |path: &str, value: &Json| {
            if steps.noted < STEPS_MAX {
                steps.noted += 1;
                own.push(Step {
                    draft: 0,
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

    /// The steps, by draft, each in the order of its rules.
    pub fn steps(self) -> Vec<Step> {
        self.0.into_inner().done
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
