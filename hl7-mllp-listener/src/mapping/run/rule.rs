//! Runs single rules: finds values, converts them, writes them.

use super::{Env, Got, KeyPart, Runner, Sink, State, draft_reference};
use crate::mapping::datatypes::{Argument, Builtin, Given, Run};
use crate::mapping::program::*;
use crate::mapping::target::{exists, put};
use crate::mapping::value::Value;
use serde_json::{Map as Object, Value as Json, json};
use std::borrow::Cow;

impl<'m> Runner<'m> {
    /// Runs one rule into an object.
    pub(super) fn apply(
        &mut self,
        op: &'m Op,
        env: &Env<'_, 'm>,
        body: &mut Object<String, Json>,
        labels: &mut [Option<usize>],
        sink: &mut Sink<'_>,
    ) {
        if op.fallback && exists(body, &op.target) {
            return;
        }
        if let Some(when) = &op.when
            && !self.test(when, env, None)
        {
            return;
        }
        let appends = op.target.iter().any(|step| step.index == Index::Each);
        for source in &op.sources {
            // The rule's own `""` deletes like one that was sent.
            if source.is_empty_text() {
                if let Some(deletes) = &mut sink.deletes {
                    deletes.push(delete_path(&op.target));
                }
                break;
            }
            let mut written = false;
            for got in self.each(source, env, None) {
                if let Got::Value(value, at) = &got
                    && value.is_null()
                {
                    if self.null_deletes
                        && let Some(deletes) = &mut sink.deletes
                    {
                        deletes.push(delete_path(&op.target));
                        sink.lines.push(at.0);
                    }
                    continue;
                }
                let lines = match &got {
                    Got::Value(_, at) => vec![at.0],
                    Got::Filled(_, lines) => lines.clone(),
                    _ => Vec::new(),
                };
                for (type_name, json) in self.convert(op, got, env) {
                    put(body, &op.target, labels, type_name, json);
                    written = true;
                    sink.lines.extend(&lines);
                    if !appends {
                        break;
                    }
                }
                if written && !appends {
                    break;
                }
            }
            if written {
                break;
            }
        }
    }

    /// The FHIR values of one v2 value. More than one only for a list of handles.
    fn convert(
        &mut self,
        op: &'m Op,
        got: Got<'m>,
        env: &Env<'_, 'm>,
    ) -> Vec<(&'static str, Json)> {
        let reference = |index: usize| ("Reference", json!({"reference": draft_reference(index)}));
        let (value, at) = match (got, &op.convert) {
            (Got::Draft(index), _) => return vec![reference(index)],
            (Got::Drafts(list), _) => return list.into_iter().map(reference).collect(),
            (Got::Text(text), Convert::Plain) => return vec![("string", text.into_owned().into())],
            (Got::Filled(text, _), Convert::Plain) => return vec![("string", text.into())],
            (Got::Value(value, _), Convert::Plain) => {
                let text = value.text();
                return text
                    .map(|text| ("string", text.into_owned().into()))
                    .into_iter()
                    .collect();
            }
            (Got::Text(text), Convert::Builtin(builtin)) => {
                // A text of the rule itself goes through a converter as if it had been sent.
                return items(self.builtin(builtin, op, Value::Text(&text), env));
            }
            (Got::Filled(text, _), Convert::Builtin(builtin)) => {
                return items(self.builtin(builtin, op, Value::Text(&text), env));
            }
            (Got::Text(_) | Got::Filled(..), _) => return Vec::new(),
            (Got::Value(value, at), _) => (value, at),
        };
        self.scope.at = at;
        match &op.convert {
            Convert::Element(element) => {
                let arguments: Vec<_> = op
                    .arguments
                    .iter()
                    .map(|sources| self.all(sources, env, None))
                    .collect();
                let made = self.element(*element, value, at, &arguments);
                made.map(|json| ("", json)).into_iter().collect()
            }
            Convert::Builtin(builtin) => {
                let mut made = items(self.builtin(builtin, op, value, env));
                if !made.is_empty()
                    && let Some(assigner) = self.assigner(builtin, value, at)
                {
                    for (_, identifier) in &mut made {
                        identifier["assigner"] = json!({"reference": assigner.clone()});
                    }
                }
                made
            }
            Convert::Resource(map, named) => {
                let named = named.and_then(|named| self.builtin(named, op, value, env));
                match self.draft_of(*map, value, at) {
                    Some(index) => {
                        let (kind, mut made) = reference(index);
                        if let Some((_, named)) = named
                            && let Some(display) = named.get("display")
                        {
                            made["display"] = display.clone();
                        }
                        vec![(kind, made)]
                    }
                    None => named.into_iter().collect(),
                }
            }
            Convert::Plain => Vec::new(),
        }
    }

