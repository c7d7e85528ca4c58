//! Finds the values that rules name: fields, texts, handles, names.

use super::{Env, Runner, State};
use crate::mapping::program::*;
use crate::mapping::value::Value;
use crate::message::{Field, Repetition};
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
                let is_one = |got: Got<'m>| {
                    let text = got.into_text();
                    text.is_some_and(|text| texts.iter().any(|own| *own == text))
                };
                match value.as_slice() {
                    // Of one source `""` is no text either.
                    [source] if source.is_single() => {
                        self.single(source, env, state).is_some_and(is_one)
                    }
                    value => self.all(value, env, state).into_iter().any(is_one),
                }
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
        sources.iter().find_map(|source| match source.is_single() {
            true => self.single(source, env, state).filter(Got::is_told),
            false => {
                let mut all = self.each(source, env, state).into_iter();
                all.find(Got::is_told)
            }
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

    /// Whether it is plain to see that a source has no value.
    pub(super) fn is_unsent(&self, source: &Source, env: &Env<'_, 'm>) -> bool {
        match source {
            Source::Address(path) => {
                let segments = match env.slots.of(path.slot) {
                    [first, ..] if !path.every => std::slice::from_ref(first),
                    segments => segments,
                };
                let message = self.scope.message;
                let has_field = |segment: &usize| {
                    let segment = message.segment(*segment);
                    segment.is_some_and(|own| path.field == 0 || own.has_field(path.field))
                };
                !segments.iter().any(has_field)
            }
            Source::Part {
                component,
                rest: false,
                ..
            } => {
                let part = env.part.and_then(|(value, _)| value.part(*component));
                part.is_none_or(|part| part.raw().is_empty())
            }
            Source::Argument(index) => env.arguments.get(*index).is_none_or(|all| all.is_empty()),
            _ => false,
        }
    }

    /// All values of one source; `""` is among them, nothing is not.
    pub(super) fn each(
        &self,
        source: &'m Source,
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> Gots<'m> {
        let mut found = Gots::new();
        match source {
            Source::Address(path) if !source.is_single() => {
                let segments = env.slots.of(path.slot).iter();
                let taken = if path.every { usize::MAX } else { 1 };
                for segment in segments.take(taken) {
                    match self.field(path, *segment) {
                        Some(field) if path.each => {
                            let repetitions = field.repetitions().skip(path.repetition - 1);
                            found.extend(repetitions.filter_map(|own| sent(path, *segment, own)));
                        }
                        _ => found.extend(self.in_segment(path, *segment)),
                    }
                }
            }
            Source::Argument(index) => {
                let given = env.arguments.get(*index);
                found.extend(given.into_iter().flatten().cloned());
            }
            Source::Element { of, element } => {
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
            }
            source => {
                if let Some(one) = self.single(source, env, state) {
                    found.push(one);
                }
            }
        }
        found
    }

    /// The value of a source that has one at most.
    fn single(
        &self,
        source: &'m Source,
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> Option<Got<'m>> {
        match source {
            Source::Address(path) => self.in_segment(path, *env.slots.of(path.slot).first()?),
            Source::Part {
                component,
                subcomponent,
                rest,
            } => {
                let (value, (segment, field, _)) = env.part?;
                let part = match rest {
                    true => value.rest(*component),
                    false => value
                        .part(*component)
                        .and_then(|part| part.part(*subcomponent)),
                };
                let part = part.filter(|part| is_sent(*part))?;
                Some(Got::Value(part, (segment, field, *component)))
            }
            Source::Template(pieces) => match pieces.as_slice() {
                [Piece::Text(text)] => Some(Got::Text(text.into())),
                pieces => self.template(pieces, env, state),
            },
            Source::Handle(Store::One(one)) => state?.ones[*one].map(Got::Draft),
            Source::Handle(Store::List(list)) => match state?.lists[*list].as_slice() {
                [] => None,
                list => Some(Got::Drafts(list.into())),
            },
            // Between several nobody chooses.
            Source::Only(list) => match state?.lists[*list].as_slice() {
                [one] => Some(Got::Draft(*one)),
                _ => None,
            },
            Source::Event(index) => {
                let value = self.event.values[*index].as_deref();
                value.map(|value| Got::Text(value.into()))
            }
            Source::Sender(index) => self.sender[*index].map(|value| Got::Text(value.into())),
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
            Source::Argument(_) | Source::Element { .. } => None,
        }
    }

    /// What stands in one segment, in one repetition.
    fn in_segment(&self, path: &FieldPath, segment: usize) -> Option<Got<'m>> {
        if path.field == 0 {
            let own = Value::Segment(self.scope.message.segment(segment)?);
            return Some(Got::Value(own, (segment, 0, path.component)));
        }
        let field = self.field(path, segment)?;
        sent(path, segment, field.repetition(path.repetition))
    }

    /// A field that was sent.
    fn field(&self, path: &FieldPath, segment: usize) -> Option<Field<'m>> {
        let field = self.scope.message.segment(segment)?.field(path.field);
        (!field.is_empty()).then_some(field)
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

/// What of a repetition a path leads to.
fn sent<'m>(path: &FieldPath, segment: usize, repetition: Repetition<'m>) -> Option<Got<'m>> {
    let value = Value::Repetition(repetition).part(path.component)?;
    let value = value.part(path.subcomponent)?;
    is_sent(value).then_some(Got::Value(value, (segment, path.field, path.component)))
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
