//! Reads the files of mappings/hl7v2 into syntax trees. Every key is known here; an unknown one is an error with file and line.
//!
//! The folder decides the kind of a file, its name without extension is the name others call it by.

mod order;

pub use order::{Order, Succession};
pub(super) use order::{OrderSource, SuccessionSource};

use super::overlay::Overlay;
use super::program::Required;
use super::rule::{self, Atom, Call, Line, Rule};
use super::systems::{Systems, uri};
use super::vocabulary::ConceptMap;
use super::yaml::{self, Fault, Node, Yaml};
use crate::charset::Charset;
use crate::policy::Policy;
use crate::structure::{Structure, is_segment_name};
use std::collections::HashMap;

/// One file handed in: its path below mappings/hl7v2, with `/`, and its bytes.
#[derive(Clone, Debug)]
pub struct File {
    pub path: String,
    pub bytes: Vec<u8>,
}

impl File {
    /// Texts (README.md) and lists beside the folders (deviations.tsv) are for people.
    pub fn is_data(&self) -> bool {
        let is_list = self.path.ends_with(".tsv") && !self.path.contains('/');
        !is_list && !self.path.ends_with(".md")
    }
}

/// A mistake in the data.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct LoadError {
    pub file: String,
    pub line: usize,
    pub reason: String,
}

/// Everything that was read, not yet compiled.
#[derive(Default)]
pub(super) struct Read {
    pub structures: Vec<Structure>,
    pub vocabularies: Vec<ConceptMap>,
    pub events: Vec<EventSource>,
    pub messages: Vec<MessageSource>,
    pub maps: Vec<MapSource>,
    pub senders: HashMap<String, Sender>,
    pub systems: Systems,
}

#[derive(Clone, Debug)]
pub(super) struct EventSource {
    pub file: String,
    pub line: usize,
    /// `ADT^A01`.
    pub trigger: String,
    pub message: String,
    pub set: Vec<(String, String)>,
}

pub(super) struct MessageSource {
    pub file: String,
    pub name: String,
    pub line: usize,
    /// More than one: the map is compiled for each of them, and called by their names.
    pub structures: Vec<String>,
    pub block: BlockSource,
}

#[derive(Default)]
pub(super) struct BlockSource {
    pub require: Vec<Required>,
    pub steps: Vec<StepSource>,
}

pub(super) enum StepSource {
    Line(usize, Line),
    For(usize, String, BlockSource),
}

/// A resource map (segments/, or datatypes/ with `resource`), or an element map (datatypes/).
pub(super) struct MapSource {
    pub file: String,
    pub name: String,
    /// The resource type, or the type an element map writes.
    pub writes: String,
    pub is_resource: bool,
    /// In datatypes/: made of a value.
    pub of_value: bool,
    pub identifiers: Vec<(usize, Vec<Atom>, Option<Call>)>,
    pub prefer: Vec<String>,
    pub keys: Vec<(usize, Vec<Atom>)>,
    pub write: Vec<(String, Write)>,
    pub union: Vec<String>,
    pub order: Option<OrderSource>,
    pub succession: Option<SuccessionSource>,
    pub snapshot: bool,
    pub best_match: bool,
    pub contained: bool,
    pub numbered: bool,
    pub rules: Vec<(usize, Rule)>,
    pub new: Vec<(usize, Rule)>,
}

/// What a message may do to a resource that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Its elements replace those of the resource.
    Upsert,
    /// Nothing: it may only create.
    Create,
}

/// What is different about one sender: `senders/<MSH-3.1>.<MSH-4.1>.yaml`, or `senders/default.yaml` for all.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Read its messages in this character set, whatever MSH-18 says.
    pub charset: Option<Charset>,
    /// The zone of its times without offset: `+01:00` or `Z`.
    pub zone: String,
    /// Its own names of assigning authorities.
    pub authorities: HashMap<String, String>,
    /// Whether `""` deletes (the standard) or is the same as nothing.
    pub null_deletes: bool,
    /// Whether a message without a map is accepted with a warning, or refused with AR.
    pub accept_unmapped: bool,
    /// What maps ask as `$sender.name`: its own, and those of `default` that it does not set.
    pub set: HashMap<String, String>,
    /// Its own events and codes.
    pub overlay: Overlay,
    /// When and how it is answered, and in which order its messages are applied.
    pub policy: Policy,
}

impl Default for Sender {
    fn default() -> Self {
        Sender {
            charset: None,
            zone: "Z".into(),
            authorities: HashMap::new(),
            null_deletes: true,
            accept_unmapped: true,
            set: HashMap::new(),
            overlay: Overlay::default(),
            policy: Policy::default(),
        }
    }
}

