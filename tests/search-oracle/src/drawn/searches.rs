//! Random searches as a URL says them: (name, value) pairs for the parser.

use super::resources::TEXTS;
use super::values::{self, Found};
use super::{chance, pick, places};
use crate::{Resource, World};
use fastrand::Rng;
use fhir_definitions::{ParameterType, SearchParameter};
use fhir_model::date::instant_text;
use fhir_search::position::Point;
use std::fmt;
use std::sync::Arc;

/// Most links of a chain.
const LINKS_MAX: usize = 3;
/// What says how well something matches.
const WORDS: &[&str] = &["_text", "_content", "section-text"];
/// How many of a hundred look into contained resources.
const CONTAINED: u8 = 7;

/// A search.
#[derive(Clone, Debug)]
pub struct Asked {
    /// In the compartment of this patient.
    pub patient: Option<String>,
    pub types: Vec<String>,
    pub parameters: Vec<(String, String)>,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.patient {
            write!(f, "Patient/{id}/")?;
        }
        write!(f, "{}", self.types.join(","))?;
        for (place, (name, value)) in self.parameters.iter().enumerate() {
            write!(f, "{}{name}={value}", if place == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// A search over the resources there are.
pub fn search(rng: &mut Rng, world: &World<'_>) -> Asked {
    let resources: Vec<&Resource> = world.resources().collect();
    let inner: Vec<&Resource> = resources.iter().flat_map(|it| &it.inner).collect();
    let contained = chance(rng, CONTAINED) && !inner.is_empty();
    let types = match (contained, rng.u8(..8)) {
        (true, 0..=5) => vec![pick(rng, &inner).key.resource_type.clone()],
        (true, _) => several(rng, &inner),
        (false, 0) => several(rng, &resources),
        (false, _) => vec![pick(rng, &resources).key.resource_type.clone()],
    };
    of_types(rng, world, types, contained)
}

/// A search with `_graph`, for a GraphDefinition that is there or not; most often of the type that it starts at, in no compartment.
pub fn search_with_graph(rng: &mut Rng, world: &World<'_>) -> Option<Asked> {
    let resources: Vec<&Resource> = world.resources().collect();
    let graphs = resources.iter().copied();
    let graphs: Vec<&Resource> = graphs
        .filter(|it| it.key.resource_type == "GraphDefinition")
        .collect();
    let graph = *values::one_of(rng, &graphs)?;
    let start = graph.body["node"][0]["type"].as_str()?.to_owned();
    let types = match rng.u8(..20) {
        0 => vec![pick(rng, &resources).key.resource_type.clone()],
        1..=9 => {
            let mut types = several(rng, &resources);
            types.push(start);
            types.sort_unstable();
            types.dedup();
            types
        }
        _ => vec![start],
    };
    let contained = chance(rng, CONTAINED);
    let mut asked = of_types(rng, world, types, contained);
    asked.patient = None;
    let (key, url) = (&graph.key, graph.body["url"].as_str()?);
    let name = match (rng.u8(..20), graph.body["version"].as_str()) {
        (0, _) => format!("{url}|9"),
        (1..=8, Some(version)) => format!("{url}|{version}"),
        (9..=14, _) => key.to_string(),
        (15, _) => format!("{}/{key}", crate::BASE),
        _ => url.to_owned(),
    };
    asked.parameters.push(("_graph".into(), name));
    Some(asked)
}

fn of_types(rng: &mut Rng, world: &World<'_>, types: Vec<String>, contained: bool) -> Asked {
    let mut resources: Vec<&Resource> = world.resources().collect();
    // With `_contained` half of what is asked for contained resources have.
    if contained {
        let inner: Vec<&Resource> = resources.iter().flat_map(|it| &it.inner).collect();
        resources.extend(inner.iter().chain(&inner));
    }
    let mut draw = Draw {
        rng,
        world,
        resources,
    };
    let mut parameters = Vec::new();
    if chance(draw.rng, 25) {
        parameters.extend(draw.filtered(&types));
    }
    for _ in 0..*pick(draw.rng, &[0, 1, 1, 1, 1, 2, 2, 3]) {
        let of = pick(draw.rng, &types).clone();
        parameters.extend(draw.condition(&of, 0));
    }
    let by_words = |(name, _): &(String, String)| WORDS.contains(&name.as_str());
    if !contained && parameters.iter().any(by_words) && chance(draw.rng, 50) {
        let key = *pick(draw.rng, &["-_score", "-_score", "_score", "_score,-_id"]);
        parameters.push(("_sort".into(), key.into()));
    } else if chance(draw.rng, 40) {
        parameters.extend(draw.sort(&types));
    }
    if chance(draw.rng, 25) {
        for _ in 0..draw.rng.usize(1..=3) {
            parameters.extend(draw.include(&types));
        }
    }
    if chance(draw.rng, 60) {
        let total = *pick(draw.rng, &["accurate", "accurate", "none", "estimate"]);
        parameters.push(("_total".into(), total.into()));
    }
    if chance(draw.rng, 4) {
        parameters.push(("_summary".into(), "count".into()));
    }
    if chance(draw.rng, 3) {
        let number = draw.rng.u8(..10);
        parameters.push(("_getpagesoffset".into(), number.to_string()));
    }
    if chance(draw.rng, 3) {
        let number = draw.rng.u8(1..20);
        parameters.push(("_maxresults".into(), number.to_string()));
    }
    if contained {
        let which = *pick(draw.rng, &["true", "both"]);
        parameters.push(("_contained".into(), which.into()));
        let answered = *pick(draw.rng, &["container", "contained"]);
        parameters.push(("_containedType".into(), answered.into()));
    }
    let patient = chance(draw.rng, 6).then(|| format!("pa{}", draw.rng.usize(..10)));
    Asked {
        patient,
        types,
        parameters,
    }
}

fn several(rng: &mut Rng, resources: &[&Resource]) -> Vec<String> {
    let mut types: Vec<String> = (0..rng.usize(2..=3))
        .map(|_| pick(rng, resources).key.resource_type.clone())
        .collect();
    types.sort_unstable();
    types.dedup();
    types
}

pub(super) struct Draw<'r, 'w> {
    pub rng: &'r mut Rng,
    pub world: &'w World<'w>,
    pub resources: Vec<&'w Resource>,
}

impl<'w> Draw<'_, 'w> {
    fn condition(&mut self, of: &str, depth: usize) -> Option<(String, String)> {
        match self.rng.u8(..100) {
            0..=4 => self.ids(of).map(|ids| self.turned(ids)),
            5..=9 => self.last_updated(of),
            10..=14 => self.missing(of),
            15..=17 => Some(self.words(of)),
            39..=41 => self.membership(of),
            42..=63 if of == "Location" => Some(self.near()),
            64..=85 if of == "Location" => Some(self.around()),
            42..=75 if of == "Composition" => Some(self.words(of)),
            18..=29 if depth < LINKS_MAX => self.chain(of, depth),
            30..=38 if depth < LINKS_MAX => self.has(of, depth),
            _ => self.parameter(of),
        }
    }

    fn ids(&mut self, of: &str) -> Option<(String, String)> {
        let ids: Vec<String> = (0..self.rng.usize(1..=4))
            .filter_map(|_| Some(self.one(of)?.key.id.clone()))
            .collect();
        Some(("_id".into(), ids.join(",")))
    }

    /// `:not` at times.
    fn turned(&mut self, (name, value): (String, String)) -> (String, String) {
        match self.rng.u8(..4) {
            0 => (format!("{name}:not"), value),
            _ => (name, value),
        }
    }

    fn last_updated(&mut self, of: &str) -> Option<(String, String)> {
        let mut dates = Vec::new();
        for _ in 0..*pick(self.rng, &[1, 1, 2]) {
            let text = instant_text(self.one(of)?.updated_ms);
            let prefix = pick(self.rng, values::PREFIXES);
            dates.push(format!("{prefix}{text}"));
        }
        Some(("_lastUpdated".into(), dates.join(",")))
    }

    fn membership(&mut self, of: &str) -> Option<(String, String)> {
        let functional = match of {
            "Condition" => "$current-problems",
            "MedicationRequest" => "$current-medications",
            "AllergyIntolerance" if self.rng.bool() => "$current-drug-allergies",
            "AllergyIntolerance" => "$current-allergies",
            _ => "",
        };
        if !functional.is_empty() && chance(self.rng, 60) {
            return Some(("_list".into(), functional.into()));
        }
        Some(match self.rng.u8(..5) {
            0 | 1 => ("_list".into(), self.one("List")?.key.id.clone()),
            2 => ("_in".into(), self.one("Group")?.key.to_string()),
            _ => ("_in:not".into(), self.one("List")?.key.to_string()),
        })
    }

    fn near(&mut self) -> (String, String) {
        let place = pick::<&str>(self.rng, &["47.37|8.54", "42.25|-83.69", "-16.5|179.98"]);
        let distance = match chance(self.rng, 40) {
            true => self.as_far_as_another(place),
            false => {
                let distances = ["|1|km", "|5000|m", "|10|[mi_us]", "", "|20000|km"];
                (*pick::<&str>(self.rng, &distances)).to_owned()
            }
        };
        ("near".into(), format!("{place}{distance}"))
    }

    /// The distance to somewhere else where Locations are, to a foot more or less.
    fn as_far_as_another(&mut self, place: &str) -> String {
        let point = |text: &str| {
            let (latitude, longitude) = text.split_once('|')?;
            Point::new(latitude.parse().ok()?, longitude.parse().ok()?)
        };
        let other = pick::<&str>(self.rng, places::POSITIONS);
        let between = point(place).zip(point(other));
        let metres = between.map_or(0.0, |(place, other)| place.metres_to(other));
        let more = *pick(self.rng, &[0.3, -0.3]);
        format!("|{:.2}|m", (metres + more).max(0.3))
    }

    fn around(&mut self) -> (String, String) {
        let places = (0..*pick(self.rng, &[1, 1, 2])).map(|_| places::place(self.rng));
        ("contains".into(), places.collect::<Vec<_>>().join(","))
    }

    /// Words, the beginning of one, or what they are joined to.
    fn words(&mut self, of: &str) -> (String, String) {
        let name = match of {
            "Composition" if chance(self.rng, 85) => "section-text",
            _ => *pick(self.rng, &["_text", "_content"]),
        };
        let mut word = || {
            let text = crate::text::plain(pick::<&str>(self.rng, TEXTS));
            let words: Vec<&str> = text.split(' ').collect();
            (*pick(self.rng, &words)).to_owned()
        };
        let (one, other) = (word(), word());
        let value = match self.rng.u8(..7) {
            0 => format!("{}*", one.chars().take(3).collect::<String>()),
            1 => format!("{one} OR {other}"),
            2 => format!("NOT {one}"),
            3 => format!("{one} AND NOT {other}"),
            4 => format!("\"{}\"", pick::<&str>(self.rng, TEXTS)),
            _ => one,
        };
        (name.into(), values::escaped(value))
    }

    fn missing(&mut self, of: &str) -> Option<(String, String)> {
        let parameter = self.known(of, |parameter| parameter.kind != ParameterType::Composite)?;
        let value = if self.rng.bool() { "true" } else { "false" };
        Some((format!("{}:missing", parameter.code), value.into()))
    }

    /// One parameter with one value or several, of one resource or of several.
    fn parameter(&mut self, of: &str) -> Option<(String, String)> {
        // What few parameters are is drawn more often than it would be.
        let rare = chance(self.rng, 30);
        let parameter = self.known(of, |it| !rare || is_rare(it))?;
        let mut found = self.holders(of, &parameter);
        self.rng.shuffle(&mut found);
        let mut modifier = None;
        let mut written = Vec::new();
        for resource in found.into_iter().take(*pick(self.rng, &[1, 1, 2, 3])) {
            let elements = self.world.elements(&parameter, resource);
            let found = Found {
                world: self.world,
                parameter: &parameter,
                resource,
                element: pick(self.rng, &elements),
            };
            let modifier = modifier.get_or_insert_with(|| values::modifier(self.rng, &found));
            written.extend(values::value(self.rng, &found, modifier));
        }
        let name = match modifier? {
            "" if parameter.kind == ParameterType::Reference && chance(self.rng, 15) => {
                let target = self.target(of, &parameter)?;
                format!("{}:{target}", parameter.code)
            }
            "" => parameter.code.clone(),
            modifier => format!("{}:{modifier}", parameter.code),
        };
        (!written.is_empty()).then(|| (name, written.join(",")))
    }

    fn chain(&mut self, of: &str, depth: usize) -> Option<(String, String)> {
        let parameter = self.known(of, |parameter| parameter.kind == ParameterType::Reference)?;
        let target = self.target(of, &parameter)?;
        let (name, value) = self.condition(&target, depth + 1)?;
        let code = &parameter.code;
        let head = match chance(self.rng, 60) {
            true => format!("{code}:{target}"),
            false => code.clone(),
        };
        Some((format!("{head}.{name}"), value))
    }

    fn has(&mut self, of: &str, depth: usize) -> Option<(String, String)> {
        let (source, code) = self.referrer(of)?;
        let (name, value) = self.condition(&source, depth + 1)?;
        Some((format!("_has:{source}:{code}:{name}"), value))
    }

    /// A type and a parameter by which some resource of it refers to one of the type `of`.
    pub fn referrer(&mut self, of: &str) -> Option<(String, String)> {
        let mut sources: Vec<(String, String)> = Vec::new();
        let all = self.world.resources();
        for resource in all.flat_map(|it| std::iter::once(it).chain(&it.inner)) {
            let parameters = self
                .world
                .definitions
                .search_parameters(&resource.key.resource_type);
            for parameter in parameters
                .iter()
                .filter(|p| p.kind == ParameterType::Reference && is_answered(p))
            {
                let targets = self.world.targets(parameter, resource);
                let beside = self.world.contained_targets(parameter, resource);
                let mut targets = targets.iter().chain(beside.iter().map(|it| &it.key));
                if targets.any(|key| key.resource_type == of) {
                    sources.push((resource.key.resource_type.clone(), parameter.code.clone()));
                }
            }
        }
        (!sources.is_empty()).then(|| pick(self.rng, &sources).clone())
    }

    fn sort(&mut self, types: &[String]) -> Option<(String, String)> {
        let mut keys = Vec::new();
        for _ in 0..self.rng.usize(1..=3) {
            let sign = if self.rng.bool() { "-" } else { "" };
            keys.push(format!("{sign}{}", self.sort_key(types)?));
        }
        Some(("_sort".into(), keys.join(",")))
    }

    fn sort_key(&mut self, types: &[String]) -> Option<String> {
        Some(match (self.rng.u8(..20), types) {
            (0..=3, _) => "_lastUpdated".into(),
            (4..=5, _) => "_id".into(),
            (6, [one]) => {
                let by = self.known(one, |parameter| parameter.kind == ParameterType::Reference)?;
                let target = self.target(one, &by)?;
                let inner = self.known(&target, is_sortable)?;
                format!("{}:{target}.{}", by.code, inner.code)
            }
            (7..=11, [one]) => self.known(one, is_comparable)?.code.clone(),
            (_, [one]) => self.known(one, is_sortable)?.code.clone(),
            (_, several) => self.known(&several[0], is_sortable)?.code.clone(),
        })
    }

    fn include(&mut self, types: &[String]) -> Option<(String, String)> {
        let name = match self.rng.u8(..6) {
            0 => "_include:iterate",
            1 => "_revinclude:iterate",
            2 => "_revinclude",
            _ => "_include",
        };
        let of = match name.contains("iterate") && self.rng.bool() {
            true => pick(self.rng, &self.resources).key.resource_type.clone(),
            false => pick(self.rng, types).clone(),
        };
        if name.starts_with("_rev") {
            let (source, code) = self.referrer(&of)?;
            let code = if chance(self.rng, 30) { "*" } else { &*code };
            let target = if chance(self.rng, 30) {
                format!(":{of}")
            } else {
                String::new()
            };
            return Some((name.into(), format!("{source}:{code}{target}")));
        }
        match self.rng.u8(..20) {
            0 | 1 => return Some((name.into(), format!("{of}:*"))),
            2 => return Some((name.into(), "*".into())),
            _ => {}
        }
        let parameter = self.known(&of, |parameter| parameter.kind == ParameterType::Reference)?;
        let target = match chance(self.rng, 30) {
            true => format!(":{}", self.target(&of, &parameter)?),
            false => String::new(),
        };
        Some((name.into(), format!("{of}:{}{target}", parameter.code)))
    }

    pub fn one(&mut self, of: &str) -> Option<&'w Resource> {
        let all: Vec<&'w Resource> = self
            .resources
            .iter()
            .copied()
            .filter(|r| r.key.resource_type == of)
            .collect();
        (!all.is_empty()).then(|| *pick(self.rng, &all))
    }

    /// A parameter by which some resource of the type is found.
    pub fn known(
        &mut self,
        of: &str,
        fits: impl Fn(&SearchParameter) -> bool,
    ) -> Option<Arc<SearchParameter>> {
        let resource = self.one(of)?;
        let parameters: Vec<&Arc<SearchParameter>> = self
            .world
            .definitions
            .search_parameters(of)
            .iter()
            .filter(|p| is_answered(p) && fits(p) && !self.world.elements(p, resource).is_empty())
            .collect();
        (!parameters.is_empty()).then(|| Arc::clone(*pick(self.rng, &parameters)))
    }

    pub fn holders(&self, of: &str, parameter: &SearchParameter) -> Vec<&'w Resource> {
        let has = |resource: &&Resource| !self.world.elements(parameter, resource).is_empty();
        let resources = self.resources.iter().copied();
        resources
            .filter(|r| r.key.resource_type == of)
            .filter(has)
            .collect()
    }

