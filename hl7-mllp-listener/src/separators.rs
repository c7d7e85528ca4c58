//! The delimiters a message declares in MSH-1 and MSH-2 (v2.9 section 2.5.4). Refuses letters, digits, spaces, and one
//! character in two roles: such a message cannot be read in one way only.

/// The characters that structure one message. All are ASCII; `0` stands for a role the sender did not assign, and is
/// never found because messages with NUL bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separators {
    pub field: u8,
    pub component: u8,
    pub repetition: u8,
    pub escape: u8,
    pub subcomponent: u8,
    /// The fifth character of MSH-2, from v2.7: marks a value that was cut.
    pub truncation: u8,
}

impl Default for Separators {
    /// What nearly everyone sends: `|^~\&`.
    fn default() -> Self {
        Separators {
            field: b'|',
            component: b'^',
            repetition: b'~',
            escape: b'\\',
            subcomponent: b'&',
            truncation: 0,
        }
    }
}

impl Separators {
    /// From the bytes of a header segment, which begin with `MSH`. Roles are assigned in the order of the standard;
    /// a short MSH-2 leaves the last ones unassigned.
    pub(crate) fn from_header(line: &[u8]) -> Option<Separators> {
        let field = *line.get(3)?;
        let encoding = line[4..].split(|byte| *byte == field).next()?;
        // Control characters are line ends and gaps to whoever reads the answer, which is written with the same ones.
        if encoding.is_empty() || encoding.len() > 5 || encoding.iter().any(u8::is_ascii_control) {
            return None;
        }
        let role = |i: usize| encoding.get(i).copied().unwrap_or(0);
        let separators = Separators {
            field,
            component: role(0),
            repetition: role(1),
            escape: role(2),
            subcomponent: role(3),
            truncation: role(4),
        };
        separators.are_distinct().then_some(separators)
    }

    /// MSH-2: the assigned characters after the field separator.
    pub fn encoding_characters(&self) -> String {
        self.roles()[1..]
            .iter()
            .filter(|byte| **byte != 0)
            .map(|byte| char::from(*byte))
            .collect()
    }

    pub(crate) fn roles(&self) -> [u8; 6] {
        [
            self.field,
            self.component,
            self.repetition,
            self.escape,
            self.subcomponent,
            self.truncation,
        ]
    }

    fn are_distinct(&self) -> bool {
        let roles = self.roles();
        roles.iter().enumerate().all(|(i, byte)| {
            *byte == 0 || (byte.is_ascii_punctuation() && !roles[..i].contains(byte))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Option<&str>) {
        let found = Separators::from_header(line.as_bytes());
        let written = found.map(|s| format!("{}{}", char::from(s.field), s.encoding_characters()));
        assert_eq!(written.as_deref(), expect, "{line}");
    }

    #[test]
    fn separators_come_from_the_header() {
        check(r"MSH|^~\&|A", Some(r"|^~\&"));
        check(r"MSH|^~\&#|A", Some(r"|^~\&#"));
        check(r"MSH#*~\!#A", Some(r"#*~\!"));
        check(r"MSH|^~\|A", Some(r"|^~\"));
        check(r"MSH|^~|A", Some("|^~"));
        check("MSH|^", Some("|^"));
        check("MSH||A", None);
        check("MSH", None);
        check("MSH|", None);
        check(r"MSH|^~\&#!|A", None);
        check(r"MSH|^~\\&|A", None);
        check("MSH|&&&&|A", None);
        check("MSHA^~\\&A", None);
        check("MSH ^~\\& A", None);
        check("MSH|^a\\&|A", None);
        check("MSH|^\0\0\0\0|A", None);
    }
}
