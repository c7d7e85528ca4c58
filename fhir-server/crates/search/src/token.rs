//! The 64-bit hashes that stand for tokens in both engines. Stable for ever: they are stored.
//!
//! A hash covers a form, a parameter (so that `gender=male` of a Patient and of a Person differ) and the texts, each ended by U+0000,
//! which no resource and no query can hold. The function is XXH3-64 with a seed.
//!
//! Letter case (<https://hl7.org/fhir/R5/search.html#token> asks for insensitive matching "when in doubt"): a code searched without a
//! system is matched whatever the case of its ASCII letters; with a system, or with `|code`, exactly. Identifiers decide which
//! patient is meant, and those are searched with their system.

use crate::query::{TokenMatch, UnitMatch};
use crate::vocabulary::Kind;
use fhir_definitions::ParameterKey;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a hash stands for. The numbers are part of every stored hash.
#[derive(Clone, Copy)]
enum Form {
    Present = 1,
    Code = 2,
    SystemAndCode = 3,
    NoSystem = 4,
    System = 5,
    Exact = 6,
    Uri = 7,
    Url = 8,
    Composite = 9,
    UnitSystemAndCode = 10,
    UnitCodeOrText = 11,
    OfType = 12,
    IdentifierCode = 13,
    IdentifierSystemAndCode = 14,
    IdentifierNoSystem = 15,
    IdentifierSystem = 16,
    Text = 17,
    /// In memory only.
    Vocabulary = 18,
    Longer = 19,
    Contained = 20,
    UriBeforeFragment = 21,
}

/// A family of hashes. Two families never agree by accident on the same pair of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashes {
    seed: u64,
}

/// The hashes that are stored.
pub const STORED: Hashes = Hashes { seed: 0 };
/// The hashes of a second look at the resource itself: a collision among [`STORED`] is none here.
pub const RECHECK: Hashes = Hashes {
    seed: 0x9e37_79b9_7f4a_7c15,
};

impl Hashes {
    /// The parameter has a value (`:missing`).
    pub fn present(self, key: ParameterKey) -> i64 {
        self.hash(Form::Present, key, &[])
    }

    /// The resource contains one of this type.
    pub fn contained(self, resource_type: &str) -> i64 {
        self.hash(Form::Contained, ParameterKey(0), &[resource_type])
    }

    /// `code`: in any system or none; ASCII letters in any case.
    pub fn code(self, key: ParameterKey, code: &str) -> i64 {
        self.folded(Form::Code, key, code)
    }

    /// `system|code`.
    pub fn system_and_code(self, key: ParameterKey, system: &str, code: &str) -> i64 {
        self.hash(Form::SystemAndCode, key, &[system, code])
    }

    /// `|code`: without a system.
    pub fn no_system(self, key: ParameterKey, code: &str) -> i64 {
        self.hash(Form::NoSystem, key, &[code])
    }

    /// `system|`: any code of the system.
    pub fn system(self, key: ParameterKey, system: &str) -> i64 {
        self.hash(Form::System, key, &[system])
    }

    /// The whole string as it was written (`:exact`).
    pub fn exact(self, key: ParameterKey, text: &str) -> i64 {
        self.hash(Form::Exact, key, &[text])
    }

    /// The text beside a code or a reference (`:text`), normalised.
    pub fn text(self, key: ParameterKey, normal: &str) -> i64 {
        self.hash(Form::Text, key, &[normal])
    }

    /// A string of the parameter is longer than what is indexed of it.
    pub fn longer(self, key: ParameterKey) -> i64 {
        self.hash(Form::Longer, key, &[])
    }

    /// A value of the vocabulary.
    pub(crate) fn vocabulary(self, kind: Kind, key: ParameterKey, value: &str) -> i64 {
        self.hash(Form::Vocabulary, key, &[kind.name(), value])
    }

    /// A value of a uri parameter.
    pub fn uri(self, key: ParameterKey, uri: &str) -> i64 {
        self.hash(Form::Uri, key, &[uri])
    }

    /// A value of a uri parameter that has a `#fragment`, up to that.
    pub fn uri_before_fragment(self, key: ParameterKey, uri: &str) -> i64 {
        self.hash(Form::UriBeforeFragment, key, &[uri])
    }

    /// A reference that is not to a resource of this server: absolute elsewhere, urn, canonical with or without `|version`. In a
    /// composite also `Type/id` of a local one.
    pub fn url(self, key: ParameterKey, url: &str) -> i64 {
        self.hash(Form::Url, key, &[url])
    }

    /// `:of-type`: an identifier's type and its value.
    pub fn of_type(self, key: ParameterKey, system: &str, code: &str, value: &str) -> i64 {
        self.hash(Form::OfType, key, &[system, code, value])
    }

    /// A composite's parts, each a hash of this family under the composite's own key, in the order of its components. For a composite
    /// with an ordered part (quantity, date, string) it is the marker that ties that part to the others.
    pub fn composite(self, key: ParameterKey, parts: &[i64]) -> i64 {
        let mut buffer = Vec::with_capacity(3 + parts.len() * 8);
        buffer.push(Form::Composite as u8);
        buffer.extend_from_slice(&key.0.to_le_bytes());
        for part in parts {
            buffer.extend_from_slice(&part.to_le_bytes());
        }
        xxh3_64_with_seed(&buffer, self.seed).cast_signed()
    }

