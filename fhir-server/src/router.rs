//! The whole URL space, as one table. What it does not hold is a 404 or a 405; what it holds stands in the CapabilityStatement.

use crate::app::App;
use crate::config::Config;
use crate::failure::Failure;
use crate::interaction::{
    capabilities, create, delete, delete_history, history, openapi, patch, read, search, update,
    vread,
};
use crate::operation::{self, Level, Operation};
use crate::reply::Reply;
use crate::request::Request;
use crate::{bundle, job, policy, url};
use fhir_definitions::Definitions;
use fhir_model::{IssueKind, is_id};
use http::Method;
use std::future::ready;
use std::pin::Pin;

/// What a route does; the name is the code of <https://hl7.org/fhir/R5/valueset-restful-interaction.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interaction {
    Capabilities,
    Openapi,
    Bundle,
    Create,
    Read,
    Vread,
    Update,
    ConditionalUpdate,
    Patch,
    ConditionalPatch,
    Delete,
    ConditionalDelete,
    HistoryInstance,
    HistoryType,
    HistorySystem,
    DeleteHistory,
    DeleteHistoryVersion,
    SearchType,
    SearchCompartment,
    SearchSystem,
    Operation,
    JobStatus,
    JobCancel,
}

/// A method and a path below the base; `{type}`, `{id}`, `{version}`, `{member}` and `{operation}` stand for themselves.
#[derive(Debug)]
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub interaction: Interaction,
    /// How many segments the path has.
    depth: usize,
}

/// Every URL of the FHIR API. HEAD is answered wherever GET is, OPTIONS everywhere.
pub static ROUTES: &[Route] = &[
    route(Method::GET, "metadata", Interaction::Capabilities),
    route(Method::GET, "openapi.json", Interaction::Openapi),
    route(Method::POST, "", Interaction::Bundle),
    route(Method::GET, "", Interaction::SearchSystem),
    route(Method::GET, "_search", Interaction::SearchSystem),
    route(Method::POST, "_search", Interaction::SearchSystem),
    route(Method::GET, "_history", Interaction::HistorySystem),
    route(Method::POST, "{type}", Interaction::Create),
    route(Method::GET, "{type}", Interaction::SearchType),
    route(Method::POST, "{type}/_search", Interaction::SearchType),
    route(Method::PUT, "{type}", Interaction::ConditionalUpdate),
    route(Method::PATCH, "{type}", Interaction::ConditionalPatch),
    route(Method::DELETE, "{type}", Interaction::ConditionalDelete),
    route(Method::GET, "{type}/_history", Interaction::HistoryType),
    route(Method::GET, "{type}/{id}", Interaction::Read),
    route(Method::PUT, "{type}/{id}", Interaction::Update),
    route(Method::PATCH, "{type}/{id}", Interaction::Patch),
    route(Method::DELETE, "{type}/{id}", Interaction::Delete),
    route(
        Method::GET,
        "{type}/{id}/_history",
        Interaction::HistoryInstance,
    ),
    route(
        Method::GET,
        "{type}/{id}/_history/{version}",
        Interaction::Vread,
    ),
    route(
        Method::DELETE,
        "{type}/{id}/_history",
        Interaction::DeleteHistory,
    ),
    route(
        Method::DELETE,
        "{type}/{id}/_history/{version}",
        Interaction::DeleteHistoryVersion,
    ),
    route(
        Method::POST,
        "{type}/{id}/_search",
        Interaction::SearchCompartment,
    ),
    route(
        Method::GET,
        "{type}/{id}/{member}",
        Interaction::SearchCompartment,
    ),
    route(
        Method::POST,
        "{type}/{id}/{member}/_search",
        Interaction::SearchCompartment,
    ),
    route(Method::GET, "_job/{id}", Interaction::JobStatus),
    route(Method::DELETE, "_job/{id}", Interaction::JobCancel),
    route(Method::GET, "{operation}", Interaction::Operation),
    route(Method::POST, "{operation}", Interaction::Operation),
    route(Method::GET, "{type}/{operation}", Interaction::Operation),
    route(Method::POST, "{type}/{operation}", Interaction::Operation),
    route(
        Method::GET,
        "{type}/{id}/{operation}",
        Interaction::Operation,
    ),
    route(
        Method::POST,
        "{type}/{id}/{operation}",
        Interaction::Operation,
    ),
];

