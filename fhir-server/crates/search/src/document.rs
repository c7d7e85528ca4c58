//! The search document: what a resource can be found by. A pure function of the definitions and the resource.

use crate::coding::{self, System};
use crate::number;
use crate::position::{Point, is_near};
use crate::reference::{self, Target};
use crate::string::{self, normalise, normalise_whole};
use crate::token::{Hashes, RECHECK, STORED};
use crate::unit::UCUM;
use crate::vocabulary::{Entry, Kind, UNITS, URI_BYTES_MAX};
use crate::{composite, contained, date};
use fhir_definitions::{Definitions, ParameterKey, ParameterType, SearchParameter};
use fhir_model::{DateRange, Decimal, ResourceKey, json::resource_type};
use fhirpath::Node;
use serde_json::Value;

/// Everything both engines index of one resource. All lists are sorted and free of duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchDocument {
    /// Hashes of [`crate::token`]: tokens in their four forms, exact strings, uris, foreign references, identifiers of references,
    /// one presence marker per parameter that has a value, and one marker per type of the resources contained.
    pub tokens: Vec<i64>,
    /// References to resources of this server.
    pub references: Vec<ReferenceEntry>,
    pub dates: Vec<DateEntry>,
    pub quantities: Vec<QuantityEntry>,
    pub strings: Vec<StringEntry>,
    /// Values by a part of which it can be asked for; what is asked for then is their whole, in `tokens`.
    pub vocabulary: Vec<Entry>,
}

/// A reference by which another resource can be reached, whether or not it exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReferenceEntry {
    pub key: ParameterKey,
    pub target: ResourceKey,
}

/// A time covered, in microseconds since 1970 UTC, half open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateEntry {
    pub key: ParameterKey,
    /// 0; in a composite the hash of the other components ([`crate::token::Hashes::composite`]).
    pub marker: i64,
    pub lo: i64,
    pub hi: i64,
}

/// A number or quantity. `lo` and `hi` are equal unless it is a Range, or a comparator (`<`, `>=`, …) leaves a side open; `None` is no
/// bound.
///
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuantityEntry {
    pub key: ParameterKey,
    /// 0; in a composite the hash of the other components ([`crate::token::Hashes::composite`]).
    pub marker: i64,
    /// Hashes of every way to ask for its unit: system and code, code, written unit ([`crate::token::Hashes::unit_match`]). Sorted; empty
    /// for a plain number.
    pub units: Vec<i64>,
    /// The code of its unit, if that is of UCUM: what is commensurable with it is known only here, not in an index.
    pub ucum: Option<String>,
    pub lo: Option<Decimal>,
    pub hi: Option<Decimal>,
}

impl QuantityEntry {
    /// `co` of `_filter` asks how precisely a number was written.
    fn is_written_as(&self, other: &QuantityEntry) -> bool {
        let same = |a: &Option<Decimal>, b: &Option<Decimal>| match (a, b) {
            (Some(a), Some(b)) => a.is_written_as(b),
            (a, b) => a == b,
        };
        same(&self.lo, &other.lo) && same(&self.hi, &other.hi)
    }
}

/// A string, normalised and cut at [`STRING_MAX`] characters. In a composite the hash of the other components stands in front, as 16
/// hexadecimal digits, so that starts-with finds both at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StringEntry {
    pub key: ParameterKey,
    pub value: String,
    /// Which parts of a name or an address it is, as bits ([`SearchParameter::parts`]).
    pub parts: i16,
}

/// Longest indexed string, in characters; a match on a longer one is checked on the body.
pub const STRING_MAX: usize = 256;

/// Most values of one parameter in one resource; the rest is not indexed. A resource that large is refused by its size before.
const VALUES_MAX: usize = 100_000;

/// Longest code that is found by its beginning, in bytes.
const CODE_BYTES_MAX: usize = 256;

/// Extracts the search document. `base` is the server's own base without a trailing slash: absolute references on it are local.
/// What has no search parameters (a type this server has not) gives an empty document. `_id` and `_lastUpdated` are no part of it: they
/// are the row's own.
pub fn search_document(
    definitions: &Definitions,
    resource: &Value,
    base: Option<&str>,
) -> SearchDocument {
    extract(definitions, resource, resource, base, STORED)
}

/// The stored hashes that a condition on the resource's identifiers could ask for, sorted: what a write of the resource locks, so that
/// it and a conditional write on the same identity wait for each other.
pub fn identity_atoms(definitions: &Definitions, resource: &Value, base: Option<&str>) -> Vec<i64> {
    let mut atoms = Vec::new();
    if let Some(parameter) = resource_type(resource)
        .and_then(|resource_type| definitions.search_parameter(resource_type, "identifier"))
        && let Some(program) = &parameter.program
    {
        let extraction = Extraction::new(definitions, base, STORED);
        let mut nodes = Vec::new();
        program.run(resource, &mut nodes);
        for node in nodes {
            extraction.atoms(parameter.key, ParameterType::Token, node, &mut atoms);
        }
    }
    atoms.sort_unstable();
    atoms.dedup();
    atoms
}

