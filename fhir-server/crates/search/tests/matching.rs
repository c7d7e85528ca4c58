//! Which searches find a resource: its document against the query, over the real definitions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::Definitions;
use fhir_model::{DateRange, ResourceKey};
use fhir_search::document::identity_atoms;
use fhir_search::parse::Context;
use fhir_search::{Candidate, Handling, Query, parse, search_document};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| Definitions::load(&[]).unwrap());
const BASE: Option<&str> = Some("http://h/fhir");

fn query(resource_type: &str, url: &str) -> Query {
    let parameters: Vec<(String, String)> = url
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let context = Context {
        definitions: &DEFINITIONS,
        terminology: None,
        base: BASE,
        handling: Handling::Strict,
        now_micros: 1_800_000_000_000_000,
        count_default: 20,
        count_max: 100,
    };
    parse(&context, &[resource_type], &parameters)
        .unwrap_or_else(|issues| panic!("{url}: {issues:?}"))
}

/// Checks each search against the resource; `None` is undecided. The stored hashes and those of a second look must agree.
fn check(resource: &Value, searches: &[(&str, impl Into<Option<bool>> + Copy)]) {
    let resource_type = resource["resourceType"].as_str().unwrap();
    let read = Candidate::read(&DEFINITIONS, resource, BASE).unwrap();
    let stored = Candidate::stored(
        ResourceKey::new(resource_type, resource["id"].as_str().unwrap_or_default()),
        Some(DateRange {
            lo: 1_767_225_600_123_000,
            hi: 1_767_225_600_124_000,
        }),
        search_document(&DEFINITIONS, resource, BASE),
    );
    for (url, expect) in searches {
        let query = query(resource_type, url);
        assert_eq!(read.matches(&query), (*expect).into(), "{url}");
        assert_eq!(stored.matches(&query), (*expect).into(), "stored, {url}");
    }
}

fn patient() -> Value {
    json!({
        "resourceType": "Patient",
        "id": "Abc",
        "meta": {
            "lastUpdated": "2026-01-01T00:00:00.123Z",
            "tag": [{"system": "urn:t", "code": "T"}],
            "profile": ["http://x/p|1.2"]
        },
        "identifier": [
            {"system": "urn:mrn", "value": "A1", "type": {"coding": [{"system": "urn:it", "code": "MR"}]}},
            {"value": "b|2"}
        ],
        "active": true,
        "name": [{"family": "Carreño Quiñones", "given": ["Ana", "María"], "text": "Ana María Carreño"}, {"family": "O'Brien"}],
        "telecom": [{"system": "phone", "value": "555"}, {"system": "email", "value": "a@b.c"}],
        "gender": "female",
        "birthDate": "1974-12",
        "deceasedBoolean": false,
        "address": [{"line": ["12 Main St."], "city": "Zürich", "country": "CH"}],
        "_maritalStatus": {"extension": []},
        "generalPractitioner": [
            {"reference": "Practitioner/p"},
            {"reference": "http://other/Organization/o/_history/3"},
            {"identifier": {"system": "urn:gp", "value": "7"}}
        ],
        "managingOrganization": {"reference": "http://h/fhir/Organization/o1/_history/2"},
        "link": [{"other": {"reference": "#x"}, "type": "seealso"}],
        "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "es"}]}}]
    })
}

