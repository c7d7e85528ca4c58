//! Random GraphDefinitions over the types that are drawn: some links deep, by elements and by searches, back to where they began.

use super::resources::{Draw, TEXTS};
use serde_json::{Map, Value, json};

/// From a type to another, by the elements of a path, or by a search with `{ref}` in it.
const LINKS: &[(&str, &str, &str)] = &[
    ("Composition", "Patient", "subject"),
    ("Composition", "Practitioner", "author"),
    ("Condition", "Encounter", "Condition.encounter"),
    ("Condition", "Observation", "evidence.reference"),
    ("Condition", "Patient", "subject"),
    ("DiagnosticReport", "Observation", "result"),
    ("DiagnosticReport", "Patient", "DiagnosticReport.subject"),
    ("Encounter", "Condition", "encounter={ref}"),
    ("Encounter", "Encounter", "part-of={ref}"),
    ("Encounter", "Encounter", "partOf"),
    ("Encounter", "Location", "location.location"),
    ("Encounter", "Organization", "Encounter.serviceProvider"),
    ("Encounter", "Patient", "subject"),
    ("Group", "Observation", "subject={ref}"),
    ("Group", "Patient", "member.entity"),
    ("List", "Condition", "entry.item"),
    ("List", "Observation", "entry.item"),
    ("List", "Patient", "entry.item"),
    ("Location", "Encounter", "location={ref}&_sort=date"),
    ("Location", "Location", "partOf"),
    ("Location", "Organization", "managingOrganization"),
    ("MedicationRequest", "Patient", "subject"),
    ("Observation", "DiagnosticReport", "result={ref}"),
    ("Observation", "Encounter", "Observation.encounter"),
    ("Observation", "Group", "subject"),
    ("Observation", "Observation", "hasMember"),
    ("Observation", "Patient", "subject"),
    ("Observation", "Organization", "performer"),
    ("Observation", "Practitioner", "performer"),
    ("Organization", "Organization", "partOf"),
    (
        "Organization",
        "Patient",
        "organization={ref}&gender=male,female",
    ),
    (
        "Patient",
        "Condition",
        "patient={ref}&category=problem-list-item",
    ),
    ("Patient", "Encounter", "subject={ref}&status:not=planned"),
    ("Patient", "Observation", "patient={ref}&status=final"),
    (
        "Patient",
        "Observation",
        "subject={ref}&_has:DiagnosticReport:result:status=final",
    ),
    ("Patient", "Organization", "Patient.managingOrganization"),
    ("Patient", "Organization", "generalPractitioner"),
    ("Patient", "Patient", "link.other"),
    ("Patient", "Practitioner", "generalPractitioner"),
    ("Patient", "RelatedPerson", "patient={ref}"),
    ("Practitioner", "Patient", "general-practitioner={ref}"),
    ("RelatedPerson", "Patient", "patient"),
    ("RiskAssessment", "Patient", "subject"),
    ("ServiceRequest", "Patient", "subject"),
    ("ServiceRequest", "Practitioner", "requester"),
];
/// Most links of a graph.
const LINKS_MAX: usize = 4;

impl Draw<'_> {
    pub(super) fn graph(&mut self, body: &mut Map<String, Value>) {
        body.insert("status".into(), self.pick(&["draft", "active"]).into());
        body.insert("name".into(), "Graph".into());
        body.insert("url".into(), self.canonical_url("GraphDefinition").into());
        self.may(body, 80, "version", |d| d.pick(&["1.0", "2.0"]).into());
        self.may(body, 50, "description", |d| d.pick(TEXTS).into());
        let mut types = vec![self.pick(LINKS).0];
        let mut links = Vec::new();
        for _ in 0..self.rng.usize(1..=LINKS_MAX) {
            let from = self.rng.usize(..types.len());
            let source = types[from];
            let further = LINKS.iter().filter(|(name, ..)| *name == source);
            let further: Vec<_> = further.copied().collect();
            if further.is_empty() {
                continue;
            }
            let (_, target, how) = self.pick(&further);
            let is_search = how.contains("{ref}");
            let back = types.iter().position(|name| *name == target);
            let to = match back {
                Some(back) if self.chance(60) => back,
                _ => {
                    // A node may stand for every type.
                    let any = !is_search && self.chance(40);
                    types.push(if any { "Resource" } else { target });
                    types.len() - 1
                }
            };
            let kind = if is_search { "params" } else { "path" };
            links.push(json!({"sourceId": node(from), "targetId": node(to), kind: how}));
        }
        let nodes = types.iter().enumerate();
        let nodes = nodes.map(|(number, name)| json!({"nodeId": node(number), "type": name}));
        body.insert("start".into(), node(0).into());
        body.insert("node".into(), nodes.collect());
        body.insert("link".into(), links.into());
    }
}

fn node(number: usize) -> String {
    format!("n{number}")
}