/// [`search_document`] with hashes of a chosen family, of a resource that `container` contains or is.
pub(crate) fn extract(
    definitions: &Definitions,
    resource: &Value,
    container: &Value,
    base: Option<&str>,
    hashes: Hashes,
) -> SearchDocument {
    let mut extraction = Extraction::new(definitions, base, hashes);
    let mut nodes = Vec::with_capacity(32);
    let parameters = resource_type(resource)
        .map(|resource_type| definitions.search_parameters(resource_type))
        .unwrap_or_default();
    for parameter in parameters {
        let Some(program) = &parameter.program else {
            continue;
        };
        if !parameter.members.is_empty() {
            continue;
        }
        // The row's own, and what other resources say.
        if matches!(parameter.code.as_str(), "_id" | "_lastUpdated" | "_in") {
            continue;
        }
        nodes.clear();
        program.run_within(resource, container, &mut nodes);
        nodes.truncate(match parameter.one_date() {
            true => 1,
            false => VALUES_MAX,
        });
        if nodes.iter().any(|node| has_value(node.value)) {
            let present = extraction.hashes.present(parameter.key);
            extraction.document.tokens.push(present);
        }
        for node in &nodes {
            extraction.value(parameter, *node);
        }
    }
    let contained = contained::within(resource).filter_map(fhir_model::json::resource_type);
    let contained = contained.map(|name| hashes.contained(name));
    extraction.document.tokens.extend(contained);
    extraction.document.sort();
    extraction.document
}

/// An element with extensions alone is missing.
pub(crate) fn has_value(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .keys()
            .any(|name| name != "extension" && name != "id"),
        _ => true,
    }
}

impl SearchDocument {
    fn sort(&mut self) {
        fn tidy<T: Ord>(list: &mut Vec<T>) {
            list.sort_unstable();
            list.dedup();
        }
        tidy(&mut self.tokens);
        tidy(&mut self.references);
        tidy(&mut self.dates);
        self.quantities.sort_unstable();
        self.quantities
            .dedup_by(|a, b| a == b && a.is_written_as(b));
        tidy(&mut self.strings);
        self.strings.dedup_by(|next, first| {
            let same = next.key == first.key && next.value == first.value;
            first.parts |= if same { next.parts } else { 0 };
            same
        });
        tidy(&mut self.vocabulary);
    }
}

/// A value that is compared, not only equal.
pub(crate) enum Ordered {
    Date(DateRange),
    Number {
        lo: Option<Decimal>,
        hi: Option<Decimal>,
        /// As in [`QuantityEntry::units`].
        units: Vec<i64>,
        /// As in [`QuantityEntry::ucum`].
        ucum: Option<String>,
    },
    String(String),
}

/// A search document in the making.
pub(crate) struct Extraction<'a> {
    definitions: &'a Definitions,
    base: Option<&'a str>,
    pub(crate) hashes: Hashes,
    document: SearchDocument,
}

