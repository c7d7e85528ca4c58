//! What searches find (<https://hl7.org/fhir/R5/search.html>), as data that any engine can be held to: a suite of `data/` is a folder with
//! the resources that are there and files of cases, each a URL and what it finds. How to write one stands in README.md.
//!
//! It knows no engine. [`table`] says which kinds of parameter, modifiers and prefixes have a case.

pub mod table;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of `data/`: its cases speak of its resources and of no others.
#[derive(Debug)]
pub struct Suite {
    pub name: String,
    /// The latest updated first, so that this is the default order of a search.
    resources: Vec<String>,
    pub cases: Vec<Case>,
}

/// One line of a file of cases.
#[derive(Debug)]
pub struct Case {
    /// File and line.
    pub place: String,
    url: String,
    pub expect: Expect,
    /// Why it cannot be asked over HTTP, if so.
    pub engine_only: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// As [`found`] writes it.
    Found(String),
    /// An OperationOutcome with this issue code.
    Refused(String),
}

/// Every suite, by name.
///
/// # Panics
/// Where a file of `data/` cannot be read: these are the tests' own.
#[expect(clippy::unwrap_used, reason = "the tests' own files")]
pub fn suites() -> Vec<Suite> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let mut folders: Vec<PathBuf> = files(&data);
    folders.retain(|folder| folder.is_dir());
    folders
        .iter()
        .map(|folder| suite(folder).unwrap())
        .collect()
}

fn suite(folder: &Path) -> Result<Suite, String> {
    let name = name(folder);
    let resources = text(&folder.join("resources.jsonl"))?;
    let mut cases = Vec::new();
    for file in files(folder) {
        if file.extension().is_some_and(|extension| extension == "tsv") {
            let topic = format!("{name}/{}", self::name(&file));
            for (number, line) in text(&file)?.lines().enumerate() {
                if !line.is_empty() && !line.starts_with('#') {
                    cases.push(Case::read(format!("{topic}:{}", number + 1), line)?);
                }
            }
        }
    }
    let resources = resources.lines().map(str::to_owned).collect();
    Ok(Suite {
        name,
        resources,
        cases,
    })
}

impl Suite {
    /// The resources on a server of this base, without a trailing slash.
    ///
    /// # Panics
    /// Where a line is no JSON.
    pub fn resources(&self, base: &str) -> Vec<Value> {
        let read = |(number, line): (usize, &String)| {
            serde_json::from_str(&line.replace("{base}", base)).unwrap_or_else(|error| {
                panic!("{}/resources.jsonl:{}: {error}", self.name, number + 1)
            })
        };
        self.resources.iter().enumerate().map(read).collect()
    }
}

impl Case {
    fn read(place: String, line: &str) -> Result<Case, String> {
        let mut cells = line.split('\t');
        let (Some(url), Some(expect)) = (cells.next(), cells.next()) else {
            return Err(format!("{place}: a URL, a tab, and what it finds"));
        };
        let expect = match expect.strip_prefix("! ") {
            Some(code) => Expect::Refused(code.to_owned()),
            None => Expect::Found(expect.to_owned()),
        };
        let engine_only = match cells.next() {
            None => None,
            Some(reason) => match reason.strip_prefix("engine: ") {
                Some(reason) => Some(reason.to_owned()),
                None => return Err(format!("{place}: the third cell is engine: and a reason")),
            },
        };
        Ok(Case {
            place,
            url: url.to_owned(),
            expect,
            engine_only,
        })
    }

    /// The URL on a server of this base; `updated` tells when the resource of an id was updated, as `meta.lastUpdated` says it.
    pub fn url(&self, base: &str, updated: impl Fn(&str) -> String) -> String {
        let mut url = self.url.replace("{base}", base);
        while let Some(at) = url.find("{updated ") {
            let rest = &url[at + "{updated ".len()..];
            let end = rest.find('}').unwrap_or(rest.len());
            let time = updated(&rest[..end]).replace('+', "%2B");
            url = format!("{}{time}{}", &url[..at], rest.get(end + 1..).unwrap_or(""));
        }
        url
    }

    /// The types searched and the parameters, decoded.
    pub fn parameters(url: &str) -> (Vec<&str>, Vec<(String, String)>) {
        let (types, query) = url.split_once('?').unwrap_or((url, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (decoded(name), decoded(value)));
        (types.split(',').collect(), pairs.collect())
    }
}

/// What a page shows, as the cases write it: the ids of the matches in order; `+` and those of the includes, sorted; `#` and the total where
/// it is not the number of matches of a single page, `none` where there is no total.
pub fn found(matches: &[String], includes: &[String], total: Option<u64>, more: bool) -> String {
    let mut shown: Vec<String> = matches.to_vec();
    if !includes.is_empty() {
        let mut includes = includes.to_vec();
        includes.sort();
        shown.push("+".into());
        shown.extend(includes);
    }
    match total {
        Some(total) if total == matches.len() as u64 && !more => {}
        Some(total) => shown.extend(["#".into(), total.to_string()]),
        None => shown.extend(["#".into(), "none".into()]),
    }
    shown.join(" ")
}

/// `%2B` and the like.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hexadecimal = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hexadecimal.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
