//! Strings (<https://hl7.org/fhir/R5/search.html#string>): compared from the start, whatever their case, accents, punctuation and spacing.
//!
//! One normal form serves resources and queries: Unicode NFKD, lower case, accents dropped, apostrophes and full stops dropped
//! (O'Brien is OBrien), other punctuation and white space one space. Vowel signs of Indic and Burmese scripts are letters there, not
//! accents, and stay. Text of punctuation alone keeps it, so that a query is never empty.

use crate::document::STRING_MAX;
use fhir_model::json;
use fhirpath::Node;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

/// The normal form of at least the first [`STRING_MAX`] characters.
pub fn normalise(text: &str) -> String {
    within(text, STRING_MAX)
}

/// The normal form of all of it.
pub(crate) fn normalise_whole(text: &str) -> String {
    within(text, usize::MAX)
}

fn within(text: &str, most: usize) -> String {
    let normal = match text.is_ascii() {
        true => fold_ascii(text, most),
        false => fold(text.nfkd(), most),
    };
    match normal.is_empty() {
        true => text.trim().chars().take(most).collect(),
        false => normal,
    }
}

/// Appends the words of the whole text in the normal form, with single spaces between them; nothing where it has none.
pub(crate) fn words_into(text: &str, out: &mut String) {
    out.push_str(&match text.is_ascii() {
        true => fold_ascii(text, usize::MAX),
        false => fold(text.nfkd(), usize::MAX),
    });
}

fn fold(characters: impl Iterator<Item = char>, most: usize) -> String {
    let mut out = String::new();
    let mut space = false;
    let mut length = 0;
    for c in characters {
        if is_dropped(c) {
            continue;
        }
        if c.is_whitespace() || is_punctuation(c) {
            space = !out.is_empty();
            continue;
        }
        if std::mem::take(&mut space) {
            out.push(' ');
            length += 1;
        }
        for lower in c.to_lowercase() {
            match lower {
                'ß' => out.push_str("ss"),
                'æ' => out.push_str("ae"),
                'œ' => out.push_str("oe"),
                'ø' => out.push('o'),
                'đ' | 'ð' => out.push('d'),
                'ł' => out.push('l'),
                'ħ' => out.push('h'),
                'ı' => out.push('i'),
                'ς' => out.push('σ'),
                // `İ` in lower case is i and a dot above.
                '\u{307}' => {}
                _ => out.push(lower),
            }
        }
        length += 1;
        if length >= most {
            break;
        }
    }
    cut(&mut out, most);
    out
}

/// The same of ASCII, as most texts are: each byte stands for itself.
fn fold_ascii(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    let mut space = false;
    for byte in text.bytes() {
        match ASCII[usize::from(byte & 0x7f)] {
            DROPPED => {}
            b' ' => space = !out.is_empty(),
            letter => {
                if std::mem::take(&mut space) {
                    out.push(' ');
                }
                out.push(char::from(letter));
                if out.len() >= most {
                    break;
                }
            }
        }
    }
    out.truncate(most);
    out
}

/// What becomes of each character of ASCII.
static ASCII: [u8; 128] = {
    let mut all = [DROPPED; 128];
    let mut byte = 0;
    while byte < 128 {
        all[byte as usize] = folded(byte);
        byte += 1;
    }
    all
};

const DROPPED: u8 = 0;

const fn folded(byte: u8) -> u8 {
    match byte {
        b'\'' | b'.' | b'`' => DROPPED,
        b'+' | b'<' | b'=' | b'>' | b'$' | b'|' | b'~' | b'^' => byte,
        _ if byte.is_ascii_alphanumeric() => byte.to_ascii_lowercase(),
        _ => b' ',
    }
}

/// Cuts at `most` characters.
fn cut(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
}

