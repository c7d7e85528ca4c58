//! Compiles what [`super::load`] read: names become numbers, segment names become ways through the structure, and every name that
//! leads nowhere is an error with its file and line.

mod message;

use super::datatypes::{BUILTINS, Builtin};
use super::load::{EventSource, LoadError, MapSource, Read};
use super::overlay::Overlay;
use super::program::*;
use super::rule::{self, Address, Atom, Call, Condition, Rule};
use std::collections::HashMap;

/// The message map that all others end with.
const EVERY: &str = "EVERY";

pub(super) struct Compiled {
    pub program: Program,
    pub events: HashMap<String, Event>,
}

/// Compiles everything, collecting all mistakes.
pub(super) fn compile(read: &mut Read) -> Result<Compiled, Vec<LoadError>> {
    let mut compiler = Compiler::new(read);
    let sources = std::mem::take(&mut read.maps);
    for source in &sources {
        match source.is_resource {
            true => compiler.map(source),
            false => compiler.element(source),
        }
    }
    let messages = std::mem::take(&mut read.messages).into_iter();
    let (every, messages): (Vec<_>, Vec<_>) = messages.partition(|own| own.name == EVERY);
    for source in &messages {
        compiler.message(source, &every);
    }
    let mut events = HashMap::new();
    for source in &read.events {
        let Some(event) = compiler.event(source) else {
            continue;
        };
        if events.insert(source.trigger.clone(), event).is_some() {
            let reason = format!("{} is here twice", source.trigger);
            compiler.fail(&source.file, source.line, reason);
        }
    }
    for (name, sender) in &mut read.senders {
        compiler.overlay(&format!("senders/{name}.yaml"), &mut sender.overlay);
    }
    match compiler.errors.is_empty() {
        true => Ok(Compiled {
            program: compiler.program,
            events,
        }),
        false => Err(compiler.errors),
    }
}

struct Compiler {
    program: Program,
    event_names: Vec<String>,
    vocabularies: HashMap<String, usize>,
    /// Element maps are numbered before they are compiled: they may call each other.
    elements: HashMap<String, (usize, Vec<String>)>,
    /// So are the resource maps of data types.
    of_values: HashMap<String, usize>,
    errors: Vec<LoadError>,
}

/// What names mean inside one map.
struct Names<'a> {
    frame: &'a mut Frame,
    labels: Vec<String>,
    /// In an element map: the one segment its addresses may name.
    element: Option<&'a str>,
}

impl Compiler {
    fn new(read: &mut Read) -> Compiler {
        let overlays = read.senders.values();
        let overlays = overlays.flat_map(|sender| sender.overlay.event_sources());
        let mut event_names: Vec<String> = read
            .events
            .iter()
            .chain(overlays)
            .flat_map(|event| event.set.iter().map(|(name, _)| name.clone()))
            .collect();
        let senders = read.senders.values();
        let mut sender_names: Vec<String> = senders.flat_map(|s| s.set.keys().cloned()).collect();
        for names in [&mut event_names, &mut sender_names] {
            names.sort();
            names.dedup();
        }
        let elements = read.maps.iter().filter(|map| !map.is_resource);
        let elements = elements
            .enumerate()
            .map(|(index, map)| (map.name.clone(), (index, parameters(map))))
            .collect();
        let resources = read.maps.iter().filter(|map| map.is_resource);
        let of_values: HashMap<String, usize> = resources
            .enumerate()
            .filter(|(_, map)| map.of_value)
            .map(|(index, map)| (map.name.clone(), index))
            .collect();
        let program = Program {
            assigner: of_values.get("HD.Organization").copied(),
            structures: std::mem::take(&mut read.structures),
            vocabularies: std::mem::take(&mut read.vocabularies),
            sender_names,
            ..Program::default()
        };
        let named = program.vocabularies.iter().enumerate();
        let vocabularies = named
            .map(|(index, map)| (map.name.clone(), index))
            .collect();
        Compiler {
            program,
            event_names,
            vocabularies,
            elements,
            of_values,
            errors: Vec::new(),
        }
    }

    fn fail(&mut self, file: &str, line: usize, reason: impl Into<String>) {
        self.errors.push(LoadError {
            file: file.to_owned(),
            line,
            reason: reason.into(),
        });
    }

    fn event(&mut self, source: &EventSource) -> Option<Event> {
        let mut messages = self.program.messages.iter();
        let Some(message) = messages.position(|m| m.name == source.message) else {
            let reason = format!("no message map `{}`", source.message);
            self.fail(&source.file, source.line, reason);
            return None;
        };
        let mut values = vec![None; self.event_names.len()];
        for (name, value) in &source.set {
            if let Some(index) = self.event_names.iter().position(|known| known == name) {
                values[index] = Some(value.clone());
            }
        }
        Some(Event { message, values })
    }

