//! Bytes to text by MSH-18 (table 0211, <https://terminology.hl7.org/CodeSystem-v2-0211.html>). A declared character
//! set is taken at its word: bytes that do not fit it refuse the message, since guessing could change a name. Without a
//! declaration it is UTF-8, else windows-1252 with a warning. Refuses UTF-16 and UTF-32, which MLLP cannot carry (their
//! bytes collide with the frame's), and CNS 11643, which no decoder here reads.

use encoding_rs::{BIG5, EUC_KR, Encoding, GB18030, ISO_2022_JP, UTF_8, WINDOWS_1252};

/// A character set a message can be read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset {
    encoding: &'static Encoding,
    /// ASCII has no encoding of its own in encoding_rs; its bytes stop at 0x7F.
    is_ascii: bool,
}

impl Charset {
    pub const UTF_8: Charset = Charset::of(UTF_8);
    pub const WINDOWS_1252: Charset = Charset::of(WINDOWS_1252);
    const ASCII: Charset = Charset {
        encoding: UTF_8,
        is_ascii: true,
    };

    const fn of(encoding: &'static Encoding) -> Charset {
        Charset {
            encoding,
            is_ascii: false,
        }
    }

    /// By a code of table 0211, or a name in common use (`UTF-8`, `ISO-8859-1`, `windows-1252`); `None` if there is no
    /// such character set here.
    pub fn named(name: &str) -> Option<Charset> {
        let name = name.trim().to_ascii_uppercase();
        if let Some(part) = name.strip_prefix("8859/").or(name.strip_prefix("8859-")) {
            return Encoding::for_label(format!("iso-8859-{part}").as_bytes()).map(Charset::of);
        }
        let charset = match name.as_str() {
            "ASCII" | "US-ASCII" | "ISO IR6" => Charset::ASCII,
            "UNICODE UTF-8" | "UNICODE" | "UTF-8" | "UTF8" => Charset::UTF_8,
            "ISO IR100" => Charset::WINDOWS_1252,
            // JIS X 0201, 0208 and 0212 are switched to by ISO 2022 escapes.
            "ISO IR14" | "ISO IR87" | "ISO IR159" => Charset::of(ISO_2022_JP),
            "GB 18030-2000" | "GB18030" => Charset::of(GB18030),
            "KS X 1001" => Charset::of(EUC_KR),
            "BIG-5" | "BIG5" => Charset::of(BIG5),
            _ => Charset::of(Encoding::for_label(name.as_bytes())?),
        };
        // The header is read before decoding: it must be ASCII on the wire, as it also is in ISO 2022.
        (charset.encoding.is_ascii_compatible() || charset.encoding == ISO_2022_JP)
            .then_some(charset)
    }

    /// By a whole MSH-18: the first repetition is the default set, later ones are those that ISO 2022 escapes switch
    /// to, of which the Japanese are the ones read here. `Ok(None)`: nothing is declared. `Err`: not one of ours.
    pub fn declared(msh_18: &str, repetition: char) -> Result<Option<Charset>, UnknownCharset> {
        let mut names = msh_18.split(repetition).map(str::trim);
        let default = names.next().unwrap_or_default();
        if names.any(|name| matches!(name, "ISO IR87" | "ISO IR159")) {
            return Ok(Some(Charset::of(ISO_2022_JP)));
        }
        match default {
            "" | "\"\"" => Ok(None),
            name => Charset::named(name).map(Some).ok_or(UnknownCharset),
        }
    }

    /// The text, if every byte belongs to this character set.
    pub fn decode(self, bytes: &[u8]) -> Option<String> {
        if self.is_ascii && !bytes.is_ascii() {
            return None;
        }
        let (text, had_errors) = self.encoding.decode_without_bom_handling(bytes);
        (!had_errors).then(|| text.into_owned())
    }
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
    }
}