/// Does what the request's route says.
///
/// # Errors
/// Whatever the interaction refuses.
pub fn dispatch(app: &App, request: Request) -> Work<'_> {
    match request.route.interaction {
        Interaction::Capabilities => Box::pin(ready(capabilities::capabilities(app, &request))),
        Interaction::Openapi => Box::pin(ready(openapi::openapi(app, &request))),
        Interaction::Bundle => Box::pin(bundle::bundle(app, request)),
        Interaction::Create => Box::pin(create::create(app, request)),
        Interaction::Read => Box::pin(read::read(app, request)),
        Interaction::Vread => Box::pin(vread::vread(app, request)),
        Interaction::Update | Interaction::ConditionalUpdate => {
            Box::pin(update::update(app, request))
        }
        Interaction::Patch | Interaction::ConditionalPatch => Box::pin(patch::patch(app, request)),
        Interaction::Delete | Interaction::ConditionalDelete => {
            Box::pin(delete::delete(app, request))
        }
        Interaction::HistoryInstance | Interaction::HistoryType | Interaction::HistorySystem => {
            Box::pin(history::history(app, request))
        }
        Interaction::DeleteHistory | Interaction::DeleteHistoryVersion => {
            Box::pin(delete_history::delete_history(app, request))
        }
        Interaction::SearchType | Interaction::SearchCompartment | Interaction::SearchSystem => {
            Box::pin(search::search(app, request))
        }
        Interaction::Operation => Box::pin(operation::operation(app, request)),
        Interaction::JobStatus => Box::pin(async move { job::status(app, &request).await }),
        Interaction::JobCancel => Box::pin(async move { job::cancel(app, &request).await }),
    }
}

/// An interaction at work, in a place of its own: otherwise every request would carry room for the largest along.
pub type Work<'a> = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>>;

impl Interaction {
    /// The code in the CapabilityStatement, of a type or of the system; `None` where another flag of it says so.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Interaction::Create => Some("create"),
            Interaction::Read => Some("read"),
            Interaction::Vread => Some("vread"),
            Interaction::Update => Some("update"),
            Interaction::Patch => Some("patch"),
            Interaction::Delete => Some("delete"),
            Interaction::HistoryInstance => Some("history-instance"),
            Interaction::HistoryType => Some("history-type"),
            Interaction::HistorySystem => Some("history-system"),
            Interaction::SearchType => Some("search-type"),
            Interaction::SearchSystem => Some("search-system"),
            Interaction::SearchCompartment
            | Interaction::Capabilities
            | Interaction::Openapi
            | Interaction::Bundle
            | Interaction::ConditionalUpdate
            | Interaction::ConditionalPatch
            | Interaction::ConditionalDelete
            // R5 has no code for them yet.
            | Interaction::DeleteHistory
            | Interaction::DeleteHistoryVersion
            | Interaction::Operation
            | Interaction::JobStatus
            | Interaction::JobCancel => None,
        }
    }

    /// Whether it takes search parameters and answers with a searchset.
    pub fn is_search(self) -> bool {
        matches!(
            self,
            Interaction::SearchType | Interaction::SearchCompartment | Interaction::SearchSystem
        )
    }

    /// The name in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Interaction::Capabilities => "capabilities",
            Interaction::Openapi => "openapi",
            Interaction::SearchCompartment => "search-compartment",
            Interaction::Bundle => "batch-transaction",
            Interaction::Operation => "operation",
            Interaction::JobStatus => "job-status",
            Interaction::JobCancel => "job-cancel",
            Interaction::ConditionalUpdate => "update-conditional",
            Interaction::ConditionalPatch => "patch-conditional",
            Interaction::ConditionalDelete => "delete-conditional",
            Interaction::DeleteHistory => "delete-history",
            Interaction::DeleteHistoryVersion => "delete-history-version",
            _ => self.code().unwrap_or("other"),
        }
    }
}

/// Where a method and a path lead.
#[derive(Clone, Debug)]
pub struct Found {
    pub route: &'static Route,
    pub resource_type: String,
    pub id: String,
    pub version: String,
    /// What is searched in a compartment: a type, or `*`.
    pub member: String,
    pub operation: Option<&'static Operation>,
}