#[test]
fn patients() {
    check(
        &patient(),
        &[
            ("_id=Abc", true),
            ("_id=abc", false),
            ("_id=x,Abc", true),
            ("_lastUpdated=2026-01-01", true),
            ("_lastUpdated=2026-01-01T00:00:00.123Z", true),
            ("_lastUpdated=gt2026-01-01T00:00:00.123Z", false),
            ("_lastUpdated=lt2026", false),
            ("_tag=urn:t|T", true),
            ("_tag=urn:t|", true),
            ("_tag=urn:t|x", false),
            ("_profile=http://x/p", true),
            ("_profile=http://x/p|1.2", true),
            ("_profile=http://x/p|1.3", false),
            ("identifier=urn:mrn|A1", true),
            ("identifier=urn:mrn|a1", false),
            ("identifier=a1", true),
            ("identifier=|A1", false),
            (r"identifier=|b\|2", true),
            (r"identifier=b\|2", true),
            ("identifier=urn:mrn|", true),
            ("identifier=urn:x|", false),
            ("identifier=A", false),
            ("identifier:of-type=urn:it|MR|A1", true),
            ("identifier:of-type=urn:it|SS|A1", false),
            ("identifier:not=urn:mrn|A1", false),
            ("identifier:not=urn:mrn|A2", true),
            ("active=true", true),
            ("active=false", false),
            ("deceased=false", true),
            ("deceased=true", false),
            ("gender=female", true),
            ("gender=FEMALE", true),
            (
                "gender=http://hl7.org/fhir/administrative-gender|female",
                true,
            ),
            ("gender=http://hl7.org/fhir/administrative-gender|", true),
            ("gender=urn:x|female", false),
            ("gender=|female", false),
            ("gender:not=male", true),
            ("gender:missing=false", true),
            ("gender:missing=true", false),
            ("address-use:missing=true", true),
            ("name=ana", true),
            ("name=maria", true),
            ("name=CARRE", true),
            ("name=carreno quin", true),
            ("name=quinones", true),
            ("family=Quiñones", true),
            ("family=nones", false),
            ("name=main", false),
            ("family:contains=nones", true),
            ("family=obrien", true),
            ("family=O'B", true),
            ("family:exact=O'Brien", true),
            ("family:exact=obrien", false),
            ("family:exact=O'Br", false),
            ("given=Ana&given=María", true),
            ("given=Ana&given=Eva", false),
            ("given=Eva,Ana", true),
            ("telecom=555", true),
            ("phone=555", true),
            ("email=555", false),
            ("email=A@B.C", true),
            ("address=12 main", true),
            ("address=zur", true),
            ("address-city=zurich", true),
            ("address-city=ch", false),
            ("birthdate=1974", true),
            ("birthdate=1974-12", true),
            ("birthdate=1974-12-25", false),
            ("birthdate=ne1974-12-25", true),
            ("birthdate=ge1974-12-25", true),
            ("birthdate=gt1974", false),
            ("birthdate=sa1974-11", true),
            ("birthdate=eb1975", true),
            ("birthdate=ap1974-12-25", true),
            ("birthdate=lt1974,gt1973", true),
            ("general-practitioner=p", true),
            ("general-practitioner=Practitioner/p", true),
            ("general-practitioner=Organization/p", false),
            ("general-practitioner:Practitioner=p", true),
            ("general-practitioner=http://h/fhir/Practitioner/p", true),
            ("general-practitioner=http://other/Organization/o", true),
            (
                "general-practitioner=http://other/Organization/o/_history/3",
                true,
            ),
            (
                "general-practitioner=http://other/Organization/o/_history/4",
                false,
            ),
            ("general-practitioner:identifier=urn:gp|7", true),
            ("general-practitioner=7", false),
            ("general-practitioner:missing=false", true),
            ("organization=o1", true),
            ("organization=Organization/o1/_history/2", true),
            (
                "organization=http://h/fhir/Organization/o1/_history/2",
                true,
            ),
            ("organization=Organization/o1/_history/1", false),
            ("link=x", false),
            ("language=es", true),
            ("language=urn:ietf:bcp:47|es", true),
            ("name=ana&gender=male", false),
        ],
    );
    check(
        &patient(),
        &[
            ("gender:in=ValueSet/administrative-gender", true),
            ("gender:not-in=ValueSet/administrative-gender", false),
            (
                "gender:in=http://hl7.org/fhir/ValueSet/contact-point-use",
                false,
            ),
            (
                "gender:not-in=http://hl7.org/fhir/ValueSet/contact-point-use",
                true,
            ),
            // Without the element: nothing is in, all is not in.
            ("death-date:missing=true", true),
            ("language:in=http://hl7.org/fhir/ValueSet/languages", true),
            ("_security:in=ValueSet/administrative-gender", false),
            ("_security:not-in=ValueSet/administrative-gender", true),
            (
                "gender:below=http://hl7.org/fhir/administrative-gender|female",
                true,
            ),
            ("gender:below=female", true),
            ("gender:above=male", false),
        ],
    );
    check(
        &patient(),
        &[
            ("organization.name=x", None),
            ("_has:Observation:patient:status=final", None),
            (
                "_has:Observation:patient:status=final&gender=male",
                Some(false),
            ),
        ],
    );
}

