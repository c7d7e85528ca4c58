//! Expansion, membership and subsumption over R5's own terminology and resources of a site, as data.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::terminology::{EXPANSION_MAX, Expansion, Subsumption, ValueSet};
use fhir_definitions::{Definitions, TerminologyError, TerminologyResources};
use serde_json::{Value, json};
use std::sync::LazyLock;

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| Definitions::load(&[]).unwrap());

/// A hierarchy with two ways to `ant`, a retired code, an abstract one, and properties.
fn animals() -> Value {
    json!({
        "resourceType": "CodeSystem", "url": "urn:animals", "version": "2", "status": "active", "content": "complete", "valueSet": "urn:all-animals",
        "property": [{"code": "kind-of", "uri": "http://hl7.org/fhir/concept-properties#parent", "type": "code"}, {"code": "legs", "type": "integer"},
            {"code": "eats", "type": "Coding"}],
        "concept": [
            {"code": "animal", "display": "Animal", "property": [{"code": "notSelectable", "valueBoolean": true}], "concept": [
                {"code": "mammal", "display": "Mammal", "concept": [
                    {"code": "dog", "display": "Dog", "property": [{"code": "legs", "valueInteger": 4}]},
                    {"code": "dodo", "property": [{"code": "inactive", "valueBoolean": true}]}]},
                {"code": "insect", "property": [{"code": "legs", "valueInteger": 6}]}]},
            {"code": "worker", "display": "Worker"},
            {"code": "ant", "property": [{"code": "kind-of", "valueCode": "insect"}, {"code": "kind-of", "valueCode": "worker"}, {"code": "legs", "valueInteger": 6},
                {"code": "eats", "valueCoding": {"system": "urn:food", "code": "leaf"}}]}
        ]
    })
}

fn resources(more: &[Value]) -> TerminologyResources {
    let mut all = TerminologyResources::read(&[
        animals(),
        json!({"resourceType": "CodeSystem", "url": "urn:rings", "status": "active", "content": "complete", "concept": [
            {"code": "a", "property": [{"code": "parent", "valueCode": "b"}]}, {"code": "b", "property": [{"code": "parent", "valueCode": "a"}]}]}),
        json!({"resourceType": "CodeSystem", "url": "urn:parts", "status": "active", "content": "complete", "hierarchyMeaning": "part-of", "concept": [
            {"code": "hand", "concept": [{"code": "finger"}]}]}),
        json!({"resourceType": "CodeSystem", "url": "urn:any-case", "status": "active", "content": "complete", "caseSensitive": false, "concept": [{"code": "Mixed"}]}),
        json!({"resourceType": "CodeSystem", "url": "urn:elsewhere", "status": "active", "content": "not-present"}),
        json!({"resourceType": "CodeSystem", "url": "urn:piece", "status": "active", "content": "fragment", "concept": [{"code": "p1"}]}),
        json!({"resourceType": "ValueSet", "url": "urn:vs:pets", "version": "1", "compose": {"include": [{"system": "urn:animals", "concept": [{"code": "dog"}]}]}}),
        json!({"resourceType": "ValueSet", "url": "urn:vs:pets", "version": "10", "compose": {"include": [{"system": "urn:animals", "concept": [{"code": "ant"}]}]}}),
        json!({"resourceType": "ValueSet", "url": "urn:vs:ring", "compose": {"include": [{"valueSet": ["urn:vs:ring"]}]}}),
        json!({"resourceType": "ValueSet", "url": "urn:vs:stored", "expansion": {"contains": [
            {"abstract": true, "display": "group", "contains": [{"system": "urn:animals", "code": "dog"}]}, {"system": "urn:x", "code": "y"}]}}),
    ]);
    for resource in more {
        all.add(resource);
    }
    all
}

fn expand(compose: Value) -> Result<Expansion, TerminologyError> {
    let set = ValueSet::read(
        &json!({"resourceType": "ValueSet", "url": "urn:asked", "compose": compose}),
    );
    let given = resources(&[]);
    DEFINITIONS.terminology().with(&given).expand(&set)
}

/// `code` of the systems of the tests, `system|*` for a whole one.
fn shown(expansion: &Expansion) -> String {
    let members = expansion
        .members
        .iter()
        .map(|member| member.code.to_string());
    let whole = expansion.whole.iter().map(|system| format!("{system}|*"));
    members.chain(whole).collect::<Vec<_>>().join(" ")
}

