//! Bytes to text by MSH-18 (table 0211, <https://terminology.hl7.org/CodeSystem-v2-0211.html>). A declared character
//! set is taken at its word: bytes that do not fit it refuse the message, since guessing could change a name. Without a
//! declaration it is UTF-8, else windows-1252 with a warning. Refuses UTF-16 and UTF-32, which MLLP cannot carry (their
//! bytes collide with the frame's), and CNS 11643, which no decoder here reads.
//!
//! The Japanese sets (JIS X 0201, 0208, 0212) are switched to by ISO 2022 escapes. They are read as EUC-JP, which has all three;
//! encoding_rs's ISO-2022-JP lacks the last.

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, ISO_2022_JP, UTF_8, WINDOWS_1252};

/// A character set a message can be read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(Reading);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Bytes up to 0x7F.
    Ascii,
    /// ASCII, and the Japanese sets by ISO 2022 escapes.
    Japanese,
    As(&'static Encoding),
}

impl Charset {
    pub const UTF_8: Charset = Charset::of(UTF_8);
    pub const WINDOWS_1252: Charset = Charset::of(WINDOWS_1252);
    pub(crate) const JAPANESE: Charset = Charset(Reading::Japanese);

    const fn of(encoding: &'static Encoding) -> Charset {
        Charset(Reading::As(encoding))
    }

    /// By a code of table 0211, or a name in common use (`UTF-8`, `ISO-8859-1`, `windows-1252`); `None` if there is no
    /// such character set here.
    pub fn named(name: &str) -> Option<Charset> {
        let name = name.trim().to_ascii_uppercase();
        if let Some(part) = name.strip_prefix("8859/").or(name.strip_prefix("8859-")) {
            return Encoding::for_label(format!("iso-8859-{part}").as_bytes()).map(Charset::of);
        }
        let encoding = match name.as_str() {
            "ASCII" | "US-ASCII" | "ISO IR6" => return Some(Charset(Reading::Ascii)),
            "ISO IR14" | "ISO IR87" | "ISO IR159" => return Some(Charset::JAPANESE),
            "UNICODE UTF-8" | "UNICODE" | "UTF-8" | "UTF8" => UTF_8,
            "ISO IR100" => WINDOWS_1252,
            "GB 18030-2000" | "GB18030" => GB18030,
            "KS X 1001" => EUC_KR,
            "BIG-5" | "BIG5" => BIG5,
            _ => Encoding::for_label(name.as_bytes())?,
        };
        // The header is read before decoding: it must be ASCII on the wire, as it also is in ISO 2022.
        match encoding == ISO_2022_JP {
            true => Some(Charset::JAPANESE),
            false => encoding
                .is_ascii_compatible()
                .then_some(Charset::of(encoding)),
        }
    }

    /// By a whole MSH-18: the first repetition is the default set, later ones are those that ISO 2022 escapes switch
    /// to, of which the Japanese are the ones read here. `Ok(None)`: nothing is declared. `Err`: not one of ours.
    pub fn declared(msh_18: &str, repetition: char) -> Result<Option<Charset>, UnknownCharset> {
        let mut names = msh_18.split(repetition).map(str::trim);
        let default = names.next().unwrap_or_default();
        if names.any(|name| matches!(name, "ISO IR14" | "ISO IR87" | "ISO IR159")) {
            return Ok(Some(Charset::JAPANESE));
        }
        match default {
            "" | "\"\"" => Ok(None),
            name => Charset::named(name).map(Some).ok_or(UnknownCharset),
        }
    }

    /// The text, if every byte belongs to this character set.
    pub fn decode(self, bytes: &[u8]) -> Option<String> {
        let decode = |encoding: &'static Encoding, bytes: &[u8]| {
            let (text, had_errors) = encoding.decode_without_bom_handling(bytes);
            (!had_errors).then(|| text.into_owned())
        };
        match self.0 {
            Reading::Ascii => decode(UTF_8, bytes.is_ascii().then_some(bytes)?),
            Reading::Japanese => decode(EUC_JP, &to_euc_jp(bytes)?),
            Reading::As(encoding) => decode(encoding, bytes),
        }
    }
}

/// What an ISO 2022 escape switches to.
#[derive(Clone, Copy)]
enum Set {
    /// ASCII, or the Roman half of JIS X 0201, whose delimiters are the same bytes.
    Roman,
    /// The other half: one byte for a character.
    Katakana,
    /// JIS X 0208 and 0212: two bytes.
    Kanji,
    Supplement,
}

const ESCAPES: [(&[u8], Set); 6] = [
    (b"\x1b(B", Set::Roman),
    (b"\x1b(J", Set::Roman),
    (b"\x1b(I", Set::Katakana),
    (b"\x1b$@", Set::Kanji),
    (b"\x1b$B", Set::Kanji),
    (b"\x1b$(D", Set::Supplement),
];

