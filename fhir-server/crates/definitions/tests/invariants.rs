//! Invariants of the base structures: what is not kept, where, and how grave; what is not decided is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::Definitions;
use fhir_model::{Issue, Severity, json};
use fhirpath::Host;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| Definitions::load(&[]).unwrap());
const NOW: &str = "2026-01-31T08:00:00.000Z";

/// Terminology as the definitions have it; of resources only Practitioner/p is known.
struct Site;

impl Host for Site {
    fn resolve(&self, reference: &str) -> Option<Value> {
        (reference == "Practitioner/p").then(|| json!({"resourceType": "Practitioner", "id": "p"}))
    }

    fn terminology(&self, function: &str, arguments: &[&Value]) -> Result<Value, String> {
        let known = DEFINITIONS.terminology();
        fhir_definitions::terminology::operation::service(&known, function, arguments, NOW)
            .map_err(|error| error.to_string())
    }
}

fn found(resource: &Value) -> Vec<Issue> {
    DEFINITIONS.invariants(resource, &Site, NOW)
}

/// A line each: severity, key, place. Resources without a narrative (dom-6) are left out.
fn check(resource: Value, expect: &[&str]) {
    let lines: Vec<String> = found(&resource)
        .iter()
        .map(|issue| {
            let said = issue.diagnostics.strip_prefix("the invariant ");
            let key = said.unwrap_or(&issue.diagnostics);
            let key = key.split([':', ' ']).next().unwrap();
            let place = issue.expression.as_deref().unwrap_or_default();
            format!("{} {key} {place}", issue.severity.code())
        })
        .filter(|line| !line.starts_with("warning dom-6"))
        .collect();
    assert_eq!(lines, expect, "{resource:#}");
}

fn patient(elements: Value) -> Value {
    resource("Patient", elements)
}

fn resource(resource_type: &str, elements: Value) -> Value {
    let mut resource = json!({"resourceType": resource_type});
    let all = resource.as_object_mut().unwrap();
    all.extend(elements.as_object().unwrap().clone());
    resource
}

#[test]
fn where_they_are_declared() {
    // Of a data type, wherever it stands.
    check(
        patient(json!({"telecom": [{"system": "phone", "value": "1"}, {"value": "1"}]})),
        &["error cpt-2 Patient.telecom[1]"],
    );
    check(
        patient(json!({"name": [{"period": {"start": "2026-03", "end": "2026-01"}}]})),
        &["error per-1 Patient.name[0].period"],
    );
    // Of the types that a type derives from.
    check(
        resource("Condition", json!({"onsetAge": {"value": 3, "code": "a"}})),
        &["error qty-3 Condition.onset.ofType(Age)"],
    );
    // Of an element with children, where it refers to itself, too.
    check(
        patient(json!({"contact": [{"gender": "male"}]})),
        &["error pat-1 Patient.contact[0]"],
    );
    check(
        resource(
            "Questionnaire",
            json!({"status": "draft", "item": [{"linkId": "1", "type": "group", "item": [{"linkId": "2", "type": "display", "readOnly": true}]}]}),
        ),
        &["error que-9 Questionnaire.item[0].item[0]"],
    );
    // Of one element of a type, a primitive or a choice.
    check(
        resource(
            "Questionnaire",
            json!({"status": "draft", "url": "http://a|1", "item": [{"linkId": "1", "type": "string"}]}),
        ),
        &["warning cnl-1 Questionnaire.url"],
    );
    check(
        resource(
            "RiskAssessment",
            json!({"status": "final", "subject": {"display": "x"}, "prediction": [{"probabilityRange": {"low": {"value": 1}}}]}),
        ),
        &["error ras-1 RiskAssessment.prediction[0].probability.ofType(Range)"],
    );
    // Of a resource.
    check(
        resource("Organization", json!({"active": true})),
        &["error org-1 Organization"],
    );
}

#[test]
fn elements_have_content() {
    check(
        patient(json!({"name": [{"id": "x"}], "maritalStatus": {"id": "x", "text": "x"}})),
        &["error ele-1 Patient.name[0]"],
    );
    check(
        patient(
            json!({"birthDate": "2026-01-31", "_birthDate": {"id": "x"}, "_gender": {"id": "y"}}),
        ),
        &["error ele-1 Patient.gender"],
    );
    check(
        patient(json!({"name": [{"given": ["A", null], "_given": [null, {"id": "x"}]}]})),
        &["error ele-1 Patient.name[0].given[1]"],
    );
}

#[test]
fn extensions() {
    check(
        patient(
            json!({"extension": [{"url": "http://a"}, {"url": "http://a", "valueString": "x", "extension": [{"url": "b", "valueString": "x"}]}]}),
        ),
        &[
            "error ext-1 Patient.extension[0]",
            "error ext-1 Patient.extension[1]",
        ],
    );
    // Of a primitive, with a value and without.
    check(
        patient(
            json!({"gender": "male", "_gender": {"extension": [{"url": "http://a"}]}, "_birthDate": {"extension": [{"url": "http://a"}]}}),
        ),
        &[
            "error ext-1 Patient.gender.extension[0]",
            "error ext-1 Patient.birthDate.extension[0]",
        ],
    );
}

#[test]
fn what_is_contained() {
    let organization = |id: &str| json!({"resourceType": "Organization", "id": id, "name": "x"});
    let to = |reference: &str| json!({"reference": reference});
    check(
        patient(json!({"contained": [organization("o")], "managingOrganization": to("#o")})),
        &[],
    );
    check(
        patient(json!({"contained": [organization("o")], "managingOrganization": to("#p")})),
        &[
            "error dom-3 Patient",
            "error ref-1 Patient.managingOrganization",
        ],
    );
    // A contained one may refer to another of its container, and to the container.
    let mut inner = organization("o");
    inner["partOf"] = to("#q");
    inner["endpoint"] = json!([to("#")]);
    check(
        patient(json!({"contained": [inner, organization("q")], "managingOrganization": to("#o")})),
        &[],
    );
    // And is looked at itself.
    check(
        patient(
            json!({"contained": [{"resourceType": "Organization", "id": "o"}], "managingOrganization": to("#o")}),
        ),
        &["error org-1 Patient.contained[0]"],
    );
}