    /// What one sender means otherwise.
    fn overlay(&mut self, file: &str, overlay: &mut Overlay) {
        for source in overlay.event_sources().to_vec() {
            if let Some(event) = self.event(&source) {
                overlay.events.insert(source.trigger, event);
            }
        }
        if let Err(fault) = overlay.resolve(&self.program.vocabularies) {
            self.fail(file, fault.line, fault.reason);
        }
    }

    fn map(&mut self, source: &MapSource) {
        let mut frame = Frame {
            parameters: parameters(source),
            ..Frame::default()
        };
        let own = source.name.split('.').next().unwrap_or_default();
        let mut names = Names {
            frame: &mut frame,
            labels: Vec::new(),
            element: source.of_value.then_some(own),
        };
        let ops = self.ops(&source.file, &source.rules, &mut names);
        let new = self.ops(&source.file, &source.new, &mut names);
        let mut identifiers = Vec::new();
        for (line, value, call) in &source.identifiers {
            let rule = Rule {
                target: Vec::new(),
                fallback: false,
                value: value.clone(),
                converter: call.clone(),
                vocabulary: None,
                when: None,
            };
            match self.op(*line, &rule, &mut names) {
                Ok(op) => identifiers.push(op),
                Err(reason) => self.fail(&source.file, *line, reason),
            }
        }
        let mut given = |read: Option<&(usize, Vec<Atom>)>| match read {
            None => Vec::new(),
            Some((line, value)) => match self.sources(value, &mut names) {
                Ok(sources) => sources,
                Err(reason) => {
                    self.fail(&source.file, *line, reason);
                    Vec::new()
                }
            },
        };
        let keys = source.keys.iter().map(|key| given(Some(key))).collect();
        let from = given(source.order.as_ref().and_then(|order| order.from.as_ref()));
        let back = given(source.succession.as_ref().and_then(|own| own.back.as_ref()));
        frame.labels = names.labels.len();
        self.program.maps.push(Map {
            name: source.name.clone(),
            file: source.file.clone(),
            resource_type: source.writes.clone(),
            reference_type: format!("Reference({})", source.writes),
            of_value: source.of_value,
            identifiers,
            prefer: source.prefer.clone(),
            keys,
            write: source.write.clone(),
            union: source.union.clone(),
            order: source.order.as_ref().map(|own| own.order.clone()),
            from,
            succession: source.succession.as_ref().map(|own| own.succession.clone()),
            back,
            snapshot: if source.snapshot {
                own_elements(&ops, source)
            } else {
                Vec::new()
            },
            best_match: source.best_match,
            contained: source.contained,
            numbered: source.numbered,
            frame,
            ops,
            new,
        });
    }

    fn element(&mut self, source: &MapSource) {
        let mut frame = Frame {
            parameters: parameters(source),
            ..Frame::default()
        };
        let mut names = Names {
            frame: &mut frame,
            labels: Vec::new(),
            element: Some(source.name.split('.').next().unwrap_or_default()),
        };
        let ops = self.ops(&source.file, &source.rules, &mut names);
        frame.labels = names.labels.len();
        self.program.elements.push(Element {
            name: source.name.clone(),
            file: source.file.clone(),
            writes: source.writes.clone(),
            frame,
            ops,
        });
    }

    fn ops(&mut self, file: &str, rules: &[(usize, Rule)], names: &mut Names<'_>) -> Vec<Op> {
        let mut ops = Vec::new();
        for (line, rule) in rules {
            match self.op(*line, rule, names) {
                Ok(op) => ops.push(op),
                Err(reason) => self.fail(file, *line, reason),
            }
        }
        ops
    }

