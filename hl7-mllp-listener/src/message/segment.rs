//! Segments and their pieces (v2.9 section 2.5): views into a message, made when asked for, without copying.

use super::{Message, SegmentSpan};
use crate::escape::unescape;
use std::borrow::Cow;

/// One non-empty line.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'m> {
    pub(super) message: &'m Message,
    pub(super) index: usize,
}

impl<'m> Segment<'m> {
    /// The segment's name; of an odd line whatever stands before its first field separator, which may be content.
    pub fn name(&self) -> &'m str {
        let span = self.span();
        let end = if span.marks == 0 {
            span.end
        } else {
            self.message.marks[span.first_mark as usize]
        };
        self.message.slice(span.start, end)
    }

    /// Position among the segments of the message, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The line as sent, without its end and leading blanks.
    pub fn raw(&self) -> &'m str {
        let span = self.span();
        self.message.slice(span.start, span.end)
    }

    /// Not a name of three capitals or digits followed by the field separator or the end of the line: often text that
    /// was broken over lines by its sender.
    pub fn is_odd(&self) -> bool {
        self.span().is_odd
    }

    /// Number of the last field that was sent.
    pub fn field_count(&self) -> usize {
        let span = self.span();
        span.marks as usize + usize::from(span.is_header && span.marks > 0)
    }

    /// Field `n`, counted from 1 as in the standard; empty if it was not sent. In MSH, FHS and BHS field 1 is the
    /// separator and field 2 the encoding characters.
    pub fn field(&self, n: usize) -> Field<'m> {
        let span = self.span();
        let marks =
            &self.message.marks[span.first_mark as usize..(span.first_mark + span.marks) as usize];
        let is_delimiters = span.is_header && n <= 2;
        let raw = match n.checked_sub(1 + usize::from(span.is_header)) {
            None if n == 1 => marks
                .first()
                .map(|mark| self.message.slice(*mark, mark + 1)),
            None => None,
            Some(i) => marks.get(i).map(|mark| {
                let end = marks.get(i + 1).copied().unwrap_or(span.end);
                self.message.slice(mark + 1, end)
            }),
        };
        Field(Text {
            message: self.message,
            raw: raw.unwrap_or_default(),
            is_delimiters,
        })
    }

    /// Which segment of this name it is, from 1: the occurrence that an ERL (ERR-2) names.
    pub fn occurrence(&self) -> usize {
        let name = self.name();
        self.message
            .segments()
            .take(self.index + 1)
            .filter(|other| other.name() == name)
            .count()
    }

    fn span(&self) -> SegmentSpan {
        self.message.segments[self.index]
    }
}

/// A piece of a segment: its characters as sent, and the message whose delimiters structure them.
#[derive(Clone, Copy, Debug)]
struct Text<'m> {
    message: &'m Message,
    raw: &'m str,
    /// MSH-1 and MSH-2: neither split nor unescaped.
    is_delimiters: bool,
}

impl<'m> Text<'m> {
    fn unescaped(&self) -> Cow<'m, str> {
        if self.is_delimiters {
            return Cow::Borrowed(self.raw);
        }
        unescape(self.raw, &self.message.separators, self.message.charset)
    }

    fn split(self, separator: u8) -> impl Iterator<Item = Text<'m>> {
        // NUL is in no message, so the delimiters themselves and roles without a character are never split.
        let separator = if self.is_delimiters {
            '\0'
        } else {
            char::from(separator)
        };
        self.raw
            .split(separator)
            .map(move |raw| Text { raw, ..self })
    }

    /// What stands from part `n` on.
    fn rest(self, n: usize, separator: u8) -> Text<'m> {
        let before: usize = self
            .split(separator)
            .take(n - 1)
            .map(|part| part.raw.len() + 1)
            .sum();
        let raw = self.raw.get(before..).unwrap_or_default();
        Text { raw, ..self }
    }

    fn nth(self, n: usize, separator: u8) -> Text<'m> {
        let found = n.checked_sub(1).and_then(|i| match self.raw.len() {
            ..=SHORT_BYTES if !self.is_delimiters => short_nth(self.raw, i, separator),
            _ => self.split(separator).nth(i).map(|part| part.raw),
        });
        let raw = found.unwrap_or_default();
        Text { raw, ..self }
    }
}

