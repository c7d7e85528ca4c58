//! An XML document as a tree that can be changed. What is not touched is written as it was read, byte by byte.
//!
//! Nodes lie in one list and name each other by number, so that nothing here recurses. Refuses document types, entities that XML itself
//! does not have, and what is nested deeper than [`DEPTH_MAX`].

mod edit;

use super::Refusal;
use fhir_model::{Issue, IssueKind};
use quick_xml::NsReader;
use quick_xml::escape::{escape, unescape};
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

pub(super) type NodeId = usize;

/// Elements in each other. A narrative may have some more than the resource around it; the reader counts to 65,535.
const DEPTH_MAX: usize = 1000;

/// The document itself, above its element.
pub(super) const ROOT: NodeId = 0;

const FHIR: &str = "http://hl7.org/fhir";
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// A namespace; of FHIR's two there are many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Namespace {
    None,
    Fhir,
    Xhtml,
    Other(String),
}

impl Namespace {
    pub fn of(name: &str) -> Namespace {
        match name {
            "" => Namespace::None,
            FHIR => Namespace::Fhir,
            XHTML => Namespace::Xhtml,
            other => Namespace::Other(other.to_owned()),
        }
    }

    fn name(&self) -> &str {
        match self {
            Namespace::None => "",
            Namespace::Fhir => FHIR,
            Namespace::Xhtml => XHTML,
            Namespace::Other(name) => name,
        }
    }
}

#[derive(Debug)]
pub(super) struct Document {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    parent: NodeId,
    children: Vec<NodeId>,
    kind: Kind,
}

/// Texts are as they stand in the document, with their references.
#[derive(Clone, Debug)]
enum Kind {
    Document,
    Element {
        namespace: Namespace,
        /// With its prefix.
        name: String,
        attributes: Vec<(String, String)>,
    },
    Text(String),
    Comment(String),
    Instruction(String),
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Element,
    Text,
    Comment,
    Other,
}