#[test]
fn by_a_part() {
    check(
        &patient(),
        &[
            ("language:code-text=E", true),
            ("language:code-text=s", false),
            ("identifier:text=x", false),
            ("_profile:below=http://x/p", true),
            ("_profile:below=http://x/p|1", true),
            ("_profile:below=http://x/p|1.20", false),
            ("_profile:above=http://x/p|1.1", true),
            ("_profile:above=http://x/p|1.2", false),
        ],
    );
    let condition = json!({
        "resourceType": "Condition", "id": "c", "meta": {"source": "http://x/a/b"},
        "subject": {"reference": "Patient/1", "display": "Inès Ñandú"},
        "code": {"coding": [{"code": "H-1", "display": "Céphalée aiguë"}], "text": "Headache, acute"}
    });
    check(
        &condition,
        &[
            ("code:text=cephalee", true),
            ("code:text=headache acute", true),
            ("code:text=acute", false),
            ("code:text=H-1", false),
            ("code:code-text=h-", true),
            ("code:code-text=head", true),
            ("code:text-advanced=acute headache", true),
            ("code:text-advanced=acute cephalee", false),
            ("code:text-advanced=aigu* OR nothing", true),
            ("code:text-advanced=headache NOT acute", false),
            ("subject:text=ines", true),
            ("patient:code-text=ines n", true),
            ("subject:text=nandu", false),
            ("_source:below=http://x/a", true),
            ("_source:below=http://x/a/b/", false),
            ("_source:above=http://x/a/b/c", true),
            ("_source:above=http://x/a", false),
            ("_source:contains=X/A", true),
            ("_source:contains=c", false),
        ],
    );
}

/// What is longer than the index holds is seen in the resource itself.
#[test]
fn long_strings() {
    let library = json!({
        "resourceType": "Library", "description": format!("{}needle", "hay ".repeat(100))
    });
    let read = Candidate::read(&DEFINITIONS, &library, BASE).unwrap();
    for (url, expect) in [
        ("description:contains=needle", true),
        ("description:text=needle", true),
        ("description:text=hay NOT needle", false),
        ("description=hay hay", true),
        ("description=needle", false),
    ] {
        let found = read.matches(&query("Library", url));
        assert_eq!(found, Some(expect), "{url}");
    }
}

fn observation() -> Value {
    json!({
        "resourceType": "Observation",
        "id": "o",
        "meta": {"lastUpdated": "2026-01-01T00:00:00.123Z"},
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}, {"code": "BP"}]},
        "subject": {"reference": "Patient/1"},
        "effectivePeriod": {"start": "2026-01-01T08:00:00Z"},
        "valueQuantity": {"value": 5.40, "unit": "milligram", "system": "http://unitsofmeasure.org", "code": "mg"},
        "component": [
            {"code": {"coding": [{"code": "sys"}]}, "valueQuantity": {"value": 120, "code": "mm[Hg]", "system": "http://unitsofmeasure.org"}},
            {"code": {"coding": [{"code": "dia"}]}, "valueQuantity": {"value": 80, "comparator": ">", "code": "mm[Hg]", "system": "http://unitsofmeasure.org"}},
            {"code": {"coding": [{"code": "pos"}]}, "valueCodeableConcept": {"coding": [{"system": "s", "code": "sitting"}]}}
        ]
    })
}

