//! What a client can ask: one interaction, alone or as an entry of a bundle.

use super::patch::Patch;
use serde_json::{Value, json};

/// What a search or a condition asks for: all of these parameters.
pub type Criteria = Vec<(&'static str, String)>;

/// What a request is about, within its type.
#[derive(Clone)]
pub enum Target {
    Type,
    Id(String),
    Version(String, u64),
    History(String),
    /// `$meta-add` or `$meta-delete` of an instance.
    Labels(String, &'static str),
    /// A conditional update, patch or delete.
    Match(Criteria),
    Search {
        criteria: Criteria,
        count: bool,
    },
}

#[derive(Clone)]
pub struct Request {
    pub method: &'static str,
    pub kind: &'static str,
    pub target: Target,
    pub body: Option<Value>,
    pub patch: Option<Box<Patch>>,
    /// Of `Labels`: system and code.
    pub tag: Option<(String, String)>,
    pub if_match: Option<u64>,
    pub if_none_match: bool,
    pub if_none_exist: Option<Criteria>,
    pub full_url: Option<String>,
}

pub enum Operation {
    One(Box<Request>),
    Batch(Vec<Request>),
    Transaction(Vec<Request>),
}

impl Request {
    pub fn new(method: &'static str, kind: &'static str, target: Target) -> Request {
        Request {
            method,
            kind,
            target,
            body: None,
            patch: None,
            tag: None,
            if_match: None,
            if_none_match: false,
            if_none_exist: None,
            full_url: None,
        }
    }

    /// The request line and the headers, as `Site::send` takes them.
    pub fn head(&self) -> String {
        let mut head = format!("{} {}", self.method, self.url());
        if let Some(version) = self.if_match {
            head += &format!("\nIf-Match: W/\"{version}\"");
        }
        if self.if_none_match {
            head += "\nIf-None-Match: *";
        }
        if let Some(criteria) = &self.if_none_exist {
            head += &format!("\nIf-None-Exist: {}", text(criteria));
        }
        if let Some(patch) = &self.patch {
            head += &format!("\nContent-Type: {}", patch.content_type());
        }
        head
    }

    pub fn content(&self) -> String {
        match (&self.patch, self.labels()) {
            (Some(patch), _) => patch.content(self.kind),
            (None, Some(parameters)) => parameters.to_string(),
            (None, None) => self.body.as_ref().map(Value::to_string).unwrap_or_default(),
        }
    }

    fn labels(&self) -> Option<Value> {
        let (system, code) = self.tag.as_ref()?;
        let meta = json!({ "tag": [{ "system": system, "code": code }] });
        Some(json!({
            "resourceType": "Parameters",
            "parameter": [{ "name": "meta", "valueMeta": meta }],
        }))
    }

    fn entry(&self) -> Value {
        let mut request = json!({ "method": self.method, "url": self.url() });
        if let Some(version) = self.if_match {
            request["ifMatch"] = format!("W/\"{version}\"").into();
        }
        if self.if_none_match {
            request["ifNoneMatch"] = "*".into();
        }
        if let Some(criteria) = &self.if_none_exist {
            request["ifNoneExist"] = text(criteria).into();
        }
        let mut entry = json!({ "request": request });
        if let Some(body) = &self.body {
            entry["resource"] = body.clone();
        }
        if let Some(patch) = &self.patch {
            entry["resource"] = patch.resource(self.kind);
        }
        if let Some(parameters) = self.labels() {
            entry["resource"] = parameters;
        }
        if let Some(url) = &self.full_url {
            entry["fullUrl"] = url.as_str().into();
        }
        entry
    }

    fn url(&self) -> String {
        let kind = self.kind;
        match &self.target {
            Target::Type => kind.to_string(),
            Target::Id(id) => format!("{kind}/{id}"),
            Target::Version(id, version) => format!("{kind}/{id}/_history/{version}"),
            Target::History(id) if self.method == "DELETE" => format!("{kind}/{id}/_history"),
            Target::History(id) => format!("{kind}/{id}/_history?_count=1000"),
            Target::Labels(id, operation) => format!("{kind}/{id}/${operation}"),
            Target::Match(criteria) => format!("{kind}?{}", text(criteria)),
            Target::Search { criteria, count } => {
                let rest = if *count {
                    "_summary=count"
                } else {
                    "_count=1000"
                };
                format!("{kind}?{}&{rest}", text(criteria))
            }
        }
    }
}

impl Operation {
    /// The request line with its headers, and the body.
    pub fn http(&self) -> (String, String) {
        let bundle = |kind: &str, requests: &[Request]| {
            let entries: Vec<Value> = requests.iter().map(Request::entry).collect();
            let bundle = json!({ "resourceType": "Bundle", "type": kind, "entry": entries });
            ("POST ".to_string(), bundle.to_string())
        };
        match self {
            Operation::One(request) => (request.head(), request.content()),
            Operation::Batch(requests) => bundle("batch", requests),
            Operation::Transaction(requests) => bundle("transaction", requests),
        }
    }
}

fn text(criteria: &Criteria) -> String {
    let parts: Vec<String> = criteria
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.join("&")
}
