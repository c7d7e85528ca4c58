//! The terminology operations as functions: Parameters in, what is said out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::terminology::operation::{
    Asked, Maps, expand, lookup, service, subsumes, translate, validate_in_code_system,
    validate_in_value_set,
};
use fhir_definitions::{Definitions, TerminologyError, TerminologyResources};
use serde_json::{Value, json};
use std::sync::LazyLock;

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| Definitions::load(&[]).unwrap());
const NOW: &str = "2026-01-01T00:00:00Z";

static GIVEN: LazyLock<TerminologyResources> = LazyLock::new(|| {
    TerminologyResources::read(&[
        json!({"resourceType": "CodeSystem", "url": "urn:cs", "version": "1", "name": "Animals", "status": "active", "content": "complete",
            "property": [{"code": "legs", "type": "integer"}, {"code": "kin", "type": "Coding"}],
            "concept": [
                {"code": "animal", "display": "Animal", "definition": "It lives.", "property": [{"code": "notSelectable", "valueBoolean": true}], "concept": [
                    {"code": "dog", "display": "Big Dog", "designation": [{"language": "de-CH", "value": "Hund"}, {"language": "fr", "use": {"system": "urn:u", "code": "s"}, "value": "Chien"}],
                        "property": [{"code": "legs", "valueInteger": 4}, {"code": "kin", "valueCoding": {"system": "urn:cs", "code": "wolf"}}]},
                    {"code": "dodo", "display": "Dodo", "property": [{"code": "status", "valueCode": "retired"}]}]}]}),
        json!({"resourceType": "CodeSystem", "url": "urn:piece", "status": "active", "content": "fragment", "concept": [{"code": "p1"}]}),
        json!({"resourceType": "ValueSet", "url": "urn:vs", "version": "2", "name": "Vs", "status": "active", "compose": {"include": [{"system": "urn:cs"},
            {"system": "urn:other", "concept": [{"code": "dog", "display": "Other dog"}, {"code": "alone", "display": "Alone"}]}]}}),
        json!({"resourceType": "ValueSet", "url": "urn:vs:whole", "status": "active", "compose": {"include": [{"system": "urn:nobody"}]}}),
        json!({"resourceType": "ValueSet", "url": "urn:vs:piece", "status": "active", "compose": {"include": [{"system": "urn:piece"}]}}),
        json!({"resourceType": "ConceptMap", "url": "urn:map", "sourceScopeUri": "urn:vs", "targetScopeUri": "urn:to:vs", "group": [
            {"source": "urn:cs", "target": "urn:to|3", "element": [
                {"code": "dog", "display": "Big Dog", "target": [{"code": "hound", "display": "Hound", "relationship": "source-is-broader-than-target", "product": [{"attribute": "urn:a", "valueCode": "x"}]}]},
                {"code": "dodo", "target": [{"code": "hound", "relationship": "not-related-to"}]}, {"code": "animal", "noMap": true}],
                "unmapped": {"mode": "use-source-code"}}]}),
        json!({"resourceType": "ConceptMap", "url": "urn:map:next", "group": [{"source": "urn:cs", "target": "urn:to", "element": [],
            "unmapped": {"mode": "other-map", "otherMap": "urn:map"}}]}),
        json!({"resourceType": "ConceptMap", "url": "urn:map:ring", "group": [{"source": "urn:cs", "target": "urn:to", "element": [],
            "unmapped": {"mode": "other-map", "otherMap": "urn:map:ring"}}]}),
    ])
});

/// Parameters, each with the type that its JSON has.
fn parameters(given: &[(&str, Value)]) -> Value {
    let all: Vec<Value> = given
        .iter()
        .map(|(name, value)| match value {
            Value::String(_) => json!({"name": name, "valueString": value}),
            Value::Bool(_) => json!({"name": name, "valueBoolean": value}),
            Value::Number(_) => json!({"name": name, "valueInteger": value}),
            other if other.get("coding").is_some() => {
                json!({"name": name, "valueCodeableConcept": other})
            }
            other => json!({"name": name, "valueCoding": other}),
        })
        .collect();
    json!({"resourceType": "Parameters", "parameter": all})
}

/// `name=value` of the parameters that are asked for, in their order; parts in brackets.
fn said(answer: &Value, names: &[&str]) -> String {
    let all = answer["parameter"].as_array().unwrap().iter();
    let all = all.filter(|one| names.contains(&one["name"].as_str().unwrap()));
    all.map(show).collect::<Vec<_>>().join(" ")
}