#[test]
fn observations() {
    check(
        &observation(),
        &[
            ("code=http://loinc.org|85354-9", true),
            ("code=|BP", true),
            ("code=|85354-9", false),
            ("patient=1", true),
            ("subject=Group/1", false),
            ("date=2026-01-01", false),
            ("date=ge2026-01-01", true),
            ("date=gt2030", true),
            ("date=lt2026-01-01T08:00:00Z", false),
            ("date=le2026-01-01", false),
            ("date=le2026-01-02", true),
            ("date=sa2025", true),
            ("value-quantity=5.4", true),
            ("value-quantity=5.41", false),
            ("value-quantity=5", true),
            ("value-quantity=5.40|http://unitsofmeasure.org|mg", true),
            ("value-quantity=5.40|http://unitsofmeasure.org|g", false),
            ("value-quantity=5.40||milligram", true),
            ("value-quantity=5.40||mg", true),
            ("value-quantity=gt5.4", false),
            ("value-quantity=ge5.4||mg", true),
            ("combo-value-quantity=120", true),
            ("combo-value-quantity=gt1000", true),
            ("component-value-quantity=lt80", false),
            ("component-code=dia&component-value-quantity=120", true),
            ("component-code-value-quantity=dia$120", false),
            ("component-code-value-quantity=sys$120", true),
            ("component-code-value-quantity=sys$120||mm[Hg]", true),
            (
                "component-code-value-quantity=sys$120|http://unitsofmeasure.org|mm[Hg]",
                true,
            ),
            ("component-code-value-quantity=sys$120||kPa", false),
            ("component-code-value-quantity=dia$gt100", true),
            ("code-value-quantity=BP$gt5", true),
            ("code-value-quantity=http://loinc.org|85354-9$5.4||mg", true),
            ("combo-code-value-quantity=sys$lt121", true),
            ("component-code-value-concept=pos$s|sitting", true),
            ("component-code-value-concept=pos$sitting", true),
            ("component-code-value-concept=sys$sitting", false),
            ("value-concept:missing=true", true),
            ("value-quantity:missing=false", true),
        ],
    );
    let dated = json!({"resourceType": "Observation", "code": {"coding": [{"code": "c"}]}, "valueDateTime": "2020-05-01"});
    for (url, expect) in [
        ("code-value-date=c$2020-05", true),
        ("code-value-date=c$gt2021", false),
        ("code-value-date=d$2020-05", false),
        ("value-date=2020", true),
    ] {
        let candidate = Candidate::read(&DEFINITIONS, &dated, BASE).unwrap();
        assert_eq!(
            candidate.matches(&query("Observation", url)),
            Some(expect),
            "{url}"
        );
    }
}

#[test]
fn others() {
    check(
        &json!({
            "resourceType": "Encounter", "id": "e", "meta": {"lastUpdated": "2026-01-01T00:00:00.123Z"},
            "status": "completed",
            "class": [{"coding": [{"system": "urn:c", "code": "IMP"}]}],
            "subject": {"reference": "Group/g"},
            "actualPeriod": {"start": "2026-01-01", "end": "2026-01-03"},
            "reason": [{"value": [
                {"concept": {"coding": [{"code": "r"}]}}, {"reference": {"reference": "Condition/c"}}
            ]}],
            "participant": [{"actor": {"reference": "Practitioner/p"}}]
        }),
        &[
            ("class=urn:c|IMP", true),
            ("status=completed", true),
            ("date=2026-01", true),
            ("date=2026-01-02", false),
            ("date=ap2026-01-02", true),
            ("subject=g", true),
            ("patient=g", false),
            ("patient:missing=true", true),
            ("reason-code=r", true),
            ("reason-reference=Condition/c", true),
            ("practitioner=p", true),
        ],
    );
    check(
        &json!({
            "resourceType": "ValueSet", "id": "v", "meta": {"lastUpdated": "2026-01-01T00:00:00.123Z"},
            "url": "http://x/VS", "version": "1", "status": "active",
            "compose": {"include": [{"system": "http://loinc.org", "valueSet": ["http://y/VS|2"]}]}
        }),
        &[
            ("url=http://x/VS", true),
            ("url=http://x/vs", false),
            ("url=http://x", false),
            ("reference=http://loinc.org", true),
        ],
    );
    check(
        &json!({
            "resourceType": "Bundle", "id": "b", "meta": {"lastUpdated": "2026-01-01T00:00:00.123Z"}, "type": "document",
            "entry": [{"resource": {"resourceType": "Composition", "id": "c"}}]
        }),
        &[
            ("composition=c", true),
            ("message=c", false),
            ("type=document", true),
        ],
    );
}

