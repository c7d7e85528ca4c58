//! What is changed in a document.

use super::{Content, Document, Kind, Namespace, NodeId, attribute_text};
use crate::patch::xml_patch::{Refusal, broken};

impl Document {
    pub fn add_attribute(&mut self, id: NodeId, name: &str, value: &str) -> Result<(), Refusal> {
        let Kind::Element { attributes, .. } = &mut self.nodes[id].kind else {
            return Err(broken("only elements have attributes"));
        };
        match attributes.iter().any(|(given, _)| given == name) {
            true => Err(broken("the attribute is there already; replace changes it")),
            false => {
                attributes.push((name.to_owned(), attribute_text(value)));
                Ok(())
            }
        }
    }

    pub fn set_attribute(&mut self, id: NodeId, at: usize, value: &str) {
        if let Kind::Element { attributes, .. } = &mut self.nodes[id].kind {
            attributes[at].1 = attribute_text(value);
        }
    }

    pub fn remove_attribute(&mut self, id: NodeId, at: usize) {
        if let Kind::Element { attributes, .. } = &mut self.nodes[id].kind {
            attributes.remove(at);
        }
    }

    /// Takes a node out, and the white space before and after it where that is asked for.
    pub fn remove(&mut self, id: NodeId, before: bool, after: bool) -> Result<(), Refusal> {
        let (parent, mut at) = self.place(id);
        let is_space = |document: &Document, at: Option<usize>| {
            let node = at.and_then(|at| document.children(parent).get(at).copied());
            node.is_some_and(|node| {
                document.content(node) == Content::Text && document.is_blank(node)
            })
        };
        if before && !is_space(self, at.checked_sub(1)) || after && !is_space(self, Some(at + 1)) {
            return Err(broken(
                "there is no white space to be taken away where ws says so",
            ));
        }
        let children = &mut self.nodes[parent].children;
        children.remove(at);
        if after {
            children.remove(at);
        }
        if before {
            at -= 1;
            children.remove(at);
        }
        // Texts that now stand beside each other are one.
        let pair = at
            .checked_sub(1)
            .and_then(|first| Some((children.get(first)?, children.get(at)?)));
        if let Some((first, second)) = pair.map(|(first, second)| (*first, *second))
            && let Kind::Text(more) = &self.nodes[second].kind
            && self.content(first) == Content::Text
        {
            let more = more.clone();
            self.nodes[parent].children.remove(at);
            if let Kind::Text(text) = &mut self.nodes[first].kind {
                text.push_str(&more);
            }
        }
        Ok(())
    }

    /// Copies nodes of another document into an element, from the child `at` on. Their prefixes mean nothing here, so each is written with
    /// its namespace as the default one.
    pub fn import(
        &mut self,
        from: &Document,
        nodes: &[NodeId],
        parent: NodeId,
        at: usize,
    ) -> Result<(), Refusal> {
        let behind = self.nodes[parent].children.split_off(at);
        let mut open: Vec<(NodeId, NodeId)> =
            nodes.iter().rev().map(|node| (*node, parent)).collect();
        while let Some((source, parent)) = open.pop() {
            let kind = match &from.nodes[source].kind {
                Kind::Element {
                    namespace,
                    name,
                    attributes,
                } => {
                    let local = name.rsplit(':').next().unwrap_or(name);
                    let mut own = Vec::new();
                    if !self.is_default(parent, namespace) {
                        own.push(("xmlns".to_owned(), attribute_text(namespace.name())));
                    }
                    for (name, value) in attributes {
                        match name.split_once(':') {
                            None if name == "xmlns" => {}
                            Some(("xmlns", _)) => {}
                            None | Some(("xml", _)) => own.push((name.clone(), value.clone())),
                            Some(_) => {
                                return Err(broken(
                                    "an attribute with a prefix, which FHIR has not",
                                ));
                            }
                        }
                    }
                    Kind::Element {
                        namespace: namespace.clone(),
                        name: local.to_owned(),
                        attributes: own,
                    }
                }
                kind => kind.clone(),
            };
            let copy = self.push(parent, kind);
            open.extend(
                from.nodes[source]
                    .children
                    .iter()
                    .rev()
                    .map(|child| (*child, copy)),
            );
        }
        self.nodes[parent].children.extend(behind);
        Ok(())
    }

    /// Whether names without prefix below this element are of this namespace.
    fn is_default(&self, id: NodeId, namespace: &Namespace) -> bool {
        matches!(&self.nodes[id].kind, Kind::Element { namespace: found, name, .. } if found == namespace && !name.contains(':'))
    }
}