#[test]
fn bundles() {
    let encounter = |actor: &str| json!({"resourceType": "Encounter", "status": "planned", "participant": [{"type": [{"text": "x"}], "actor": {"reference": actor}}]});
    let bundle = |actor: &str| {
        resource(
            "Bundle",
            json!({"type": "collection", "entry": [
                {"fullUrl": "http://a/Patient/1", "resource": {"resourceType": "Patient", "id": "1", "contact": [{"gender": "male"}]}},
                {"fullUrl": "http://a/Encounter/1", "resource": encounter(actor)},
            ]}),
        )
    };
    let within = "error pat-1 Bundle.entry[0].resource.contact[0]";
    // enc-2: a patient as participant has no type.
    check(
        bundle("Patient/1"),
        &[
            within,
            "error enc-2 Bundle.entry[1].resource.participant[0]",
        ],
    );
    check(bundle("Patient/2"), &[within]);
    check(
        resource(
            "Bundle",
            json!({"type": "searchset", "entry": [{"fullUrl": "http://a/Patient/1/_history/1", "resource": {"resourceType": "Patient"}}]}),
        ),
        &["error bdl-18 Bundle", "error bdl-8 Bundle.entry[0]"],
    );
}

#[test]
fn what_is_not_at_hand() {
    let team = |member: &str| {
        resource(
            "CareTeam",
            json!({"participant": [{"member": {"reference": member}, "onBehalfOf": {"reference": "Organization/1"}}]}),
        )
    };
    check(team("Practitioner/p"), &[]);
    check(
        team("Practitioner/q"),
        &["information ctm-1 CareTeam.participant[0]"],
    );
}

#[test]
fn variables_and_terminology() {
    // %context is the element.
    check(
        resource(
            "ImplementationGuide",
            json!({"definition": {"grouping": [{"id": "a", "name": "A"}], "resource": [{"reference": {"display": "x"}, "groupingId": "a"}, {"reference": {"display": "x"}, "groupingId": "b"}]}}),
        ),
        &["error ig-1 ImplementationGuide.definition"],
    );
    let operation = |type_name: &str| {
        resource(
            "OperationDefinition",
            json!({"kind": "operation", "parameter": [{"name": "a", "use": "in", "type": type_name, "targetProfile": ["http://a"]}]}),
        )
    };
    check(operation("Patient"), &[]);
    check(
        operation("string"),
        &["error opd-3 OperationDefinition.parameter[0]"],
    );
}

#[test]
fn however_much_there_is() {
    let names: Vec<Value> = (0..1_000).map(|_| json!({"id": "x"})).collect();
    let found = found(&patient(
        json!({"telecom": [{"value": "1"}], "name": names}),
    ));
    let errors = found.iter().filter(|issue| issue.is_error()).count();
    assert_eq!(errors, fhir_definitions::ISSUES_MAX);
    // Beyond the steps it says that it has not looked.
    let identical = json!({"code": "a", "system": "http://a"});
    let many: Vec<Value> = (0..300_000).map(|_| identical.clone()).collect();
    let found = self::found(&patient(
        json!({"meta": {"tag": many}, "telecom": [{"value": "1"}]}),
    ));
    let said: Vec<&str> = found.iter().map(|it| it.kind.code()).collect();
    assert!(said.contains(&"too-costly"), "{said:?}");
}

/// Larger ones take minutes in a build for tests: `INVARIANTS_LARGE` has them looked at.
const EXAMPLE_BYTES_MAX: u64 = 20_000;

/// `examples-invariants.tsv` says which official examples do not keep which of the errors, and why.
#[test]
fn of_the_official_examples() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../.cache/r5-examples/package");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no .cache/r5-examples, run scripts/fetch-fhir-packages.sh examples");
        return;
    };
    let mut read = BTreeSet::new();
    let mut broken = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".json") || !name.contains('-') {
            continue;
        }
        let is_large = std::fs::metadata(&path).unwrap().len() > EXAMPLE_BYTES_MAX;
        if is_large && std::env::var_os("INVARIANTS_LARGE").is_none() {
            continue;
        }
        let Ok(resource) = json::parse(&std::fs::read(&path).unwrap()) else {
            continue;
        };
        read.insert(name.clone());
        let found = found(&resource);
        if std::env::var_os("INVARIANTS_TOLD").is_some() {
            for issue in &found {
                let place = issue.expression.as_deref().unwrap_or_default();
                println!(
                    "{}\t{name}\t{}\t{place}",
                    issue.severity.code(),
                    issue.diagnostics
                );
            }
        }
        let errors = found.iter().filter(|it| it.severity == Severity::Error);
        broken.extend(errors.map(|it| {
            let key = it.diagnostics.split(':').next().unwrap();
            format!("{name}\t{key}")
        }));
    }
    broken.sort_unstable();
    broken.dedup();
    assert!(read.len() > 2_200, "{}", read.len());
    let listed = include_str!("examples-invariants.tsv").lines().skip(1);
    let listed = listed.map(|line| line.rsplit_once('\t').unwrap().0);
    let is_read = |line: &&str| read.contains(line.split('\t').next().unwrap());
    let listed: Vec<&str> = listed.filter(is_read).collect();
    assert_eq!(broken, listed);
}
