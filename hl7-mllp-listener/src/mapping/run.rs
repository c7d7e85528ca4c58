//! Runs a compiled message map over one message: out come drafts of resources, in the order of the map.
//!
//! A draft does not know its id yet: it knows its business identifiers, or a key, and refers to other drafts by number
//! (`urn:draft:3`). Which resource it is, and what of it may change, is decided against the state of the server ([`crate::state`]).

use super::datatypes::{Argument, Given, Run, Scope};
use super::program::*;
use super::target::{exists, put};
use super::value::Value;
use crate::ack::{AnswerError, ErrorCode, Location};
use crate::structure::{Member, Tree};
use serde_json::{Map as Object, Value as Json, json};
use std::borrow::Cow;

/// Most drafts of one message.
const DRAFTS_MAX: usize = 20_000;

/// A resource as the message tells it.
#[derive(Debug)]
pub struct Draft {
    /// Index in [`Program::maps`].
    pub map: usize,
    /// Without id and meta.
    pub body: Object<String, Json>,
    /// Elements that only a new resource gets.
    pub new: Object<String, Json>,
    /// Paths of elements the sender deletes with `""`.
    pub deletes: Vec<String>,
    /// System and value, best first.
    pub identifiers: Vec<(String, String)>,
    /// Ways to tell it from others without identifiers, best first.
    pub keys: Vec<Vec<KeyPart>>,
    /// The segments that gave it values, from 0.
    pub lines: Vec<usize>,
}

/// A piece of what identifies a thing without identifiers of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyPart {
    Text(String),
    /// The id that another draft gets.
    Draft(usize),
}

/// The reference text that stands for a draft until ids are known.
pub fn draft_reference(index: usize) -> String {
    format!("urn:draft:{index}")
}

/// The number in a [`draft_reference`].
pub fn draft_index(reference: &str) -> Option<usize> {
    reference.strip_prefix("urn:draft:")?.parse().ok()
}

pub(super) struct Runner<'m> {
    pub program: &'m Program,
    pub map: &'m MessageMap,
    pub event: &'m Event,
    pub scope: Scope<'m>,
    pub null_deletes: bool,
    /// What makes the message unique: `$message.key`.
    pub message_key: String,
}

/// What a source gives.
#[derive(Clone)]
enum Got<'m> {
    /// The value, and the segment, field and component it stands in.
    Value(Value<'m>, (usize, usize, usize)),
    Text(Cow<'m, str>),
    Draft(usize),
    Drafts(Vec<usize>),
}

/// What a map may look at.
struct Env<'e, 'm> {
    /// For each segment of the frame, where it occurs.
    slots: &'e [Vec<usize>],
    arguments: &'e [Vec<Got<'m>>],
    /// The value an element map was called with.
    part: Option<(Value<'m>, (usize, usize, usize))>,
    index: usize,
}

/// Where the run stands in the message.
struct State<'m> {
    tree: &'m Tree,
    ones: Vec<Option<usize>>,
    lists: Vec<Vec<usize>>,
    loops: Vec<usize>,
    drafts: Vec<Draft>,
}

impl<'m> Runner<'m> {
    /// # Errors
    /// The segments that the map requires and the message lacks.
    pub fn run(
        mut self,
        tree: &'m Tree,
    ) -> Result<(Vec<Draft>, Vec<AnswerError>), Vec<AnswerError>> {
        let mut state = State {
            tree,
            ones: vec![None; self.map.ones],
            lists: vec![Vec::new(); self.map.lists],
            loops: Vec::new(),
            drafts: Vec::new(),
        };
        self.block(&self.map.block, 0, &mut state)?;
        Ok((state.drafts, self.scope.notices))
    }