fn show(one: &Value) -> String {
    let name = one["name"].as_str().unwrap();
    if let Some(parts) = one["part"].as_array() {
        return format!(
            "{name}({})",
            parts.iter().map(show).collect::<Vec<_>>().join(" ")
        );
    }
    let (_, value) = one
        .as_object()
        .unwrap()
        .iter()
        .find(|(key, _)| key.starts_with("value"))
        .unwrap();
    match value {
        Value::String(text) => format!("{name}={text}"),
        Value::Object(coding) => {
            let text = |name: &str| {
                coding
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or("-")
                    .to_owned()
            };
            format!("{name}={}|{}", text("system"), text("code"))
        }
        other => format!("{name}={other}"),
    }
}

#[test]
fn expansions() {
    let terminology = DEFINITIONS.terminology().with(&GIVEN);
    let set = terminology.value_set("urn:vs").unwrap();
    let codes = |answer: &Value| {
        let all = answer["expansion"]["contains"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let codes: Vec<_> = all
            .iter()
            .map(|one| one["code"].as_str().unwrap())
            .collect();
        format!("{} # {}", codes.join(" "), answer["expansion"]["total"])
    };
    for (given, expect) in [
        (vec![], "animal dog dodo dog alone # 5"),
        (vec![("filter", json!("dog"))], "dog dog # 2"),
        (vec![("filter", json!("big d"))], "dog # 1"),
        (vec![("filter", json!("chi"))], "dog # 1"),
        (vec![("filter", json!("og"))], " # 0"),
        (
            vec![("activeOnly", json!(true))],
            "animal dog dog alone # 4",
        ),
        (
            vec![("excludeNotForUI", json!(true))],
            "dog dodo dog alone # 4",
        ),
        (vec![("exclude-system", json!("urn:cs"))], "dog alone # 2"),
        (vec![("count", json!(2))], "animal dog # 5"),
        (vec![("count", json!(0))], " # 5"),
        (
            vec![("offset", json!(3)), ("count", json!(9))],
            "dog alone # 5",
        ),
        (vec![("offset", json!(9))], " # 5"),
    ] {
        let answer = expand(&terminology, &set, Asked(&parameters(&given)), NOW).unwrap();
        assert_eq!(codes(&answer), expect, "{given:?}");
        assert_eq!(
            (answer["url"].as_str(), answer["name"].as_str()),
            (Some("urn:vs"), Some("Vs"))
        );
    }
    let dog = |given: &[(&str, Value)]| {
        let answer = expand(&terminology, &set, Asked(&parameters(given)), NOW).unwrap();
        answer["expansion"]["contains"][1].clone()
    };
    for (given, expect) in [
        (
            vec![],
            json!({"system": "urn:cs", "code": "dog", "display": "Big Dog"}),
        ),
        (
            vec![("displayLanguage", json!("de"))],
            json!({"system": "urn:cs", "code": "dog", "display": "Hund"}),
        ),
        (
            vec![("displayLanguage", json!("it,fr;q=0.5"))],
            json!({"system": "urn:cs", "code": "dog", "display": "Chien"}),
        ),
        (
            vec![
                ("includeDesignations", json!(true)),
                ("designation", json!("urn:ietf:bcp:47|de")),
            ],
            json!({"system": "urn:cs", "code": "dog", "display": "Big Dog", "designation": [{"language": "de-CH", "value": "Hund"}]}),
        ),
        (
            vec![
                ("includeDesignations", json!(true)),
                ("designation", json!("urn:u|s")),
            ],
            json!({"system": "urn:cs", "code": "dog", "display": "Big Dog", "designation": [{"language": "fr", "use": {"system": "urn:u", "code": "s"}, "value": "Chien"}]}),
        ),
        (
            vec![("property", json!("legs")), ("property", json!("kin"))],
            json!({"system": "urn:cs", "code": "dog", "display": "Big Dog",
            "property": [{"code": "legs", "valueInteger": 4}, {"code": "kin", "valueCoding": {"system": "urn:cs", "code": "wolf"}}]}),
        ),
    ] {
        assert_eq!(dog(&given), expect, "{given:?}");
    }
    let refused = |url: &str, given: &[(&str, Value)]| {
        let set = terminology.value_set(url).unwrap();
        expand(&terminology, &set, Asked(&parameters(given)), NOW).unwrap_err()
    };
    assert_eq!(
        refused("urn:vs:whole", &[]),
        TerminologyError::UnknownCodeSystem("urn:nobody".into())
    );
    assert!(matches!(
        refused("urn:vs", &[("date", json!("2020"))]),
        TerminologyError::Question(_)
    ));
    assert!(matches!(
        refused("urn:vs", &[("count", json!(-1))]),
        TerminologyError::Question(_)
    ));
    assert!(matches!(
        refused("urn:vs", &[("check-system-version", json!("urn:cs|9"))]),
        TerminologyError::UnknownCodeSystem(_)
    ));
    let piece = terminology.value_set("urn:vs:piece").unwrap();
    let answer = expand(&terminology, &piece, Asked(&Value::Null), NOW).unwrap();
    assert!(
        answer["expansion"]["parameter"]
            .to_string()
            .contains("used-fragment")
    );
}

#[test]
fn validations_in_value_sets() {
    let terminology = DEFINITIONS.terminology().with(&GIVEN);
    let code = |code: &str, system: &str| vec![("code", json!(code)), ("system", json!(system))];
    let concept = |codings: Value| vec![("codeableConcept", json!({"coding": codings}))];
    for (url, given, expect) in [
        (
            "urn:vs",
            code("dog", "urn:cs"),
            "result=true code=dog system=urn:cs display=Big Dog",
        ),
        (
            "urn:vs",
            code("dog", "urn:other"),
            "result=true code=dog system=urn:other display=Other dog",
        ),
        (
            "urn:vs",
            code("cat", "urn:cs"),
            "result=false code=cat system=urn:cs",
        ),
        (
            "urn:vs",
            vec![("code", json!("alone"))],
            "result=true code=alone system=urn:other display=Alone",
        ),
        (
            "urn:vs",
            vec![("code", json!("dog"))],
            "result=false code=dog",
        ),
        (
            "urn:vs",
            vec![(
                "coding",
                json!({"system": "urn:cs", "code": "dog", "display": "big  DOG"}),
            )],
            "result=true code=dog system=urn:cs display=Big Dog",
        ),
        (
            "urn:vs",
            vec![(
                "coding",
                json!({"system": "urn:cs", "code": "dog", "display": "Hund"}),
            )],
            "result=true code=dog system=urn:cs display=Big Dog",
        ),
        (
            "urn:vs",
            vec![(
                "coding",
                json!({"system": "urn:cs", "code": "dog", "display": "Cat"}),
            )],
            "result=false code=dog system=urn:cs display=Big Dog",
        ),
        (
            "urn:vs",
            concept(json!([{"system": "urn:x", "code": "y"}, {"system": "urn:cs", "code": "dog"}])),
            "result=true code=dog system=urn:cs display=Big Dog",
        ),
        (
            "urn:vs",
            concept(json!([{"system": "urn:x", "code": "y"}])),
            "result=false code=y system=urn:x",
        ),
        (
            "urn:vs",
            code("dodo", "urn:cs"),
            "result=true code=dodo system=urn:cs display=Dodo",
        ),
        (
            "urn:vs",
            code("animal", "urn:cs"),
            "result=true code=animal system=urn:cs display=Animal",
        ),
        (
            "urn:vs",
            [code("animal", "urn:cs"), vec![("abstract", json!(false))]].concat(),
            "result=false code=animal system=urn:cs display=Animal",
        ),
        (
            "urn:vs:whole",
            code("x", "urn:nobody"),
            "result=false code=x system=urn:nobody",
        ),
        (
            "urn:vs:whole",
            code("x", "urn:cs"),
            "result=false code=x system=urn:cs",
        ),
        (
            "http://hl7.org/fhir/ValueSet/all-languages",
            code("pt-BR", "urn:ietf:bcp:47"),
            "result=true code=pt-BR system=urn:ietf:bcp:47",
        ),
        (
            "http://hl7.org/fhir/ValueSet/all-languages",
            code("pt_BR", "urn:ietf:bcp:47"),
            "result=false code=pt_BR system=urn:ietf:bcp:47",
        ),
    ] {
        let set = terminology.value_set(url).unwrap();
        let answer = validate_in_value_set(&terminology, &set, Asked(&parameters(&given))).unwrap();
        assert_eq!(
            said(&answer, &["result", "code", "system", "display"]),
            expect,
            "{url} {given:?}"
        );
        let is_right = expect.starts_with("result=true");
        let issues = answer["parameter"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == "issues");
        let has_error =
            issues.is_some_and(|issues| issues.to_string().contains(r#""severity":"error""#));
        assert_eq!(has_error, !is_right, "{url} {given:?}");
    }
    let set = terminology.value_set("urn:vs").unwrap();
    for given in [
        vec![],
        vec![("code", json!("a")), ("coding", json!({"code": "b"}))],
        concept(json!([])),
        vec![("coding", json!({"system": "urn:cs"}))],
    ] {
        let refused = validate_in_value_set(&terminology, &set, Asked(&parameters(&given)));
        assert!(
            matches!(refused, Err(TerminologyError::Question(_))),
            "{given:?}"
        );
    }
}

#[test]
fn validations_in_code_systems() {
    let terminology = DEFINITIONS.terminology().with(&GIVEN);
    for (url, given, expect) in [
        (
            "urn:cs",
            vec![("code", json!("dog"))],
            "result=true system=urn:cs display=Big Dog",
        ),
        (
            "urn:cs",
            vec![("code", json!("cat"))],
            "result=false system=urn:cs",
        ),
        (
            "urn:cs",
            vec![("code", json!("dog")), ("display", json!("Cat"))],
            "result=false system=urn:cs display=Big Dog",
        ),
        (
            "urn:cs",
            vec![("coding", json!({"system": "urn:other", "code": "dog"}))],
            "result=false system=urn:cs",
        ),
        (
            "urn:piece",
            vec![("code", json!("p1"))],
            "result=true system=urn:piece",
        ),
        (
            "urn:piece",
            vec![("code", json!("p2"))],
            "result=false system=urn:piece",
        ),
    ] {
        let system = terminology.code_system(url).unwrap();
        let answer = validate_in_code_system(&system, Asked(&parameters(&given))).unwrap();
        assert_eq!(
            said(&answer, &["result", "system", "display"]),
            expect,
            "{url} {given:?}"
        );
    }
    let loinc = terminology.code_system("http://loinc.org").unwrap();
    let refused = validate_in_code_system(&loinc, Asked(&parameters(&[("code", json!("718-7"))])));
    assert_eq!(
        refused,
        Err(TerminologyError::NotPresent("http://loinc.org".into()))
    );
}

#[test]
fn look_ups() {
    let terminology = DEFINITIONS.terminology().with(&GIVEN);
    let system = terminology.code_system("urn:cs").unwrap();
    let all = [
        "name",
        "version",
        "display",
        "definition",
        "designation",
        "property",
    ];
    for (code, given, expect) in [
        (
            "animal",
            vec![],
            "name=Animals version=1 display=Animal definition=It lives. property(code=notSelectable value=true) property(code=child value=dog description=Big Dog) property(code=child value=dodo description=Dodo)",
        ),
        (
            "dog",
            vec![("property", json!("legs"))],
            "name=Animals version=1 display=Big Dog property(code=legs value=4)",
        ),
        (
            "dog",
            vec![
                ("property", json!("parent")),
                ("displayLanguage", json!("de")),
            ],
            "name=Animals version=1 display=Hund property(code=parent value=animal description=Animal)",
        ),
        (
            "dog",
            vec![("property", json!("designation"))],
            "name=Animals version=1 display=Big Dog designation(language=de-CH value=Hund) designation(language=fr use=urn:u|s value=Chien)",
        ),
    ] {
        let answer = lookup(&system, code, Asked(&parameters(&given))).unwrap();
        assert_eq!(said(&answer, &all), expect, "{code} {given:?}");
    }
    assert_eq!(
        lookup(&system, "cat", Asked(&Value::Null)),
        Err(TerminologyError::UnknownCode("cat".into(), "urn:cs".into()))
    );
    assert!(matches!(
        subsumes(&system, "dog", "cat"),
        Err(TerminologyError::UnknownCode(..))
    ));
}

#[test]
fn translations() {
    let terminology = DEFINITIONS.terminology().with(&GIVEN);
    let dog = |more: &[(&'static str, Value)]| {
        [
            &[("sourceCode", json!("dog")), ("system", json!("urn:cs"))][..],
            more,
        ]
        .concat()
    };
    let hound = "match(relationship=source-is-broader-than-target concept=urn:to|hound product(attribute=urn:a value=x) originMap=urn:map)";
    for (map, given, expect) in [
        ("urn:map", dog(&[]), format!("result=true {hound}")),
        ("urn:map", dog(&[("targetSystem", json!("urn:to"))]), format!("result=true {hound}")),
        ("urn:map", dog(&[("targetSystem", json!("urn:elsewhere"))]), "result=false".into()),
        ("urn:map", dog(&[("sourceScope", json!("urn:vs|2")), ("targetScope", json!("urn:to:vs"))]), format!("result=true {hound}")),
        ("urn:map", dog(&[("targetScope", json!("urn:other"))]), "result=false".into()),
        ("urn:map:next", dog(&[]), format!("result=true {hound}")),
        ("urn:map", vec![("sourceCoding", json!({"system": "urn:cs", "code": "unheard-of"}))], "result=true match(relationship=equivalent concept=urn:to|unheard-of originMap=urn:map)".into()),
        ("urn:map", vec![("sourceCoding", json!({"system": "urn:cs", "code": "animal"}))], "result=false".into()),
        ("urn:map", vec![("sourceCoding", json!({"system": "urn:cs", "code": "dodo"}))], "result=false match(relationship=not-related-to concept=urn:to|hound originMap=urn:map)".into()),
        ("urn:map", vec![("sourceCoding", json!({"system": "urn:other", "code": "dog"}))], "result=false".into()),
        ("urn:map", vec![("sourceCodeableConcept", json!({"coding": [{"system": "urn:x", "code": "y"}, {"system": "urn:cs", "code": "dog"}]}))], format!("result=true {hound}")),
        ("urn:map", vec![("targetCoding", json!({"system": "urn:to", "code": "hound"}))],
            "result=true match(relationship=source-is-narrower-than-target concept=urn:cs|dog originMap=urn:map) match(relationship=not-related-to concept=urn:cs|dodo originMap=urn:map)".into()),
    ] {
        let map = terminology.concept_map(map).unwrap();
        let answer = translate(&terminology, Maps::One(map), Asked(&parameters(&given))).unwrap();
        assert_eq!(said(&answer, &["result", "match"]), expect, "{given:?}");
    }
    let home = parameters(&[(
        "sourceCoding",
        json!({"system": "http://hl7.org/fhir/address-use", "code": "home"}),
    )]);
    let answer = translate(&terminology, Maps::Known, Asked(&home)).unwrap();
    assert!(
        said(&answer, &["match"]).contains("v3-AddressUse|H"),
        "{answer}"
    );
    let ring = terminology.concept_map("urn:map:ring").unwrap();
    assert!(matches!(
        translate(&terminology, Maps::One(ring), Asked(&parameters(&dog(&[])))),
        Err(TerminologyError::Invalid(_))
    ));
    assert!(matches!(
        translate(&terminology, Maps::Known, Asked(&Value::Null)),
        Err(TerminologyError::Question(_))
    ));
}

/// As FHIRPath asks.
#[test]
fn services() {
    let terminology = DEFINITIONS.terminology().with(&GIVEN);
    let ask = |function: &str, arguments: &[Value]| {
        let arguments: Vec<&Value> = arguments.iter().collect();
        service(&terminology, function, &arguments, NOW)
    };
    let dog = json!({"system": "urn:cs", "code": "dog"});
    for (function, arguments, expect) in [
        (
            "validateVS",
            vec![json!("urn:vs"), dog.clone()],
            "result=true",
        ),
        (
            "validateVS",
            vec![json!("urn:vs"), json!("alone")],
            "result=true",
        ),
        (
            "validateVS",
            vec![json!("urn:vs"), json!({"coding": [dog.clone()]})],
            "result=true",
        ),
        (
            "validateVS",
            vec![json!("urn:vs"), json!({"system": "urn:cs", "code": "cat"})],
            "result=false",
        ),
        (
            "validateCS",
            vec![json!("urn:cs"), json!("dog")],
            "result=true",
        ),
        (
            "subsumes",
            vec![json!("urn:cs"), json!({"code": "animal"}), dog.clone()],
            "outcome=subsumes",
        ),
        (
            "translate",
            vec![json!("urn:map"), dog.clone()],
            "result=true",
        ),
    ] {
        let answer = ask(function, &arguments).unwrap();
        assert_eq!(
            said(&answer, &["result", "outcome"]),
            expect,
            "{function} {arguments:?}"
        );
    }
    assert_eq!(
        said(
            &ask("lookup", std::slice::from_ref(&dog)).unwrap(),
            &["display"]
        ),
        "display=Big Dog"
    );
    assert_eq!(
        ask("expand", &[json!("urn:vs")]).unwrap()["expansion"]["total"],
        5
    );
    assert!(ask("expand", &[json!("urn:nobody")]).is_err());
    assert!(ask("nosuch", &[]).is_err());
}
