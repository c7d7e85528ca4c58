//! Statements of a message map that say what becomes of two things: `merge $a into $b`, `move $what from $a to $b`, `move $a to $b`,
//! `change $a to $b`, `link $a with $b`, `unlink $a from $b`, each with `when` if it depends. What they do is in [`crate::relate`].

use super::{Atom, Condition, Statement, Tokens};

/// A line of a message map.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    Make(Statement),
    Relate(Relation),
}

/// What becomes of two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One goes on as the other, with all that refers to it.
    Merge,
    /// Something, or the identifiers that both name, goes from one to the other, with all that refers to it.
    Move,
    /// The same thing under another identifier.
    Change,
    /// Two that are known to be about the same person, kept apart.
    Link,
    Unlink,
}

/// The names are those of `let`.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    pub verb: Verb,
    /// What moves, if it is neither of the two.
    pub what: Option<Atom>,
    pub from: Atom,
    pub to: Atom,
    pub when: Option<Condition>,
}

/// Reads a statement about two things; `None` if it is none.
pub(super) fn relation(p: &mut Tokens) -> Result<Option<Relation>, String> {
    let words: [(&str, Verb, &str); 5] = [
        ("merge", Verb::Merge, "into"),
        ("move", Verb::Move, "to"),
        ("change", Verb::Change, "to"),
        ("link", Verb::Link, "with"),
        ("unlink", Verb::Unlink, "from"),
    ];
    let Some((_, verb, between)) = words.into_iter().find(|(word, ..)| p.take(word)) else {
        return Ok(None);
    };
    let (mut what, mut from) = (None, name(p)?);
    if verb == Verb::Move && p.take("from") {
        what = Some(std::mem::replace(&mut from, name(p)?));
    }
    p.need(between)?;
    let to = name(p)?;
    let when = p.when()?;
    p.end()?;
    Ok(Some(Relation {
        verb,
        what,
        from,
        to,
        when,
    }))
}

fn name(p: &mut Tokens) -> Result<Atom, String> {
    p.need("$")?;
    p.name().map(Atom::Variable)
}