fn is_dropped(c: char) -> bool {
    matches!(c,
        '\'' | '.' | '`' | '´' | '\u{2018}' | '\u{2019}' | '\u{2bc}'
        | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{640}'
        // Accents; Hebrew points and Arabic vowel marks, which are usually not written.
        | '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() && !matches!(c, '+' | '<' | '=' | '>' | '$' | '|' | '~' | '^')
        || c.is_control()
        || matches!(c, '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{3000}'..='\u{3003}' | '،' | '؛' | '؟' | '·' | '«' | '»')
}

/// Calls `visit` with every string of the element that a string parameter searches: each part of a name or an address, its text too;
/// and with the name of the part.
pub(crate) fn each<'a>(node: Node<'a>, visit: &mut dyn FnMut(&'static str, &'a str)) {
    let members: &[&'static str] = match node.type_name {
        "HumanName" => &["family", "given", "prefix", "suffix", "text"],
        "Address" => &[
            "line",
            "city",
            "district",
            "state",
            "postalCode",
            "country",
            "text",
        ],
        "Identifier" => &["value"],
        "CodeableConcept" | "Annotation" => &["text"],
        _ => {
            if let Value::String(text) = node.value {
                visit("", text);
            }
            return;
        }
    };
    for member in members {
        match json::member(node.value, member) {
            Some(Value::String(text)) => visit(member, text),
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(Value::as_str)
                .for_each(|text| visit(member, text)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn normal_forms() {
        for (text, expect) in [
            ("Müller", "muller"),
            ("MULLER", "muller"),
            ("Mu\u{308}ller", "muller"),
            ("O'Brien", "obrien"),
            ("O\u{2019}Brien", "obrien"),
            ("  van   der\tBerg ", "van der berg"),
            ("Jean-Luc", "jean luc"),
            ("St. John", "st john"),
            ("Straße", "strasse"),
            ("Łódź", "lodz"),
            ("Ærø", "aero"),
            ("İstanbul", "istanbul"),
            ("ΟΔΟΣ", "οδοσ"),
            ("Ｆｕｌｌ", "full"),
            ("ﬁ", "fi"),
            ("محمّد", "محمد"),
            ("أحمد", "احمد"),
            ("কামাল", "কামাল"),
            ("한국", &"한국".nfkd().collect::<String>()),
            ("!!!", "!!!"),
            (" - ", "-"),
            ("", ""),
            ("a,b;c", "a b c"),
            ("5% <x>", "5 <x>"),
        ] {
            assert_eq!(normalise(text), expect, "{text}");
        }
        assert_eq!(normalise(&"é".repeat(1000)), "e".repeat(STRING_MAX));
        assert_eq!(normalise(&"ß".repeat(1000)), "s".repeat(STRING_MAX));
    }

    #[test]
    fn parts() {
        for (type_name, value, expect) in [
            ("string", json!("a"), "a"),
            (
                "HumanName",
                json!({"family": "F", "given": ["A", null, "B"], "text": "T", "use": "u"}),
                "F A B T",
            ),
            (
                "Address",
                json!({"line": ["L"], "city": "C", "text": "T", "use": "home"}),
                "L C T",
            ),
            ("HumanName", json!({"family": ["odd"], "given": 5}), "odd"),
            ("HumanName", json!("odd"), ""),
            ("string", json!({}), ""),
        ] {
            let mut found = Vec::new();
            each(
                Node {
                    value: &value,
                    type_name,
                    system: None,
                },
                &mut |_, s| found.push(s),
            );
            assert_eq!(found.join(" "), expect, "{value}");
        }
    }

    proptest! {
        #[test]
        fn ascii_is_folded_as_all_else(text in "[\\x00-\\x7f]{0,300}", most in 0..300_usize) {
            prop_assert_eq!(fold_ascii(&text, most), fold(text.chars(), most));
        }

        /// A query that is the start of a text finds it.
        #[test]
        fn a_start_stays_a_start(start in "[a-zA-Z0-9]{1,20}", rest in "\\PC{0,40}") {
            let whole = start.clone() + &rest;
            prop_assert!(normalise(&whole).starts_with(&normalise(&start)));
        }

        #[test]
        fn normal_is_normal(text in "\\PC{0,300}") {
            prop_assert!(normalise(&text).chars().count() <= STRING_MAX);
        }
    }
}
