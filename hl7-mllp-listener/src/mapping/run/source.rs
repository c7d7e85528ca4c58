//! Finds the values that rules name: fields, texts, handles, names.

use super::{Env, Runner, State};
use crate::mapping::program::*;
use crate::mapping::value::Value;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;
use std::rc::Rc;

/// Where a value stands: segment (from 0), field and component.
pub(super) type At = (usize, usize, usize);

/// What a source gives.
#[derive(Clone)]
pub(super) enum Got<'m> {
    Value(Value<'m>, At),
    Text(Cow<'m, str>),
    /// A text with values of these segments in it.
    Filled(String, Lines),
    Draft(usize),
    Drafts(Rc<[usize]>),
}

/// All that a source gives: hardly ever more than one.
pub(super) type Gots<'m> = SmallVec<[Got<'m>; 1]>;

/// Segments, from 0.
pub(super) type Lines = SmallVec<[usize; 2]>;

impl<'m> Got<'m> {
    /// The segments it comes from.
    pub(super) fn lines(&self) -> Lines {
        match self {
            Got::Value(_, at) => smallvec![at.0],
            Got::Filled(_, lines) => lines.clone(),
            _ => Lines::new(),
        }
    }

    pub(super) fn into_text(self) -> Option<Cow<'m, str>> {
        match self {
            Got::Value(value, _) => value.text(),
            Got::Text(text) => Some(text),
            Got::Filled(text, _) => Some(text.into()),
            Got::Draft(_) | Got::Drafts(_) => None,
        }
    }

    /// Whether it is anything but `""`.
    fn is_told(&self) -> bool {
        !matches!(self, Got::Value(value, _) if value.is_null())
    }
}

impl<'m> Runner<'m> {
    pub(super) fn test(
        &self,
        test: &'m Test,
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> bool {
        match test {
            Test::Valued(value) => self.first(value, env, state).is_some(),
            Test::In(value, texts) => {
                let all = self.all(value, env, state).into_iter();
                all.filter_map(Got::into_text)
                    .any(|text| texts.iter().any(|own| *own == text))
            }
            Test::Like(value, pattern) => {
                let text = self.first(value, env, state).and_then(Got::into_text);
                text.is_some_and(|text| like(&text, pattern))
            }
            Test::Not(inner) => !self.test(inner, env, state),
            Test::All(parts) => parts.iter().all(|part| self.test(part, env, state)),
            Test::Any(parts) => parts.iter().any(|part| self.test(part, env, state)),
        }
    }

    /// The first source that has a value.
    pub(super) fn first(
        &self,
        sources: &'m [Source],
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> Option<Got<'m>> {
        sources.iter().find_map(|source| {
            let mut all = self.each(source, env, state).into_iter();
            all.find(Got::is_told)
        })
    }

    /// All values of the first source that has any.
    pub(super) fn all(
        &self,
        sources: &'m [Source],
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> Gots<'m> {
        let mut found = sources.iter().map(|source| self.each(source, env, state));
        found.find(|all| !all.is_empty()).unwrap_or_default()
    }

    /// All values of one source; `""` is among them, nothing is not.
    pub(super) fn each(
        &self,
        source: &'m Source,
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> Gots<'m> {
        let one = match source {
            Source::Address(path) => return self.addressed(path, env),
            Source::Part {
                component,
                subcomponent,
                rest,
            } => env.part.and_then(|(value, (segment, field, _))| {
                let part = match rest {
                    true => value.rest(*component),
                    false => value
                        .part(*component)
                        .and_then(|part| part.part(*subcomponent)),
                };
                let at = (segment, field, *component);
                part.filter(|part| is_sent(*part))
                    .map(|part| Got::Value(part, at))
            }),
            Source::Template(pieces) => match pieces.as_slice() {
                [Piece::Text(text)] => Some(Got::Text(text.into())),
                pieces => self.template(pieces, env, state),
            },
            Source::Argument(index) => {
                return env.arguments.get(*index).cloned().unwrap_or_default();
            }
            Source::Element { of, element } => {
                let mut found = Gots::new();
                let mut add = |index: usize| {
                    let value = self.made.drafts[index].body.get(element);
                    let text = value.and_then(|value| value.as_str());
                    found.extend(text.map(|text| Got::Text(text.to_owned().into())));
                };
                for got in self.each(of, env, state) {
                    match got {
                        Got::Draft(index) => add(index),
                        Got::Drafts(list) => list.iter().copied().for_each(&mut add),
                        _ => {}
                    }
                }
                return found;
            }
            Source::Handle(Store::One(one)) => {
                state.and_then(|state| state.ones[*one]).map(Got::Draft)
            }
            Source::Handle(Store::List(list)) => {
                let list = state.map(|state| state.lists[*list].as_slice());
                list.filter(|list| !list.is_empty())
                    .map(|list| Got::Drafts(list.into()))
            }
            // Between several nobody chooses.
            Source::Only(list) => match state.map(|state| state.lists[*list].as_slice()) {
                Some([one]) => Some(Got::Draft(*one)),
                _ => None,
            },
            Source::Event(index) => {
                let value = self.event.values[*index].as_deref();
                value.map(|value| Got::Text(value.into()))
            }
            Source::Sender(name) => {
                let value = self.sender.get(name);
                value.map(|value| Got::Text(value.into()))
            }
            Source::Message(name) => {
                let message = self.scope.message;
                let text = match name {
                    MessageName::Type => message.trigger().message_type,
                    MessageName::Event => message.trigger().event,
                    MessageName::Facility => self.facility,
                    MessageName::Key => self.message_key,
                };
                Some(Got::Text(text.into()))
            }
        };
        let mut found = Gots::new();
        if let Some(one) = one {
            found.push(one);
        }
        found
    }

    fn addressed(&self, path: &FieldPath, env: &Env<'_, 'm>) -> Gots<'m> {
        let segments = match env.slots.of(path.slot) {
            [first, ..] if !path.every => std::slice::from_ref(first),
            segments => segments,
        };
        let mut found = Gots::new();
        for segment in segments {
            self.address(path, *segment, &mut found);
        }
        found
    }