#[test]
fn expansions() {
    let of = |filter: Value| json!({"include": [{"system": "urn:animals", "filter": [filter]}]});
    let filter = |property: &str, op: &str, value: &str| {
        of(json!({"property": property, "op": op, "value": value}))
    };
    for (compose, expect) in [
        (
            json!({"include": [{"system": "urn:animals"}]}),
            "animal mammal dog dodo insect worker ant",
        ),
        (
            json!({"inactive": false, "include": [{"system": "urn:animals"}]}),
            "animal mammal dog insect worker ant",
        ),
        (
            json!({"include": [{"system": "urn:animals", "version": "2", "concept": [{"code": "dog"}, {"code": "unicorn"}]}]}),
            "dog unicorn",
        ),
        (filter("concept", "is-a", "mammal"), "mammal dog dodo"),
        (filter("concept", "is-a", "insect"), "insect ant"),
        (filter("concept", "is-a", "worker"), "worker ant"),
        (filter("concept", "is-a", "unicorn"), ""),
        (
            filter("concept", "descendent-of", "animal"),
            "mammal dog dodo insect ant",
        ),
        (
            filter("concept", "is-not-a", "mammal"),
            "animal insect worker ant",
        ),
        (
            filter("concept", "generalizes", "ant"),
            "animal insect worker ant",
        ),
        (filter("concept", "child-of", "animal"), "mammal insect"),
        (
            filter("concept", "descendent-leaf", "animal"),
            "dog dodo ant",
        ),
        (filter("concept", "in", "dog, ant"), "dog ant"),
        (
            filter("code", "not-in", "dog,ant,dodo"),
            "animal mammal insect worker",
        ),
        (filter("code", "regex", "d.+"), "dog dodo"),
        (filter("code", "regex", "an"), ""),
        (filter("display", "=", "Dog"), "dog"),
        (filter("legs", "=", "6"), "insect ant"),
        (filter("legs", "exists", "true"), "dog insect ant"),
        (
            filter("legs", "exists", "false"),
            "animal mammal dodo worker",
        ),
        (filter("legs", "in", "4,8"), "dog"),
        (filter("legs", "not-in", "4,6"), "animal mammal dodo worker"),
        (filter("eats", "=", "leaf"), "ant"),
        (filter("kind-of", "=", "animal"), "mammal insect"),
        (filter("parent", "=", "worker"), "ant"),
        (filter("child", "=", "dog"), "mammal"),
        (filter("inactive", "=", "true"), "dodo"),
        (filter("notSelectable", "=", "true"), "animal"),
        // Filters together: AND.
        (
            json!({"include": [{"system": "urn:animals", "filter": [{"property": "concept", "op": "is-a", "value": "animal"},
            {"property": "legs", "op": "=", "value": "6"}]}]}),
            "insect ant",
        ),
        // Includes: OR, each code once; excludes.
        (
            json!({"include": [{"system": "urn:animals", "concept": [{"code": "ant"}, {"code": "dog"}]}, {"system": "urn:animals", "concept": [{"code": "dog"}]},
            {"system": "urn:parts"}], "exclude": [{"system": "urn:parts", "concept": [{"code": "hand"}]}]}),
            "ant dog finger",
        ),
        (
            json!({"include": [{"system": "urn:animals"}], "exclude": [{"system": "urn:animals", "filter": [{"property": "concept", "op": "is-a", "value": "animal"}]}]}),
            "worker",
        ),
        // Other value sets: the latest version, the one asked for; with a system, and together, AND.
        (json!({"include": [{"valueSet": ["urn:vs:pets"]}]}), "ant"),
        (json!({"include": [{"valueSet": ["urn:vs:pets|1"]}]}), "dog"),
        (
            json!({"include": [{"valueSet": ["urn:vs:pets|1", "urn:vs:pets|10"]}]}),
            "",
        ),
        (
            json!({"include": [{"system": "urn:animals", "valueSet": ["urn:vs:stored"]}]}),
            "dog",
        ),
        (
            json!({"include": [{"valueSet": ["urn:vs:stored"]}]}),
            "dog y",
        ),
        (
            json!({"include": [{"valueSet": ["urn:all-animals"]}], "exclude": [{"valueSet": ["urn:vs:pets"]}]}),
            "animal mammal dog dodo insect worker",
        ),
        // Systems whose concepts are not all here.
        (
            json!({"include": [{"system": "urn:elsewhere"}]}),
            "urn:elsewhere|*",
        ),
        (
            json!({"include": [{"system": "urn:nobody-knows"}]}),
            "urn:nobody-knows|*",
        ),
        (
            json!({"include": [{"system": "urn:piece"}]}),
            "p1 urn:piece|*",
        ),
        (
            json!({"include": [{"system": "urn:elsewhere", "concept": [{"code": "x"}]}]}),
            "x",
        ),
        (
            json!({"include": [{"system": "urn:x", "valueSet": ["urn:vs:stored"]}]}),
            "y",
        ),
        (
            json!({"include": [{"system": "urn:elsewhere"}, {"valueSet": ["urn:vs:stored"]}], "exclude": [{"system": "urn:elsewhere"}]}),
            "dog y",
        ),
        // A ring of parents ends.
        (
            json!({"include": [{"system": "urn:rings", "filter": [{"property": "concept", "op": "is-a", "value": "a"}]}]}),
            "a b",
        ),
        (json!({}), ""),
    ] {
        let got = expand(compose.clone()).map(|expansion| shown(&expansion));
        assert_eq!(got, Ok(expect.to_owned()), "{compose}");
    }
}

