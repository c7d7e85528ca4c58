//! Selectors: what RFC 5261 takes of XPath (section 4.1), and in a predicate a path, as FHIR's values are attributes of children.

use super::document::{Content, Document, Namespace, NodeId, ROOT, spend, string_value};
use super::{Refusal, broken};

/// A path from the document to one node.
#[derive(Debug)]
pub(super) struct Selector {
    steps: Vec<Step>,
    /// The attribute that the path ends in.
    attribute: Option<String>,
}

#[derive(Debug)]
struct Step {
    test: Test,
    predicates: Vec<Predicate>,
}

#[derive(Debug)]
enum Test {
    Any,
    Named(Namespace, String),
    Text,
    Comment,
}

#[derive(Debug)]
enum Predicate {
    /// Counted from 1.
    Position(usize),
    /// Something that the path leads to, or the node itself, says this.
    Says {
        path: Vec<Test>,
        attribute: Option<String>,
        text: String,
    },
}

/// What a selector leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Located {
    Node(NodeId),
    /// Of this element the attribute with this place.
    Attribute(NodeId, usize),
}

impl Selector {
    /// Reads a selector; `namespace` says what a prefix stands for.
    ///
    /// # Errors
    /// What is not understood of it.
    pub fn parse(
        text: &str,
        namespace: impl Fn(&str) -> Option<Namespace>,
    ) -> Result<Selector, &'static str> {
        let mut reader = Reader {
            rest: text.trim(),
            namespace: &namespace,
        };
        reader.eat("/");
        let (mut steps, mut attribute) = (Vec::new(), None);
        loop {
            if reader.eat("@") {
                attribute = Some(reader.attribute()?);
                break;
            }
            steps.push(reader.step()?);
            if !reader.eat("/") {
                break;
            }
        }
        match reader.rest.is_empty() && !steps.is_empty() {
            true => Ok(Selector { steps, attribute }),
            false => Err(NOT_UNDERSTOOD),
        }
    }

    pub fn leads_to_attribute(&self) -> bool {
        self.attribute.is_some()
    }

    /// The one node that it leads to.
    ///
    /// # Errors
    /// BusinessRule where there is none or are several; TooCostly.
    pub fn locate(&self, document: &Document, nodes: &mut usize) -> Result<Located, Refusal> {
        let mut found = vec![ROOT];
        for step in &self.steps {
            let mut next = Vec::new();
            for parent in found {
                next.extend(step.children(document, parent, nodes)?);
            }
            found = next;
        }
        let node = |found: &[NodeId]| match *found {
            [one] => Ok(one),
            [] => Err(broken("sel leads to nothing in the resource")),
            _ => Err(broken("sel leads to several nodes; it must lead to one")),
        };
        let Some(wanted) = &self.attribute else {
            return node(&found).map(Located::Node);
        };
        found.retain(|id| place_of(document, *id, wanted).is_some());
        let element = node(&found)?;
        let at = place_of(document, element, wanted);
        Ok(Located::Attribute(element, at.unwrap_or_default()))
    }
}

fn place_of(document: &Document, id: NodeId, attribute: &str) -> Option<usize> {
    document
        .attributes(id)
        .position(|(name, _)| name == attribute)
}

impl Step {
    fn children(
        &self,
        document: &Document,
        parent: NodeId,
        nodes: &mut usize,
    ) -> Result<Vec<NodeId>, Refusal> {
        let mut found = self.test.children(document, parent, nodes)?;
        for predicate in &self.predicates {
            found = match predicate {
                Predicate::Position(position) => {
                    let place = position.checked_sub(1);
                    let one = place.and_then(|place| found.get(place).copied());
                    one.into_iter().collect()
                }
                Predicate::Says {
                    path,
                    attribute,
                    text,
                } => {
                    let mut kept = Vec::new();
                    for id in found {
                        if says(document, id, path, attribute.as_deref(), text, nodes)? {
                            kept.push(id);
                        }
                    }
                    kept
                }
            };
        }
        Ok(found)
    }
}

