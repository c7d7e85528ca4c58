//! What the mapping files become: numbers instead of names, ready to run over a message.

use super::datatypes::Builtin;
pub use super::load::{Order, Succession, Write};
pub use super::rule::Verb;
use super::vocabulary::ConceptMap;
use crate::structure::Structure;

/// A compiled resource map.
pub struct Map {
    pub name: String,
    pub file: String,
    pub resource_type: String,
    /// `Reference(Practitioner)`: what a rule writes that refers to it.
    pub reference_type: String,
    /// Made of a value that a rule hands over, not of a segment; message maps do not call it.
    pub of_value: bool,
    pub identifiers: Vec<Op>,
    pub prefer: Vec<String>,
    pub keys: Vec<Vec<Source>>,
    /// By MSH-9.1; the last entry may be `*`.
    pub write: Vec<(String, Write)>,
    pub union: Vec<String>,
    pub order: Option<Order>,
    /// The statuses that a message takes back: only from these its own holds, and then also downwards.
    pub from: Vec<Source>,
    pub succession: Option<Succession>,
    /// The status of the item of the succession that a message takes back.
    pub back: Vec<Source>,
    /// Elements that a message which does not say them deletes: the rules' own, when the map says `absent: delete`.
    pub snapshot: Vec<String>,
    /// When its identifiers belong to different resources, the best one decides and the sender is warned; else an upsert is refused.
    pub best_match: bool,
    /// Without identity it is contained in what refers to it; else left out.
    pub contained: bool,
    /// A key that comes again in one message means another thing of the same kind; else the same thing again.
    pub numbered: bool,
    pub frame: Frame,
    pub ops: Vec<Op>,
    /// Run for a resource that does not exist yet.
    pub new: Vec<Op>,
}

impl Map {
    /// What a message of this type (MSH-9.1) may do to a resource that exists.
    pub fn write(&self, message_type: &str) -> Write {
        let mut entries = self.write.iter();
        let entry = entries.find(|(code, _)| code == message_type || code == "*");
        entry.map_or(Write::Upsert, |(_, write)| *write)
    }
}

/// A compiled element map: a converter made of rules.
pub struct Element {
    pub name: String,
    pub file: String,
    pub writes: String,
    /// Its one segment, if there is one, is the segment the element is called with.
    pub frame: Frame,
    pub ops: Vec<Op>,
}

/// The segments a map reads, and the names it is given.
#[derive(Default)]
pub struct Frame {
    pub segments: Vec<String>,
    pub parameters: Vec<String>,
    pub labels: usize,
}

pub struct Op {
    pub line: usize,
    pub target: Vec<Target>,
    /// Whether every value makes an item of its own: a step of the target is `[]`.
    pub appends: bool,
    pub fallback: bool,
    pub sources: Vec<Source>,
    pub convert: Convert,
    /// In the order of the converter's parameters; empty: not given.
    pub arguments: Vec<Vec<Source>>,
    pub vocabulary: Option<usize>,
    pub when: Option<Test>,
}

