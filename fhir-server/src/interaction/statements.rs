//! What the server says of itself, made once for each base and set of definitions, with an ETag that changes when it does.

use crate::app::App;
use crate::binary::Content;
use crate::failure::Failure;
use crate::interaction::{capabilities, openapi, terminology};
use crate::reply::Reply;
use crate::request::Request;
use fhir_definitions::Definitions;
use http::header;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError};

/// Which statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The CapabilityStatement.
    Capabilities,
    /// The TerminologyCapabilities.
    Terminology,
    /// The OpenAPI document.
    Openapi,
}

/// The statements that were made last.
#[derive(Default)]
pub struct Statements {
    last: Mutex<Vec<Arc<Statement>>>,
}

struct Statement {
    kind: Kind,
    definitions: Arc<Definitions>,
    base: String,
    text: String,
    etag: String,
}

/// One of each kind.
const KEPT: usize = 3;

impl Statements {
    /// The statement, or 304 for a client that has it.
    ///
    /// # Errors
    /// Syntax (400) for an `If-None-Match` that cannot be read.
    pub fn reply(&self, app: &App, request: &Request, kind: Kind) -> Result<Reply, Failure> {
        let statement = self.of(app, kind, &request.base);
        let text = statement.text.clone();
        let reply = Reply {
            etag: Some(statement.etag.clone()),
            ..match kind {
                Kind::Openapi => Reply {
                    body: None,
                    content: Some(Content::json(text)),
                    ..Reply::document(String::new())
                },
                _ => Reply::document(text),
            }
        };
        let tags = request.header(&header::IF_NONE_MATCH)?.unwrap_or("");
        let has_it = tags.split(',').any(|tag| tag.trim() == statement.etag);
        Ok(match has_it {
            true => Reply {
                content: None,
                ..reply.not_modified()
            },
            false => reply,
        })
    }

    fn of(&self, app: &App, kind: Kind, base: &str) -> Arc<Statement> {
        let definitions = app.store.definitions();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |made: &&Arc<Statement>| {
            made.kind == kind && made.base == base && Arc::ptr_eq(&made.definitions, &definitions)
        };
        if let Some(made) = last.iter().find(is_it) {
            return made.clone();
        }
        let statement = match kind {
            Kind::Capabilities => capabilities::statement(&definitions, &app.config, base),
            Kind::Terminology => terminology::statement(&definitions, base),
            Kind::Openapi => openapi::document(&definitions, &app.config, base),
        };
        let text = statement.to_string();
        let hash = Sha256::digest(&text);
        let digits: String = hash[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let made = Arc::new(Statement {
            kind,
            definitions,
            base: base.to_string(),
            text,
            etag: format!("W/\"{digits}\""),
        });
        last.retain(|other| other.kind != kind);
        last.truncate(KEPT - 1);
        last.push(made.clone());
        made
    }
}
