//! Where in a resource a walk is, as FHIRPath: `Observation.component[0].value.ofType(Quantity).unit`. Rendered only when there is something to say.

use std::fmt::{self, Display, Formatter};

/// One step down.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Name(&'a str),
    /// A choice element and the type it has.
    Choice(&'a str, &'a str),
    Index(usize),
}

/// The steps from the root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place<'a>(Vec<Step<'a>>);

impl<'a> Place<'a> {
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn depth(&self) -> usize {
        self.0.len()
    }

    pub fn push(&mut self, step: Step<'a>) {
        self.0.push(step);
    }

    pub fn pop(&mut self) {
        self.0.pop();
    }

    /// Back up to a depth.
    pub fn truncate(&mut self, depth: usize) {
        self.0.truncate(depth);
    }

    /// Whether it is an item of an array.
    pub fn is_item(&self) -> bool {
        matches!(self.0.last(), Some(Step::Index(_)))
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("Resource");
        }
        for (at, step) in self.0.iter().enumerate() {
            if at > 0 && !matches!(step, Step::Index(_)) {
                f.write_str(".")?;
            }
            match step {
                Step::Name(name) => f.write_str(name)?,
                Step::Choice(name, type_name) => write!(f, "{name}.ofType({type_name})")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
