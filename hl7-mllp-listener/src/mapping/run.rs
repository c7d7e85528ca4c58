//! Runs a compiled message map over one message: out come drafts of resources, in the order of the map.
//!
//! A draft does not know its id yet: it knows its business identifiers, or a key, and refers to other drafts by number
//! (`urn:draft:3`). Which resource it is, and what of it may change, is decided against the state of the server ([`crate::state`]).

mod rule;
mod slots;
mod source;

use super::datatypes::{Scope, UnmappedCode};
use super::program::*;
use super::target::exists;
use super::trace::Trace;
use super::value::Value;
use crate::ack::{AnswerError, ErrorCode, Location};
use crate::structure::{Member, Tree};
use serde_json::{Map as Object, Value as Json};
use slots::Slots;
use smallvec::SmallVec;
use source::{At, Got, Gots};
use std::borrow::Cow;
use std::collections::HashMap;
use std::mem::Discriminant;

/// Most drafts of one message.
const DRAFTS_MAX: usize = 20_000;
/// Room for the elements of a usual resource.
const USUAL_ELEMENTS: usize = 14;
/// How deep resource maps of values call each other: a bed in a room in a building of a site.
const VALUES_DEEP_MAX: usize = 8;

/// A resource as the message tells it.
#[derive(Clone, Debug)]
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
    /// Statuses the message takes back ([`Map::from`]).
    pub from: Vec<String>,
    /// Status of the item of a succession that the message takes back ([`Map::back`]).
    pub back: Option<String>,
}

/// What becomes of two drafts, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relation {
    pub verb: Verb,
    pub what: Option<usize>,
    pub from: usize,
    pub to: usize,
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
    ["urn:draft:", &index.to_string()].concat()
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
    /// Vocabularies that stand in for others, of this sender.
    pub vocabularies: &'m HashMap<usize, usize>,
    /// `$sender.…`, by the number of the name.
    pub sender: Vec<Option<&'m str>>,
    /// Where it is noted which rule wrote what.
    pub trace: Option<&'m Trace>,
    /// `$message.facility`, as in [`Scope::facility`].
    pub facility: &'m str,
    /// What makes the message unique: `$message.key`.
    pub message_key: &'m str,
    pub made: Made<'m>,
}

/// The drafts so far.
#[derive(Default)]
pub(super) struct Made<'m> {
    drafts: Vec<Draft>,
    /// Drafts by the value they were made of, with its map: who is named ten times is made once.
    of_values: HashMap<(usize, Discriminant<Value<'m>>, &'m str), Option<usize>>,
    /// How many values the one at hand stands in.
    depth: usize,
}

/// What a map may look at.
struct Env<'e, 'm> {
    /// For each segment of the frame, where it occurs.
    slots: &'e Slots,
    arguments: &'e [Gots<'m>],
    /// The value an element map was called with.
    part: Option<(Value<'m>, At)>,
}

/// For each label of a frame, the item of its list.
type Labels = SmallVec<[Option<usize>; 8]>;

/// Where the run stands in the message.
struct State<'m> {
    tree: &'m Tree,
    ones: Vec<Option<usize>>,
    lists: Vec<Vec<usize>>,
    loops: Vec<usize>,
    relations: Vec<Relation>,
}

/// What a run tells.
pub(super) struct Told {
    pub drafts: Vec<Draft>,
    pub relations: Vec<Relation>,
    pub notices: Vec<AnswerError>,
    pub unmapped: Vec<UnmappedCode>,
}

impl<'m> Runner<'m> {
    /// # Errors
    /// The segments that the map requires and the message lacks.
    pub fn run(mut self, tree: &'m Tree) -> Result<Told, Vec<AnswerError>> {
        let mut state = State {
            tree,
            ones: vec![None; self.map.ones],
            lists: vec![Vec::new(); self.map.lists],
            loops: Vec::new(),
            relations: Vec::new(),
        };
        self.block(&self.map.block, 0, &mut state)?;
        Ok(Told {
            drafts: self.made.drafts,
            relations: state.relations,
            notices: self.scope.notices,
            unmapped: self.scope.unmapped,
        })
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
                Step::Relate(relate) => self.relate(relate, group, state),
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
        let own = state.slots(&call.own, group);
        let env = Env {
            slots: &own,
            arguments: &[],
            part: None,
        };
        if let Some(when) = &call.when
            && !self.test(when, &env, Some(state))
        {
            return Ok(());
        }
        let given: Vec<Gots<'m>> = call
            .arguments
            .iter()
            .map(|sources| self.all(sources, &env, Some(state)))
            .collect();
        if self.made.drafts.len() >= DRAFTS_MAX {
            let reason = format!("the message makes more than {DRAFTS_MAX} resources");
            return Err(vec![AnswerError::error(
                ErrorCode::ValueTooLong,
                None,
                reason,
            )]);
        }
        let slots = state.slots(&call.binds, group);
        let env = Env {
            slots: &slots,
            arguments: &given,
            part: None,
        };
        let draft = self.draft(call.map, &env);
        let index = self.made.drafts.len();
        self.made.drafts.push(draft);
        if let Some(trace) = self.trace {
            trace.end(Some(index));
        }
        for store in &call.stores {
            match store {
                Store::One(one) => state.ones[*one] = Some(index),
                Store::List(list) => state.lists[*list].push(index),
            }
        }
        Ok(())
    }

