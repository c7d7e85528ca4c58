//! XML Patch (RFC 5261, <https://hl7.org/fhir/R5/http.html#patch>): add, replace and remove, on the XML of a resource, which is then read
//! as any XML is: in the order of the specification, with narrative and numbers as they were.
//!
//! Own code, as no library applies such patches. Refuses what RFC 5261 has and no resource can (processing instructions, namespaces that are
//! replaced), selectors that do not lead to one node, more than [`OPERATIONS_MAX`] operations, and what looks through more than
//! [`NODES_MAX`] nodes.

mod document;
mod selector;

use crate::xml;
use document::{Content, Document, NodeId, ROOT};
use fhir_model::{Issue, IssueKind};
use selector::{Located, Selector};
use serde_json::Value;
use std::sync::Arc;

/// Operations of a patch.
const OPERATIONS_MAX: usize = 1000;
/// Nodes that may be looked at to find what selectors lead to.
const NODES_MAX: usize = 2_000_000;

/// A patch, understood.
#[derive(Clone, Debug)]
pub struct XmlPatch(Arc<Understood>);

#[derive(Debug)]
struct Understood {
    /// The patch, from which content is copied.
    document: Document,
    operations: Vec<Operation>,
}

#[derive(Debug)]
struct Operation {
    selector: Selector,
    what: What,
    /// Whose children are the content.
    element: NodeId,
}

#[derive(Debug)]
enum What {
    AddNodes(Where),
    AddAttribute(String),
    Replace,
    Remove { before: bool, after: bool },
}

#[derive(Clone, Copy, Debug)]
enum Where {
    Last,
    First,
    Before,
    After,
}

type Refusal = (IssueKind, &'static str);

const fn broken(reason: &'static str) -> Refusal {
    (IssueKind::BusinessRule, reason)
}

impl XmlPatch {
    /// Takes a patch document apart: any root, in it the operations.
    ///
    /// # Errors
    /// Syntax with the operation that is none; TooCostly.
    pub fn read(bytes: &[u8]) -> Result<XmlPatch, Issue> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Issue::error(IssueKind::Syntax, "the patch is not UTF-8"))?;
        let document = Document::read(text)?;
        let mut operations = Vec::new();
        for element in document.elements(document.root_element()) {
            if operations.len() == OPERATIONS_MAX {
                return Err(Issue::error(
                    IssueKind::TooCostly,
                    format!("the patch has more than {OPERATIONS_MAX} operations"),
                ));
            }
            let read = Operation::read(&document, element);
            operations.push(
                read.map_err(|reason| refuse((IssueKind::Syntax, reason), operations.len()))?,
            );
        }
        match operations.is_empty() {
            true => Err(Issue::error(
                IssueKind::Syntax,
                "the patch has no operations",
            )),
            false => Ok(XmlPatch(Arc::new(Understood {
                document,
                operations,
            }))),
        }
    }

    /// Applies all operations, in order.
    ///
    /// # Errors
    /// BusinessRule with the first operation that cannot be done, TooCostly, Structure where what it makes is no resource any more.
    pub fn apply(&self, resource: &mut Value) -> Result<(), Issue> {
        let text = xml::write(resource.take(), false).map_err(|failure| {
            let first = failure.issues.into_iter().next();
            let kind = IssueKind::BusinessRule;
            Issue {
                kind,
                ..first
                    .unwrap_or_else(|| Issue::error(kind, "the resource cannot be written in XML"))
            }
        })?;
        // What was sent was understood: what cannot be read is this resource.
        let text = self.apply_to(&text).map_err(|issue| Issue {
            kind: match issue.kind {
                IssueKind::Syntax => IssueKind::BusinessRule,
                kind => kind,
            },
            ..issue
        })?;
        *resource = xml::read(text.as_bytes()).map_err(|issue| Issue {
            kind: match issue.kind {
                IssueKind::Syntax => IssueKind::Structure,
                kind => kind,
            },
            ..issue
        })?;
        Ok(())
    }

    fn apply_to(&self, text: &str) -> Result<String, Issue> {
        let mut target = Document::read(text)?;
        let mut nodes = NODES_MAX;
        for (index, operation) in self.0.operations.iter().enumerate() {
            operation
                .apply(&self.0.document, &mut target, &mut nodes)
                .map_err(|refusal| refuse(refusal, index))?;
        }
        Ok(target.write())
    }
}

fn refuse((kind, reason): Refusal, index: usize) -> Issue {
    Issue::error(
        kind,
        format!("operation {index} of the patch, counted from 0: {reason}"),
    )
}

