//! References within a commit (<https://hl7.org/fhir/R5/http.html#trules>): to the fullUrls of other changes, and conditional ones.

use super::links::rewrite_links;
use super::plan::{Action, Identity, Planned};
use crate::search::Matched;
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use fhir_model::reference::{Reference, rewrite_references};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// Where a fullUrl leads.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Known(ResourceKey),
    /// To a change by condition, known only in the transaction.
    Change(usize),
}

/// The fullUrls of the commit, in the form they are compared in.
pub(super) fn full_urls(changes: &[Planned]) -> HashMap<String, Place> {
    let mut urls = HashMap::new();
    for (index, change) in changes.iter().enumerate() {
        let (Some(url), Action::Write { .. }) = (&change.full_url, &change.action) else {
            continue;
        };
        let place = match &change.identity {
            Identity::New(id) | Identity::Id(id) => Place::Known(change.key(id)),
            Identity::Match { .. } => Place::Change(index),
        };
        urls.insert(normal(url).into_owned(), place);
    }
    urls
}

/// What of the references of a resource only the transaction knows.
pub(super) struct Left {
    /// The ids that conditions lead to.
    pub late: bool,
    /// Some reference names a version of another change's resource, which is another one here.
    pub names_versions: bool,
}

/// How the references of one resource are read: its own fullUrl is the base of relative ones, or, where it has none, this server is.
pub(super) struct Rewriting<'a> {
    urls: &'a HashMap<String, Place>,
    entry_base: Option<&'a str>,
    base: Option<&'a str>,
}

impl<'a> Rewriting<'a> {
    pub(super) fn new(
        urls: &'a HashMap<String, Place>,
        full_url: Option<&'a str>,
        base: Option<&'a str>,
    ) -> Rewriting<'a> {
        Rewriting {
            urls,
            entry_base: full_url.and_then(restful_base),
            base,
        }
    }

    /// Rewrites what is known already.
    pub(super) fn known(
        &self,
        definitions: &Definitions,
        resource: &mut Map<String, Value>,
    ) -> Left {
        let (mut late, mut names_versions) = (false, false);
        self.links(definitions, resource, &mut |place| match place {
            Place::Known(key) => Some(key.clone()),
            Place::Change(_) => {
                late = true;
                None
            }
        });
        visit(resource, &mut |text| {
            match self.place(text) {
                Some((Place::Known(key), fragment)) => return Some(format!("{key}{fragment}")),
                Some((Place::Change(_), _)) => late = true,
                None => late |= self.is_conditional(text),
            }
            names_versions |= self.version_of(text).is_some();
            None
        });
        Left {
            late,
            names_versions,
        }
    }

    /// A condition follows a question mark.
    fn is_conditional(&self, text: &str) -> bool {
        let parsed = || Reference::parse(text, self.base);
        text.contains('?') && matches!(parsed(), Reference::Conditional { .. })
    }

    /// Rewrites the rest: `changes` are the keys of all changes, `conditional` where the conditional references lead.
    pub(super) fn rest(
        &self,
        definitions: &Definitions,
        resource: &mut Map<String, Value>,
        changes: &[Option<ResourceKey>],
        conditional: &HashMap<String, Matched>,
    ) {
        self.links(definitions, resource, &mut |place| match place {
            Place::Change(index) => changes[*index].clone(),
            Place::Known(_) => None,
        });
        visit(resource, &mut |text| match self.place(text) {
            Some((Place::Change(index), fragment)) => {
                let key = changes[*index].as_ref()?;
                Some(format!("{key}{fragment}"))
            }
            _ => conditional.get(text).map(|found| found.key.to_string()),
        });
    }

    /// The conditional references of the resource: the whole text, the type, the query.
    pub(super) fn conditional(
        &self,
        resource: &Map<String, Value>,
    ) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        walk(resource.iter(), &mut |text| {
            if let Reference::Conditional {
                resource_type,
                query,
            } = Reference::parse(text, self.base)
            {
                found.push((text.into(), resource_type.into(), query.into()));
            }
        });
        found
    }

    /// Rewrites these: a reference that names a version goes on naming one, that of the same content. Of a target whose version is not
    /// known yet, as the two name each other, it names the resource.
    pub(super) fn rename_versions(
        &self,
        resource: &mut Map<String, Value>,
        changes: &[Option<ResourceKey>],
        versions: &HashMap<ResourceKey, i32>,
    ) {
        visit(resource, &mut |text| {
            let key = match self.version_of(text)? {
                Place::Known(key) => key,
                Place::Change(index) => changes[*index].as_ref()?,
            };
            Some(match versions.get(key) {
                Some(version) => format!("{key}/_history/{version}"),
                None => key.to_string(),
            })
        });
    }

    /// The change of which the reference names a version. An update of the resource that it names makes another version of it, and is none.
    fn version_of(&self, text: &str) -> Option<&'a Place> {
        if self.urls.is_empty() {
            return None;
        }
        let (url, _) = text.rsplit_once("/_history/")?;
        let (place, _) = self.place(url)?;
        match (place, Reference::parse(url, self.base)) {
            (Place::Known(key), Reference::Local { key: named, .. }) if *key == named => None,
            _ => Some(place),
        }
    }

    /// Whether a reference to this key is one to another change of the commit, whose key is known only later.
    pub(super) fn leads_here(&self, key: &ResourceKey) -> bool {
        matches!(self.place(&key.to_string()), Some((Place::Change(_), _)))
    }

    /// Rewrites the links that are no references. They are whole URLs: nothing is relative to the entry, and nothing a condition.
    fn links(
        &self,
        definitions: &Definitions,
        resource: &mut Map<String, Value>,
        key: &mut dyn FnMut(&Place) -> Option<ResourceKey>,
    ) {
        if self.urls.is_empty() {
            return;
        }
        rewrite_links(definitions, resource, &mut |text| {
            let key = key(self.urls.get(&*normal(text))?)?;
            Some(key.to_string())
        });
    }

    /// Where the reference leads within the commit, and its `#fragment`.
    fn place<'t>(&self, text: &'t str) -> Option<(&'a Place, &'t str)> {
        if self.urls.is_empty() || text.starts_with('#') {
            return None;
        }
        let (url, fragment) = text.split_at(text.find('#').unwrap_or(text.len()));
        let direct = self.urls.get(&*normal(url));
        let relative = || {
            let base = self.entry_base.or(self.base);
            let base = base.filter(|_| !url.contains(':'))?;
            self.urls.get(&format!("{base}/{url}"))
        };
        Some((direct.or_else(relative)?, fragment))
    }
}