/// The same in EUC-JP; `None` for other escapes and for bytes that belong to no set. A line end goes back to Roman.
fn to_euc_jp(mut bytes: &[u8]) -> Option<Vec<u8>> {
    const SINGLE_KATAKANA: u8 = 0x8e;
    const SINGLE_SUPPLEMENT: u8 = 0x8f;
    let mut text = Vec::with_capacity(bytes.len());
    let mut set = Set::Roman;
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        match (first, set) {
            (0x1b, _) => {
                let escape = ESCAPES.iter().find_map(|(escape, to)| {
                    let rest = rest.strip_prefix(&escape[1..])?;
                    Some((*to, rest))
                });
                (set, bytes) = escape?;
            }
            (b'\r' | b'\n', _) => {
                set = Set::Roman;
                text.push(*first);
            }
            // The half with the high bit, without an escape.
            (0xa1..=0xdf, Set::Roman) => text.extend([SINGLE_KATAKANA, *first]),
            (0x80.., _) => return None,
            (byte, Set::Roman) => text.push(*byte),
            (byte, Set::Katakana) => text.extend([SINGLE_KATAKANA, byte | 0x80]),
            (byte, Set::Kanji | Set::Supplement) => {
                let (second, rest) = rest.split_first()?;
                if let Set::Supplement = set {
                    text.push(SINGLE_SUPPLEMENT);
                }
                text.extend([byte | 0x80, second | 0x80]);
                bytes = rest;
            }
        }
    }
    Some(text)
}

/// MSH-18 names a character set that is not read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCharset;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(msh_18: &str, bytes: &[u8], expect: Result<Option<&str>, &str>) {
        let found = match Charset::declared(msh_18, '~') {
            Err(UnknownCharset) => Err("unknown"),
            Ok(None) => Ok(None),
            Ok(Some(charset)) => charset.decode(bytes).map(Some).ok_or("invalid"),
        };
        assert_eq!(
            found,
            expect.map(|text| text.map(str::to_owned)),
            "{msh_18}"
        );
    }

    #[test]
    fn declared_character_sets_are_strict() {
        check("", b"x", Ok(None));
        check("\"\"", b"x", Ok(None));
        check("ASCII", b"abc", Ok(Some("abc")));
        check("ASCII", b"N\xDA", Err("invalid"));
        check("8859/1", b"N\xDA\xD1EZ", Ok(Some("NÚÑEZ")));
        check("8859/2", b"\xA3", Ok(Some("Ł")));
        check("8859/5", b"\xB8", Ok(Some("И")));
        check("8859/7", b"\xC1", Ok(Some("Α")));
        check("8859/15", b"\xA4", Ok(Some("€")));
        check("8859/99", b"x", Err("unknown"));
        check("UNICODE UTF-8", "Łukasz".as_bytes(), Ok(Some("Łukasz")));
        check("UNICODE UTF-8", b"N\xDA", Err("invalid"));
        check("unicode utf-8", "山".as_bytes(), Ok(Some("山")));
        check("UTF-8~UNICODE", "山".as_bytes(), Ok(Some("山")));
        check("UNICODE UTF-16", b"x", Err("unknown"));
        check("UTF-16LE", b"x", Err("unknown"));
        check("CNS 11643-1992", b"x", Err("unknown"));
        check("KS X 1001", b"\xB1\xE8", Ok(Some("김")));
        check("BIG-5", b"\xA4\xA4", Ok(Some("中")));
        check("GB 18030-2000", b"\xD6\xD0", Ok(Some("中")));
        check("~ISO IR87", b"\x1b$B;3\x1b(B^X", Ok(Some("山^X")));
        check("ISO IR87", b"\x1b$B;3\x1b(B", Ok(Some("山")));
        check("nonsense", b"x", Err("unknown"));
        check("8859/3", b"\xA1", Ok(Some("Ħ")));
        check("8859/4", b"\xA2", Ok(Some("ĸ")));
        check("8859/6", b"\xC7", Ok(Some("ا")));
        check("8859/8", b"\xE0", Ok(Some("א")));
        check("8859/9", b"\xDD", Ok(Some("İ")));
        check("8859/10", b"\xA2", Ok(Some("Ē")));
        check("8859/11", b"\xA1", Ok(Some("ก")));
        check("8859/13", b"\xD8", Ok(Some("Ų")));
        check("8859/14", b"\xA1", Ok(Some("Ḃ")));
        check("8859/16", b"\xA2", Ok(Some("ą")));
        check("ISO IR14", b"\xB1 \x1b(I1\x1b(J!", Ok(Some("ｱ ｱ!")));
        check("ISO IR159", b"\x1b$(D0!\x1b(B|", Ok(Some("丂|")));
        check("~ISO IR87~ISO IR159", b"\x1b$B;3\rA", Ok(Some("山\rA")));
        check("ISO IR87", b"\x1b$)C", Err("invalid"));
        check("ISO IR87", b"\x1b$B;", Err("invalid"));
        check("ISO-2022-JP", b"\x1b$B;3\x1b(B", Ok(Some("山")));
    }
}