#[test]
fn refused() {
    use TerminologyError::*;
    let filter = |system: &str, property: &str, op: &str, value: &str| json!({"include": [{"system": system, "filter": [{"property": property, "op": op, "value": value}]}]});
    let invalid = |error: &TerminologyError| matches!(error, Invalid(_));
    type Check = fn(&TerminologyError) -> bool;
    let checks: [(Value, Check); 15] = [
        (json!({"include": [{"valueSet": ["urn:no"]}]}), |e| {
            *e == UnknownValueSet("urn:no".into())
        }),
        (json!({"include": [{"valueSet": ["urn:vs:pets|3"]}]}), |e| {
            matches!(e, UnknownValueSet(_))
        }),
        (json!({"include": [{"valueSet": ["urn:vs:ring"]}]}), |e| {
            *e == Cycle("urn:vs:ring".into())
        }),
        (json!({"include": [{"valueSet": ["urn:asked"]}]}), |e| {
            matches!(e, UnknownValueSet(_))
        }),
        (
            json!({"include": [{"system": "urn:animals", "version": "1"}]}),
            |e| *e == UnknownCodeSystem("urn:animals|1".into()),
        ),
        (filter("urn:nobody-knows", "concept", "is-a", "x"), |e| {
            matches!(e, UnknownCodeSystem(_))
        }),
        (filter("urn:elsewhere", "concept", "is-a", "x"), |e| {
            matches!(e, NotPresent(_))
        }),
        (
            filter("http://snomed.info/sct", "concept", "is-a", "404684003"),
            |e| matches!(e, NotPresent(_)),
        ),
        (filter("urn:piece", "concept", "is-a", "p1"), |e| {
            matches!(e, NotPresent(_))
        }),
        (
            json!({"include": [{"system": "urn:elsewhere"}], "exclude": [{"system": "urn:elsewhere", "concept": [{"code": "x"}]}]}),
            |e| matches!(e, NotPresent(_)),
        ),
        (
            filter("urn:animals", "concept", "resembles", "dog"),
            invalid,
        ),
        (filter("urn:animals", "legs", "is-a", "4"), invalid),
        (filter("urn:animals", "legs", "exists", "perhaps"), invalid),
        (filter("urn:animals", "code", "regex", "("), invalid),
        (json!({"include": [{}]}), invalid),
    ];
    for (compose, is_expected) in checks {
        let got = expand(compose.clone()).map(|expansion| shown(&expansion));
        assert!(got.as_ref().is_err_and(is_expected), "{compose}: {got:?}");
    }
}

#[test]
fn bounds() {
    let concepts = |number: usize| {
        (0..number)
            .map(|n| json!({"code": n.to_string()}))
            .collect::<Vec<_>>()
    };
    let system = |number: usize| json!({"resourceType": "CodeSystem", "url": "urn:many", "status": "active", "content": "complete", "concept": concepts(number)});
    let whole = ValueSet::read(
        &json!({"resourceType": "ValueSet", "url": "urn:asked", "compose": {"include": [{"system": "urn:many"}]}}),
    );
    for (number, expect) in [
        (EXPANSION_MAX, Ok(EXPANSION_MAX)),
        (EXPANSION_MAX + 1, Err(TerminologyError::TooCostly)),
    ] {
        let given = resources(&[system(number)]);
        let expansion = DEFINITIONS.terminology().with(&given).expand(&whole);
        assert_eq!(expansion.map(|expansion| expansion.members.len()), expect);
    }
    // Sets of sets: 30 levels are too deep, and few codes in many ways are too much.
    let level = |number: usize, width: usize| {
        let next = format!("urn:level:{}", number + 1);
        json!({"resourceType": "ValueSet", "url": format!("urn:level:{number}"), "compose": {"include":
            (0..width).map(|_| json!({"valueSet": [next]})).collect::<Vec<_>>()}})
    };
    for (width, depth, expect) in [
        (1, 30, TerminologyError::TooDeep("urn:level:17".into())),
        (8, 8, TerminologyError::TooCostly),
    ] {
        let mut all: Vec<Value> = (0..depth).map(|number| level(number, width)).collect();
        all.push(json!({"resourceType": "ValueSet", "url": format!("urn:level:{depth}"), "compose": {"include": [{"system": "urn:animals"}]}}));
        let given = resources(&all);
        let terminology = DEFINITIONS.terminology().with(&given);
        let set = terminology.value_set("urn:level:0").unwrap();
        assert_eq!(terminology.expand(&set).map(|_| ()), Err(expect));
    }
}

