//! What `_filter` finds in a resource, and what of it is refused, over the real definitions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::Definitions;
use fhir_model::IssueKind;
use fhir_search::parse::Context;
use fhir_search::{Candidate, Handling, Query, parse};
use serde_json::{Value, json};
use std::sync::LazyLock;

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| Definitions::load(&[]).unwrap());

fn search(
    types: &[&str],
    filter: &str,
    handling: Handling,
) -> Result<Query, Vec<fhir_model::Issue>> {
    let context = Context {
        definitions: &DEFINITIONS,
        terminology: None,
        base: Some("http://h/fhir"),
        handling,
        now_micros: 1_800_000_000_000_000,
        count_default: 20,
        count_max: 100,
    };
    let parameters = [("_filter".to_owned(), filter.to_owned())];
    parse(&context, types, &parameters)
}

/// Each filter against the resource; `None` is undecided by it alone.
fn check(resource: &Value, filters: &[(&str, impl Into<Option<bool>> + Copy)]) {
    let resource_type = resource["resourceType"].as_str().unwrap();
    let candidate = Candidate::read(&DEFINITIONS, resource, Some("http://h/fhir")).unwrap();
    for (filter, expect) in filters {
        let query = search(&[resource_type], filter, Handling::Strict)
            .unwrap_or_else(|issues| panic!("{filter}: {issues:?}"));
        assert_eq!(candidate.matches(&query), (*expect).into(), "{filter}");
    }
}

fn patient() -> Value {
    json!({
        "resourceType": "Patient",
        "id": "Abc",
        "meta": {"lastUpdated": "2026-01-01T00:00:00.123Z"},
        "identifier": [{"system": "urn:mrn", "value": "A1"}, {"value": "b|2"}],
        "active": true,
        "name": [
            {"family": "van der Smith", "given": ["Ana", "María"]},
            {"family": "O'Brien", "given": ["Eva, Lia"], "period": {"start": "2020"}},
            {"text": "x".repeat(300) + " end"}
        ],
        "gender": "female",
        "birthDate": "1974-12",
        "address": [{"city": "Zürich", "country": "CH", "use": "home"}, {"city": "Bern", "country": "DE"}],
        "managingOrganization": {"reference": "Organization/o1"}
    })
}

#[test]
fn strings() {
    check(
        &patient(),
        &[
            ("family eq \"VAN DER smith\"", true),
            ("family eq smith", false),
            ("family ne smith", true),
            ("given eq ana", true),
            ("given eq an", false),
            ("given eq maria", true),
            ("given ne ana", true),
            ("gender ne female", false),
            ("given eq \"eva, lia\"", true),
            ("name co \"der\"", true),
            ("name co polly", false),
            ("given sw mar", true),
            ("given sw ria", false),
            ("given ew ria", true),
            ("given ew mar", false),
            ("name ew end", true),
            ("address-city eq zurich", true),
            ("address-city gt bern", true),
            ("address-city gt zurich", false),
            ("address-city ge zurich", true),
            ("address-city lt bern", false),
            ("address-city le bern", true),
            ("family lt t", true),
            ("family lt o", false),
            ("name eq obrien", true),
        ],
    );
}