    fn op(&self, line: usize, rule: &Rule, names: &mut Names<'_>) -> Result<Op, String> {
        let sources = self.sources(&rule.value, names)?;
        let (convert, arguments) = match &rule.converter {
            None => (Convert::Plain, Vec::new()),
            Some(call) => self.converter(call, names)?,
        };
        let vocabulary = match (&rule.vocabulary, &convert) {
            (None, _) => None,
            (Some(name), Convert::Builtin(builtin)) if builtin.vocabulary => {
                let index = self.vocabularies.get(name);
                Some(*index.ok_or_else(|| format!("no vocabulary `{name}`"))?)
            }
            (Some(_), _) => return Err("this converter takes no vocabulary".into()),
        };
        let has_choice = rule
            .target
            .iter()
            .any(|step| step.index == rule::Index::Choice);
        let last_choice = rule
            .target
            .last()
            .is_some_and(|step| step.index == rule::Index::Choice);
        if has_choice && !(last_choice && matches!(convert, Convert::Builtin(_))) {
            return Err("[x] stands last, and its converter says the type".into());
        }
        let mut target = Vec::new();
        // A label names an item of the list it stands at: the same word at another list is another item.
        let mut place = String::new();
        for step in &rule.target {
            place.push_str(&step.name);
            let index = match &step.index {
                rule::Index::One => Index::One,
                rule::Index::Each => Index::Each,
                rule::Index::New => Index::New,
                rule::Index::Choice => Index::Choice,
                rule::Index::Label(label) => {
                    place.push_str(&format!("[{label}]"));
                    Index::Label(number(&mut names.labels, &place))
                }
            };
            place.push('.');
            let name = step.name.clone();
            target.push(Target { name, index });
        }
        let when = rule
            .when
            .as_ref()
            .map(|when| self.test(when, names))
            .transpose()?;
        Ok(Op {
            line,
            appends: target.iter().any(|step| step.index == Index::Each),
            target,
            fallback: rule.fallback,
            sources,
            convert,
            arguments,
            vocabulary,
            when,
        })
    }

    fn converter(
        &self,
        call: &Call,
        names: &mut Names<'_>,
    ) -> Result<(Convert, Vec<Vec<Source>>), String> {
        let builtin = BUILTINS.iter().find(|builtin| builtin.name == call.name);
        let resource = self.of_values.get(&resource_name(call, builtin));
        let (convert, parameters): (_, Vec<&str>) = match (builtin, resource) {
            (_, Some(index)) => (Convert::Resource(*index, builtin), Vec::new()),
            (Some(builtin), None) => (Convert::Builtin(builtin), builtin.parameters.to_vec()),
            (None, None) => match self.elements.get(&call.name) {
                Some((index, parameters)) => (
                    Convert::Element(*index),
                    parameters.iter().map(String::as_str).collect(),
                ),
                None => return Err(format!("no converter `{}`", call.name)),
            },
        };
        let mut arguments = vec![Vec::new(); parameters.len()];
        for (name, value) in &call.arguments {
            let index = parameters.iter().position(|parameter| parameter == name);
            let index = index.ok_or_else(|| format!("{} takes no `{name}`", call.name))?;
            arguments[index] = self.sources(value, names)?;
        }
        Ok((convert, arguments))
    }

    fn sources(&self, atoms: &[Atom], names: &mut Names<'_>) -> Result<Vec<Source>, String> {
        atoms.iter().map(|atom| self.source(atom, names)).collect()
    }

    fn source(&self, atom: &Atom, names: &mut Names<'_>) -> Result<Source, String> {
        match atom {
            Atom::Template(pieces) => {
                let mut compiled = Vec::new();
                for piece in pieces {
                    compiled.push(match piece {
                        rule::Piece::Text(text) => Piece::Text(text.clone()),
                        rule::Piece::Part { value, optional } => Piece::Part {
                            sources: self.sources(value, names)?,
                            optional: *optional,
                        },
                    });
                }
                Ok(Source::Template(compiled))
            }
            Atom::Variable(name) | Atom::Every(name) => {
                match (self.shared_name(name)?, name.split_once('.')) {
                    (Some(source), _) => Ok(source),
                    (None, None) => {
                        let parameters = &mut names.frame.parameters;
                        Ok(Source::Argument(number(parameters, name)))
                    }
                    (None, Some((name, element))) => {
                        let parameters = &mut names.frame.parameters;
                        Ok(Source::Element {
                            of: Box::new(Source::Argument(number(parameters, name))),
                            element: element.to_owned(),
                        })
                    }
                }
            }
            Atom::Address(address) if address.segment.is_empty() => match names.element {
                Some(_) => Ok(Source::Part {
                    component: address.component,
                    subcomponent: address.subcomponent,
                    rest: address.rest,
                }),
                None => Err("an address without a segment is for element maps".into()),
            },
            Atom::Address(address) => {
                if names.element.is_some_and(|own| own != address.segment) {
                    return Err(format!(
                        "{} is not the segment of this map",
                        address.segment
                    ));
                }
                let slot = number(&mut names.frame.segments, &address.segment);
                Ok(address_source(address, slot))
            }
        }
    }