impl<'a> Extraction<'a> {
    pub(crate) fn new(
        definitions: &'a Definitions,
        base: Option<&'a str>,
        hashes: Hashes,
    ) -> Extraction<'a> {
        Extraction {
            definitions,
            base,
            hashes,
            document: SearchDocument::default(),
        }
    }

    /// Adds what `parameter` finds in one element.
    fn value(&mut self, parameter: &'a SearchParameter, node: Node<'a>) {
        let key = parameter.key;
        match parameter.kind {
            ParameterType::Token => self.token(key, node),
            ParameterType::String => self.string(parameter, node),
            ParameterType::Reference => self.reference(key, node),
            ParameterType::Uri => {
                if let Value::String(uri) = node.value {
                    self.document.tokens.push(self.hashes.uri(key, uri));
                    self.uri(key, uri);
                    if let (true, Some((plain, _))) =
                        (node.type_name == "canonical", uri.split_once('|'))
                    {
                        self.document.tokens.push(self.hashes.uri(key, plain));
                    }
                }
            }
            ParameterType::Date => {
                if let Some(DateRange { lo, hi }) = date::covered(node) {
                    let marker = 0;
                    self.document.dates.push(DateEntry {
                        key,
                        marker,
                        lo,
                        hi,
                    });
                }
            }
            ParameterType::Number | ParameterType::Quantity => {
                if let Some(measured) = number::measured(node) {
                    if let Some(unit) = measured.unit_of_system() {
                        self.word(UNITS, Kind::Unit, unit);
                    }
                    self.document.quantities.push(QuantityEntry {
                        key,
                        marker: 0,
                        units: measured.units(self.hashes),
                        ucum: measured.ucum(),
                        lo: measured.lo,
                        hi: measured.hi,
                    });
                }
            }
            ParameterType::Composite => composite::extract(self, parameter, node),
            ParameterType::Special if is_near(parameter) => {
                if let Some(position) = position(node.value) {
                    self.document
                        .quantities
                        .push(QuantityEntry { key, ..position });
                }
            }
            ParameterType::Special | ParameterType::Resource => {}
        }
    }

    fn token(&mut self, key: ParameterKey, node: Node<'a>) {
        let mut atoms = std::mem::take(&mut self.document.tokens);
        self.atoms(key, ParameterType::Token, node, &mut atoms);
        coding::each(node, &mut |token| {
            if let System::Named(system) = token.system {
                atoms.push(self.hashes.system(key, system));
            }
        });
        coding::identifier_types(node, &mut |system, code, value| {
            atoms.push(self.hashes.of_type(key, system, code, value));
        });
        self.document.tokens = atoms;
        if coding::is_coded(node.type_name) {
            coding::each(node, &mut |token| {
                if let Some(code) = token.code.filter(|code| code.len() <= CODE_BYTES_MAX) {
                    self.word(key, Kind::Code, code.to_ascii_lowercase());
                }
            });
        }
        coding::each_text(node, &mut |text| self.text(key, text));
    }

    /// A text beside a code or a reference.
    fn text(&mut self, key: ParameterKey, text: &str) {
        let normal = normalise(text);
        if !normal.is_empty() {
            self.document.tokens.push(self.hashes.text(key, &normal));
            self.word(key, Kind::Text, normal);
        }
    }

    /// A uri that can be asked for by a part. A fragment says which message or request it was (`meta.source`): those are as many as there are
    /// resources, and so are UUIDs.
    fn uri(&mut self, key: ParameterKey, uri: &str) {
        let plain = match uri.split_once('#') {
            Some((plain, _)) => {
                let hash = self.hashes.uri_before_fragment(key, plain);
                self.document.tokens.push(hash);
                plain
            }
            None => uri,
        };
        if !plain.starts_with("urn:uuid:") {
            self.canonical(key, plain);
        }
    }

    fn canonical(&mut self, key: ParameterKey, url: &str) {
        if url.len() <= URI_BYTES_MAX {
            self.word(key, Kind::Uri, url.to_owned());
        }
    }

    fn word(&mut self, key: ParameterKey, kind: Kind, value: String) {
        self.document.vocabulary.push(Entry { key, kind, value });
    }

    fn string(&mut self, parameter: &SearchParameter, node: Node<'a>) {
        // With the whole that it is a part of.
        if parameter.part_of.is_some() {
            return;
        }
        let key = parameter.key;
        string::each(node, &mut |element, text| {
            let (parts, part_key) = parameter.part(element).unwrap_or((0, key));
            let exact = self.hashes.exact(part_key, text);
            self.document.tokens.push(exact);
            let value = self.normalised(text);
            if value.len() >= STRING_MAX && value.chars().count() >= STRING_MAX {
                let longer = [key, part_key].map(|key| self.hashes.longer(key));
                self.document.tokens.extend(longer);
            }
            // A family name of several words is found by each of them (Carreno Quinones).
            if parameter.code == "family" || element == "family" {
                for (space, _) in value.match_indices(' ').take(FAMILY_WORDS_MAX) {
                    let value = value[space + 1..].to_owned();
                    let entry = StringEntry { key, value, parts };
                    self.document.strings.push(entry);
                }
            }
            if !value.is_empty() {
                let entry = StringEntry { key, value, parts };
                self.document.strings.push(entry);
            }
        });
    }

    /// Whole where the resource is looked at, cut where it is indexed.
    fn normalised(&self, text: &str) -> String {
        match self.hashes == RECHECK {
            true => normalise_whole(text),
            false => normalise(text),
        }
    }

    fn reference(&mut self, key: ParameterKey, node: Node<'a>) {
        let (definitions, base) = (self.definitions, self.base);
        reference::each(node, definitions, base, &mut |target| match target {
            Target::Local(target) => {
                self.document
                    .references
                    .push(ReferenceEntry { key, target });
                // A canonical has versions, whoever serves it.
                if let (true, Value::String(url)) = (is_canonical(node.type_name), node.value) {
                    self.document.tokens.push(self.hashes.url(key, url));
                    self.canonical(key, url);
                }
            }
            Target::Url(url) => {
                self.document.tokens.push(self.hashes.url(key, &url));
                if is_canonical(node.type_name) {
                    self.canonical(key, &url);
                }
            }
            Target::Contained(_) => {}
            Target::Latest(url) => {
                let hash = self.hashes.url(key, &format!("{url}|"));
                self.document.tokens.push(hash);
            }
            Target::Identifier(value) => {
                let identifier = Node {
                    value,
                    type_name: "Identifier",
                    system: None,
                };
                coding::each(identifier, &mut |token| {
                    for token in token.forms() {
                        let hash = self.hashes.reference_identifier(key, &token);
                        self.document.tokens.push(hash);
                    }
                });
            }
        });
        if let Some(display) = reference::display(node) {
            self.text(key, display);
        }
    }

    /// The hashes by which a value that is matched whole can be asked for, but for `system|`.
    pub(crate) fn atoms(
        &self,
        key: ParameterKey,
        kind: ParameterType,
        node: Node<'a>,
        out: &mut Vec<i64>,
    ) {
        match kind {
            ParameterType::Token => coding::each(node, &mut |token| {
                let Some(code) = token.code else { return };
                out.push(self.hashes.code(key, code));
                match token.system {
                    System::Named(system) => {
                        out.push(self.hashes.system_and_code(key, system, code));
                    }
                    System::Missing => out.push(self.hashes.no_system(key, code)),
                    System::Inapplicable => {}
                }
            }),
            ParameterType::Reference => {
                reference::each(
                    node,
                    self.definitions,
                    self.base,
                    &mut |target| match target {
                        Target::Local(target) => {
                            out.push(self.hashes.url(key, &target.to_string()))
                        }
                        Target::Url(url) => out.push(self.hashes.url(key, &url)),
                        Target::Latest(_) | Target::Identifier(_) | Target::Contained(_) => {}
                    },
                );
            }
            ParameterType::Uri => {
                if let Value::String(uri) = node.value {
                    out.push(self.hashes.uri(key, uri));
                }
            }
            _ => {}
        }
    }

    /// The values that are compared.
    pub(crate) fn ordered(&self, kind: ParameterType, node: Node<'a>) -> Vec<Ordered> {
        match kind {
            ParameterType::Date => date::covered(node).map(Ordered::Date).into_iter().collect(),
            ParameterType::Number | ParameterType::Quantity => number::measured(node)
                .map(|measured| Ordered::Number {
                    units: measured.units(self.hashes),
                    ucum: measured.ucum(),
                    lo: measured.lo,
                    hi: measured.hi,
                })
                .into_iter()
                .collect(),
            ParameterType::String => {
                let mut found = Vec::new();
                string::each(node, &mut |_, text| {
                    found.push(Ordered::String(self.normalised(text)))
                });
                found
            }
            _ => Vec::new(),
        }
    }

    /// Adds a composite whose parts are all matched whole.
    pub(crate) fn composite(&mut self, key: ParameterKey, parts: &[i64]) {
        let hash = self.hashes.composite(key, parts);
        self.document.tokens.push(hash);
    }

    /// Adds a composite's ordered part, marked with the others.
    pub(crate) fn ordered_composite(&mut self, key: ParameterKey, others: &[i64], value: &Ordered) {
        let marker = self.hashes.composite(key, others);
        match value {
            Ordered::Date(DateRange { lo, hi }) => {
                let (lo, hi) = (*lo, *hi);
                self.document.dates.push(DateEntry {
                    key,
                    marker,
                    lo,
                    hi,
                });
            }
            Ordered::Number {
                lo,
                hi,
                units,
                ucum,
            } => {
                if let Some(code) = ucum {
                    self.word(UNITS, Kind::Unit, format!("{UCUM}|{code}"));
                }
                self.document.quantities.push(QuantityEntry {
                    key,
                    marker,
                    units: units.clone(),
                    ucum: ucum.clone(),
                    lo: lo.clone(),
                    hi: hi.clone(),
                });
            }
            Ordered::String(text) => {
                let value = marked(marker, text);
                let parts = 0;
                let entry = StringEntry { key, value, parts };
                self.document.strings.push(entry);
            }
        }
    }
}

/// Whether references of this type are canonical urls.
pub(crate) fn is_canonical(type_name: &str) -> bool {
    matches!(type_name, "canonical" | "uri")
}

/// A position as the entry of `Location.near`: latitude as `lo`, longitude as `hi`, so that one row of the index has both.
fn position(value: &Value) -> Option<QuantityEntry> {
    Point::of_location(value)?;
    let degrees = |name| Decimal::parse(&value.get(name)?.as_number()?.to_string());
    Some(QuantityEntry {
        key: ParameterKey(0),
        marker: 0,
        units: Vec::new(),
        ucum: None,
        lo: Some(degrees("latitude")?),
        hi: Some(degrees("longitude")?),
    })
}

/// Most words of a name that it can be found by, besides its first.
const FAMILY_WORDS_MAX: usize = 4;

/// The value of a composite's string: the marker as 16 hexadecimal digits, then the text.
pub fn marked(marker: i64, text: &str) -> String {
    format!("{:016x}{text}", marker.cast_unsigned())
}