impl Read {
    /// Reads one file into the rest. Files that are no data are passed over.
    pub fn file(&mut self, file: &File) -> Result<(), Fault> {
        if !file.is_data() {
            return Ok(());
        }
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let Some((stem, extension)) = name.rsplit_once('.') else {
            return Err(Fault::new(1, "the file has no extension"));
        };
        match (folder, extension) {
            ("vocabulary", "json") => {
                let json = serde_json::from_slice(&file.bytes)
                    .map_err(|e| Fault::new(e.line(), "this is not valid JSON"))?;
                let stem = stem.strip_suffix(".ConceptMap").unwrap_or(stem);
                let map = ConceptMap::read(stem, &json).map_err(|why| Fault::new(1, why))?;
                self.vocabularies.push(map);
                Ok(())
            }
            (_, "yaml") => {
                let node = yaml::parse(&file.bytes)?;
                match folder {
                    "" if stem == "systems" => self.systems.read(&node),
                    "structures" => self.structure(stem, &node),
                    "events" => {
                        self.events.append(&mut events(&file.path, &node)?);
                        Ok(())
                    }
                    "messages" => self.message(&file.path, stem, &node),
                    "segments" => self.map(&file.path, stem, &node, false),
                    "datatypes" => self.map(&file.path, stem, &node, true),
                    "senders" => {
                        let sender = sender(&file.path, &node)?;
                        self.senders.insert(stem.to_owned(), sender);
                        Ok(())
                    }
                    _ => Err(Fault::new(1, format!("no data belongs into {folder:?}"))),
                }
            }
            _ => Err(Fault::new(
                1,
                format!("a .{extension} file does not belong into {folder:?}"),
            )),
        }
    }

    fn structure(&mut self, name: &str, node: &Node) -> Result<(), Fault> {
        let mut grammar = None;
        for entry in node.map()? {
            match entry.key.as_str() {
                "groups" => grammar = Some((entry.node.line, entry.node.text()?)),
                _ => return Err(entry.unknown()),
            }
        }
        let (line, grammar) =
            grammar.ok_or_else(|| Fault::new(node.line, "`groups` is missing"))?;
        let structure = Structure::parse(name, grammar).map_err(|why| Fault::new(line, why))?;
        self.structures.push(structure);
        Ok(())
    }

    fn message(&mut self, file: &str, name: &str, node: &Node) -> Result<(), Fault> {
        let mut source = MessageSource {
            file: file.to_owned(),
            name: name.to_owned(),
            line: node.line,
            structures: vec![name.to_owned()],
            block: BlockSource::default(),
        };
        for entry in node.map()? {
            match entry.key.as_str() {
                "structure" => source.structures = entry.node.texts()?,
                "require" => source.block.require = requirements(&entry.node)?,
                "do" => source.block.steps = steps(&entry.node)?,
                _ => return Err(entry.unknown()),
            }
        }
        self.messages.push(source);
        Ok(())
    }

    fn map(&mut self, file: &str, name: &str, node: &Node, of_value: bool) -> Result<(), Fault> {
        let is_resource = !of_value || node.map()?.iter().any(|entry| entry.key == "resource");
        let mut map = MapSource {
            file: file.to_owned(),
            name: name.to_owned(),
            writes: String::new(),
            is_resource,
            of_value,
            identifiers: Vec::new(),
            prefer: Vec::new(),
            keys: Vec::new(),
            write: Vec::new(),
            union: Vec::new(),
            order: None,
            succession: None,
            snapshot: false,
            best_match: false,
            contained: false,
            numbered: false,
            rules: Vec::new(),
            new: Vec::new(),
        };
        for entry in node.map()? {
            let node = &entry.node;
            match (entry.key.as_str(), is_resource) {
                ("resource", true) | ("element", false) => map.writes = node.text()?.to_owned(),
                ("rules", _) => map.rules = rules(node)?,
                ("new", true) => map.new = rules(node)?,
                ("identifier", true) => {
                    for item in node.list()? {
                        let (value, call) = parsed(item, rule::source)?;
                        map.identifiers.push((item.line, value, call));
                    }
                }
                ("prefer", true) => map.prefer = node.texts()?,
                ("key", true) => {
                    for item in node.list()? {
                        let text = format!("\"{}\"", item.text()?);
                        let (value, _) =
                            rule::source(&text).map_err(|e| Fault::new(item.line, e))?;
                        map.keys.push((item.line, value));
                    }
                }
                ("write", true) => {
                    for code in node.map()? {
                        let write = match code.node.text()? {
                            "upsert" => Write::Upsert,
                            "create" => Write::Create,
                            _ => return Err(Fault::new(code.line, "write: upsert or create")),
                        };
                        map.write.push((code.key.clone(), write));
                    }
                }
                ("union", true) => map.union = node.texts()?,
                ("order", true) => map.order = Some(order::read(node)?),
                ("succession", true) => map.succession = Some(order::succession(node)?),
                ("otherwise", true) => {
                    map.contained = entry.one_of(["contained", "left out"])? == 0;
                }
                ("ambiguous", true) => map.best_match = entry.one_of(["best", "refuse"])? == 0,
                ("absent", true) => map.snapshot = entry.one_of(["delete", "keep"])? == 0,
                ("repeated", true) => map.numbered = entry.one_of(["numbered", "merged"])? == 0,
                _ => return Err(entry.unknown()),
            }
        }
        if map.writes.is_empty() {
            let key = if is_resource { "resource" } else { "element" };
            return Err(Fault::new(node.line, format!("`{key}` is missing")));
        }
        self.maps.push(map);
        Ok(())
    }
}

