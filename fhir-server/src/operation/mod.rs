//! Operations: `$name` at the base, a type or an instance (<https://hl7.org/fhir/R5/operations.html>).
//!
//! [`OPERATIONS`] is the one table: routes, the CapabilityStatement and what a call may carry follow from it and from the
//! OperationDefinitions it names. Refuses names that there are not (404), and levels and types that an operation is not offered at (400).

mod answer;
mod call;
mod code_system;
mod concept_map;
mod convert;
mod diff;
mod document;
mod everything;
mod fhirpath;
pub mod graph;
mod host;
mod meta;
pub mod own;
mod references;
pub mod reindex;
mod terminology;
mod validate;
mod value_set;

pub use answer::Answer;
pub use call::Call;

use crate::app::App;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::Request;
use fhir_definitions::structure::Kind;
use fhir_definitions::{OperationDefinition, OperationParameter, Structures};
use fhir_model::IssueKind;
use fhir_storage::{Change, Outcome};
use http::Method;
use std::fmt;
use std::pin::Pin;
use std::sync::LazyLock;
use tokio::runtime::{Handle, RuntimeFlavor};

/// An operation of this server.
#[derive(Debug)]
pub struct Operation {
    pub definition: &'static OperationDefinition,
    /// Where it is offered: all or some of the levels of its definition.
    pub levels: &'static [Level],
    pub run: Run,
}

/// What an operation is invoked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    System,
    Type,
    Instance,
}

/// How it is done.
#[derive(Clone, Copy)]
pub enum Run {
    /// By looking.
    Read(ReadRun),
    /// By one change, which in a transaction stands with the others, and what to say of it.
    Write(WriteRun, fn(Outcome) -> Result<Answer, Failure>),
}

type ReadRun = for<'a> fn(&'a App, Call) -> Answering<'a>;
type WriteRun = fn(Call) -> Result<Change, Failure>;
type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send + 'a>>;

use Level::{Instance, System, Type};

/// One that looks.
macro_rules! read {
    ($run:path) => {
        Run::Read(|app, call| Box::pin($run(app, call)))
    };
}

/// Every operation: its definition, where it is offered, what does it.
#[rustfmt::skip] // a row, a line
pub static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    vec![
        standard("Resource-meta", &[System, Type, Instance], read!(meta::meta)),
        standard("Resource-meta-add", &[Instance], Run::Write(meta::add, meta::of_outcome)),
        standard("Resource-meta-delete", &[Instance], Run::Write(meta::delete, meta::of_outcome)),
        standard("Resource-validate", &[Type, Instance], read!(validate::validate)),
        standard("Resource-convert", &[System], read!(convert::convert)),
        standard("Patient-everything", &[Instance], read!(everything::everything)),
        standard("Encounter-everything", &[Instance], read!(everything::everything)),
        standard("Group-everything", &[Instance], read!(everything::everything)),
        standard("Resource-graph", &[Instance], read!(graph::graph)),
        standard("Composition-document", &[Instance], read!(document::document)),
        terminological("ValueSet-expand", &[Type, Instance], read!(value_set::expand)),
        terminological("ValueSet-validate-code", &[Type, Instance], read!(value_set::validate_code)),
        terminological("CodeSystem-validate-code", &[Type, Instance], read!(code_system::validate_code)),
        terminological("CodeSystem-lookup", &[Type, Instance], read!(code_system::lookup)),
        terminological("CodeSystem-subsumes", &[Type, Instance], read!(code_system::subsumes)),
        terminological("ConceptMap-translate", &[Type, Instance], read!(concept_map::translate)),
        own("fhirpath", &[System], read!(fhirpath::fhirpath)),
        own("diff", &[System], read!(diff::of_resources)),
        own("diff-versions", &[Instance], read!(diff::of_versions)),
        own("reindex", &[System], read!(reindex::start)),
        own("reindex-status", &[System], read!(reindex::status)),
    ]
});

/// One of our own.
fn own(id: &str, levels: &'static [Level], run: Run) -> Operation {
    let own = own::OWN.iter().find(|own| own.id == id);
    let own = own.expect("the table names definitions of the program");
    Operation {
        definition: &own.definition,
        levels,
        run,
    }
}

