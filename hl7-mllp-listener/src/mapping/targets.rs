//! Every place the maps write to and what they write there. This crate does not know the R5 definitions; the server checks the list
//! against them when it starts.

use super::program::{Convert, Index, Op, Piece, Program, Source, Target};

/// One rule's target.
#[derive(Debug, PartialEq)]
pub struct TargetUse<'p> {
    pub file: &'p str,
    pub line: usize,
    /// Where the path begins: a resource type (`Patient`), a data type (`HumanName`) or an element (`Encounter.participant`).
    pub root: &'p str,
    pub steps: &'p [Target],
    pub written: Written<'p>,
}

/// What a rule writes.
#[derive(Debug, PartialEq)]
pub enum Written<'p> {
    /// A text, for any type that is a JSON string; with the text itself when it does not depend on the message.
    Text(Option<&'p str>),
    /// One of these types; `Reference(Patient)` names a target. More than one for a choice element, or where the types share a form.
    Types(Vec<&'p str>),
    /// What the caller gives: a text, or a reference to a resource of one of the maps.
    Argument,
    /// The rule deletes.
    Nothing,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        f.write_str(match self.index {
            Index::One => "",
            Index::Choice => "[x]",
            Index::Each | Index::New | Index::Label(_) => "[]",
        })
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        self.name == other.name && self.index == other.index
    }
}

pub(super) fn targets(program: &Program) -> Vec<TargetUse<'_>> {
    let mut uses = Vec::new();
    let mut add = |file, root, op| uses.push(target(program, file, root, op));
    for map in &program.maps {
        for op in map.ops.iter().chain(&map.new) {
            add(map.file.as_str(), map.resource_type.as_str(), op);
        }
    }
    for element in &program.elements {
        for op in &element.ops {
            add(element.file.as_str(), element.writes.as_str(), op);
        }
    }
    uses
}

fn target<'p>(program: &'p Program, file: &'p str, root: &'p str, op: &'p Op) -> TargetUse<'p> {
    let written = match &op.convert {
        Convert::Builtin(builtin) => Written::Types(builtin.types.to_vec()),
        Convert::Element(index) => Written::Types(vec![&program.elements[*index].writes]),
        Convert::Resource(index, _) => Written::Types(vec![&program.maps[*index].reference_type]),
        Convert::Plain => match op.sources.first() {
            Some(Source::Argument(_)) => Written::Argument,
            Some(source) if source.is_empty_text() => Written::Nothing,
            Some(Source::Template(pieces)) => Written::Text(match pieces.as_slice() {
                [Piece::Text(text)] => Some(text),
                _ => None,
            }),
            _ => Written::Text(None),
        },
    };
    TargetUse {
        file,
        line: op.line,
        root,
        steps: &op.target,
        written,
    }
}