pub struct Target {
    pub name: String,
    pub index: Index,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Index {
    One,
    Each,
    New,
    /// Number of the label in the frame.
    Label(usize),
    Choice,
}

pub enum Convert {
    /// Text as it is, a handle as a reference.
    Plain,
    Builtin(&'static Builtin),
    Element(usize),
    /// A reference to what a resource map makes of the value; what that cannot identify is named by the converter, if there is one.
    Resource(usize, Option<&'static Builtin>),
}

#[derive(Clone)]
pub enum Source {
    Address(FieldPath),
    /// A part of the value an element map is called with.
    Part {
        component: usize,
        subcomponent: usize,
        /// All components from this one on, as one value.
        rest: bool,
    },
    Template(Vec<Piece>),
    Argument(usize),
    /// In a message map: what a `let` named.
    Handle(Store),
    /// The same of a list that is to hold one: nothing where it holds several.
    Only(usize),
    /// `$name.element`: an element of the resources that a name stands for.
    Element {
        of: Box<Source>,
        element: String,
    },
    /// A name that the trigger event sets.
    Event(usize),
    /// A name that the sender sets.
    Sender(usize),
    Message(MessageName),
}

/// Values of a segment of the frame.
#[derive(Clone)]
pub struct FieldPath {
    /// Number of the segment in the frame.
    pub slot: usize,
    /// In every segment of the slot.
    pub every: bool,
    pub field: usize,
    pub each: bool,
    pub repetition: usize,
    pub component: usize,
    pub subcomponent: usize,
}

impl Source {
    /// Whether it has one value at most, and not one of a list that a name stands for.
    pub fn is_single(&self) -> bool {
        match self {
            Source::Address(path) => !path.each && !path.every,
            Source::Argument(_) | Source::Element { .. } => false,
            _ => true,
        }
    }

    /// `""` in a rule.
    pub fn is_empty_text(&self) -> bool {
        matches!(self, Source::Template(pieces) if matches!(&pieces[..], [Piece::Text(text)] if text.is_empty()))
    }
}

#[derive(Clone)]
pub enum Piece {
    Text(String),
    Part {
        sources: Vec<Source>,
        optional: bool,
    },
}

/// `$message.…`
#[derive(Clone, Copy, PartialEq)]
pub enum MessageName {
    /// MSH-9.1.
    Type,
    /// MSH-9.2.
    Event,
    /// Who local names are bound to: MSH-4.1, else MSH-3.1.
    Facility,
    /// What makes the message itself unique: sender and control id.
    Key,
}

pub enum Test {
    Valued(Vec<Source>),
    In(Vec<Source>, Vec<String>),
    /// The text between the stars, in order.
    Like(Vec<Source>, String),
    Not(Box<Test>),
    All(Vec<Test>),
    Any(Vec<Test>),
}

/// A compiled message map.
pub struct MessageMap {
    pub name: String,
    pub structure: usize,
    /// How many names of each kind it uses.
    pub ones: usize,
    pub lists: usize,
    pub block: Block,
}

#[derive(Default)]
pub struct Block {
    pub require: Vec<Required>,
    /// Names that begin empty each time the block is entered.
    pub resets: Vec<Store>,
    pub steps: Vec<Step>,
}

/// A segment that must stand in a group or below it; if `with` is given, only where that segment stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Required {
    pub segment: String,
    pub with: Option<String>,
}

pub enum Step {
    Call(Box<CallStep>),
    Relate(Box<RelateStep>),
    /// For each repetition of a group below the current one.
    Group {
        route: Vec<usize>,
        block: Block,
    },
    /// For each occurrence of a segment.
    Segment {
        bind: Bind,
        block: Block,
    },
}

pub struct CallStep {
    pub map: usize,
    /// For each segment of the map's frame.
    pub binds: Vec<Bind>,
    /// For each parameter of the map; addresses in them use `own`.
    pub arguments: Vec<Vec<Source>>,
    pub stores: Vec<Store>,
    pub when: Option<Test>,
    /// The segments that `arguments` and `when` use.
    pub own: Vec<Bind>,
}

pub struct RelateStep {
    pub verb: Verb,
    pub what: Option<Source>,
    pub from: Source,
    pub to: Source,
    pub when: Option<Test>,
    /// The segments that `when` uses.
    pub own: Vec<Bind>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Store {
    One(usize),
    List(usize),
}

/// Where a segment name leads from a place in the structure.
#[derive(Clone, Debug, PartialEq)]
pub enum Bind {
    /// The segment of a surrounding `for`, counted from the outermost.
    Loop(usize),
    /// Up so many groups, then all segments of these places.
    Places { up: usize, places: Vec<Place> },
    /// The structure has no such segment in reach.
    Nowhere,
}

/// An item of a structure as seen from a group above: the items that lead down to its group, and its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub down: Vec<usize>,
    pub item: usize,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub message: usize,
    /// By the number of the name.
    pub values: Vec<Option<String>>,
}

/// All compiled parts; indices in ops and steps point into these lists.
#[derive(Default)]
pub struct Program {
    pub structures: Vec<Structure>,
    pub maps: Vec<Map>,
    pub elements: Vec<Element>,
    /// The map of the organization that an HD names: the assigner of an identifier.
    pub assigner: Option<usize>,
    pub messages: Vec<MessageMap>,
    pub vocabularies: Vec<ConceptMap>,
    /// Names that senders set, sorted.
    pub sender_names: Vec<String>,
}