    /// `|system|code` of a quantity.
    pub fn unit(self, system: &str, code: &str) -> i64 {
        self.hash(Form::UnitSystemAndCode, ParameterKey(0), &[system, code])
    }

    /// `||code` of a quantity: its code or its written unit.
    pub fn unit_code_or_text(self, text: &str) -> i64 {
        self.hash(Form::UnitCodeOrText, ParameterKey(0), &[text])
    }

    /// The hash that a resource has if and only if it has this token.
    pub fn token(self, key: ParameterKey, token: &TokenMatch) -> i64 {
        match token {
            TokenMatch::Code(code) => self.code(key, code),
            TokenMatch::SystemAndCode(system, code) => self.system_and_code(key, system, code),
            TokenMatch::NoSystem(code) => self.no_system(key, code),
            TokenMatch::System(system) => self.system(key, system),
        }
    }

    /// The same for the identifier in a Reference (`:identifier`).
    pub fn reference_identifier(self, key: ParameterKey, token: &TokenMatch) -> i64 {
        match token {
            TokenMatch::Code(code) => self.folded(Form::IdentifierCode, key, code),
            TokenMatch::SystemAndCode(system, code) => {
                self.hash(Form::IdentifierSystemAndCode, key, &[system, code])
            }
            TokenMatch::NoSystem(code) => self.hash(Form::IdentifierNoSystem, key, &[code]),
            TokenMatch::System(system) => self.hash(Form::IdentifierSystem, key, &[system]),
        }
    }

    /// What [`crate::document::QuantityEntry::units`] must hold; `None` for any.
    pub fn unit_match(self, unit: &UnitMatch) -> Option<i64> {
        match unit {
            UnitMatch::Any => None,
            UnitMatch::CodeOrUnit(text) => Some(self.unit_code_or_text(text)),
            UnitMatch::SystemAndCode(system, code) => Some(self.unit(system, code)),
        }
    }

    fn folded(self, form: Form, key: ParameterKey, code: &str) -> i64 {
        match code.bytes().any(|b| b.is_ascii_uppercase()) {
            true => self.hash(form, key, &[&code.to_ascii_lowercase()]),
            false => self.hash(form, key, &[code]),
        }
    }

    fn hash(self, form: Form, key: ParameterKey, parts: &[&str]) -> i64 {
        let [low, high] = key.0.to_le_bytes();
        let length = 3 + parts.iter().map(|part| part.len() + 1).sum::<usize>();
        let mut small = [0_u8; 256];
        let mut large = Vec::new();
        let buffer = match small.get_mut(..length) {
            Some(buffer) => buffer,
            None => {
                large.resize(length, 0);
                &mut large[..]
            }
        };
        buffer[..3].copy_from_slice(&[form as u8, low, high]);
        let mut at = 3;
        for part in parts {
            buffer[at..at + part.len()].copy_from_slice(part.as_bytes());
            at += part.len() + 1;
        }
        xxh3_64_with_seed(buffer, self.seed).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const KEY: ParameterKey = ParameterKey(42);

    /// Stored hashes must never change: a change here is a reindex of every site.
    #[test]
    fn golden() {
        let long = "x".repeat(300);
        let all = [
            STORED.present(KEY),
            STORED.code(KEY, "male"),
            STORED.system_and_code(KEY, "http://loinc.org", "718-7"),
            STORED.no_system(KEY, "718-7"),
            STORED.system(KEY, "http://loinc.org"),
            STORED.exact(KEY, "Müller"),
            STORED.exact(KEY, &long),
            STORED.uri(KEY, "http://a/b"),
            STORED.url(KEY, "http://a/b|1"),
            STORED.of_type(KEY, "s", "MR", "1"),
            STORED.composite(KEY, &[1, -2]),
            STORED.unit("http://unitsofmeasure.org", "mg"),
            STORED.unit_code_or_text("mg"),
            STORED.reference_identifier(KEY, &TokenMatch::Code("a".into())),
            STORED.reference_identifier(KEY, &TokenMatch::SystemAndCode("s".into(), "a".into())),
            STORED.reference_identifier(KEY, &TokenMatch::NoSystem("a".into())),
            STORED.reference_identifier(KEY, &TokenMatch::System("s".into())),
            RECHECK.code(KEY, "male"),
            STORED.code(ParameterKey(-1), ""),
            STORED.text(KEY, "muller"),
        ];
        assert_eq!(all, GOLDEN);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    const GOLDEN: [i64; 20] = [
        7733825482605311987,
        2414369193233592012,
        1589118627812203386,
        -5529149853407695457,
        4071474218302324189,
        -8130305772023035325,
        3818305196341449788,
        6791315400160414877,
        3255950470325781520,
        8847839467634809786,
        -8952424986033669385,
        -7943699344246747396,
        4367286468588074467,
        2483953595556010591,
        -104890914266898427,
        6629178228049775576,
        -6478733783119660390,
        4863503503736877558,
        1681035239009637434,
        -184365161298747109,
    ];

    #[test]
    fn case() {
        assert_eq!(STORED.code(KEY, "MaLe"), STORED.code(KEY, "male"));
        assert_ne!(STORED.code(KEY, "É"), STORED.code(KEY, "é"));
        assert_ne!(STORED.no_system(KEY, "A"), STORED.no_system(KEY, "a"));
    }

    #[test]
    fn texts_do_not_run_together() {
        assert_ne!(
            STORED.system_and_code(KEY, "ab", "c"),
            STORED.system_and_code(KEY, "a", "bc")
        );
    }
}
