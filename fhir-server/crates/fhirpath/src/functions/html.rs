//! What a narrative may hold (<https://hl7.org/fhir/R5/narrative.html#xhtml>): well-formed, one `div`, only elements and attributes of the list,
//! no script in any form.

const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "acronym",
    "b",
    "big",
    "blockquote",
    "br",
    "caption",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "li",
    "map",
    "area",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "bdi",
    "bdo",
    "ins",
    "del",
];

const ATTRIBUTES: &[&str] = &[
    "abbr",
    "accesskey",
    "align",
    "alt",
    "axis",
    "bgcolor",
    "border",
    "cellhalign",
    "cellpadding",
    "cellspacing",
    "cellvalign",
    "char",
    "charoff",
    "charset",
    "cite",
    "class",
    "colspan",
    "compact",
    "coords",
    "dir",
    "frame",
    "headers",
    "height",
    "href",
    "hreflang",
    "hspace",
    "id",
    "idref",
    "lang",
    "longdesc",
    "name",
    "nohref",
    "nowrap",
    "rel",
    "rev",
    "rowspan",
    "rules",
    "scope",
    "shape",
    "span",
    "src",
    "start",
    "style",
    "summary",
    "tabindex",
    "target",
    "title",
    "type",
    "usemap",
    "valign",
    "value",
    "vlink",
    "vspace",
    "width",
    "xml:base",
    "xml:id",
    "xml:lang",
    "xml:space",
    "xmlns",
    "colwidth",
    "link",
];

/// Whether the text is a `div` that a narrative may hold.
pub fn is_narrative(text: &str) -> bool {
    text.trim_start().starts_with("<div") && read(text).is_some_and(|found| found.roots == 1)
}

/// Whether the text may stand in such a `div`.
pub(super) fn is_fragment(text: &str) -> bool {
    read(text).is_some()
}

/// Whether there is text or an image in it.
pub fn has_content(text: &str) -> bool {
    text.trim_start().starts_with("<div")
        && read(text).is_some_and(|found| found.roots == 1 && found.content)
}

struct Found {
    /// Text or an image.
    content: bool,
    /// Elements and texts that stand in no other element.
    roots: usize,
}

/// `None` when it is not allowed.
fn read(text: &str) -> Option<Found> {
    let mut open: Vec<&str> = Vec::new();
    let mut content = false;
    let mut roots = 0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let Some(tag) = rest.strip_prefix('<') else {
            let end = rest.find('<').unwrap_or(rest.len());
            let words = &rest[..end];
            if !entities_are_known(words) {
                return None;
            }
            let blank = words.trim().is_empty();
            content |= !blank;
            roots += usize::from(open.is_empty() && !blank);
            rest = &rest[end..];
            continue;
        };
        if let Some(comment) = tag.strip_prefix("!--") {
            rest = comment.split_once("-->")?.1;
            continue;
        }
        if let Some(closing) = tag.strip_prefix('/') {
            let (name, after) = closing.split_once('>')?;
            if open.pop()? != name.trim_end() {
                return None;
            }
            rest = after;
            continue;
        }
        let length = tag.find(|c: char| !c.is_ascii_alphanumeric())?;
        let (name, after) = tag.split_at(length);
        if !ELEMENTS.contains(&name) {
            return None;
        }
        roots += usize::from(open.is_empty());
        content |= name == "img";
        let (empty, after) = attributes(after)?;
        if !empty {
            open.push(name);
        }
        rest = after;
    }
    open.is_empty().then_some(Found { content, roots })
}

/// The attributes up to the `>`: whether the element is empty, and what follows it.
fn attributes(text: &str) -> Option<(bool, &str)> {
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start();
        if let Some(after) = trimmed.strip_prefix("/>") {
            return Some((true, after));
        }
        if let Some(after) = trimmed.strip_prefix('>') {
            return Some((false, after));
        }
        if trimmed.len() == rest.len() {
            return None;
        }
        let (name, after) = trimmed.split_once('=')?;
        let name = name.trim();
        if !ATTRIBUTES.contains(&name) && !name.starts_with("xmlns:") {
            return None;
        }
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, after) = after[1..].split_once(quote)?;
        if value.contains('<') || !entities_are_known(value) {
            return None;
        }
        if matches!(name, "href" | "src") && runs(value) {
            return None;
        }
        rest = after;
    }
}

