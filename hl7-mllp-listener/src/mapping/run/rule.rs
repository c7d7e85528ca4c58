//! Runs single rules: converts the values they find and writes them.

use super::source::{At, Got, Gots};
use super::{Env, KeyPart, Labels, Runner, Sink, Slots, draft_reference};
use crate::mapping::datatypes::{Argument, Builtin, Given, Run, object};
use crate::mapping::program::*;
use crate::mapping::target::{exists, put};
use crate::mapping::value::Value;
use serde_json::{Map as Object, Value as Json};
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;

/// What one value becomes, with its types: one, but for lists and for what one v2 value says twice.
type Written = SmallVec<[(&'static str, Json); 1]>;

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
        // Most rules find nothing, mostly because their fields were not sent: whether they may write need not be asked.
        let is_unsent = op.sources.iter().all(|source| self.is_unsent(source, env));
        if is_unsent || !self.is_wanted(op, env, body) {
            return;
        }
        for source in &op.sources {
            // The rule's own `""` deletes like one that was sent.
            if source.is_empty_text() {
                if let Some(deletes) = &mut sink.deletes {
                    deletes.push(delete_path(&op.target));
                }
                return;
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
                        sink.note(&[at.0]);
                    }
                    continue;
                }
                let lines = got.lines();
                for (type_name, json) in self.convert(op, got, env) {
                    put(body, &op.target, labels, type_name, json);
                    written = true;
                    sink.note(&lines);
                    if !op.appends {
                        return;
                    }
                }
            }
            if written {
                return;
            }
        }
    }

    /// Whether a rule may write what it finds.
    fn is_wanted(&self, op: &'m Op, env: &Env<'_, 'm>, body: &Object<String, Json>) -> bool {
        let is_free = !op.fallback || !exists(body, &op.target);
        is_free
            && op
                .when
                .as_ref()
                .is_none_or(|when| self.test(when, env, None))
    }

    /// The FHIR values of one v2 value, identifiers with the organization that assigned them.
    fn convert(&mut self, op: &'m Op, got: Got<'m>, env: &Env<'_, 'm>) -> Written {
        let authority = match (&op.convert, &got) {
            (Convert::Builtin(builtin), Got::Value(value, at)) => authority(builtin, *value, *at),
            _ => None,
        };
        let mut made = self.written(op, got, env);
        if !made.is_empty()
            && let Some((authority, at)) = authority
            && let Some(assigner) = self.assigner(authority, at)
        {
            for (_, identifier) in &mut made {
                identifier["assigner"] = object([("reference", assigner.clone())]);
            }
        }
        made
    }

    fn written(&mut self, op: &'m Op, got: Got<'m>, env: &Env<'_, 'm>) -> Written {
        let reference = |index: usize| {
            let reference = draft_reference(index).into();
            ("Reference", object([("reference", reference)]))
        };
        let text = |text: Cow<'m, str>| -> Written { smallvec![("string", text.into())] };
        let (value, at) = match (got, &op.convert) {
            (Got::Draft(index), _) => return smallvec![reference(index)],
            (Got::Drafts(list), _) => return list.iter().copied().map(reference).collect(),
            (Got::Text(own), Convert::Plain) => return text(own),
            (Got::Filled(own, _), Convert::Plain) => return text(own.into()),
            (Got::Value(value, _), Convert::Plain) => {
                return value.text().map(text).unwrap_or_default();
            }
            // A text of the rule itself goes through a converter as if it had been sent.
            (Got::Text(text), Convert::Builtin(builtin)) => {
                return items(self.builtin(builtin, op, Value::Text(&text), env));
            }
            (Got::Filled(text, _), Convert::Builtin(builtin)) => {
                return items(self.builtin(builtin, op, Value::Text(&text), env));
            }
            (Got::Text(_) | Got::Filled(..), _) => return Written::new(),
            (Got::Value(value, at), _) => (value, at),
        };
        self.scope.at = at;
        match &op.convert {
            Convert::Element(element) => {
                let arguments = op.arguments.iter();
                let arguments: Vec<_> = arguments
                    .map(|sources| self.all(sources, env, None))
                    .collect();
                let made = self.element(*element, value, at, &arguments);
                made.map(|json| ("", json)).into_iter().collect()
            }
            Convert::Builtin(builtin) => items(self.builtin(builtin, op, value, env)),
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
                        smallvec![(kind, made)]
                    }
                    None => named.into_iter().collect(),
                }
            }
            Convert::Plain => Written::new(),
        }
    }

    /// The organization of an authority, in the place of a reference to it: who writes puts it inside.
    fn assigner(&mut self, authority: Value<'m>, at: At) -> Option<Json> {
        let draft = self.value_draft(self.program.assigner?, authority, at);
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
        let arguments = op.arguments.iter();
        let arguments: SmallVec<[Option<Argument<'m>>; 2]> = arguments
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
        at: At,
        arguments: &[Gots<'m>],
    ) -> Option<Json> {
        let program = self.program;
        let element = &program.elements[index];
        let slots = Slots::repeat(at.0, element.frame.segments.len());
        let env = Env {
            slots: &slots,
            arguments,
            part: Some((value, at)),
        };
        let mut body = Object::new();
        let mut labels = Labels::from_elem(None, element.frame.labels);
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

    /// Systems and values, the best first.
    pub(super) fn identifiers(&mut self, map: &'m Map, env: &Env<'_, 'm>) -> Vec<(String, String)> {
        let mut found: Vec<(usize, String, String)> = Vec::new();
        for op in &map.identifiers {
            for source in &op.sources {
                for got in self.each(source, env, None) {
                    for (_, mut json) in self.written(op, got, env) {
                        let kind = json["type"]["coding"][0]["code"].as_str();
                        let rank = kind.and_then(|kind| map.prefer.iter().position(|p| p == kind));
                        let mut take = |name| json.get_mut(name).map(Json::take);
                        // An identifier without a system could be anyone's.
                        if let (Some(Json::String(system)), Some(Json::String(value))) =
                            (take("system"), take("value"))
                            && !found.iter().any(|(_, s, v)| *s == system && *v == value)
                        {
                            found.push((rank.unwrap_or(map.prefer.len()), system, value));
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

    /// The ways to tell a resource from others, up to the first that hangs on no other draft: it is always known, and none after it is asked.
    pub(super) fn keys(&self, map: &'m Map, env: &Env<'_, 'm>) -> Vec<Vec<KeyPart>> {
        let mut keys = Vec::new();
        for key in &map.keys {
            if let Some(key) = self.key(key, env) {
                let is_text = key.iter().all(|part| matches!(part, KeyPart::Text(_)));
                keys.push(key);
                if is_text {
                    break;
                }
            }
        }
        keys
    }

    fn key(&self, key: &'m [Source], env: &Env<'_, 'm>) -> Option<Vec<KeyPart>> {
        let [Source::Template(pieces)] = key else {
            return None;
        };
        let (mut parts, mut text) = (Vec::new(), String::with_capacity(KEY_BYTES));
        for piece in pieces {
            match piece {
                Piece::Text(own) => text.push_str(own),
                Piece::Part { sources, optional } => match self.first(sources, env, None) {
                    Some(Got::Draft(index)) => {
                        parts.push(KeyPart::Text(std::mem::take(&mut text)));
                        parts.push(KeyPart::Draft(index));
                    }
                    Some(Got::Value(value, _)) => text.push_str(value.raw()),
                    Some(Got::Text(own)) => text.push_str(&own),
                    Some(Got::Filled(own, _)) => text.push_str(&own),
                    _ if *optional => {}
                    _ => return None,
                },
            }
        }
        parts.push(KeyPart::Text(text));
        Some(parts)
    }
}

/// Room for the text of a usual key.
const KEY_BYTES: usize = 64;

/// The authority of an identifier, of whom the organization is made that assigned it. In a component the authority of a CNN is spread over
/// several parts: it is in the system only.
fn authority<'m>(builtin: &Builtin, value: Value<'m>, at: At) -> Option<(Value<'m>, At)> {
    if builtin.authority == 0 || !matches!(value, Value::Repetition(_)) {
        return None;
    }
    let authority = value.part(builtin.authority)?;
    authority.is_valued().then_some((authority, at))
}

/// What a converter wrote: a list of values when one v2 value holds several.
fn items(written: Option<(&'static str, Json)>) -> Written {
    match written {
        Some((type_name, Json::Array(items))) => {
            items.into_iter().map(|item| (type_name, item)).collect()
        }
        written => written.into_iter().collect(),
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