/// `http://host/base/Type/id` is under `http://host/base`.
fn restful_base(url: &str) -> Option<&str> {
    let (rest, _id) = url.rsplit_once('/')?;
    let (base, resource_type) = rest.rsplit_once('/')?;
    let restful = base.contains("://") && fhir_model::reference::is_type_name(resource_type);
    restful.then_some(base)
}

/// The scheme and the digits of a `urn:uuid:` may be written in either case.
fn normal(url: &str) -> Cow<'_, str> {
    let is_urn = url
        .get(..4)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("urn:"));
    match is_urn && url.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(url.to_ascii_lowercase()),
        false => Cow::Borrowed(url),
    }
}

fn visit(resource: &mut Map<String, Value>, replace: &mut dyn FnMut(&str) -> Option<String>) {
    for value in resource.values_mut() {
        rewrite_references(value, replace);
    }
}

fn walk<'v>(members: impl Iterator<Item = (&'v String, &'v Value)>, see: &mut dyn FnMut(&str)) {
    for (name, value) in members {
        match value {
            Value::String(text) if name == "reference" => see(text),
            Value::Object(map) => walk(map.iter(), see),
            Value::Array(items) => {
                let objects = items.iter().filter_map(Value::as_object);
                objects.for_each(|map| walk(map.iter(), see));
            }
            _ => {}
        }
    }
}

/// <http://hl7.org/fhir/StructureDefinition/resolve-as-version-specific>: on a Reference to a resource that the same transaction creates
/// or updates.
const VERSION_SPECIFIC: &str =
    "http://hl7.org/fhir/StructureDefinition/resolve-as-version-specific";

fn is_version_specific(extension: &Value) -> bool {
    extension.get("url").and_then(Value::as_str) == Some(VERSION_SPECIFIC)
        && extension.get("valueBoolean") == Some(&Value::Bool(true))
}

/// Whether some reference wants to name the version.
pub(super) fn ask_for_versions(resource: &Map<String, Value>) -> bool {
    resource.iter().any(|(name, value)| match value {
        Value::Array(items) if name == "extension" && items.iter().any(is_version_specific) => true,
        Value::Array(items) => {
            let mut objects = items.iter().filter_map(Value::as_object);
            objects.any(ask_for_versions)
        }
        Value::Object(map) => ask_for_versions(map),
        _ => false,
    })
}

/// Takes the versions out of the references to this server, but for those that say that they mean the version.
pub(super) fn strip_versions(resource: &mut Map<String, Value>, base: Option<&str>) {
    let extensions = resource.get("extension").and_then(Value::as_array);
    let is_meant = extensions.is_some_and(|all| all.iter().any(is_version_specific));
    if let Some(Value::String(text)) = resource.get_mut("reference")
        && !is_meant
        && matches!(
            Reference::parse(text, base),
            Reference::Local {
                version: Some(_),
                ..
            }
        )
        && let Some(at) = text.find("/_history/")
    {
        text.truncate(at);
    }
    for value in resource.values_mut() {
        match value {
            Value::Object(map) => strip_versions(map, base),
            Value::Array(items) => {
                let objects = items.iter_mut().filter_map(Value::as_object_mut);
                objects.for_each(|map| strip_versions(map, base));
            }
            _ => {}
        }
    }
}

/// Sets these references to the versions given and takes the extension away. One to a resource that is not among them stays as it is.
pub(super) fn set_versions(
    resource: &mut Map<String, Value>,
    base: Option<&str>,
    versions: &HashMap<ResourceKey, i32>,
) {
    for value in resource.values_mut() {
        match value {
            Value::Object(map) => set_versions(map, base, versions),
            Value::Array(items) => {
                let objects = items.iter_mut().filter_map(Value::as_object_mut);
                objects.for_each(|map| set_versions(map, base, versions));
            }
            _ => {}
        }
    }
    let asked = resource.get("extension").and_then(Value::as_array);
    if !asked.is_some_and(|extensions| extensions.iter().any(is_version_specific)) {
        return;
    }
    let text = resource.get("reference").and_then(Value::as_str);
    let versioned = text.and_then(|text| match Reference::parse(text, base) {
        Reference::Local { key, version: None } => {
            let version = versions.get(&key)?;
            Some(format!("{key}/_history/{version}"))
        }
        _ => None,
    });
    let Some(versioned) = versioned else { return };
    resource.insert("reference".into(), versioned.into());
    if let Some(Value::Array(extensions)) = resource.get_mut("extension") {
        extensions.retain(|extension| !is_version_specific(extension));
        if extensions.is_empty() {
            resource.shift_remove("extension");
        }
    }
}

/// A stable 64-bit hash (FNV-1a) for lock numbers.
pub(super) fn hash(parts: &[&[u8]]) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.iter().chain(&[0])) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash ^ (hash >> 32)).cast_signed()
}
