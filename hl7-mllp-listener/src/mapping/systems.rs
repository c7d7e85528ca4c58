//! Which URI a v2 name means: coding systems (table 0396), assigning authorities (HD, v2.9 section 2.A.33).
//!
//! HD rules: an ISO universal id is `urn:oid:`, a UUID `urn:uuid:`, a URI itself; else the name as `systems.yaml` or the sender's
//! overlay says; else a name of our own that is bound to the sending facility, so that two senders' record numbers never meet.

use super::value::Value;
use super::yaml::{Fault, Node};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

/// The URI of a v2 table's code system (<https://terminology.hl7.org>).
pub const V2_TABLE: &str = "http://terminology.hl7.org/CodeSystem/v2-";

#[derive(Debug, Default)]
pub struct Systems {
    coding: HashMap<String, String>,
    authorities: HashMap<String, String>,
}

impl Systems {
    /// Adds the entries of `systems.yaml`.
    ///
    /// # Errors
    /// Unknown keys, values that are no URI, names twice.
    pub fn read(&mut self, node: &Node) -> Result<(), Fault> {
        for entry in node.map()? {
            let table = match entry.key.as_str() {
                "coding" => &mut self.coding,
                "authorities" => &mut self.authorities,
                _ => return Err(entry.unknown()),
            };
            for name in entry.node.map()? {
                let uri = uri(&name.node)?;
                if table.insert(name.key.to_uppercase(), uri).is_some() {
                    return Err(Fault::new(
                        name.line,
                        format!("`{}` is here twice", name.key),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The URI of a coding system named in a CWE.3 (or by OID in CWE.14). Local names are bound to the facility.
    pub fn coding(&self, name: &str, facility: &str) -> String {
        let upper = upper(name);
        if let Some(uri) = self.coding.get(upper.as_ref()) {
            return uri.clone();
        }
        if is_uri(name) {
            return name.to_owned();
        }
        if is_oid(name) {
            return format!("urn:oid:{name}");
        }
        match upper.strip_prefix("HL7") {
            Some(table) if table.len() == 4 && table.bytes().all(|b| b.is_ascii_digit()) => {
                format!("{V2_TABLE}{table}")
            }
            _ => local("coding", facility, name),
        }
    }

    /// The system of identifiers that an HD assigns. `None` when neither the HD nor the facility says who.
    pub fn authority(
        &self,
        hd: Option<Value<'_>>,
        own: &HashMap<String, String>,
        facility: &str,
        kind: Option<&str>,
    ) -> Option<String> {
        let part = |n| hd.and_then(|hd| hd.part(n)).and_then(Value::text);
        self.named(part(1), part(2), part(3), own, facility, kind)
    }

    /// The same from the parts of an HD: name, universal id and its type.
    pub fn named(
        &self,
        name: Option<Cow<'_, str>>,
        id: Option<Cow<'_, str>>,
        id_type: Option<Cow<'_, str>>,
        own: &HashMap<String, String>,
        facility: &str,
        kind: Option<&str>,
    ) -> Option<String> {
        if let Some(name) = &name
            && let Some(uri) = own
                .get(name.as_ref())
                .or_else(|| self.authorities.get(upper(name).as_ref()))
        {
            return Some(uri.clone());
        }
        if let Some(id) = id {
            match id_type.as_deref().map(str::to_uppercase).as_deref() {
                Some("ISO") | None if is_oid(&id) => return Some(["urn:oid:", &id].concat()),
                Some("UUID" | "GUID") => return Some(format!("urn:uuid:{}", id.to_lowercase())),
                _ if is_uri(&id) => return Some(id.into_owned()),
                _ => return Some(local("authority", &name.unwrap_or_default(), &id)),
            }
        }
        // An OID alone in the first part is seen often.
        match name {
            Some(name) if is_oid(&name) => Some(format!("urn:oid:{name}")),
            Some(name) if is_uri(&name) => Some(name.into_owned()),
            Some(name) => Some(local("authority", facility, &name)),
            None if facility.is_empty() => None,
            None => {
                let name = ["-", kind.unwrap_or_default()].concat();
                Some(local("authority", facility, &name))
            }
        }
    }
}

/// Reads a value that must be a URI.
pub(super) fn uri(node: &Node) -> Result<String, Fault> {
    match node.text()? {
        text if is_uri(text) => Ok(text.to_owned()),
        _ => Err(Fault::new(node.line, "this is no URI")),
    }
}

fn is_uri(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        matches!(scheme, "http" | "https" | "urn") && !rest.is_empty()
    }) && !text.contains(char::is_whitespace)
}

fn is_oid(text: &str) -> bool {
    let mut arcs = text.split('.');
    matches!(arcs.next(), Some("0" | "1" | "2"))
        && text.contains('.')
        && arcs.all(|arc| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()))
}

/// In capitals, as most names are sent.
pub(super) fn upper(name: &str) -> Cow<'_, str> {
    let is_upper = |byte: u8| byte.is_ascii() && !byte.is_ascii_lowercase();
    match name.bytes().all(is_upper) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(name.to_uppercase()),
    }
}

/// A name of our own, bound to who gave it.
fn local(kind: &str, owner: &str, name: &str) -> String {
    let mut urn = String::with_capacity(24 + kind.len() + owner.len() + name.len());
    urn.push_str("urn:hl7v2:");
    urn.push_str(kind);
    for part in [owner, name] {
        urn.push(':');
        push_escaped(&mut urn, part);
    }
    urn
}

/// Percent-encodes what may not stand in a URN.
fn push_escaped(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(byte.into()),
            _ => {
                // Writing to a text cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::yaml;
    use crate::message::{Message, TextOptions};

    #[test]
    fn names() {
        let mut systems = Systems::default();
        let file =
            b"coding:\n  LN: http://loinc.org\nauthorities:\n  MOH: https://moh.example/id\n";
        systems.read(&yaml::parse(file).unwrap()).unwrap();
        for (name, expect) in [
            ("ln", "http://loinc.org"),
            ("HL70078", "http://terminology.hl7.org/CodeSystem/v2-0078"),
            ("2.16.840.1", "urn:oid:2.16.840.1"),
            ("99 X", "urn:hl7v2:coding:FAC:99%20X"),
            ("http://x.y", "http://x.y"),
        ] {
            assert_eq!(systems.coding(name, "FAC"), expect);
        }
        for (hd, facility, expect) in [
            ("A&1.2.3&ISO", "F", Some("urn:oid:1.2.3")),
            ("A&5F-A&UUID", "F", Some("urn:uuid:5f-a")),
            ("A&https://x.y&URI", "F", Some("https://x.y")),
            ("moh", "F", Some("https://moh.example/id")),
            (
                "A&host.example&DNS",
                "F",
                Some("urn:hl7v2:authority:A:host.example"),
            ),
            ("HIS", "F 1", Some("urn:hl7v2:authority:F%201:HIS")),
            ("1.2.3", "F", Some("urn:oid:1.2.3")),
            ("", "F", Some("urn:hl7v2:authority:F:-MR")),
            ("", "", None),
        ] {
            let text = format!("MSH|^~\\&|\rPID|1||1^^^{hd}");
            let message = Message::parse(text.as_bytes(), &TextOptions::default()).unwrap();
            let cx = message.segment(1).unwrap().field(3).repetition(1);
            let hd_value = Some(Value::Component(cx.component(4)));
            let got = systems.authority(hd_value, &HashMap::new(), facility, Some("MR"));
            assert_eq!(got.as_deref(), expect, "{hd}");
        }
    }

    #[test]
    fn refuses() {
        for (text, line) in [("codings:\n  a: b\n", 1), ("coding:\n  LN: loinc\n", 2)] {
            let fault = Systems::default().read(&yaml::parse(text.as_bytes()).unwrap());
            assert_eq!(fault.unwrap_err().line, line);
        }
    }
}
