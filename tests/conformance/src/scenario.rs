//! What a scenario and a peer file may say. Unknown keys are refused.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A story in steps; a file of `scenarios/` is a list of them on one topic. Variables `${name}` are replaced in paths, headers, bodies, messages and expectations;
/// `${unique}` is different in every run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Short and stable: with the file's name before it, how reports and peer files call it.
    pub name: String,
    pub title: String,
    /// The paragraph it checks: `http.html#create`, `search.html#token`, ….
    pub spec: String,
    /// Rows of the checklist it covers.
    #[serde(default)]
    pub rows: Vec<String>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// `METHOD path?query`, relative to the base.
    pub request: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A JSON body written as YAML.
    pub body: Option<Value>,
    /// A body as text, sent as it stands (decimals, malformed bodies, forms).
    pub text: Option<String>,
    /// An HL7 v2 message, one segment a line, instead of an HTTP request.
    pub mllp: Option<String>,
    #[serde(default)]
    pub expect: Expect,
    /// Variables from the answer: name to a path (`body.id`, `header.location`, `body.entry.0.resource.id`).
    #[serde(default)]
    pub save: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// One status, or several of which one must be.
    pub status: Option<OneOrMany<u16>>,
    /// Header name to what it must match; see [`crate::matching`].
    #[serde(default)]
    pub headers: BTreeMap<String, Value>,
    /// What the JSON body must contain; see [`crate::matching`].
    pub body: Option<Value>,
    /// Text the raw body must contain.
    pub contains: Option<String>,
    /// MSA-1 of the acknowledgement; MSA-2 is always checked against MSH-10.
    pub msa: Option<String>,
    /// Text that the acknowledgement must contain.
    pub acknowledgement: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T: PartialEq> OneOrMany<T> {
    pub fn has(&self, value: &T) -> bool {
        match self {
            OneOrMany::One(one) => one == value,
            OneOrMany::Many(many) => many.contains(value),
        }
    }
}

/// A server's known deviations: scenario name to the reason.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    #[serde(default)]
    pub deviations: BTreeMap<String, String>,
}

/// Reads every `*.yaml` below `directory`. A scenario `missing-id` of `http/update.yaml` is called `http/update/missing-id`.
///
/// # Errors
/// The file and what is wrong with it.
pub fn load_scenarios(directory: &Path) -> Result<Vec<Scenario>, String> {
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    files.sort();
    let mut scenarios = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let topic: Vec<Scenario> =
            serde_saphyr::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        let path = file
            .strip_prefix(directory)
            .unwrap_or(&file)
            .with_extension("")
            .display()
            .to_string();
        for scenario in topic {
            let name = format!("{path}/{}", scenario.name);
            if scenarios.iter().any(|s: &Scenario| s.name == name) {
                return Err(format!(
                    "{}: two scenarios are called {name}",
                    file.display()
                ));
            }
            scenarios.push(Scenario { name, ..scenario });
        }
    }
    Ok(scenarios)
}

/// Reads a peer file.
///
/// # Errors
/// The file and what is wrong with it.
pub fn load_peer(file: &Path) -> Result<Peer, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in
        std::fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?
    {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}