/// Finds the route of `path`, which is below the base and still encoded.
///
/// # Errors
/// Syntax for what cannot be decoded or is no id, UnknownType and UnknownEndpoint (404), MethodNotAllowed with what is allowed (405).
pub fn find(
    definitions: &Definitions,
    config: &Config,
    method: &Method,
    path: &str,
) -> Result<Found, Failure> {
    let segments = url::segments(path)?;
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let here: Vec<&'static Route> = ROUTES
        .iter()
        .filter(|route| route.depth == segments.len() && matches(route.path, &segments))
        .collect();
    let Some(first) = here.first() else {
        return Err(Failure::new(
            IssueKind::UnknownEndpoint,
            "nothing is at this URL; [base]/metadata says what is",
        ));
    };
    let of = |name: &str| {
        let at = first.path.split('/').position(|part| part == name);
        at.map_or(String::new(), |at| segments[at].clone())
    };
    let (resource_type, id, version) = (of("{type}"), of("{id}"), of("{version}"));
    let member = match of("{member}") {
        // Without a type after the owner: all.
        member if member.is_empty() && first.interaction == Interaction::SearchCompartment => {
            "*".to_string()
        }
        member => member,
    };
    let unknown = |name: &str| !name.is_empty() && definitions.type_number(name).is_none();
    if unknown(&resource_type) || member != "*" && unknown(&member) {
        return Err(Failure::new(
            IssueKind::UnknownType,
            "the URL names no resource type of FHIR R5; types are case-sensitive, [base]/metadata lists them",
        ));
    }
    if !id.is_empty() && !is_id(&id) {
        return Err(Failure::new(
            IssueKind::Syntax,
            "the URL's id is not legal: 1 to 64 of A-Z a-z 0-9 - .",
        ));
    }
    let operation = match of("{operation}").strip_prefix('$') {
        Some(code) => {
            let level = Level::of(&resource_type, &id);
            Some(operation::find(code, level, &resource_type)?)
        }
        None => None,
    };
    let is_allowed = |route: &&Route| {
        policy::is_open(config, route.interaction)
            && operation.is_none_or(|it| it.allows(&route.method))
    };
    let here: Vec<&'static Route> = here.into_iter().filter(is_allowed).collect();
    match here.iter().find(|route| route.method == *method) {
        Some(route) => Ok(Found {
            route,
            resource_type,
            id,
            version,
            member,
            operation,
        }),
        None => {
            let mut allow: Vec<Method> = here.iter().map(|route| route.method.clone()).collect();
            if allow.contains(&Method::GET) {
                allow.push(Method::HEAD);
            }
            allow.push(Method::OPTIONS);
            Err(Failure::method_not_allowed(method, allow))
        }
    }
}

const fn route(method: Method, path: &'static str, interaction: Interaction) -> Route {
    Route {
        method,
        path,
        interaction,
        depth: depth(path),
    }
}

const fn depth(path: &str) -> usize {
    let bytes = path.as_bytes();
    let mut depth = !bytes.is_empty() as usize;
    let mut at = 0;
    while at < bytes.len() {
        depth += (bytes[at] == b'/') as usize;
        at += 1;
    }
    depth
}

/// A type begins with a capital or is at least a name: `_search`, `metadata` and `$op` are not caught by `{type}` and `{id}`.
fn matches(pattern: &str, segments: &[String]) -> bool {
    let mut parts = pattern.split('/').filter(|part| !part.is_empty());
    let mut segments = segments.iter();
    loop {
        match (parts.next(), segments.next()) {
            (None, None) => return true,
            (Some(part), Some(segment)) if stands_for(part, segment) => {}
            _ => return false,
        }
    }
}

fn stands_for(part: &str, segment: &str) -> bool {
    let is_name = !segment.is_empty() && !segment.starts_with(['_', '$']);
    match part {
        "{type}" => is_name && !["metadata", "openapi.json"].contains(&segment),
        "{id}" | "{member}" => is_name,
        "{version}" => !segment.is_empty(),
        "{operation}" => segment.starts_with('$'),
        literal => literal == segment,
    }
}
