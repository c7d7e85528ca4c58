//! Segments and their pieces (v2.9 section 2.5): views into a message, made when asked for, without copying.

use super::{Holds, Message, SegmentSpan};
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
        let span = &self.message.segments[self.index];
        let (first, count) = (span.first_mark as usize, span.marks as usize);
        let marks = &self.message.marks[first..first + count];
        let (raw, holds) = match n.checked_sub(1 + usize::from(span.is_header)) {
            Some(i) if i < count => {
                let end = marks.get(i + 1).copied().unwrap_or(span.end);
                let raw = self.message.slice(marks[i] + 1, end);
                (raw, self.message.holds[first + i])
            }
            None if n == 1 && count > 0 => {
                (self.message.slice(marks[0], marks[0] + 1), Holds::default())
            }
            _ => ("", Holds::default()),
        };
        Field(Text {
            message: self.message,
            raw,
            holds,
            is_delimiters: span.is_header && n <= 2,
        })
    }

    /// Whether anything stands in field `n`.
    pub fn has_field(&self, n: usize) -> bool {
        let span = &self.message.segments[self.index];
        let (first, count) = (span.first_mark as usize, span.marks as usize);
        match n.checked_sub(1 + usize::from(span.is_header)) {
            Some(i) if i < count => {
                let next = self.message.marks.get(first + i + 1);
                let end = next.filter(|_| i + 1 < count).copied();
                self.message.marks[first + i] + 1 < end.unwrap_or(span.end)
            }
            Some(_) => false,
            None => n == 1 && count > 0,
        }
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
    /// What there is at most in it.
    holds: Holds,
    /// MSH-1 and MSH-2: neither split nor unescaped.
    is_delimiters: bool,
}

impl<'m> Text<'m> {
    fn unescaped(&self) -> Cow<'m, str> {
        if self.is_delimiters || !self.holds.any(Holds::ESCAPE) {
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

    /// Part `n`, from 1, of those that a separator makes.
    fn nth(self, n: usize, separator: u8, class: Holds) -> Text<'m> {
        let raw = match n {
            0 => "",
            1 if self.is_delimiters || !self.holds.any(class) => self.raw,
            _ if self.is_delimiters || !self.holds.any(class) => "",
            n => nth_part(self.raw, n - 1, separator).unwrap_or_default(),
        };
        Text { raw, ..self }
    }

    /// Whether it is the text that it stands for: printable ASCII without an escape sequence.
    fn is_plain(self) -> bool {
        !self.is_delimiters && !self.holds.any(Holds::REWRITTEN)
    }
}

/// From this length on a search for the separator has paid when it has begun.
const LONG_BYTES: usize = 256;

/// Part `n`, from 0, of a text.
fn nth_part(text: &str, n: usize, separator: u8) -> Option<&str> {
    if text.len() >= LONG_BYTES {
        return text.split(char::from(separator)).nth(n);
    }
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
        Repetition(
            self.0
                .nth(n, self.0.message.separators.repetition, Holds::REPETITION),
        )
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
        Component(
            self.0
                .nth(n, self.0.message.separators.component, Holds::COMPONENT),
        )
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
        Subcomponent(self.0.nth(
            n,
            self.0.message.separators.subcomponent,
            Holds::SUBCOMPONENT,
        ))
    }

    /// All subcomponents; one empty one if the component is empty.
    pub fn subcomponents(&self) -> impl Iterator<Item = Subcomponent<'m>> + use<'m> {
        self.0
            .split(self.0.message.separators.subcomponent)
            .map(Subcomponent)
    }
}

impl Subcomponent<'_> {
    /// Whether the text is what was sent, in printable ASCII.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.is_plain()
    }
}