impl Document {
    /// # Errors
    /// Syntax with the line.
    pub fn read(text: &str) -> Result<Document, Issue> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = NsReader::from_str(text);
        let mut document = Document { nodes: Vec::new() };
        document.push(ROOT, Kind::Document);
        let mut open = ROOT;
        let mut depth = 0;
        loop {
            let at = reader.buffer_position() as usize;
            let syntax = |reason: &str| {
                let before = &text.as_bytes()[..at.min(text.len())];
                let line = 1 + before.iter().filter(|b| **b == b'\n').count();
                Issue::error(IssueKind::Syntax, format!("{reason} at line {line}"))
            };
            let broken = || syntax("not well-formed XML");
            let (resolved, event) = reader.read_resolved_event().map_err(|_| broken())?;
            let namespace = match resolved {
                ResolveResult::Bound(namespace) => {
                    Namespace::of(std::str::from_utf8(namespace.0).map_err(|_| broken())?)
                }
                ResolveResult::Unbound => Namespace::None,
                ResolveResult::Unknown(_) => return Err(syntax("a prefix that is not declared")),
            };
            match event {
                Event::Start(start) => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(syntax("nested too deep"));
                    }
                    open = document.push(open, element(&start, namespace).ok_or_else(broken)?);
                }
                Event::Empty(start) => {
                    document.push(open, element(&start, namespace).ok_or_else(broken)?);
                }
                Event::End(_) => {
                    depth -= 1;
                    open = document.nodes[open].parent;
                }
                Event::Text(text) => document.push_text(open, raw(&text).ok_or_else(broken)?),
                Event::CData(text) => {
                    let text = raw(&text).ok_or_else(broken)?;
                    document.push_text(open, format!("<![CDATA[{text}]]>"));
                }
                Event::GeneralRef(name) => {
                    let reference = format!("&{};", raw(&name).ok_or_else(broken)?);
                    unescape(&reference).map_err(|_| syntax("an entity that XML has not"))?;
                    document.push_text(open, reference);
                }
                Event::Comment(text) => {
                    document.push(open, Kind::Comment(raw(&text).ok_or_else(broken)?));
                }
                Event::PI(text) => {
                    document.push(open, Kind::Instruction(raw(&text).ok_or_else(broken)?));
                }
                Event::Decl(decl) => {
                    let encoding = decl.encoding().and_then(Result::ok);
                    if encoding.is_some_and(|name| !name.eq_ignore_ascii_case(b"utf-8")) {
                        return Err(syntax("the encoding must be UTF-8, which it is not"));
                    }
                }
                Event::DocType(_) => {
                    return Err(syntax("a document type is not allowed; there is one"));
                }
                Event::Eof => break,
            }
        }
        let elements = document.elements(ROOT).count();
        let has_text = document.nodes[ROOT]
            .children
            .iter()
            .any(|child| document.content(*child) == Content::Text && !document.is_blank(*child));
        match open == ROOT && elements == 1 && !has_text {
            true => Ok(document),
            false => Err(Issue::error(
                IssueKind::Syntax,
                "not well-formed XML: it must be one element",
            )),
        }
    }

    fn push(&mut self, parent: NodeId, kind: Kind) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(Node {
            parent,
            children: Vec::new(),
            kind,
        });
        if id != ROOT {
            self.nodes[parent].children.push(id);
        }
        id
    }

    /// Text and references beside each other are one text.
    fn push_text(&mut self, parent: NodeId, more: String) {
        let last = self.nodes[parent].children.last().copied();
        if let Some(last) = last
            && let Kind::Text(text) = &mut self.nodes[last].kind
        {
            text.push_str(&more);
            return;
        }
        self.push(parent, Kind::Text(more));
    }

    /// The document's text, without a declaration.
    pub fn write(&self) -> String {
        enum Step {
            Node(NodeId),
            End(NodeId),
        }
        let mut text = String::with_capacity(1024);
        let mut steps = vec![Step::Node(ROOT)];
        while let Some(step) = steps.pop() {
            let id = match step {
                Step::Node(id) => id,
                Step::End(id) => {
                    if let Kind::Element { name, .. } = &self.nodes[id].kind {
                        text.extend(["</", name, ">"]);
                    }
                    continue;
                }
            };
            let children = &self.nodes[id].children;
            match &self.nodes[id].kind {
                Kind::Document => {}
                Kind::Element {
                    name, attributes, ..
                } => {
                    text.extend(["<", name]);
                    for (name, value) in attributes {
                        text.extend([" ", name, "=\"", value, "\""]);
                    }
                    if children.is_empty() {
                        text.push_str("/>");
                        continue;
                    }
                    text.push('>');
                    steps.push(Step::End(id));
                }
                Kind::Text(raw) => text.push_str(raw),
                Kind::Comment(raw) => text.extend(["<!--", raw, "-->"]),
                Kind::Instruction(raw) => text.extend(["<?", raw, "?>"]),
            }
            steps.extend(children.iter().rev().map(|child| Step::Node(*child)));
        }
        text
    }

    pub fn root_element(&self) -> NodeId {
        self.elements(ROOT).next().unwrap_or(ROOT)
    }

    pub fn children(&self, id: NodeId) -> &[NodeId] {
        &self.nodes[id].children
    }

    pub fn elements(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let children = self.nodes[id].children.iter().copied();
        children.filter(|child| self.is_element(*child))
    }

    pub fn is_element(&self, id: NodeId) -> bool {
        self.content(id) == Content::Element
    }

    pub fn content(&self, id: NodeId) -> Content {
        match &self.nodes[id].kind {
            Kind::Element { .. } => Content::Element,
            Kind::Text(_) => Content::Text,
            Kind::Comment(_) => Content::Comment,
            Kind::Document | Kind::Instruction(_) => Content::Other,
        }
    }

    pub fn is_blank(&self, id: NodeId) -> bool {
        match &self.nodes[id].kind {
            Kind::Text(text) => text.bytes().all(|b| b.is_ascii_whitespace()),
            Kind::Comment(_) => true,
            _ => false,
        }
    }

    pub fn local_name(&self, id: NodeId) -> &str {
        match &self.nodes[id].kind {
            Kind::Element { name, .. } => name.rsplit(':').next().unwrap_or(name),
            _ => "",
        }
    }

    pub fn is_named(&self, id: NodeId, namespace: &Namespace, local: &str) -> bool {
        matches!(&self.nodes[id].kind, Kind::Element { namespace: found, .. } if found == namespace)
            && self.local_name(id) == local
    }

    fn raw_attributes(&self, id: NodeId) -> &[(String, String)] {
        match &self.nodes[id].kind {
            Kind::Element { attributes, .. } => attributes,
            _ => &[],
        }
    }

    /// Names and what their values say.
    pub fn attributes(&self, id: NodeId) -> impl Iterator<Item = (&str, String)> {
        let attributes = self.raw_attributes(id).iter();
        attributes.map(|(name, raw)| (name.as_str(), value_of(raw)))
    }

    /// What a prefix stands for at an element; the empty one for names without. `f` and `h` are FHIR and XHTML where nothing else is said.
    pub fn namespace(&self, element: NodeId, prefix: &str) -> Option<Namespace> {
        let declaration = match prefix {
            "" => "xmlns".to_owned(),
            prefix => format!("xmlns:{prefix}"),
        };
        let mut id = element;
        while id != ROOT {
            if let Some((_, name)) = self.attributes(id).find(|(name, _)| *name == declaration) {
                return Some(Namespace::of(&name));
            }
            id = self.nodes[id].parent;
        }
        match prefix {
            "" => Some(Namespace::None),
            "f" => Some(Namespace::Fhir),
            "h" => Some(Namespace::Xhtml),
            _ => None,
        }
    }

    /// What the text of an element without elements says.
    pub fn only_text(&self, id: NodeId) -> Option<String> {
        let children = self.children(id).iter();
        let mut all = String::new();
        for child in children {
            match &self.nodes[*child].kind {
                Kind::Text(raw) => all.push_str(&text_of(raw)),
                Kind::Comment(_) => {}
                _ => return None,
            }
        }
        Some(all)
    }

    /// Its parent, and which child of it.
    pub fn place(&self, id: NodeId) -> (NodeId, usize) {
        let parent = self.nodes[id].parent;
        let children = &self.nodes[parent].children;
        let at = children.iter().position(|child| *child == id);
        (parent, at.unwrap_or(children.len()))
    }
}