    /// `$event.…`, `$sender.…` and `$message.…`, which every map knows.
    fn shared_name(&self, name: &str) -> Result<Option<Source>, String> {
        if let Some(event) = name.strip_prefix("event.") {
            let index = self.event_names.iter().position(|known| known == event);
            let index = index.ok_or_else(|| format!("no event sets `{event}`"))?;
            return Ok(Some(Source::Event(index)));
        }
        if let Some(sender) = name.strip_prefix("sender.") {
            let mut names = self.program.sender_names.iter();
            let index = names.position(|known| known == sender);
            let index = index.ok_or_else(|| format!("no sender sets `{sender}`"))?;
            return Ok(Some(Source::Sender(index)));
        }
        let Some(message) = name.strip_prefix("message.") else {
            return Ok(None);
        };
        let name = match message {
            "type" => MessageName::Type,
            "event" => MessageName::Event,
            "facility" => MessageName::Facility,
            "key" => MessageName::Key,
            _ => return Err(format!("no `$message.{message}`")),
        };
        Ok(Some(Source::Message(name)))
    }

    fn test(&self, condition: &Condition, names: &mut Names<'_>) -> Result<Test, String> {
        Ok(match condition {
            Condition::Valued(value) => Test::Valued(self.sources(value, names)?),
            Condition::In(value, texts) => Test::In(self.sources(value, names)?, texts.clone()),
            Condition::Like(value, text) => Test::Like(self.sources(value, names)?, text.clone()),
            Condition::Not(inner) => Test::Not(Box::new(self.test(inner, names)?)),
            Condition::All(parts) => Test::All(self.tests(parts, names)?),
            Condition::Any(parts) => Test::Any(self.tests(parts, names)?),
        })
    }

    fn tests(&self, parts: &[Condition], names: &mut Names<'_>) -> Result<Vec<Test>, String> {
        parts.iter().map(|part| self.test(part, names)).collect()
    }
}

/// The resource map of a data type that a converter uses: itself, or `XCN.Practitioner` for a `XCN.Reference` to a Practitioner.
fn resource_name(call: &Call, builtin: Option<&Builtin>) -> String {
    let target = builtin
        .and_then(|builtin| builtin.types[0].strip_prefix("Reference("))
        .and_then(|target| target.strip_suffix(')'));
    match (call.name.split_once('.'), target) {
        (Some((data_type, _)), Some(target)) => format!("{data_type}.{target}"),
        _ => call.name.clone(),
    }
}

/// The elements that the rules of a map fill from the message; not those from its caller, nor the status that is kept in order.
fn own_elements(ops: &[Op], source: &MapSource) -> Vec<String> {
    let mut names = Vec::new();
    for op in ops {
        let is_given = op
            .sources
            .iter()
            .any(|source| matches!(source, Source::Argument(_)));
        let is_status = |name: &str| {
            source
                .order
                .as_ref()
                .is_some_and(|own| own.order.element == name)
        };
        if let Some(first) = op.target.first()
            && !is_given
            && !is_status(&first.name)
            && !source.union.contains(&first.name)
        {
            number(&mut names, &first.name);
        }
    }
    names
}

fn address_source(address: &Address, slot: usize) -> Source {
    Source::Address(FieldPath {
        slot,
        every: address.every,
        field: address.field,
        each: address.each,
        repetition: address.repetition.max(1),
        component: address.component,
        subcomponent: address.subcomponent,
    })
}

fn number(names: &mut Vec<String>, name: &str) -> usize {
    names
        .iter()
        .position(|known| known == name)
        .unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        })
}

/// The first words of names that every map knows.
const SHARED: [&str; 3] = ["event", "sender", "message"];

/// The `$names` a map uses, besides those every map knows.
fn parameters(map: &MapSource) -> Vec<String> {
    let mut found = Vec::new();
    let rules = map.rules.iter().chain(&map.new).map(|(_, rule)| rule);
    for rule in rules {
        collect(&rule.value, &mut found);
        let calls = rule.converter.iter().flat_map(|call| &call.arguments);
        calls.for_each(|(_, value)| collect(value, &mut found));
        if let Some(when) = &rule.when {
            collect_test(when, &mut found);
        }
    }
    map.keys
        .iter()
        .for_each(|(_, key)| collect(key, &mut found));
    found
}

fn collect(atoms: &[Atom], found: &mut Vec<String>) {
    for atom in atoms {
        match atom {
            Atom::Variable(name) | Atom::Every(name) => {
                let (name, of) = name.split_once('.').unwrap_or((name, ""));
                if of.is_empty() || !SHARED.contains(&name) {
                    number(found, name);
                }
            }
            Atom::Template(pieces) => pieces.iter().for_each(|piece| {
                if let rule::Piece::Part { value, .. } = piece {
                    collect(value, found);
                }
            }),
            _ => {}
        }
    }
}

fn collect_test(test: &Condition, found: &mut Vec<String>) {
    match test {
        Condition::Valued(value) | Condition::In(value, _) | Condition::Like(value, _) => {
            collect(value, found);
        }
        Condition::Not(inner) => collect_test(inner, found),
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().for_each(|part| collect_test(part, found));
        }
    }
}
