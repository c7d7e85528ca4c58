//! What the characters of a field are, noted when the message is indexed: most values hold no delimiter below them, no escape sequence and
//! nothing but printable ASCII, and need not be searched for any.

use super::Separators;

/// Kinds of characters, of one byte or of all in a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds(u8);

impl Holds {
    pub const REPETITION: Holds = Holds(1);
    pub const COMPONENT: Holds = Holds(2);
    pub const SUBCOMPONENT: Holds = Holds(4);
    pub const ESCAPE: Holds = Holds(8);
    /// Anything but printable ASCII.
    pub const OTHER: Holds = Holds(16);
    /// What makes a text another one than was sent.
    pub const REWRITTEN: Holds = Holds(8 | 16);
    /// These two are in no field.
    pub const FIELD: Holds = Holds(32);
    pub const LINE_END: Holds = Holds(64);

    pub fn add(&mut self, class: Holds) {
        self.0 |= class.0;
    }

    pub fn any(self, class: Holds) -> bool {
        self.0 & class.0 != 0
    }
}

/// The class of each byte, with the delimiters of one message.
pub(super) struct Classes([Holds; 256]);

impl Classes {
    pub fn new(separators: &Separators) -> Classes {
        let mut classes = [Holds::OTHER; 256];
        classes[usize::from(b' ')..=usize::from(b'~')].fill(Holds::default());
        // NUL is in no message: it stands for what the sender has no delimiter for.
        for (byte, class) in [
            (separators.repetition, Holds::REPETITION),
            (separators.component, Holds::COMPONENT),
            (separators.subcomponent, Holds::SUBCOMPONENT),
            (separators.escape, Holds::ESCAPE),
            (separators.field, Holds::FIELD),
            (b'\r', Holds::LINE_END),
            (b'\n', Holds::LINE_END),
        ] {
            classes[usize::from(byte)] = class;
        }
        Classes(classes)
    }

    pub fn of(&self, byte: u8) -> Holds {
        self.0[usize::from(byte)]
    }
}