    /// The draft that a resource map makes of a value, or nothing when the value does not say which one it is (and it is not contained then).
    fn draft_of(&mut self, map: usize, value: Value<'m>, at: At) -> Option<usize> {
        let name = (map, std::mem::discriminant(&value), value.raw());
        if let Some(known) = self.made.of_values.get(&name) {
            return *known;
        }
        if self.made.depth >= VALUES_DEEP_MAX || self.made.drafts.len() >= DRAFTS_MAX {
            return None;
        }
        let draft = self.value_draft(map, value, at);
        let is_known = !draft.identifiers.is_empty() || !draft.keys.is_empty();
        // What nothing identifies is contained in what names it, if its map says so and the value tells anything.
        let is_made = is_known || self.program.maps[map].contained && !draft.lines.is_empty();
        let index = is_made.then_some(self.made.drafts.len());
        if is_made {
            self.made.drafts.push(draft);
        }
        if let Some(trace) = self.trace {
            trace.end(index);
        }
        self.made.of_values.insert(name, index);
        index
    }

    /// What a resource map makes of a value; who calls ends its trace.
    fn value_draft(&mut self, map: usize, value: Value<'m>, at: At) -> Draft {
        let slots = Slots::repeat(at.0, self.program.maps[map].frame.segments.len());
        let env = Env {
            slots: &slots,
            arguments: &[],
            part: Some((value, at)),
        };
        self.made.depth += 1;
        let draft = self.draft(map, &env);
        self.made.depth -= 1;
        draft
    }

    /// Nothing where one of the names has no resource.
    fn relate(&self, step: &'m RelateStep, group: usize, state: &mut State<'m>) {
        let own = state.slots(&step.own, group);
        let env = Env {
            slots: &own,
            arguments: &[],
            part: None,
        };
        if let Some(when) = &step.when
            && !self.test(when, &env, Some(state))
        {
            return;
        }
        let draft = |source: &'m Source| match self.each(source, &env, Some(state)).pop() {
            Some(Got::Draft(index)) => Some(index),
            _ => None,
        };
        let what = step.what.as_ref().map(&draft);
        if let (Some(from), Some(to)) = (draft(&step.from), draft(&step.to))
            && what != Some(None)
        {
            state.relations.push(Relation {
                verb: step.verb,
                what: what.flatten(),
                from,
                to,
            });
        }
    }

    /// Makes a draft; who calls ends its trace.
    fn draft(&mut self, index: usize, env: &Env<'_, 'm>) -> Draft {
        let program = self.program;
        let map = &program.maps[index];
        if let Some(trace) = self.trace {
            trace.begin();
        }
        let mut draft = Draft {
            map: index,
            body: Object::with_capacity(USUAL_ELEMENTS),
            new: Object::new(),
            deletes: Vec::new(),
            identifiers: Vec::new(),
            keys: Vec::new(),
            lines: Vec::new(),
            from: Vec::new(),
            back: None,
        };
        draft
            .body
            .insert("resourceType".into(), map.resource_type.as_str().into());
        let mut labels = Labels::from_elem(None, map.frame.labels);
        for op in &map.ops {
            self.op(op, env, &mut draft, &mut labels);
        }
        if !map.new.is_empty() {
            labels.fill(None);
            let body = std::mem::take(&mut draft.body);
            for op in &map.new {
                if !exists(&body, &op.target) {
                    self.op(op, env, &mut draft, &mut labels);
                }
            }
            draft.new = std::mem::replace(&mut draft.body, body);
        }
        for name in &map.union {
            if let Some(Json::Array(items)) = draft.body.get_mut(name) {
                // The same number in PID-2 and PID-3 is one identifier.
                for index in (1..items.len()).rev() {
                    if items[..index].contains(&items[index]) {
                        items.remove(index);
                    }
                }
            }
        }
        let present = |path: &String| is_present(&draft.body, path);
        draft.deletes.retain(|path| !present(path));
        let text = |sources| self.first(sources, env, None).and_then(Got::into_text);
        let from = text(&map.from).unwrap_or_default();
        draft.from = from.split_whitespace().map(str::to_owned).collect();
        draft.back = text(&map.back).map(Cow::into_owned);
        draft.identifiers = self.identifiers(map, env);
        draft.keys = self.keys(map, env);
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
        let before = self.trace.map(|_| draft.body.clone());
        self.apply(op, env, &mut draft.body, labels, &mut sink);
        if let (Some(trace), Some(before)) = (self.trace, before) {
            trace.note(draft.map, op.line, &before, &draft.body);
        }
    }
}

/// Whether an object has a value at a path of elements.
fn is_present(body: &Object<String, Json>, path: &str) -> bool {
    match path.split_once('.') {
        None => body.contains_key(path),
        Some((first, rest)) => match body.get(first) {
            Some(Json::Object(inner)) => is_present(inner, rest),
            other => other.is_some(),
        },
    }
}

/// Where a rule notes what it used besides the value it writes.
struct Sink<'s> {
    lines: &'s mut Vec<usize>,
    deletes: Option<&'s mut Vec<String>>,
}

impl Sink<'_> {
    /// Segments that gave a value.
    fn note(&mut self, lines: &[usize]) {
        for line in lines {
            if self.lines.last() != Some(line) {
                self.lines.push(*line);
            }
        }
    }
}
