//! Reads YAML 1.2 into a small tree that knows the line of every key and value.
//!
//! Refuses what data files do not need and what makes YAML dangerous: anchors and aliases (so there are no alias bombs), tags,
//! a second document, duplicate keys, nesting deeper than [`DEPTH_MAX`] and files longer than [`FILE_MAX_BYTES`]. A carriage return without
//! a line feed is refused too: YAML ends a line there and editors do not, so that every line named after it would be another one.

use saphyr_parser::{Event, Parser};

/// Longest mapping file that is read.
pub const FILE_MAX_BYTES: usize = 4 << 20;
/// Deepest nesting that is read.
pub const DEPTH_MAX: usize = 32;

/// A value and the line (from 1) it starts on.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub line: usize,
    pub value: Yaml,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Yaml {
    /// Every scalar is text: whether it is a number or a name is for the reader to say.
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, keys unique.
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub line: usize,
    pub key: String,
    pub node: Node,
}

/// What is wrong and in which line.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub line: usize,
    pub reason: String,
}

impl Fault {
    pub fn new(line: usize, reason: impl Into<String>) -> Fault {
        let reason = reason.into();
        Fault { line, reason }
    }
}

/// Reads one file.
///
/// # Errors
/// The first thing that is not YAML, or not the YAML we take.
pub fn parse(bytes: &[u8]) -> Result<Node, Fault> {
    if bytes.len() > FILE_MAX_BYTES {
        return Err(Fault::new(1, format!("longer than {FILE_MAX_BYTES} bytes")));
    }
    check_line_ends(bytes)?;
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Fault::new(line_at(bytes, error.valid_up_to()), "not UTF-8"))?;
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| Fault::new(e.marker().line(), e.info()))?;
        builder.event(event, span.start.line())?;
    }
    builder
        .root
        .ok_or_else(|| Fault::new(1, "the file is empty"))
}

/// Refuses a carriage return without a line feed.
///
/// # Errors
/// The first one.
pub fn check_line_ends(bytes: &[u8]) -> Result<(), Fault> {
    let ends_well = |at: usize| bytes[at] != b'\r' || bytes.get(at + 1) == Some(&b'\n');
    match (0..bytes.len()).find(|at| !ends_well(*at)) {
        None => Ok(()),
        Some(at) => Err(Fault::new(
            line_at(bytes, at),
            "a carriage return without a line feed; lines end with LF or CRLF",
        )),
    }
}

fn line_at(bytes: &[u8], offset: usize) -> usize {
    1 + bytes[..offset]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

enum Open {
    List(Node),
    Map {
        node: Node,
        key: Option<(usize, String)>,
    },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), Fault> {
        let anchored = "anchors, aliases and tags are not used in mapping files";
        match event {
            Event::Scalar(text, _, anchor, tag) => {
                if anchor != 0 || tag.is_some() {
                    return Err(Fault::new(line, anchored));
                }
                self.add(Node {
                    line,
                    value: Yaml::Text(text.into_owned()),
                })
            }
            Event::SequenceStart(0, None) => self.start(Open::List(Node {
                line,
                value: Yaml::List(Vec::new()),
            })),
            Event::MappingStart(0, None) => self.start(Open::Map {
                node: Node {
                    line,
                    value: Yaml::Map(Vec::new()),
                },
                key: None,
            }),
            Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_) => {
                Err(Fault::new(line, anchored))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(node) | Open::Map { node, .. }) => self.add(node),
                None => Ok(()),
            },
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Fault::new(line, "one document a file"))
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, open: Open) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MAX {
            let (Open::List(node) | Open::Map { node, .. }) = open;
            return Err(Fault::new(
                node.line,
                format!("nested deeper than {DEPTH_MAX}"),
            ));
        }
        self.open.push(open);
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), Fault> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(list)) => {
                if let Yaml::List(items) = &mut list.value {
                    items.push(node);
                }
            }
            Some(Open::Map { node: map, key }) => match key.take() {
                None => match node.value {
                    Yaml::Text(text) => *key = Some((node.line, text)),
                    _ => return Err(Fault::new(node.line, "a key must be text")),
                },
                Some((line, name)) => {
                    if let Yaml::Map(entries) = &mut map.value {
                        if entries.iter().any(|e| e.key == name) {
                            return Err(Fault::new(line, format!("`{name}` stands here twice")));
                        }
                        entries.push(Entry {
                            line,
                            key: name,
                            node,
                        });
                    }
                }
            },
        }
        Ok(())
    }
}

