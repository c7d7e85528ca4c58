//! How a message is read, for a person: every line with its values under their addresses. It prints message content;
//! that is its purpose, so it goes to standard output only and never to a log. A second reader, hl7-parser, says how far it
//! gets: where it stops, other programs may lose the rest of such a message too.

use crate::mapping::{ConvertError, Mappings, Trace};
use crate::message::{Message, Segment, TextOptions};
use std::fmt::{Display, Formatter, Result, Write};

/// How a message is read, and then which rule writes which element: resource, file and line of the rule, element, value.
///
/// # Errors
/// Why the message cannot be read.
pub fn explain(raw: &[u8], mappings: &Mappings) -> std::result::Result<String, String> {
    let sender = mappings.sender(raw);
    let message =
        Message::parse(raw, &TextOptions::of(sender.charset)).map_err(|error| error.to_string())?;
    let mut text = Explanation(&message).to_string();
    let trace = Trace::default();
    let converted = mappings.convert_with(&message, sender, Some(&trace));
    let told = match &converted {
        Ok(converted) => &converted.notices[..],
        Err(ConvertError::Refused(errors)) => errors,
        Err(ConvertError::Unmapped) => {
            text.push_str("# there is no map for it\n");
            &[]
        }
    };
    for error in told {
        let _ = writeln!(text, "# {error}");
    }
    for step in trace.steps() {
        let map = &mappings.program.maps[step.map];
        let (kind, n, path, value) = (&map.resource_type, step.draft, step.path, step.value);
        let _ = writeln!(
            text,
            "{kind}/{n}\t{}:{}\t{path}\t{value}",
            map.file, step.line
        );
    }
    if let Ok(converted) = &converted {
        for segment in &converted.unplaced {
            let name = message
                .segment(*segment)
                .map_or("?", |segment| segment.name());
            let _ = writeln!(
                text,
                "# line {} ({name}) has no place in the structure",
                segment + 1
            );
        }
    }
    Ok(text)
}

/// Displays a message, one value per line: `PID[2]-3[1].4.2`, a tab, the text.
#[derive(Debug)]
pub struct Explanation<'m>(pub &'m Message);

impl Display for Explanation<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let message = self.0;
        let trigger = message.trigger();
        let kind = [trigger.message_type, trigger.event, trigger.structure].join("^");
        writeln!(
            f,
            "# {kind} version {} with {} segments",
            message.version(),
            message.segment_count()
        )?;
        for warning in message.warnings() {
            writeln!(f, "# {warning}")?;
        }
        second_opinion(f, message)?;
        message
            .segments()
            .try_for_each(|segment| explain_segment(f, segment))
    }
}

fn second_opinion(f: &mut Formatter<'_>, message: &Message) -> Result {
    match hl7_parser::parse_message_with_lenient_newlines(message.text()) {
        Ok(other) if other.segments().count() == message.segment_count() => Ok(()),
        Ok(other) => {
            let read = other.segments().count();
            writeln!(f, "# hl7-parser reads only {read} of them")
        }
        Err(_) => writeln!(f, "# hl7-parser cannot read it"),
    }
}

fn explain_segment(f: &mut Formatter<'_>, segment: Segment<'_>) -> Result {
    if segment.is_odd() {
        return writeln!(f, "line {}\t{:?}", segment.index() + 1, segment.raw());
    }
    writeln!(f, "{}[{}]", segment.name(), segment.occurrence())?;
    for n in 1..=segment.field_count() {
        for (r, repetition) in (1..).zip(segment.field(n).repetitions()) {
            for (c, component) in (1..).zip(repetition.components()) {
                for (s, value) in (1..).zip(component.subcomponents()) {
                    if !value.is_empty() {
                        let name = segment.name();
                        writeln!(f, "{name}-{n}[{r}].{c}.{s}\t{:?}", value.text())?;
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::File;

    #[test]
    fn every_element_has_the_rule_that_wrote_it() {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            bytes: text.as_bytes().to_vec(),
        };
        let mappings = Mappings::load(&[
            file("structures/ADT_A01.yaml", "groups: MSH PID"),
            file("events/adt.yaml", "ADT^A01:\n  message: ADT_A01\n"),
            file("messages/ADT_A01.yaml", "do:\n  - PID.Patient\n"),
            file(
                "segments/PID.Patient.yaml",
                "resource: Patient\nidentifier:\n  - PID-3\nrules: |\n  gender: PID-8\n  birthDate: PID-7\n",
            ),
        ]);
        let mappings = mappings.unwrap_or_else(|errors| panic!("{errors:?}"));
        let raw = b"MSH|^~\\&|A||||||ADT^A01|1|P|2.5\rPID|||1||Doe~Roe||1980|x\rZZZ|1";
        let text = explain(raw, &mappings).unwrap();
        for expect in [
            "PID-5[2].1.1\t\"Roe\"\n",
            "Patient/0\tsegments/PID.Patient.yaml:6\tbirthDate\t\"1980\"\n",
            "# line 3 (ZZZ) has no place in the structure\n",
        ] {
            assert!(text.contains(expect), "{text}");
        }
        let other = String::from_utf8(raw.to_vec())
            .unwrap()
            .replace("A01", "A99");
        assert!(
            explain(other.as_bytes(), &mappings)
                .unwrap()
                .contains("no map")
        );
    }

    #[test]
    fn values_stand_under_their_addresses() {
        let raw = b"MSH|^~\\&|A||||||ADT^A01|1|P|2.5\rodd\rPID|||a&b^c~\\F\\";
        let message = Message::parse(raw, &TextOptions::default()).unwrap();
        let text = Explanation(&message).to_string();
        let expect = "# ADT^A01^ version 2.5 with 3 segments\n\
            # a line is not a segment: it was kept, and not mapped\n\
            # hl7-parser reads only 1 of them\n\
            MSH[1]\nMSH-1[1].1.1\t\"|\"\nMSH-2[1].1.1\t\"^~\\\\&\"\nMSH-3[1].1.1\t\"A\"\nMSH-9[1].1.1\t\"ADT\"\n\
            MSH-9[1].2.1\t\"A01\"\nMSH-10[1].1.1\t\"1\"\nMSH-11[1].1.1\t\"P\"\nMSH-12[1].1.1\t\"2.5\"\n\
            line 2\t\"odd\"\n\
            PID[1]\nPID-3[1].1.1\t\"a\"\nPID-3[1].1.2\t\"b\"\nPID-3[1].2.1\t\"c\"\nPID-3[2].1.1\t\"|\"\n";
        assert_eq!(text, expect);
    }
}