    /// The organization that assigned an identifier, in the place of a reference to it: who writes puts it inside. In a component the authority
    /// of a CNN is spread over several parts: it is in the system only.
    fn assigner(
        &mut self,
        builtin: &Builtin,
        value: Value<'m>,
        at: (usize, usize, usize),
    ) -> Option<Json> {
        if builtin.authority == 0 || !matches!(value, Value::Repetition(_)) {
            return None;
        }
        let authority = value.part(builtin.authority)?;
        let map = self.program.assigner.filter(|_| authority.is_valued())?;
        let draft = self.value_draft(map, authority, at);
        if let Some(trace) = self.trace {
            trace.end(None);
        }
        (!draft.lines.is_empty()).then_some(Json::Object(draft.body))
    }

    fn builtin(
        &mut self,
        builtin: &'static Builtin,
        op: &'m Op,
        value: Value<'_>,
        env: &Env<'_, 'm>,
    ) -> Option<(&'static str, Json)> {
        let arguments: Vec<Option<Argument<'m>>> = op
            .arguments
            .iter()
            .map(|sources| match self.first(sources, env, None)? {
                Got::Value(value, _) => Some(Argument::Value(value)),
                Got::Text(text) => Some(Argument::Text(text)),
                Got::Filled(text, _) => Some(Argument::Text(text.into())),
                Got::Draft(_) | Got::Drafts(_) => None,
            })
            .collect();
        let given = Given {
            arguments: &arguments,
            vocabulary: op.vocabulary.map(|index| {
                let own = self.vocabularies.get(&index).copied();
                &self.program.vocabularies[own.unwrap_or(index)]
            }),
        };
        match builtin.run {
            Run::One(run) => Some((builtin.types[0], run(&mut self.scope, value, &given)?)),
            Run::Choice(run) => run(&mut self.scope, value, &given),
        }
    }

