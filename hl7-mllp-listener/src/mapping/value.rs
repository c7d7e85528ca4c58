//! A piece of a message as rules see it: a segment, a repetition, a component or a subcomponent, with the same questions for all.

use crate::message::{Component, Repetition, Segment, Subcomponent};
use std::borrow::Cow;

#[derive(Clone, Copy, Debug)]
pub enum Value<'m> {
    Segment(Segment<'m>),
    Repetition(Repetition<'m>),
    Component(Component<'m>),
    Subcomponent(Subcomponent<'m>),
    /// A text of a rule, standing where a sent value could.
    Text(&'m str),
}

impl<'m> Value<'m> {
    /// Part `n` (from 1) one level down: a component of a repetition, a subcomponent of a component. 0 is the value itself.
    /// A level that was not sent counts as its own first part, as the standard asks of a receiver (v2.9 section 2.8.2).
    pub fn part(self, n: usize) -> Option<Value<'m>> {
        match (self, n) {
            (_, 0) => Some(self),
            (Value::Segment(segment), n) => Some(Value::Repetition(segment.field(n).repetition(1))),
            (Value::Repetition(repetition), n) => Some(Value::Component(repetition.component(n))),
            (Value::Component(component), n) => {
                Some(Value::Subcomponent(component.subcomponent(n)))
            }
            (Value::Subcomponent(_) | Value::Text(_), 1) => Some(self),
            (Value::Subcomponent(_) | Value::Text(_), _) => None,
        }
    }

    /// The components from `n` on, as one value; only a repetition has any.
    pub fn rest(self, n: usize) -> Option<Value<'m>> {
        match self {
            Value::Repetition(repetition) => Some(Value::Repetition(repetition.rest(n))),
            _ => None,
        }
    }

    /// The characters as sent.
    pub fn raw(self) -> &'m str {
        match self {
            Value::Segment(segment) => segment.raw(),
            Value::Repetition(repetition) => repetition.raw(),
            Value::Component(component) => component.raw(),
            Value::Subcomponent(subcomponent) => subcomponent.raw(),
            Value::Text(text) => text,
        }
    }

    /// The first primitive in it, unescaped and trimmed, or `None` when nothing (or `""`) was sent.
    pub fn text(self) -> Option<Cow<'m, str>> {
        let first = match self {
            Value::Segment(_) => return None,
            Value::Repetition(repetition) => repetition.component(1).subcomponent(1),
            Value::Component(component) => component.subcomponent(1),
            Value::Subcomponent(subcomponent) => subcomponent,
            Value::Text(text) => return valued(Cow::Borrowed(text)),
        };
        match first.is_plain() {
            true => valued_plain(first.raw()).map(Cow::Borrowed),
            false => valued(first.text()),
        }
    }

    /// All of it as one text, delimiters included: for text types whose senders do not escape `&` and `^`.
    pub fn whole(self) -> Option<Cow<'m, str>> {
        let text = match self {
            Value::Segment(_) => return None,
            Value::Repetition(repetition) => repetition.text(),
            Value::Component(component) => component.text(),
            Value::Subcomponent(subcomponent) => subcomponent.text(),
            Value::Text(text) => Cow::Borrowed(text),
        };
        valued(text)
    }

    /// The text of part `n`.
    pub fn part_text(self, n: usize) -> Option<Cow<'m, str>> {
        self.part(n)?.text()
    }

    /// `""`: the sender deletes the value.
    pub fn is_null(self) -> bool {
        self.raw() == "\"\""
    }

    /// Whether anything but delimiters, blanks and `""` was sent: what [`Value::text`] would be of one of the primitives in it.
    pub fn is_valued(self) -> bool {
        match (self, self.raw().as_bytes().first()) {
            (Value::Segment(_), _) => true,
            (_, None) => false,
            // No letter or digit is a delimiter: what begins with one says something.
            (_, Some(first)) if first.is_ascii_alphanumeric() => true,
            (Value::Repetition(repetition), _) => repetition
                .components()
                .any(|component| Value::Component(component).is_valued()),
            (Value::Component(component), _) => component
                .subcomponents()
                .any(|subcomponent| Value::Subcomponent(subcomponent).is_valued()),
            (Value::Subcomponent(_) | Value::Text(_), _) => self.text().is_some(),
        }
    }
}

/// The same of printable ASCII.
fn valued_plain(text: &str) -> Option<&str> {
    let text = match text.as_bytes() {
        [b' ', ..] | [.., b' '] => text.trim(),
        _ => text,
    };
    (!text.is_empty() && text != "\"\"").then_some(text)
}

fn valued(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    // FHIR strings hold no control characters besides line ends and tabs.
    let clean = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    let text = match text.chars().all(clean) {
        true => text,
        false => Cow::Owned(text.chars().filter(|c| clean(*c)).collect()),
    };
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => match text.trim().len() == text.len() {
            true => Cow::Owned(text),
            false => Cow::Owned(text.trim().to_owned()),
        },
    };
    (!text.is_empty() && text != "\"\"").then_some(text)
}
