//! Whether a narrative can stand in XML as it is: both directions ask the same.

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};

/// One div, well-formed, without a DTD and with no other entities than XML's own (<https://hl7.org/fhir/R5/narrative.html#xhtml>).
pub(super) fn is_well_formed(div: &str) -> bool {
    if !div.chars().all(is_xml) {
        return false;
    }
    let mut reader = Reader::from_str(div);
    let mut depth = 0_usize;
    let mut roots = 0;
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                roots += usize::from(depth == 0 && start.name().as_ref() == b"div");
                depth += 1;
                if !has_good_attributes(&start) {
                    return false;
                }
            }
            Ok(Event::Empty(start)) => {
                roots += usize::from(depth == 0 && start.name().as_ref() == b"div");
                if !has_good_attributes(&start) {
                    return false;
                }
            }
            Ok(Event::End(_)) => depth = depth.saturating_sub(1),
            Ok(Event::GeneralRef(name)) => {
                let reference = format!("&{};", String::from_utf8_lossy(&name));
                if !is_good_text(&reference) {
                    return false;
                }
            }
            Ok(Event::Text(_)) if depth == 0 => return false,
            Ok(Event::DocType(_) | Event::Decl(_)) | Err(_) => return false,
            Ok(Event::Eof) => return depth == 0 && roots == 1,
            Ok(_) => {}
        }
    }
}

fn has_good_attributes(start: &BytesStart<'_>) -> bool {
    start.attributes().all(|attribute| {
        let value = attribute.map(|attribute| attribute.value);
        value.is_ok_and(|value| std::str::from_utf8(&value).is_ok_and(is_good_text))
    })
}

/// Every reference in it is to a character that XML has.
fn is_good_text(text: &str) -> bool {
    unescape(text).is_ok_and(|text| text.chars().all(is_xml))
}

/// <https://www.w3.org/TR/xml/#charsets>
pub(super) fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::is_well_formed;

    #[test]
    fn narratives() {
        for (div, expect) in [
            ("<div/>", true),
            ("<div title=\"a &lt; b\">a &amp; b &#160;<br/></div>", true),
            ("<div><b></div>", false),
            ("<div>&nbsp;</div>", false),
            ("<div>a & b</div>", false),
            ("<div>&#0;</div>", false),
            ("<div title=\"&nbsp;\"/>", false),
            ("<div><p title=\"&nosuch;\">a</p></div>", false),
            ("<div><p title=a>a</p></div>", false),
            ("<div>a</div><div>b</div>", false),
            ("<div>a</div>b", false),
            ("<p>a</p>", false),
            ("<!DOCTYPE div><div/>", false),
            ("<div>\u{1}</div>", false),
            ("x", false),
            ("", false),
        ] {
            assert_eq!(is_well_formed(div), expect, "{div}");
        }
    }
}