    fn element(
        &mut self,
        index: usize,
        value: Value<'m>,
        at: (usize, usize, usize),
        arguments: &[Vec<Got<'m>>],
    ) -> Option<Json> {
        let program = self.program;
        let element = &program.elements[index];
        let slots = vec![vec![at.0]; element.frame.segments.len()];
        let env = Env {
            slots: &slots,
            arguments,
            part: Some((value, at)),
        };
        let mut body = Object::new();
        let mut labels = vec![None; element.frame.labels];
        let mut lines = Vec::new();
        let mut sink = Sink {
            lines: &mut lines,
            deletes: None,
        };
        for op in &element.ops {
            self.apply(op, &env, &mut body, &mut labels, &mut sink);
        }
        // What holds only the map's own texts tells nothing: the value was empty.
        (!lines.is_empty()).then_some(Json::Object(body))
    }

    pub(super) fn identifiers(&mut self, map: &'m Map, env: &Env<'_, 'm>) -> Vec<(String, String)> {
        let mut found: Vec<(usize, String, String)> = Vec::new();
        for op in &map.identifiers {
            for source in &op.sources {
                for got in self.each(source, env, None) {
                    for (_, json) in self.convert(op, got, env) {
                        let kind = json["type"]["coding"][0]["code"].as_str();
                        let rank = kind.and_then(|kind| map.prefer.iter().position(|p| p == kind));
                        // An identifier without a system could be anyone's.
                        if let (Some(system), Some(value)) =
                            (json["system"].as_str(), json["value"].as_str())
                            && !found.iter().any(|(_, s, v)| s == system && v == value)
                        {
                            let rank = rank.unwrap_or(map.prefer.len());
                            found.push((rank, system.to_owned(), value.to_owned()));
                        }
                    }
                }
            }
        }
        found.sort_by_key(|(rank, ..)| *rank);
        found
            .into_iter()
            .map(|(_, system, value)| (system, value))
            .collect()
    }

    pub(super) fn key(&self, key: &'m [Source], env: &Env<'_, 'm>) -> Option<Vec<KeyPart>> {
        let [Source::Template(pieces)] = key else {
            return None;
        };
        let mut parts = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => parts.push(KeyPart::Text(text.clone())),
                Piece::Part { sources, optional } => match self.first(sources, env, None) {
                    Some(Got::Draft(index)) => parts.push(KeyPart::Draft(index)),
                    Some(Got::Value(value, _)) if value.is_valued() => {
                        parts.push(KeyPart::Text(value.raw().to_owned()));
                    }
                    Some(Got::Text(text)) => parts.push(KeyPart::Text(text.into_owned())),
                    Some(Got::Filled(text, _)) => parts.push(KeyPart::Text(text)),
                    _ if *optional => {}
                    _ => return None,
                },
            }
        }
        Some(parts)
    }

    pub(super) fn test(
        &self,
        test: &'m Test,
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> bool {
        let text = |value: &'m Vec<Source>| self.first(value, env, state).and_then(Got::into_text);
        match test {
            Test::Valued(value) => self.first(value, env, state).is_some(),
            Test::In(value, texts) => {
                let all = self.all(value, env, state).into_iter();
                all.filter_map(Got::into_text)
                    .any(|text| texts.iter().any(|own| *own == text))
            }
            Test::Like(value, pattern) => text(value).is_some_and(|text| like(&text, pattern)),
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
            all.find(|got| !matches!(got, Got::Value(value, _) if !value.is_valued()))
        })
    }

    pub(super) fn all(
        &self,
        sources: &'m [Source],
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> Vec<Got<'m>> {
        let found = sources.iter().map(|source| self.each(source, env, state));
        found
            .into_iter()
            .find(|all| !all.is_empty())
            .unwrap_or_default()
    }

    /// All values of one source; `""` is among them, nothing is not.
    pub(super) fn each(
        &self,
        source: &'m Source,
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> Vec<Got<'m>> {
        match source {
            Source::Address { slot, every, .. } => {
                let mut found = Vec::new();
                let segments = &env.slots[*slot];
                let count = if *every { segments.len() } else { 1 };
                for segment in segments.iter().take(count) {
                    self.address(source, *segment, &mut found);
                }
                found
            }
            Source::Part {
                component,
                subcomponent,
                rest,
            } => {
                let Some((value, (segment, field, _))) = env.part else {
                    return Vec::new();
                };
                let part = match rest {
                    true => value.rest(*component),
                    false => value
                        .part(*component)
                        .and_then(|part| part.part(*subcomponent)),
                };
                let at = (segment, field, *component);
                let part = part.filter(|part| part.is_valued() || part.is_null());
                part.map(|part| Got::Value(part, at)).into_iter().collect()
            }
            Source::Template(pieces) => {
                let mut lines = Vec::new();
                let text = self.template(pieces, env, state, &mut lines);
                text.map(|text| Got::Filled(text, lines))
                    .into_iter()
                    .collect()
            }
            Source::Argument(index) => env.arguments.get(*index).cloned().unwrap_or_default(),
            Source::Element { of, element } => {
                let drafts = self.each(of, env, state).into_iter();
                let drafts = drafts.flat_map(|got| match got {
                    Got::Draft(index) => vec![index],
                    Got::Drafts(list) => list,
                    _ => Vec::new(),
                });
                drafts
                    .filter_map(|index| self.made.drafts[index].body.get(element)?.as_str())
                    .map(|text| Got::Text(text.to_owned().into()))
                    .collect()
            }
            Source::Handle(store) => match (state, store) {
                (Some(state), Store::One(one)) => {
                    state.ones[*one].map(Got::Draft).into_iter().collect()
                }
                (Some(state), Store::List(list)) if !state.lists[*list].is_empty() => {
                    vec![Got::Drafts(state.lists[*list].clone())]
                }
                _ => Vec::new(),
            },
            // Between several nobody chooses.
            Source::Only(list) => match state.map(|state| state.lists[*list].as_slice()) {
                Some([one]) => vec![Got::Draft(*one)],
                _ => Vec::new(),
            },
            Source::Event(index) => {
                let value = self.event.values[*index].as_deref();
                value
                    .map(|value| Got::Text(value.into()))
                    .into_iter()
                    .collect()
            }
            Source::Sender(name) => {
                let value = self.sender.get(name);
                value
                    .map(|value| Got::Text(value.as_str().into()))
                    .into_iter()
                    .collect()
            }
            Source::Message(name) => {
                let message = self.scope.message;
                let text: Cow<'m, str> = match name {
                    MessageName::Type => message.trigger().message_type.into(),
                    MessageName::Event => message.trigger().event.into(),
                    MessageName::Facility => self.scope.facility.clone().into(),
                    MessageName::Key => self.message_key.clone().into(),
                };
                vec![Got::Text(text)]
            }
        }
    }

    fn address(&self, source: &Source, segment: usize, found: &mut Vec<Got<'m>>) {
        let Source::Address {
            field,
            each,
            repetition,
            component,
            subcomponent,
            ..
        } = source
        else {
            return;
        };
        let Some(own) = self.scope.message.segment(segment) else {
            return;
        };
        let at = (segment, *field, *component);
        if *field == 0 {
            return found.push(Got::Value(Value::Segment(own), at));
        }
        let field = own.field(*field);
        let mut add = |value: Value<'m>| {
            let value = value
                .part(*component)
                .and_then(|part| part.part(*subcomponent));
            if let Some(value) = value.filter(|value| value.is_valued() || value.is_null()) {
                found.push(Got::Value(value, at));
            }
        };
        match each {
            true => field
                .repetitions()
                .skip(repetition - 1)
                .for_each(|repetition| add(Value::Repetition(repetition))),
            false => add(Value::Repetition(field.repetition(*repetition))),
        }
    }

    /// `lines` takes the segments whose values are in the text.
    fn template(
        &self,
        pieces: &'m [Piece],
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
        lines: &mut Vec<usize>,
    ) -> Option<String> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(own) => text.push_str(own),
                Piece::Part { sources, optional } => {
                    let part = match sources.as_slice() {
                        [source @ Source::Address { each: true, .. }] => {
                            joined(self.each(source, env, state), lines)
                        }
                        _ => self.first(sources, env, state).and_then(|got| {
                            lines.extend(got.line());
                            got.into_text().map(Cow::into_owned)
                        }),
                    };
                    match part {
                        Some(part) => text.push_str(&part),
                        None if *optional => {}
                        None => return None,
                    }
                }
            }
        }
        Some(text)
    }
}

/// What a converter wrote: a list of values when one v2 value holds several.
fn items(written: Option<(&'static str, Json)>) -> Vec<(&'static str, Json)> {
    match written {
        Some((type_name, Json::Array(items))) => {
            items.into_iter().map(|item| (type_name, item)).collect()
        }
        written => written.into_iter().collect(),
    }
}

/// The whole of every value, each a line.
fn joined(all: Vec<Got<'_>>, lines: &mut Vec<usize>) -> Option<String> {
    let mut texts = Vec::new();
    for got in all {
        lines.extend(got.line());
        if let Got::Value(value, _) = got {
            let text = value.whole();
            texts.extend(text.map(|text| text.replace("\r\n", "\n").replace('\r', "\n")));
        }
    }
    (!texts.is_empty()).then(|| texts.join("\n"))
}

impl<'m> Got<'m> {
    fn line(&self) -> Option<usize> {
        match self {
            Got::Value(_, at) => Some(at.0),
            _ => None,
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
}

/// The element a `""` deletes: down to the first list.
fn delete_path(target: &[Target]) -> String {
    let mut path = String::new();
    for step in target {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&step.name);
        if step.index != Index::One {
            break;
        }
    }
    path
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