impl Test {
    fn children(
        &self,
        document: &Document,
        parent: NodeId,
        nodes: &mut usize,
    ) -> Result<Vec<NodeId>, Refusal> {
        let children = document.children(parent);
        spend(nodes, children.len())?;
        let fits = |id: &NodeId| match self {
            Test::Any => document.is_element(*id),
            Test::Named(namespace, local) => document.is_named(*id, namespace, local),
            Test::Text => document.content(*id) == Content::Text,
            Test::Comment => document.content(*id) == Content::Comment,
        };
        Ok(children.iter().copied().filter(fits).collect())
    }
}

fn says(
    document: &Document,
    id: NodeId,
    path: &[Test],
    attribute: Option<&str>,
    text: &str,
    nodes: &mut usize,
) -> Result<bool, Refusal> {
    let mut found = vec![id];
    for test in path {
        let mut next = Vec::new();
        for parent in found {
            next.extend(test.children(document, parent, nodes)?);
        }
        found = next;
    }
    for id in found {
        let said = match attribute {
            Some(attribute) => document
                .attributes(id)
                .any(|(name, value)| name == attribute && value == text),
            None => string_value(document, id, nodes)? == text,
        };
        if said {
            return Ok(true);
        }
    }
    Ok(false)
}

const NOT_UNDERSTOOD: &str = "sel must be a path of names, with [number], [@attribute='text'] or [name/@attribute='text'], to an element, an @attribute, text() or comment()";

struct Reader<'r, N> {
    rest: &'r str,
    namespace: &'r N,
}

impl<'r, N: Fn(&str) -> Option<Namespace>> Reader<'r, N> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn step(&mut self) -> Result<Step, &'static str> {
        let test = self.test()?;
        let mut predicates = Vec::new();
        while self.eat("[") {
            predicates.push(self.predicate()?);
        }
        Ok(Step { test, predicates })
    }

    fn test(&mut self) -> Result<Test, &'static str> {
        for (token, test) in [
            ("*", Test::Any),
            ("text()", Test::Text),
            ("comment()", Test::Comment),
        ] {
            if self.eat(token) {
                return Ok(test);
            }
        }
        let name = self.name()?;
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        if local.is_empty() || local.contains(':') || self.rest.starts_with('(') {
            return Err(NOT_UNDERSTOOD);
        }
        let namespace = (self.namespace)(prefix).ok_or("sel has a prefix that is not declared")?;
        Ok(Test::Named(namespace, local.to_owned()))
    }

    fn name(&mut self) -> Result<&'r str, &'static str> {
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        let end = self
            .rest
            .find(|c: char| !is_name(c))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        match name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            true => Ok(name),
            false => Err(NOT_UNDERSTOOD),
        }
    }

    fn attribute(&mut self) -> Result<String, &'static str> {
        let name = self.name()?;
        match name.contains(':') && !name.starts_with("xml:") {
            true => Err("sel has an attribute with a prefix, which FHIR has not"),
            false => Ok(name.to_owned()),
        }
    }

    /// What stands between `[` and `]`.
    fn predicate(&mut self) -> Result<Predicate, &'static str> {
        self.space();
        let digits = self.rest.len()
            - self
                .rest
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        let predicate = match digits {
            0 => self.says()?,
            _ => {
                let (number, rest) = self.rest.split_at(digits);
                self.rest = rest;
                Predicate::Position(number.parse().map_err(|_| NOT_UNDERSTOOD)?)
            }
        };
        self.space();
        match self.eat("]") {
            true => Ok(predicate),
            false => Err(NOT_UNDERSTOOD),
        }
    }

    fn says(&mut self) -> Result<Predicate, &'static str> {
        let (mut path, mut attribute) = (Vec::new(), None);
        if !self.eat(".") {
            loop {
                if self.eat("@") {
                    attribute = Some(self.attribute()?);
                    break;
                }
                path.push(self.test()?);
                if !self.eat("/") {
                    break;
                }
            }
        }
        self.space();
        if !self.eat("=") {
            return Err(NOT_UNDERSTOOD);
        }
        self.space();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or(NOT_UNDERSTOOD)?;
        let (text, rest) = self.rest[1..].split_once(quote).ok_or(NOT_UNDERSTOOD)?;
        self.rest = rest;
        Ok(Predicate::Says {
            path,
            attribute,
            text: text.to_owned(),
        })
    }
}