    fn address(&self, path: &FieldPath, segment: usize, found: &mut Gots<'m>) {
        let Some(own) = self.scope.message.segment(segment) else {
            return;
        };
        let at = (segment, path.field, path.component);
        if path.field == 0 {
            return found.push(Got::Value(Value::Segment(own), at));
        }
        let field = own.field(path.field);
        if field.is_empty() {
            return;
        }
        let mut add = |value: Value<'m>| {
            let value = value
                .part(path.component)
                .and_then(|part| part.part(path.subcomponent));
            if let Some(value) = value.filter(|value| is_sent(*value)) {
                found.push(Got::Value(value, at));
            }
        };
        match path.each {
            true => field
                .repetitions()
                .skip(path.repetition - 1)
                .for_each(|repetition| add(Value::Repetition(repetition))),
            false => add(Value::Repetition(field.repetition(path.repetition))),
        }
    }

    fn template(
        &self,
        pieces: &'m [Piece],
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> Option<Got<'m>> {
        let (mut text, mut lines) = (String::new(), Lines::new());
        for piece in pieces {
            let (sources, optional) = match piece {
                Piece::Text(own) => {
                    text.push_str(own);
                    continue;
                }
                Piece::Part { sources, optional } => (sources, *optional),
            };
            let part = match sources.as_slice() {
                [source @ Source::Address(FieldPath { each: true, .. })] => {
                    joined(self.each(source, env, state), &mut lines).map(Cow::Owned)
                }
                _ => self.first(sources, env, state).and_then(|got| {
                    if let Got::Value(_, at) = &got {
                        lines.push(at.0);
                    }
                    got.into_text()
                }),
            };
            match part {
                Some(part) => text.push_str(&part),
                None if optional => {}
                None => return None,
            }
        }
        Some(Got::Filled(text, lines))
    }
}

/// Whether a receiver has anything to do: a value, or `""`.
fn is_sent(value: Value<'_>) -> bool {
    value.is_valued() || value.is_null()
}

/// The whole of every value, each a line.
fn joined(all: Gots<'_>, lines: &mut Lines) -> Option<String> {
    let mut texts = Vec::new();
    for got in all {
        if let Got::Value(value, at) = got {
            lines.push(at.0);
            let text = value.whole();
            texts.extend(text.map(|text| text.replace("\r\n", "\n").replace('\r', "\n")));
        }
    }
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// `?` is any character, `*` any number of them.
fn like(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text.chars(), pattern.chars());
    // Where to go on when the rest does not fit: one character further behind the last star.
    let mut retry = None;
    loop {
        let rest = text.clone();
        match (text.next(), pattern.next()) {
            (None, None) => return true,
            (_, Some('*')) => {
                text = rest;
                retry = Some((text.clone(), pattern.clone()));
                continue;
            }
            (Some(_), Some('?')) => continue,
            (Some(a), Some(b)) if a == b => continue,
            (None, Some(_)) => return false,
            _ => {}
        }
        let Some((star_text, star_pattern)) = &mut retry else {
            return false;
        };
        star_text.next();
        text = star_text.clone();
        pattern = star_pattern.clone();
    }
}