impl Operation {
    fn read(patch: &Document, element: NodeId) -> Result<Operation, &'static str> {
        let (mut sel, mut kind, mut pos, mut ws) = (None, None, None, None);
        for (name, value) in patch.attributes(element) {
            match name {
                "sel" => sel = Some(value),
                "type" => kind = Some(value),
                "pos" => pos = Some(value),
                "ws" => ws = Some(value),
                name if name == "xmlns" || name.contains(':') => {}
                _ => return Err("it has an attribute that RFC 5261 has not"),
            }
        }
        let what = match (
            patch.local_name(element),
            kind.as_deref(),
            pos.as_deref(),
            ws.as_deref(),
        ) {
            ("add", Some(name), None, None) => What::AddAttribute(attribute_name(name)?),
            ("add", None, pos, None) => What::AddNodes(match pos {
                None => Where::Last,
                Some("prepend") => Where::First,
                Some("before") => Where::Before,
                Some("after") => Where::After,
                Some(_) => return Err("pos must be prepend, before or after"),
            }),
            ("replace", None, None, None) => What::Replace,
            ("remove", None, None, ws) => match ws {
                None | Some("before" | "after" | "both") => What::Remove {
                    before: matches!(ws, Some("before" | "both")),
                    after: matches!(ws, Some("after" | "both")),
                },
                Some(_) => return Err("ws must be before, after or both"),
            },
            ("add" | "replace" | "remove", ..) => {
                return Err("it has an attribute that this operation does not take");
            }
            _ => return Err("it must be add, replace or remove"),
        };
        let sel = sel.ok_or("it has no sel")?;
        let selector = Selector::parse(&sel, |prefix| patch.namespace(element, prefix))?;
        let only_text = || match patch.only_text(element) {
            Some(_) => Ok(()),
            None => Err("its content must be text"),
        };
        match (&what, selector.leads_to_attribute()) {
            (What::AddAttribute(_), false) => only_text()?,
            (What::AddNodes(_) | What::AddAttribute(_), true) => {
                return Err("nothing can be added to an attribute");
            }
            (What::Replace, true) => only_text()?,
            _ => {}
        }
        Ok(Operation {
            selector,
            what,
            element,
        })
    }

    fn apply(
        &self,
        patch: &Document,
        target: &mut Document,
        nodes: &mut usize,
    ) -> Result<(), Refusal> {
        let located = self.selector.locate(target, nodes)?;
        let text = || patch.only_text(self.element).unwrap_or_default();
        match (&self.what, located) {
            (What::AddAttribute(name), Located::Node(node)) => {
                target.add_attribute(node, name, &text())
            }
            (What::AddNodes(place), Located::Node(node)) => self.add(patch, target, node, *place),
            (What::Replace, Located::Attribute(node, at)) => {
                target.set_attribute(node, at, &text());
                Ok(())
            }
            (What::Replace, Located::Node(node)) => self.replace(patch, target, node),
            (What::Remove { before, after }, Located::Node(node)) => {
                if node == target.root_element() {
                    return Err(broken("the whole resource cannot be taken away"));
                }
                target.remove(node, *before, *after)
            }
            (What::Remove { .. }, Located::Attribute(node, at)) => {
                target.remove_attribute(node, at);
                Ok(())
            }
            (_, Located::Attribute(..)) => Err(broken("nothing can be added to an attribute")),
        }
    }

    fn add(
        &self,
        patch: &Document,
        target: &mut Document,
        node: NodeId,
        place: Where,
    ) -> Result<(), Refusal> {
        let (parent, at) = match place {
            Where::Before | Where::After => {
                let (parent, at) = target.place(node);
                (parent, at + usize::from(matches!(place, Where::After)))
            }
            Where::First | Where::Last if !target.is_element(node) => {
                return Err(broken("only elements have content to add to"));
            }
            Where::First => (node, 0),
            Where::Last => (node, target.children(node).len()),
        };
        if parent == ROOT {
            return Err(broken("nothing can be added beside the resource"));
        }
        target.import(patch, patch.children(self.element), parent, at)
    }

    fn replace(
        &self,
        patch: &Document,
        target: &mut Document,
        node: NodeId,
    ) -> Result<(), Refusal> {
        let wanted = target.content(node);
        let is_same =
            |child: &&NodeId| wanted != Content::Other && patch.content(**child) == wanted;
        let content = patch.children(self.element);
        let is_blank = |child: &&NodeId| patch.is_blank(**child);
        let mut matching = content.iter().filter(is_same);
        let (Some(new), None) = (matching.next(), matching.next()) else {
            return Err(broken(
                "its content must be one node of the kind that is replaced",
            ));
        };
        if !content.iter().all(|child| child == new || is_blank(&child)) {
            return Err(broken(
                "its content must be one node of the kind that is replaced",
            ));
        }
        let (parent, at) = target.place(node);
        target.import(patch, &[*new], parent, at)?;
        target.remove(node, false, false)
    }
}

/// Of `@name`, or of `namespace::prefix` the declaration.
fn attribute_name(kind: &str) -> Result<String, &'static str> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let name = match (kind.strip_prefix('@'), kind.strip_prefix("namespace::")) {
        (Some(name), _) if is_name(name) => Some(name.to_owned()),
        (Some(name), _) if name.strip_prefix("xml:").is_some_and(is_name) => Some(name.to_owned()),
        (_, Some(prefix)) if is_name(prefix) => Some(format!("xmlns:{prefix}")),
        _ => None,
    };
    name.ok_or("type must be @ and the name of an attribute, or namespace:: and a prefix")
}

#[cfg(test)]
mod tests;