/// Up to this length a text is gone through before a search for its separators has begun.
const SHORT_BYTES: usize = 128;

/// Part `n`, from 0, of a text.
fn short_nth(text: &str, n: usize, separator: u8) -> Option<&str> {
    let (mut start, mut before) = (0, n);
    for (at, byte) in text.bytes().enumerate() {
        if byte == separator {
            if before == 0 {
                return text.get(start..at);
            }
            before -= 1;
            start = at + 1;
        }
    }
    (before == 0).then(|| &text[start..])
}

macro_rules! piece {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<'m>(Text<'m>);

        impl<'m> $name<'m> {
            /// The characters as sent.
            pub fn raw(&self) -> &'m str {
                self.0.raw
            }

            /// The characters with escape sequences replaced; delimiters inside stay.
            pub fn text(&self) -> Cow<'m, str> {
                self.0.unescaped()
            }

            /// Nothing was sent: the receiver keeps what it has.
            pub fn is_empty(&self) -> bool {
                self.0.raw.is_empty()
            }

            /// `""` was sent: the receiver deletes what it has.
            pub fn is_null(&self) -> bool {
                self.0.raw == "\"\""
            }
        }
    };
}

piece!(
    /// One field, with all its repetitions.
    Field
);
piece!(
    /// One repetition of a field.
    Repetition
);
piece!(
    /// One component of a repetition.
    Component
);
piece!(
    /// One subcomponent of a component.
    Subcomponent
);

impl<'m> Field<'m> {
    /// Repetition `n`, from 1; empty if it was not sent.
    pub fn repetition(&self, n: usize) -> Repetition<'m> {
        Repetition(self.0.nth(n, self.0.message.separators.repetition))
    }

    /// All repetitions; none if the field is empty.
    pub fn repetitions(&self) -> impl Iterator<Item = Repetition<'m>> + use<'m> {
        let sent = usize::from(!self.is_empty()) * usize::MAX;
        self.0
            .split(self.0.message.separators.repetition)
            .map(Repetition)
            .take(sent)
    }

    /// Component `n`, from 1, of the first repetition; empty if it was not sent.
    pub fn component(&self, n: usize) -> Component<'m> {
        self.repetition(1).component(n)
    }
}

impl<'m> Repetition<'m> {
    /// The components from `n`, from 1, on: a value of another type that is spread over them, such as the place in an NDL.
    pub fn rest(&self, n: usize) -> Repetition<'m> {
        Repetition(self.0.rest(n.max(1), self.0.message.separators.component))
    }

    /// Component `n`, from 1; empty if it was not sent.
    pub fn component(&self, n: usize) -> Component<'m> {
        Component(self.0.nth(n, self.0.message.separators.component))
    }

    /// All components; one empty one if the repetition is empty.
    pub fn components(&self) -> impl Iterator<Item = Component<'m>> + use<'m> {
        self.0
            .split(self.0.message.separators.component)
            .map(Component)
    }
}

impl<'m> Component<'m> {
    /// Subcomponent `n`, from 1; empty if it was not sent.
    pub fn subcomponent(&self, n: usize) -> Subcomponent<'m> {
        Subcomponent(self.0.nth(n, self.0.message.separators.subcomponent))
    }

    /// All subcomponents; one empty one if the component is empty.
    pub fn subcomponents(&self) -> impl Iterator<Item = Subcomponent<'m>> + use<'m> {
        self.0
            .split(self.0.message.separators.subcomponent)
            .map(Subcomponent)
    }
}