fn raw(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn element(start: &BytesStart<'_>, namespace: Namespace) -> Option<Kind> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let value = raw(&attribute.value)?.replace('"', "&quot;");
        unescape(&value).ok()?;
        if value.contains('<') {
            return None;
        }
        attributes.push((raw(attribute.key.as_ref())?, value));
    }
    Some(Kind::Element {
        namespace,
        name: raw(start.name().as_ref())?,
        attributes,
    })
}

/// What an attribute says: white space that stands as such is a space (XML 1.0, section 3.3.3).
fn value_of(raw: &str) -> String {
    let normal = raw.replace("\r\n", " ").replace(['\n', '\t', '\r'], " ");
    let value = unescape(&normal).map(|value| value.into_owned());
    value.unwrap_or(normal)
}

/// What a text says.
pub(super) fn text_of(raw: &str) -> String {
    let mut said = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once("<![CDATA[") {
        let (inside, after) = after.split_once("]]>").unwrap_or((after, ""));
        said.push_str(&unescape(before).unwrap_or_default());
        said.push_str(inside);
        rest = after;
    }
    said.push_str(&unescape(rest).unwrap_or_default());
    said
}

/// A value as it stands in an attribute.
fn attribute_text(value: &str) -> String {
    let escaped = escape(value).into_owned();
    escaped
        .replace('\n', "&#10;")
        .replace('\t', "&#9;")
        .replace('\r', "&#13;")
}

/// The text below a node, for comparisons; `nodes` are counted.
pub(super) fn string_value(
    document: &Document,
    id: NodeId,
    nodes: &mut usize,
) -> Result<String, Refusal> {
    let mut said = String::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        spend(nodes, 1)?;
        if let Kind::Text(raw) = &document.nodes[id].kind {
            spend(nodes, raw.len() / 64)?;
            said.push_str(&text_of(raw));
        }
        open.extend(document.children(id).iter().rev());
    }
    Ok(said)
}

pub(super) fn spend(nodes: &mut usize, count: usize) -> Result<(), Refusal> {
    let left = nodes.checked_sub(count);
    *nodes = left.ok_or((
        IssueKind::TooCostly,
        "the patch takes too long on a resource of this size",
    ))?;
    Ok(())
}