#[test]
fn dates_and_tokens() {
    check(
        &patient(),
        &[
            ("birthdate eq 1974-12", true),
            ("birthdate eq 1974-12-25", false),
            ("birthdate ne 1974-12-25", true),
            ("birthdate ge 1974", true),
            ("birthdate gt 1974", false),
            ("birthdate lt 1975", true),
            ("birthdate sa 1974-11", true),
            ("birthdate eb 1975", true),
            ("birthdate po 1974-12-25", true),
            ("birthdate po 1975", false),
            ("birthdate ap 1974-12-25", true),
            ("birthdate ap 1979", true),
            ("birthdate po 1979", false),
            ("birthdate co 1974-12-25", true),
            ("birthdate co 1974", false),
            ("birthdate pr true", true),
            ("death-date pr true", false),
            ("death-date pr false", true),
            ("_lastUpdated eq 2026-01-01", true),
            ("_lastUpdated gt 2026-01-01", false),
            ("_lastUpdated co 2026-01-01T00:00:00.123Z", true),
            ("_lastUpdated co 2026-01-01", false),
            ("_id eq Abc", true),
            ("id ne Abc", false),
            ("gender eq FEMALE", true),
            (
                "gender eq http://hl7.org/fhir/administrative-gender|female",
                true,
            ),
            ("gender ne male", true),
            ("active eq true", true),
            ("identifier eq urn:mrn|A1", true),
            ("identifier eq A1", true),
            ("identifier eq |A1", false),
            (r"identifier eq b\|2", true),
            // One is not equal.
            ("identifier ne urn:mrn|A1", true),
            ("identifier ne urn:mrn|", true),
            ("organization re Organization/o1", true),
            ("organization re o1", true),
            ("organization:Organization re o1", true),
            ("organization re http://h/fhir/Organization/o1", true),
            ("organization re o2", false),
        ],
    );
    check(
        &json!({"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "A1"}, {"system": "urn:mrn", "value": "A1"}]}),
        &[
            ("identifier ne urn:mrn|A1", false),
            ("identifier ne urn:mrn|A2", true),
            ("gender ne male", false),
            ("not (gender eq male)", true),
            ("given ne x", false),
        ],
    );
}

#[test]
fn logic_and_elements() {
    check(
        &patient(),
        &[
            ("given eq ana and family eq obrien", true),
            ("name[given eq ana].family eq obrien", false),
            ("name[given eq ana].family eq \"van der smith\"", true),
            ("name[not (given eq ana)].family eq obrien", true),
            ("name[given eq ana or given eq eva].family pr true", true),
            ("name[given eq ana].family pr false", false),
            ("name[given eq nobody].family pr false", true),
            ("address[address-country eq de].address-city eq bern", true),
            ("address[address-country eq ch].address-city eq bern", false),
            ("address[address-use eq home].address-city ne zurich", false),
            ("gender eq male or active eq true and gender eq male", false),
            (
                "gender eq female or (active eq true and gender eq male)",
                true,
            ),
            ("not (gender eq male) and active eq true", true),
        ],
    );
    check(
        &patient(),
        &[
            ("organization.name eq x", None),
            ("organization.name pr false", None),
            (
                "organization[active eq true].name co x and gender eq male",
                Some(false),
            ),
            ("_has:Observation:patient:code eq loinc|1234-5", None),
            (
                "_has:Observation:patient:code eq x or active eq true",
                Some(true),
            ),
        ],
    );
}

#[test]
fn measures_and_composites() {
    let observation = json!({
        "resourceType": "Observation", "id": "o", "status": "final",
        "category": [{"coding": [{"code": "a"}, {"code": "b"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "12907-2"}]},
        "effectivePeriod": {"start": "2026-01-01", "end": "2026-01-10"},
        "valueQuantity": {"value": 5.4, "system": "http://unitsofmeasure.org", "code": "mg"},
        "component": [
            {"code": {"coding": [{"code": "x"}]}, "valueQuantity": {"value": 1, "code": "m", "system": "http://unitsofmeasure.org"}},
            {"code": {"coding": [{"code": "y"}]}, "valueQuantity": {"value": 2, "code": "m", "system": "http://unitsofmeasure.org"}}
        ]
    });
    check(
        &observation,
        &[
            ("value-quantity eq 5.4", true),
            ("value-quantity gt 5.4|ucum|mg", false),
            ("value-quantity ge 5.4|ucum|mg", true),
            ("value-quantity eq 0.0054|ucum|g", true),
            ("value-quantity lt 1|http://unitsofmeasure.org|kg", true),
            ("value-quantity ap 5|ucum|mg", true),
            ("value-quantity ne 5.4||mg", false),
            ("code-value-quantity eq loinc|12907-2$5.4||mg", true),
            (
                "code-value-quantity eq code$loinc|12907-2,value$ge5|ucum|mg",
                true,
            ),
            (
                "code-value-quantity eq code$loinc|12907-2,value$ge5000|ucum|ug",
                true,
            ),
            ("code-value-quantity ne loinc|12907-2$5.4", false),
            ("code-value-quantity ne loinc|12907-2$5.5", true),
            ("component-code-value-quantity eq x$200|ucum|cm", false),
            ("component-code-value-quantity eq y$200|ucum|cm", true),
            (
                "component-code-value-quantity[component-code eq x].component-value-quantity gt 1",
                false,
            ),
            (
                "component-code-value-quantity[component-code eq y].component-value-quantity gt 1",
                true,
            ),
            ("component-code-value-quantity ne x$1", true),
            ("date po 2026-01-05", true),
            ("date gt 2026-01-09", true),
            ("date co 2026-01-05", true),
            ("date co 2026-01", false),
            // A concept is equal when one of its codings is.
            ("category eq a", true),
            ("category ne a", false),
            ("category ne c", true),
        ],
    );
    let risk = json!({"resourceType": "RiskAssessment", "prediction": [{"probabilityDecimal": 0.25}, {"probabilityDecimal": 0.5}]});
    check(
        &risk,
        &[
            ("probability co 0.254", true),
            ("probability co 0.255", false),
            ("probability co 0.549", true),
            ("probability co 0.55", false),
            ("probability eq 0.3", true),
            ("probability gt 0.4 and probability lt 0.3", true),
        ],
    );
    let document = json!({"resourceType": "DocumentReference", "relatesTo": [
        {"code": {"coding": [{"code": "replaces"}]}, "target": {"reference": "DocumentReference/1"}},
        {"code": {"coding": [{"code": "signs"}]}, "target": {"reference": "DocumentReference/2"}}
    ]});
    check(
        &document,
        &[
            (
                "relationship[relation eq replaces].relatesto re DocumentReference/1",
                true,
            ),
            (
                "relationship[relation eq replaces].relatesto re DocumentReference/2",
                false,
            ),
            (
                "relation eq replaces and relatesto re DocumentReference/2",
                true,
            ),
        ],
    );
}

#[test]
fn refuses() {
    for (types, filter, kind, expect) in [
        (
            "Patient",
            "name is x",
            IssueKind::SearchParameter,
            "character 6",
        ),
        (
            "Patient",
            "nosuch eq x",
            IssueKind::SearchParameter,
            "character 1 of _filter",
        ),
        (
            "Patient",
            "active eq true and nosuch eq x",
            IssueKind::SearchParameter,
            "character 20 of _filter",
        ),
        (
            "Patient",
            "gender gt x",
            IssueKind::SearchParameter,
            "character 8 of _filter",
        ),
        (
            "Patient",
            "organization eq x",
            IssueKind::SearchParameter,
            "the operator eq cannot be used on the reference",
        ),
        (
            "Patient",
            "birthdate eq x",
            IssueKind::SearchParameter,
            "character 14 of _filter",
        ),
        (
            "Patient",
            "birthdate ge ge1974",
            IssueKind::SearchParameter,
            "character 14 of _filter",
        ),
        (
            "Patient",
            "birthdate sw 1974",
            IssueKind::SearchParameter,
            "the operator sw",
        ),
        (
            "Patient",
            "active eq maybe",
            IssueKind::SearchParameter,
            "character 11 of _filter",
        ),
        (
            "Patient",
            "name pr maybe",
            IssueKind::SearchParameter,
            "character 9 of _filter",
        ),
        (
            "Patient",
            "name po x",
            IssueKind::SearchParameter,
            "the operator po",
        ),
        (
            "Patient",
            "name.given eq x",
            IssueKind::SearchParameter,
            "no reference",
        ),
        (
            "Patient",
            "name:Patient eq x",
            IssueKind::SearchParameter,
            "character 1 of _filter",
        ),
        (
            "Patient",
            "name[gender eq male].family eq x",
            IssueKind::SearchParameter,
            "not in those of name",
        ),
        (
            "Patient",
            "name[organization.name eq a].family eq x",
            IssueKind::SearchParameter,
            "character 6 of _filter",
        ),
        (
            "Patient",
            "organization.birthdate eq 1974",
            IssueKind::SearchParameter,
            "birthdate",
        ),
        (
            "Patient",
            "organization:Patient.name eq x",
            IssueKind::SearchParameter,
            "character 1 of _filter",
        ),
        (
            "Patient",
            "_has:Observation:device:code eq x",
            IssueKind::SearchParameter,
            "does not refer to Patient",
        ),
        (
            "Patient",
            "_lastUpdated sw 2020",
            IssueKind::SearchParameter,
            "the operator sw",
        ),
        (
            "Patient",
            "_id sw x",
            IssueKind::SearchParameter,
            "the operator sw",
        ),
        (
            "Patient",
            "name eq \"\"",
            IssueKind::SearchParameter,
            "empty",
        ),
        (
            "Observation",
            "code-value-quantity gt x$5",
            IssueKind::SearchParameter,
            "the operator gt",
        ),
        (
            "Observation",
            "value-quantity co 5",
            IssueKind::SearchParameter,
            "the operator co",
        ),
        (
            "Observation",
            "code-value-quantity pr true",
            IssueKind::SearchParameter,
            "the operator pr",
        ),
        (
            "Patient,Observation",
            "birthdate eq 1974",
            IssueKind::SearchParameter,
            "birthdate",
        ),
    ] {
        let types: Vec<&str> = types.split(',').collect();
        let issues = search(&types, filter, Handling::Strict).expect_err(filter);
        assert_eq!(issues.len(), 1, "{filter}");
        assert_eq!(issues[0].kind, kind, "{filter}: {}", issues[0].diagnostics);
        let said = &issues[0].diagnostics;
        assert!(said.contains(expect), "{filter}: {said}");
    }
    let long = format!("name eq {}", "x".repeat(256));
    let issues = search(&["Patient"], &long, Handling::Strict).unwrap_err();
    assert_eq!(issues[0].kind, IssueKind::SearchValueTooLong);
    let many = ["name eq x"; 101].join(" or ");
    let issues = search(&["Patient"], &many, Handling::Strict).unwrap_err();
    assert_eq!(issues[0].kind, IssueKind::TooCostly);
    // Never in part.
    let lenient = search(
        &["Patient"],
        "active eq true and nosuch eq x",
        Handling::Lenient,
    )
    .unwrap();
    assert!(lenient.filter.is_empty() && lenient.applied.is_empty());
    assert_eq!(lenient.issues.len(), 1);
    assert!(
        search(
            &["Patient", "Observation"],
            "_id eq 1 and identifier eq x",
            Handling::Strict
        )
        .is_ok()
    );
}