    /// A type that the parameter's references lead to.
    pub fn target(&mut self, of: &str, parameter: &SearchParameter) -> Option<String> {
        let holders = self.holders(of, parameter);
        let mut keys = Vec::new();
        for resource in holders {
            let beside = self.world.contained_targets(parameter, resource);
            keys.extend(beside.into_iter().map(|it| it.key.resource_type.clone()));
            let there = self.world.targets(parameter, resource);
            keys.extend(there.into_iter().map(|key| key.resource_type));
        }
        (!keys.is_empty()).then(|| pick(self.rng, &keys).clone())
    }
}

/// Those of every type but for what a resource holds in `meta` are drawn for themselves.
fn is_answered(parameter: &SearchParameter) -> bool {
    let held = ["_tag", "_profile", "_security", "_source", "_language"];
    let code = parameter.code.as_str();
    (!code.starts_with('_') || held.contains(&code)) && fhir_search::is_answered(parameter)
}

pub(super) fn is_rare(parameter: &SearchParameter) -> bool {
    use ParameterType::{Composite, Number, Quantity};
    matches!(parameter.kind, Composite | Number | Quantity)
        || matches!(parameter.code.as_str(), "identifier" | "relationship")
}

/// What the index has a column for.
fn is_sortable(parameter: &SearchParameter) -> bool {
    use ParameterType::{Date, Number, Quantity, String};
    matches!(parameter.kind, Date | Number | Quantity | String)
}

/// What has an order at all.
fn is_comparable(parameter: &SearchParameter) -> bool {
    use ParameterType::{Composite, Resource, Special};
    !matches!(parameter.kind, Composite | Resource | Special)
}