impl Node {
    /// # Errors
    /// When this is a list or a map.
    pub fn text(&self) -> Result<&str, Fault> {
        match &self.value {
            Yaml::Text(text) => Ok(text),
            _ => Err(Fault::new(self.line, "text is expected here")),
        }
    }

    /// A list, or one text standing for a list of one.
    ///
    /// # Errors
    /// When this is a map.
    pub fn list(&self) -> Result<&[Node], Fault> {
        match &self.value {
            Yaml::List(items) => Ok(items),
            Yaml::Text(_) => Ok(std::slice::from_ref(self)),
            Yaml::Map(_) => Err(Fault::new(self.line, "a list is expected here")),
        }
    }

    /// A list of texts, or one.
    ///
    /// # Errors
    /// When this is a map, or has anything else in it.
    pub fn texts(&self) -> Result<Vec<String>, Fault> {
        let items = self.list()?.iter();
        items.map(|item| item.text().map(str::to_owned)).collect()
    }

    /// # Errors
    /// When this is text or a list.
    pub fn map(&self) -> Result<&[Entry], Fault> {
        match &self.value {
            Yaml::Map(entries) => Ok(entries),
            // `key:` with nothing after it is an empty map.
            Yaml::Text(text) if text.is_empty() || text == "~" => Ok(&[]),
            _ => Err(Fault::new(self.line, "a map (key: value) is expected here")),
        }
    }
}

impl Entry {
    /// Which of two words stands here.
    ///
    /// # Errors
    /// When it is neither.
    pub fn one_of(&self, words: [&str; 2]) -> Result<usize, Fault> {
        let text = self.node.text()?;
        let index = words.iter().position(|word| *word == text);
        index.ok_or_else(|| {
            let [first, second] = words;
            Fault::new(self.line, format!("{}: {first} or {second}", self.key))
        })
    }

    /// What is said of a key that the reader does not know.
    pub fn unknown(&self) -> Fault {
        Fault::new(self.line, format!("unknown key `{}`", self.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (usize, String) {
        let fault = parse(text.as_bytes()).unwrap_err();
        (fault.line, fault.reason)
    }

    #[test]
    fn lines() {
        let tree = parse(b"# c\na: 1\nb:\n  - x\n  - y: |\n      r1\n      r2\n").unwrap();
        let top = tree.map().unwrap();
        assert_eq!((top[0].line, top[0].key.as_str()), (2, "a"));
        let list = top[1].node.list().unwrap();
        assert_eq!((list[0].line, list[0].text()), (4, Ok("x")));
        let block = &list[1].map().unwrap()[0].node;
        assert_eq!((block.line, block.text()), (6, Ok("r1\nr2\n")));
    }

    #[test]
    fn entries() {
        let tree = parse(b"a: x\nb: [x, y]\n").unwrap();
        let [one, several] = tree.map().unwrap() else {
            panic!("{tree:?}");
        };
        assert_eq!(one.one_of(["w", "x"]), Ok(1));
        assert_eq!(one.one_of(["y", "z"]), Err(Fault::new(1, "a: y or z")));
        assert!(several.one_of(["x", "y"]).is_err());
        assert_eq!(several.unknown(), Fault::new(2, "unknown key `b`"));
        assert_eq!(one.node.texts(), Ok(vec!["x".to_owned()]));
        assert_eq!(several.node.texts().unwrap(), ["x", "y"]);
        assert!(tree.texts().is_err());
    }

    #[test]
    fn refusals() {
        for (text, line, reason) in [
            ("a: &x [1]\nb: *x\n", 1, "anchors"),
            ("a: 1\nb: *x\n", 2, ""),
            ("a: !t 1\n", 1, "tags"),
            ("a: 1\nb: 2\na: 3\n", 3, "twice"),
            ("a: 1\n---\nb: 1\n", 2, "one document"),
            ("a: [1\nb: 2\n", 2, ""),
            ("[a]: 1\n", 1, "key must be text"),
            ("a: 1\r\nb: 2\rc: 3\n", 2, "carriage return"),
            ("", 1, "empty"),
        ] {
            let (at, why) = fault(text);
            assert!(at == line && why.contains(reason), "{text:?}: {at} {why}");
        }
        assert!(fault(&"[".repeat(60)).1.contains("nested deeper"));
        assert_eq!(parse(b"a: 1\n\xff").unwrap_err().line, 2);
    }
}
