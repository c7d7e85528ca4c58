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

#[cfg(test)]
mod tests {
    use crate::message::{Message, TextOptions};
    use proptest::prelude::*;

    /// Part `n`, from 1, as nobody would find it who knows what is in a text.
    fn part(text: &str, n: usize, separator: char) -> &str {
        text.split(separator).nth(n - 1).unwrap_or_default()
    }

    proptest! {
        #[test]
        fn values_are_what_splitting_finds(
            fields in prop::collection::vec("[ab^~&\\\\F\" é\u{85}]{0,12}", 1..4),
            times in prop::sample::select(vec![1_usize, 40]),
            header in prop::sample::select(vec!["MSH|^~\\&|A", "MSH|^~|A", "MSH|^|A"]),
        ) {
            let fields: Vec<String> = fields.iter().map(|field| field.repeat(times)).collect();
            let raw = format!("{header}\rPID|{}", fields.join("|"));
            let message = Message::parse(raw.as_bytes(), &TextOptions::default()).unwrap();
            let separators = *message.separators();
            let of = |role: u8| if role == 0 { '\0' } else { char::from(role) };
            let segment = message.segment(1).unwrap();
            for n in 0..=fields.len() + 1 {
                let field = n.checked_sub(1).and_then(|i| fields.get(i)).map_or("", String::as_str);
                prop_assert_eq!(segment.has_field(n), !field.is_empty());
                for (r, c, s) in [(1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 2), (2, 3, 1), (1, 2, 3)] {
                    let repetition = part(field, r, of(separators.repetition));
                    let component = part(repetition, c, of(separators.component));
                    let subcomponent = part(component, s, of(separators.subcomponent));
                    prop_assert_eq!(message.value(1, n, r, 0, 0), repetition);
                    prop_assert_eq!(message.value(1, n, r, c, 0), component);
                    prop_assert_eq!(message.value(1, n, r, c, s), subcomponent);
                    let own = segment.field(n).repetition(r).component(c).subcomponent(s);
                    let text = crate::escape::unescape(subcomponent, &separators, message.charset());
                    prop_assert!(!own.is_plain() || own.text() == subcomponent);
                    prop_assert_eq!(own.text(), text);
                }
            }
        }
    }
}