/// One that the specification defines.
fn standard(id: &str, levels: &'static [Level], run: Run) -> Operation {
    let url = format!("http://hl7.org/fhir/OperationDefinition/{id}");
    let definition = OperationDefinition::r5(&url);
    Operation {
        definition: definition.expect("the table names operations of the specification"),
        levels,
        run,
    }
}

/// One of the terminology service's: besides what its definition says it takes `tx-resource`, as the terminology servers in use do. Where R5 has given
/// the targets of `$translate` the type uri by mistake, they have the types of the sources.
fn terminological(id: &str, levels: &'static [Level], run: Run) -> Operation {
    let operation = standard(id, levels, run);
    let mut definition = operation.definition.clone();
    for parameter in &mut definition.parameters {
        let kind = match parameter.name.as_str() {
            "targetCode" => "code",
            "targetCoding" => "Coding",
            "targetCodeableConcept" => "CodeableConcept",
            _ => continue,
        };
        parameter.type_name = kind.to_string();
    }
    definition.parameters.push(OperationParameter {
        name: "tx-resource".to_string(),
        is_in: true,
        min: 0,
        max: None,
        type_name: "Resource".to_string(),
    });
    Operation {
        // Once in the life of the process.
        definition: Box::leak(Box::new(definition)),
        ..operation
    }
}

/// The operation `code` at this level of this type.
///
/// # Errors
/// UnknownEndpoint (404) where there is none of that name, NotSupported (400) where it is offered elsewhere only.
pub fn find(code: &str, level: Level, resource_type: &str) -> Result<&'static Operation, Failure> {
    let named = || {
        OPERATIONS
            .iter()
            .filter(|operation| operation.definition.code == code)
    };
    let mut here = named().filter(|operation| operation.is_offered(level, resource_type));
    if let Some(found) = here.next() {
        return Ok(found);
    }
    let elsewhere: Vec<String> = named().flat_map(Operation::places).collect();
    Err(match elsewhere.is_empty() {
        true => Failure::new(
            IssueKind::UnknownEndpoint,
            "there is no operation of this name; [base]/metadata lists those there are",
        ),
        false => Failure::new(
            IssueKind::NotSupported,
            format!("this operation is offered at {} only", elsewhere.join(", ")),
        ),
    })
}

impl Operation {
    /// The canonical URL of its definition, on a server at `base`.
    pub fn canonical(&self, base: &str) -> String {
        match &self.definition.url {
            url if url.starts_with("http") => url.clone(),
            url => format!("{base}/{url}"),
        }
    }

    /// `$name`.
    pub fn name(&self) -> String {
        format!("${}", self.definition.code)
    }

    /// Whether it can be invoked at this level of this type.
    pub fn is_offered(&self, level: Level, resource_type: &str) -> bool {
        let types = &self.definition.resource;
        let is_of_type = types
            .iter()
            .any(|name| name == "Resource" || name == resource_type);
        self.levels.contains(&level) && (level == System || is_of_type)
    }

    /// GET is for what changes nothing and can be asked by primitive values only; POST is for all.
    pub fn allows(&self, method: &Method) -> bool {
        let structures = Structures::r5();
        let is_primitive = |name: &str| {
            structures
                .get(name)
                .is_some_and(|of| of.kind == Kind::Primitive)
        };
        let mut taken = self
            .definition
            .parameters
            .iter()
            .filter(|parameter| parameter.is_in && parameter.min > 0);
        match *method {
            Method::POST => true,
            Method::GET => {
                !self.definition.affects_state
                    && taken.all(|parameter| is_primitive(&parameter.type_name))
            }
            _ => false,
        }
    }

    /// One that takes `_count` does.
    pub fn answers_in_pages(&self) -> bool {
        self.definition
            .parameters
            .iter()
            .any(|parameter| parameter.name == "_count")
    }

    /// Whether it asks for a change.
    pub fn writes(&self) -> bool {
        matches!(self.run, Run::Write(..))
    }

    /// The URLs it is offered at, below the base.
    fn places(&self) -> Vec<String> {
        let types = self
            .definition
            .resource
            .iter()
            .map(|name| match name.as_str() {
                "Resource" => "[type]",
                name => name,
            });
        let types: Vec<&str> = types.collect();
        let of_level = |level: &Level| -> Vec<String> {
            match level {
                System => vec!["[base]".to_string()],
                Type => types.iter().map(|name| format!("[base]/{name}")).collect(),
                Instance => types
                    .iter()
                    .map(|name| format!("[base]/{name}/[id]"))
                    .collect(),
            }
        };
        self.levels.iter().flat_map(of_level).collect()
    }
}