#[test]
fn subsumption() {
    use Subsumption::*;
    let given = resources(&[]);
    let terminology = DEFINITIONS.terminology().with(&given);
    for (system, a, b, expect) in [
        ("urn:animals", "dog", "dog", Ok(Some(Equivalent))),
        ("urn:animals", "animal", "dog", Ok(Some(Subsumes))),
        ("urn:animals", "ant", "worker", Ok(Some(SubsumedBy))),
        ("urn:animals", "ant", "mammal", Ok(Some(NotSubsumed))),
        ("urn:animals", "ant", "unicorn", Ok(None)),
        ("urn:rings", "a", "b", Ok(Some(Subsumes))),
        ("urn:parts", "hand", "finger", Ok(Some(NotSubsumed))),
        ("urn:any-case", "MIXED", "mixed", Ok(Some(Equivalent))),
        (
            "urn:elsewhere",
            "x",
            "y",
            Err(TerminologyError::NotPresent("urn:elsewhere".into())),
        ),
        // R5's own: nested, and by the v3 property.
        (
            "http://hl7.org/fhir/fhir-types",
            "Element",
            "HumanName",
            Ok(Some(Subsumes)),
        ),
        (
            "http://terminology.hl7.org/CodeSystem/v3-RoleCode",
            "FAMMEMB",
            "MTH",
            Ok(Some(Subsumes)),
        ),
    ] {
        let got = terminology.code_system(system).unwrap().subsumption(a, b);
        assert_eq!(got, expect, "{system} {a} {b}");
    }
    let codes = |system: &str, code: &str, above: bool| {
        let system = terminology.code_system(system).unwrap();
        let codes = if above {
            system.subsuming(code)
        } else {
            system.subsumed(code)
        };
        codes.map(|codes| codes.join(" "))
    };
    assert_eq!(
        codes("urn:animals", "mammal", false),
        Ok("mammal dog dodo".into())
    );
    assert_eq!(
        codes("urn:animals", "ant", true),
        Ok("ant insect worker animal".into())
    );
    assert_eq!(codes("urn:animals", "unicorn", false), Ok("unicorn".into()));
    assert_eq!(codes("urn:parts", "hand", false), Ok("hand".into()));
    assert!(codes("http://loinc.org", "718-7", false).is_err());
}

#[test]
fn found_by_url_and_by_id() {
    let given = resources(&[]);
    let terminology = DEFINITIONS.terminology().with(&given);
    for (canonical, expect) in [
        ("urn:vs:pets", Some("10")),
        ("urn:vs:pets|1", Some("1")),
        ("urn:vs:pets|2", None),
        ("urn:all-animals", Some("2")),
        (
            "http://hl7.org/fhir/ValueSet/administrative-gender",
            Some("5.0.0"),
        ),
        (
            "http://hl7.org/fhir/ValueSet/administrative-gender|5.0.0",
            Some("5.0.0"),
        ),
        (
            "http://hl7.org/fhir/ValueSet/administrative-gender|4.0.1",
            None,
        ),
        ("urn:nothing", None),
    ] {
        let found = terminology.value_set(canonical);
        let version = found.as_ref().ok().map(|set| set.version().unwrap());
        assert_eq!(version, expect, "{canonical}");
    }
    assert!(
        terminology
            .value_set_of_id("administrative-gender")
            .is_some()
    );
    assert!(terminology.value_set_of_id("no-such").is_none());
    let systems = terminology.code_systems_of("dog");
    assert!(
        systems
            .iter()
            .any(|system| &**system.url() == "urn:animals")
    );
    let genders = terminology.code_systems_of("female");
    assert!(
        genders
            .iter()
            .any(|system| &**system.url() == "http://hl7.org/fhir/administrative-gender")
    );
}

/// What can be said of R5's own value sets: nothing panics, and what is not there is said.
#[test]
fn all_of_r5() {
    let terminology = DEFINITIONS.terminology();
    let (mut listed, mut whole, mut refused) = (0, 0, Vec::new());
    for url in terminology.value_set_urls() {
        let set = terminology.value_set(url).unwrap();
        match terminology.expand(&set) {
            Ok(expansion) if expansion.whole.is_empty() => listed += 1,
            Ok(_) => whole += 1,
            Err(
                TerminologyError::NotPresent(_)
                | TerminologyError::UnknownCodeSystem(_)
                | TerminologyError::UnknownValueSet(_),
            ) => refused.push(url),
            Err(other) => panic!("{url}: {other}"),
        }
    }
    assert!(
        listed > 700,
        "{listed} listed, {whole} with a whole system, {refused:?}"
    );
}