#[test]
fn documents() {
    let document = search_document(&DEFINITIONS, &patient(), BASE);
    assert!(
        document.tokens.is_sorted()
            && document.strings.is_sorted()
            && document.references.is_sorted()
    );
    for resource in [
        json!(null),
        json!([]),
        json!({}),
        json!({"resourceType": 5}),
        json!({"resourceType": "Nothing"}),
    ] {
        assert_eq!(
            search_document(&DEFINITIONS, &resource, None),
            Default::default()
        );
        assert!(identity_atoms(&DEFINITIONS, &resource, None).is_empty());
    }
    let only_extension =
        json!({"resourceType": "Patient", "maritalStatus": {"extension": []}, "gender": null});
    assert!(
        search_document(&DEFINITIONS, &only_extension, None)
            .tokens
            .iter()
            .all(|t| {
                let gender = DEFINITIONS.search_parameter("Patient", "gender").unwrap();
                *t != fhir_search::token::STORED.present(gender.key)
            })
    );
}

/// Each atom of a condition on an identifier is one that the matching resource locks.
/// One row for each quantity and parameter, in a composite one for each form of the code; never one for each form of the unit.
#[test]
fn quantity_rows() {
    for (codings, rows) in [
        (json!([]), 1),
        (json!([{"system": "http://loinc.org", "code": "718-7"}]), 3),
        (
            json!([{"system": "http://loinc.org", "code": "718-7"}, {"system": "http://l.org", "code": "HB"}]),
            5,
        ),
    ] {
        let resource = json!({
            "resourceType": "Observation",
            "code": {"coding": codings},
            "valueQuantity": {"value": 12.5, "unit": "gram", "system": "http://unitsofmeasure.org", "code": "g"}
        });
        let quantities = search_document(&DEFINITIONS, &resource, None).quantities;
        assert_eq!(quantities.len(), rows, "{quantities:?}");
        assert!(quantities.iter().all(|entry| entry.units.len() == 3));
    }
}

#[test]
fn identities() {
    let atoms = identity_atoms(&DEFINITIONS, &patient(), BASE);
    for url in [
        "identifier=urn:mrn|A1",
        "identifier=A1",
        r"identifier=|b\|2",
    ] {
        assert!(
            query("Patient", url)
                .atoms()
                .iter()
                .all(|atom| atoms.contains(atom)),
            "{url}"
        );
    }
    assert_eq!(atoms.len(), 4);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(Value::from("2020-01")),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let names = "(coding|system|code|value|valueQuantity|reference|identifier|family|given|line|start|end|event|repeat|component|type|name|subject|low|comparator)";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn extraction_never_panics(parts in prop::collection::vec(("(identifier|name|code|valueQuantity|subject|component|effectivePeriod|birthDate|telecom|address|meta|valueRange|occurrenceTiming|url|extension)", any_json()), 0..8)) {
        for resource_type in ["Patient", "Observation", "ServiceRequest", "ValueSet", "Bundle", "Group"] {
            let mut resource: serde_json::Map<String, Value> = parts.iter().cloned().collect();
            resource.insert("resourceType".into(), resource_type.into());
            let resource = Value::Object(resource);
            let document = search_document(&DEFINITIONS, &resource, BASE);
            prop_assert!(document.tokens.is_sorted());
            identity_atoms(&DEFINITIONS, &resource, BASE);
        }
    }
}