    fn block(
        &mut self,
        block: &'m Block,
        group: usize,
        state: &mut State<'m>,
    ) -> Result<(), Vec<AnswerError>> {
        for store in &block.resets {
            match store {
                Store::One(one) => state.ones[*one] = None,
                Store::List(list) => state.lists[*list].clear(),
            }
        }
        for Required { segment, with } in &block.require {
            let has = |name: &str| self.has_segment(state.tree, group, name);
            if with.as_deref().is_none_or(has) && !has(segment) {
                let location = Location {
                    segment: segment.clone(),
                    occurrence: 1,
                    ..Location::default()
                };
                let reason = format!("the segment {segment} is missing");
                let code = ErrorCode::SegmentSequence;
                return Err(vec![AnswerError::error(code, Some(location), reason)]);
            }
        }
        for step in &block.steps {
            match step {
                Step::Call(call) => self.call(call, group, state)?,
                Step::Group { route, block } => {
                    for group in state.groups(group, route) {
                        self.block(block, group, state)?;
                    }
                }
                Step::Segment { bind, block } => {
                    for segment in state.find(bind, group) {
                        state.loops.push(segment);
                        self.block(block, group, state)?;
                        state.loops.pop();
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a segment stands in a group or below it.
    fn has_segment(&self, tree: &Tree, group: usize, name: &str) -> bool {
        tree.groups[group]
            .members
            .iter()
            .any(|(_, member)| match member {
                Member::Segment(index) => {
                    let segment = self.scope.message.segment(*index);
                    segment.is_some_and(|segment| segment.name() == name)
                }
                Member::Group(inner) => self.has_segment(tree, *inner, name),
            })
    }

    fn call(
        &mut self,
        call: &'m CallStep,
        group: usize,
        state: &mut State<'m>,
    ) -> Result<(), Vec<AnswerError>> {
        let slots = |binds: &[Bind]| -> Vec<Vec<usize>> {
            binds.iter().map(|bind| state.find(bind, group)).collect()
        };
        let (own, slots) = (slots(&call.own), slots(&call.binds));
        let handles: Vec<Vec<Got<'m>>> = Vec::new();
        let env = Env {
            slots: &own,
            arguments: &handles,
            part: None,
            index: state.drafts.len(),
        };
        if let Some(when) = &call.when
            && !self.test(when, &env, Some(state))
        {
            return Ok(());
        }
        let given: Vec<Vec<Got<'m>>> = call
            .arguments
            .iter()
            .map(|sources| self.all(sources, &env, Some(state)))
            .collect();
        if state.drafts.len() >= DRAFTS_MAX {
            let reason = format!("the message makes more than {DRAFTS_MAX} resources");
            return Err(vec![AnswerError::error(
                ErrorCode::ValueTooLong,
                None,
                reason,
            )]);
        }
        let env = Env {
            slots: &slots,
            arguments: &given,
            part: None,
            index: state.drafts.len(),
        };
        let draft = self.draft(call.map, &env);
        let index = state.drafts.len();
        state.drafts.push(draft);
        match call.store {
            Some(Store::One(one)) => state.ones[one] = Some(index),
            Some(Store::List(list)) => state.lists[list].push(index),
            None => {}
        }
        Ok(())
    }

    fn draft(&mut self, index: usize, env: &Env<'_, 'm>) -> Draft {
        let program = self.program;
        let map = &program.maps[index];
        let mut draft = Draft {
            map: index,
            body: Object::new(),
            new: Object::new(),
            deletes: Vec::new(),
            identifiers: Vec::new(),
            keys: Vec::new(),
            lines: Vec::new(),
        };
        draft
            .body
            .insert("resourceType".into(), map.resource_type.as_str().into());
        let mut labels = vec![None; map.frame.labels];
        for op in &map.ops {
            self.op(op, env, &mut draft, &mut labels);
        }
        if !map.new.is_empty() {
            let mut labels = vec![None; map.frame.labels];
            let body = std::mem::take(&mut draft.body);
            for op in &map.new {
                if !exists(&body, &op.target) {
                    self.op(op, env, &mut draft, &mut labels);
                }
            }
            draft.new = std::mem::replace(&mut draft.body, body);
        }
        let present = |path: &String| {
            draft
                .body
                .contains_key(path.split('.').next().unwrap_or(path))
        };
        draft.deletes.retain(|path| !present(path));
        draft.identifiers = self.identifiers(map, env);
        draft.keys = map
            .keys
            .iter()
            .filter_map(|key| self.key(key, env))
            .collect();
        draft
    }

    fn op(
        &mut self,
        op: &'m Op,
        env: &Env<'_, 'm>,
        draft: &mut Draft,
        labels: &mut [Option<usize>],
    ) {
        let mut sink = Sink {
            lines: &mut draft.lines,
            deletes: Some(&mut draft.deletes),
        };
        self.apply(op, env, &mut draft.body, labels, &mut sink);
    }

    /// Runs one rule into an object.
    fn apply(
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
                let line = match &got {
                    Got::Value(_, at) => Some(at.0),
                    _ => None,
                };
                for (type_name, json) in self.convert(op, got, env) {
                    put(body, &op.target, labels, type_name, json);
                    written = true;
                    sink.lines.extend(line);
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
            (Got::Value(value, _), Convert::Plain) => {
                let text = value.text();
                return text
                    .map(|text| ("string", text.into_owned().into()))
                    .into_iter()
                    .collect();
            }
            (Got::Text(text), Convert::Builtin(_)) => {
                // A text of the rule itself goes through a converter as if it had been sent.
                return self
                    .builtin(op, Value::Text(&text), env)
                    .into_iter()
                    .collect();
            }
            (Got::Text(_), Convert::Element(_)) => return Vec::new(),
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
                let made = self.element(*element, value, at, &arguments, env.index);
                made.map(|json| ("", json)).into_iter().collect()
            }
            _ => self.builtin(op, value, env).into_iter().collect(),
        }
    }

    fn builtin(
        &mut self,
        op: &'m Op,
        value: Value<'_>,
        env: &Env<'_, 'm>,
    ) -> Option<(&'static str, Json)> {
        let Convert::Builtin(builtin) = &op.convert else {
            return None;
        };
        let arguments: Vec<Option<Argument<'m>>> = op
            .arguments
            .iter()
            .map(|sources| match self.first(sources, env, None)? {
                Got::Value(value, _) => Some(Argument::Value(value)),
                Got::Text(text) => Some(Argument::Text(text)),
                Got::Draft(_) | Got::Drafts(_) => None,
            })
            .collect();
        let given = Given {
            arguments: &arguments,
            vocabulary: op.vocabulary.map(|index| &self.program.vocabularies[index]),
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
        draft: usize,
    ) -> Option<Json> {
        let program = self.program;
        let element = &program.elements[index];
        let slots = vec![vec![at.0]; element.frame.segments.len()];
        let env = Env {
            slots: &slots,
            arguments,
            part: Some((value, at)),
            index: draft,
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

    fn identifiers(&mut self, map: &'m Map, env: &Env<'_, 'm>) -> Vec<(String, String)> {
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

    fn key(&self, key: &'m [Source], env: &Env<'_, 'm>) -> Option<Vec<KeyPart>> {
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
                    _ if *optional => {}
                    _ => return None,
                },
            }
        }
        Some(parts)
    }

    fn test(&self, test: &'m Test, env: &Env<'_, 'm>, state: Option<&State<'m>>) -> bool {
        let text = |value: &'m Vec<Source>| self.first(value, env, state).and_then(Got::into_text);
        match test {
            Test::Valued(value) => self.first(value, env, state).is_some(),
            Test::In(value, texts) => {
                text(value).is_some_and(|text| texts.iter().any(|own| *own == text))
            }
            Test::Like(value, pattern) => text(value).is_some_and(|text| like(&text, pattern)),
            Test::Not(inner) => !self.test(inner, env, state),
            Test::All(parts) => parts.iter().all(|part| self.test(part, env, state)),
            Test::Any(parts) => parts.iter().any(|part| self.test(part, env, state)),
        }
    }

    /// The first source that has a value.
    fn first(
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

    fn all(
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
    fn each(
        &self,
        source: &'m Source,
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> Vec<Got<'m>> {
        match source {
            Source::Address { slot, .. } => {
                let mut found = Vec::new();
                let segments = &env.slots[*slot];
                let each_segment = matches!(
                    source,
                    Source::Address {
                        field: 0,
                        each: true,
                        ..
                    }
                );
                let count = if each_segment { segments.len() } else { 1 };
                for segment in segments.iter().take(count) {
                    self.address(source, *segment, &mut found);
                }
                found
            }
            Source::Part {
                component,
                subcomponent,
            } => {
                let Some((value, (segment, field, _))) = env.part else {
                    return Vec::new();
                };
                let part = value
                    .part(*component)
                    .and_then(|part| part.part(*subcomponent));
                let at = (segment, field, *component);
                let part = part.filter(|part| part.is_valued() || part.is_null());
                part.map(|part| Got::Value(part, at)).into_iter().collect()
            }
            Source::Template(pieces) => {
                let text = self.template(pieces, env, state);
                text.map(|text| Got::Text(text.into()))
                    .into_iter()
                    .collect()
            }
            Source::Argument(index) => env.arguments.get(*index).cloned().unwrap_or_default(),
            Source::Handle(store) => match (state, store) {
                (Some(state), Store::One(one)) => {
                    state.ones[*one].map(Got::Draft).into_iter().collect()
                }
                (Some(state), Store::List(list)) if !state.lists[*list].is_empty() => {
                    vec![Got::Drafts(state.lists[*list].clone())]
                }
                _ => Vec::new(),
            },
            Source::Event(index) => {
                let value = self.event.values[*index].as_deref();
                value
                    .map(|value| Got::Text(value.into()))
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
                    MessageName::Index => env.index.to_string().into(),
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

    fn template(
        &self,
        pieces: &'m [Piece],
        env: &Env<'_, 'm>,
        state: Option<&State<'m>>,
    ) -> Option<String> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(own) => text.push_str(own),
                Piece::Part { sources, optional } => {
                    match self.first(sources, env, state).and_then(Got::into_text) {
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

/// Where a rule notes what it used besides the value it writes.
struct Sink<'s> {
    lines: &'s mut Vec<usize>,
    deletes: Option<&'s mut Vec<String>>,
}

impl<'m> Got<'m> {
    fn into_text(self) -> Option<Cow<'m, str>> {
        match self {
            Got::Value(value, _) => value.text(),
            Got::Text(text) => Some(text),
            Got::Draft(_) | Got::Drafts(_) => None,
        }
    }
}

impl State<'_> {
    /// The segments a name leads to from a group.
    fn find(&self, bind: &Bind, group: usize) -> Vec<usize> {
        let (up, down, item) = match bind {
            Bind::Loop(index) => return vec![self.loops[*index]],
            Bind::Nowhere => return Vec::new(),
            Bind::Path { up, down, item } => (*up, down, *item),
        };
        let mut group = group;
        for _ in 0..up {
            group = self.tree.groups[group].parent;
        }
        for step in down {
            match self.groups(group, std::slice::from_ref(step)).first() {
                Some(inner) => group = *inner,
                None => return Vec::new(),
            }
        }
        let members = self.tree.groups[group].members.iter();
        members
            .filter_map(|(own, member)| match member {
                Member::Segment(segment) if *own == item => Some(*segment),
                _ => None,
            })
            .collect()
    }

    /// The groups at the end of a way down.
    fn groups(&self, group: usize, route: &[usize]) -> Vec<usize> {
        let Some((item, rest)) = route.split_first() else {
            return vec![group];
        };
        let members = self.tree.groups[group].members.iter();
        members
            .filter_map(|(own, member)| match member {
                Member::Group(inner) if own == item => Some(*inner),
                _ => None,
            })
            .flat_map(|inner| self.groups(inner, rest))
            .collect()
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