fn parsed<T>(node: &Node, read: fn(&str) -> Result<T, String>) -> Result<T, Fault> {
    read(node.text()?).map_err(|why| Fault::new(node.line, why))
}

/// A block of rules, one a line; `#` begins a comment line.
fn rules(node: &Node) -> Result<Vec<(usize, Rule)>, Fault> {
    let mut rules = Vec::new();
    for (index, line) in node.text()?.lines().enumerate() {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let at = node.line + index;
        rules.push((at, rule::rule(text).map_err(|why| Fault::new(at, why))?));
    }
    Ok(rules)
}

/// `OBR`, or `OBR when OBX`.
fn requirements(node: &Node) -> Result<Vec<Required>, Fault> {
    let mut require = Vec::new();
    for item in node.list()? {
        let text = item.text()?;
        let (segment, with) = match text.split_once(" when ") {
            Some((segment, with)) => (segment, Some(with)),
            None => (text, None),
        };
        if let Some(name) = [segment, with.unwrap_or(segment)]
            .into_iter()
            .find(|name| !is_segment_name(name))
        {
            return Err(Fault::new(item.line, format!("`{name}` is no segment")));
        }
        require.push(Required {
            segment: segment.to_owned(),
            with: with.map(str::to_owned),
        });
    }
    Ok(require)
}

fn steps(node: &Node) -> Result<Vec<StepSource>, Fault> {
    let mut steps = Vec::new();
    for item in node.list()? {
        if let Yaml::Text(_) = item.value {
            let line = parsed(item, rule::statement)?;
            steps.push(StepSource::Line(item.line, line));
            continue;
        }
        let (mut over, mut block) = (None, BlockSource::default());
        for entry in item.map()? {
            match entry.key.as_str() {
                "for" => over = Some(entry.node.text()?.to_owned()),
                "require" => block.require = requirements(&entry.node)?,
                "do" => block.steps = self::steps(&entry.node)?,
                _ => return Err(entry.unknown()),
            }
        }
        let over = over.ok_or_else(|| Fault::new(item.line, "`for` is missing"))?;
        steps.push(StepSource::For(item.line, over, block));
    }
    Ok(steps)
}

/// What trigger events do, in `events/` and in the file of a sender.
pub(super) fn events(file: &str, node: &Node) -> Result<Vec<EventSource>, Fault> {
    let mut events = Vec::new();
    for entry in node.map()? {
        let mut event = EventSource {
            file: file.to_owned(),
            line: entry.line,
            trigger: entry.key.clone(),
            message: String::new(),
            set: Vec::new(),
        };
        for key in entry.node.map()? {
            match key.key.as_str() {
                "message" => event.message = key.node.text()?.to_owned(),
                "set" => {
                    for value in key.node.map()? {
                        let text = value.node.text()?.to_owned();
                        event.set.push((value.key.clone(), text));
                    }
                }
                _ => return Err(key.unknown()),
            }
        }
        if event.message.is_empty() {
            return Err(Fault::new(entry.line, "`message` is missing"));
        }
        events.push(event);
    }
    Ok(events)
}

fn sender(file: &str, node: &Node) -> Result<Sender, Fault> {
    let mut sender = Sender::default();
    for entry in node.map()? {
        let node = &entry.node;
        match entry.key.as_str() {
            "charset" => {
                let charset = Charset::named(node.text()?);
                let why = "this character set is not in table 0211, or not supported";
                sender.charset = Some(charset.ok_or_else(|| Fault::new(node.line, why))?);
            }
            "zone" => {
                let zone = node.text()?;
                let instant = format!("2000-01-01T00:00:00{zone}");
                if !fhir_model::PartialDate::parse(&instant).is_some_and(|date| date.zoned) {
                    return Err(Fault::new(node.line, "zone: +01:00, -05:00 or Z"));
                }
                sender.zone = zone.to_owned();
            }
            "authorities" => {
                for name in node.map()? {
                    sender
                        .authorities
                        .insert(name.key.clone(), uri(&name.node)?);
                }
            }
            "set" => {
                for name in node.map()? {
                    let value = name.node.text()?.to_owned();
                    sender.set.insert(name.key.clone(), value);
                }
            }
            "null" => sender.null_deletes = entry.one_of(["delete", "keep"])? == 0,
            "unmapped" => sender.accept_unmapped = entry.one_of(["accept", "reject"])? == 0,
            "accept" | "events" | "vocabulary" | "codes" => sender.overlay.read(file, entry)?,
            _ if sender.policy.read(entry)? => {}
            _ => return Err(entry.unknown()),
        }
    }
    Ok(sender)
}