/// Whether following the address would run what is in it. Browsers resolve entities in it and look over blanks, so this does.
fn runs(address: &str) -> bool {
    let mut plain = String::with_capacity(address.len().min(64));
    let mut rest = address;
    while let Some(c) = rest.chars().next().filter(|_| plain.len() < 64) {
        let (c, after) = match entity(rest) {
            Some((c, after)) => (c, after),
            None => (c, &rest[c.len_utf8()..]),
        };
        if c > ' ' {
            plain.push(c.to_ascii_lowercase());
        }
        rest = after;
    }
    plain.starts_with("javascript:")
        || plain.starts_with("vbscript:")
        || (plain.starts_with("data:") && !plain.starts_with("data:image/"))
}

/// The character that a text begins with as an entity, where it may stand in the scheme of an address, and what follows.
fn entity(text: &str) -> Option<(char, &str)> {
    let (name, after) = text.strip_prefix('&')?.split_once(';')?;
    let number = name.strip_prefix('#');
    let hexadecimal = number.and_then(|number| number.strip_prefix(['x', 'X']));
    let c = match (name, number, hexadecimal) {
        (_, _, Some(digits)) => char::from_u32(u32::from_str_radix(digits, 16).ok()?)?,
        (_, Some(digits), None) => char::from_u32(digits.parse().ok()?)?,
        ("colon", ..) => ':',
        ("Tab" | "NewLine", ..) => ' ',
        _ => return None,
    };
    Some((c, after))
}

/// `&name;` or `&#number;` at every `&`.
fn entities_are_known(text: &str) -> bool {
    text.split('&').skip(1).all(|after| {
        after.split_once(';').is_some_and(|(name, _)| {
            let name = name.strip_prefix('#').unwrap_or(name);
            !name.is_empty() && name.len() <= 8 && name.bytes().all(|b| b.is_ascii_alphanumeric())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narratives() {
        for (text, allowed, content) in [
            (
                "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a &lt; b</p></div>",
                true,
                true,
            ),
            ("<div><img src=\"#a\"/></div>", true, true),
            ("<div> <!-- nothing --> </div>", true, false),
            ("<div><p>a</div></p>", false, false),
            ("<div>a", false, false),
            ("a", false, false),
            ("", false, false),
            ("<p>a</p>", false, false),
            ("<div>a</div><div>b</div>", false, false),
            ("<div><script>x</script></div>", false, false),
            ("<div onclick=\"x\">a</div>", false, false),
            ("<div><a href=\"javascript:x\">a</a></div>", false, false),
            ("<div><a href=\" Java\tscript:x\">a</a></div>", false, false),
            (
                "<div><a href=\"j&#97;va&#x73;cript&colon;x\">a</a></div>",
                false,
                false,
            ),
            (
                "<div><a href=\"java&Tab;script:x\">a</a></div>",
                false,
                false,
            ),
            (
                "<div><a href=\"data:text/html,x\">a</a></div>",
                false,
                false,
            ),
            (
                "<div><img src=\"data:image/png;base64,AAAA\"/></div>",
                true,
                true,
            ),
            (
                "<div><a href=\"http://x/?a=javascript:&amp;b=1\">a</a></div>",
                true,
                true,
            ),
            ("<div>a & b</div>", false, false),
            ("<div title=a>a</div>", false, false),
            ("<div", false, false),
        ] {
            assert_eq!(is_narrative(text), allowed, "{text}");
            assert_eq!(has_content(text), content, "{text}");
        }
        assert!(is_fragment("<b>a</b> <i>b</i>") && !is_fragment("<b>a</b> <button>b</button>"));
    }
}