impl Level {
    /// Of a path with these parts.
    pub fn of(resource_type: &str, id: &str) -> Level {
        match (resource_type.is_empty(), id.is_empty()) {
            (true, _) => System,
            (false, true) => Type,
            (false, false) => Instance,
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Run::Read(_) => "Read",
            Run::Write(..) => "Write",
        })
    }
}

/// Does what takes a while without waiting, so that this thread's other requests go on meanwhile.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => tokio::task::block_in_place(work),
    }
}

/// Does what the call asks for.
///
/// # Errors
/// A call that does not fit the definition (400), and whatever the operation refuses.
pub async fn operation(app: &App, request: Request) -> Result<Reply, Failure> {
    let is_judged = request
        .operation
        .is_some_and(|it| it.definition.code == "validate");
    let call = match Call::read(app, request) {
        // What cannot even be read is what it is asked about.
        Err(failure) if is_judged => {
            let outcome = validate::unreadable(failure)?.to_string();
            return Ok(Reply::document(outcome));
        }
        call => call?,
    };
    let operation = call.operation;
    match operation.run {
        Run::Read(run) => Ok(run(app, call).await?.reply(operation)),
        Run::Write(change, _) => {
            let outcome = crate::write::commit_one(app, change(call)?).await?;
            written(operation, outcome)
        }
    }
}

/// What a call asks to be written.
///
/// # Errors
/// As [`operation`].
pub fn change(app: &App, request: &Request) -> Result<Change, Failure> {
    let call = Call::read(app, request.clone())?;
    match call.operation.run {
        Run::Write(change, _) => change(call),
        Run::Read(_) => Err(Failure::new(
            IssueKind::Exception,
            "an operation that only looks was asked for a change",
        )),
    }
}

/// What became of a call's change.
///
/// # Errors
/// As [`operation`].
pub fn written(operation: &Operation, outcome: Outcome) -> Result<Reply, Failure> {
    let (version, last_updated_ms) = (outcome.version, outcome.last_updated_ms);
    let reply = match operation.run {
        Run::Write(_, answer) => answer(outcome)?.reply(operation),
        Run::Read(_) => Reply::default(),
    };
    Ok(Reply {
        etag: Some(crate::reply::etag(version)),
        last_updated_ms: Some(last_updated_ms),
        ..reply
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_table() {
        for (index, operation) in OPERATIONS.iter().enumerate() {
            let definition = operation.definition;
            for level in operation.levels {
                let is_defined = match level {
                    System => definition.system,
                    Type => definition.on_type,
                    Instance => definition.instance,
                };
                assert!(
                    is_defined,
                    "{} is not defined at {level:?}",
                    definition.code
                );
            }
            assert!(!operation.levels.is_empty() && !definition.code.is_empty());
            assert!(
                definition.affects_state || !operation.writes(),
                "{} writes",
                definition.code
            );
            // Of two of one name, each URL leads to one.
            for other in &OPERATIONS[index + 1..] {
                let is_same = other.definition.code == definition.code;
                let meets = definition
                    .resource
                    .iter()
                    .any(|name| other.is_offered(operation.levels[0], name));
                assert!(!is_same || !meets, "two are called {}", definition.code);
            }
        }
    }

    #[test]
    fn found() {
        for (code, level, resource_type, expect) in [
            ("meta", System, "", Ok(true)),
            ("meta", Instance, "Patient", Ok(true)),
            ("meta-add", Instance, "Patient", Ok(false)),
            ("meta-add", Type, "Patient", Err(400)),
            ("meta-add", System, "", Err(400)),
            ("nosuch", System, "", Err(404)),
            ("", System, "", Err(404)),
        ] {
            let found = find(code, level, resource_type);
            let by_get = found.map(|operation| operation.allows(&Method::GET));
            assert_eq!(
                by_get.map_err(|failure| failure.status().as_u16()),
                expect,
                "{code}"
            );
        }
    }
}
