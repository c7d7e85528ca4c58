//! What search URLs mean, over the real definitions. Long because it is tables of URLs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::{DataFile, Definitions, SearchParameter, TerminologyResources};
use fhir_model::Severity;
use fhir_search::parse::{CHAIN_MAX, Context};
use fhir_search::query::{
    Clause, Query, ReferenceMatch, SortBy, SortKey, TokenMatch, UnitMatch, ValueMatch,
};
use fhir_search::{Handling, parse};
use proptest::prelude::*;
use serde_json::json;
use std::sync::{Arc, LazyLock};

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| Definitions::load(&[]).unwrap());

/// `a` over `b` over `c`, and value sets.
static TERMINOLOGY: LazyLock<TerminologyResources> = LazyLock::new(|| {
    TerminologyResources::read(&[
        json!({"resourceType": "CodeSystem", "url": "urn:cs", "content": "complete", "concept": [
            {"code": "a", "concept": [{"code": "b", "concept": [{"code": "c"}]}]}, {"code": "only-in-the-test"}]}),
        json!({"resourceType": "ValueSet", "url": "urn:vs:loinc", "compose": {"include": [{"system": "http://loinc.org"}]}}),
        json!({"resourceType": "ValueSet", "url": "urn:vs:ring", "compose": {"include": [{"valueSet": ["urn:vs:ring"]}]}}),
        json!({"resourceType": "ValueSet", "url": "urn:vs:of-unknown", "compose": {"include": [{"valueSet": ["urn:vs:unknown"]}]}}),
        json!({"resourceType": "ValueSet", "url": "urn:vs:many", "compose": {"include": [{"system": "urn:many", "concept":
            (0..20_001).map(|n| json!({"code": n.to_string()})).collect::<Vec<_>>()}]}}),
    ])
});

fn search(types: &[&str], url: &str, handling: Handling) -> Result<Query, Vec<String>> {
    let parameters: Vec<(String, String)> = url
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let context = Context {
        definitions: &DEFINITIONS,
        terminology: Some(&TERMINOLOGY),
        base: Some("http://h/fhir"),
        handling,
        now_micros: 1_000_000 * 86_400 * 20_000,
        count_default: 20,
        count_max: 500,
    };
    parse(&context, types, &parameters)
        .map_err(|issues| issues.into_iter().map(|issue| issue.diagnostics).collect())
}

fn strict(url: &str) -> Result<Query, Vec<String>> {
    let (resource_type, query) = url.split_once('?').unwrap();
    let types: Vec<&str> = resource_type.split(',').collect();
    search(&types, query, Handling::Strict)
}

/// A clause, short enough to write down.
fn show(clause: &Clause) -> String {
    let chained = |by_type: &[(String, Clause)]| {
        let all: Vec<_> = by_type
            .iter()
            .map(|(t, c)| format!("{t}({})", show(c)))
            .collect();
        all.join("/")
    };
    match clause {
        Clause::Param {
            parameter,
            modifier,
            values,
        } => {
            let values: Vec<_> = values.iter().map(show_value).collect();
            format!("{}:{modifier:?} {}", parameter.code, values.join(" or "))
        }
        Clause::Missing { parameter, missing } => format!("{} missing {missing}", parameter.code),
        Clause::Any(clauses) => clauses.iter().map(show).collect::<Vec<_>>().join(" or "),
        Clause::All(clauses) => {
            let all: Vec<_> = clauses.iter().map(show).collect();
            format!("({})", all.join(" and "))
        }
        Clause::Not(clause) => format!("not({})", show(clause)),
        Clause::Element { parameter, clause } => format!("{}[{}]", parameter.code, show(clause)),
        Clause::Chain {
            parameter,
            clause,
            types,
        } => {
            assert_eq!(types.len(), clause.by_type.len());
            format!("{} -> {}", parameter.code, chained(&clause.by_type))
        }
        Clause::Has { parameter, clause } => {
            format!(
                "{}.{} <- {}",
                parameter.resource_type,
                parameter.code,
                show(clause)
            )
        }
        Clause::ByType(clause) => chained(&clause.by_type),
        Clause::MemberOf {
            collections,
            active_at,
        } => {
            let names: Vec<_> = collections.iter().map(ToString::to_string).collect();
            let active = if active_at.is_some() {
                "active in"
            } else {
                "in"
            };
            format!("{active} {}", names.join(" or "))
        }
        Clause::Id(ids) => format!("id {}", ids.join(" or ")),
        Clause::LastUpdated(dates) => format!("lastUpdated {:?}", dates[0].prefix),
        Clause::Text { of, query } => format!("{of:?} {query:?}"),
    }
}

fn show_token(token: &TokenMatch) -> String {
    match token {
        TokenMatch::Code(code) => code.clone(),
        TokenMatch::SystemAndCode(system, code) => format!("<{system}>{code}"),
        TokenMatch::NoSystem(code) => format!("<>{code}"),
        TokenMatch::System(system) => format!("<{system}>*"),
    }
}

fn show_value(value: &ValueMatch) -> String {
    match value {
        ValueMatch::Token(token) => show_token(token),
        ValueMatch::Concepts { asked, tokens } => {
            let shown: Vec<_> = tokens.iter().take(3).map(show_token).collect();
            format!("{asked} = {} of {}", shown.join(" "), tokens.len())
        }
        ValueMatch::String(text) | ValueMatch::Uri(text) => text.clone(),
        ValueMatch::Text { comparison, text } => format!("{comparison:?} {text}"),
        ValueMatch::Words(query) => format!("{query:?}"),
        ValueMatch::Date(date) => format!(
            "{:?}[{} {})",
            date.prefix,
            date.range.lo / 86_400_000_000,
            date.range.hi / 86_400_000_000
        ),
        ValueMatch::Number(number) => format!("{:?} {}", number.prefix, number.value.to_plain()),
        ValueMatch::Quantity { number, unit } => {
            let unit = match unit {
                UnitMatch::Any => String::new(),
                UnitMatch::CodeOrUnit(unit) => format!(" {unit}"),
                UnitMatch::SystemAndCode(system, code) => format!(" <{system}>{code}"),
            };
            format!("{:?} {}{unit}", number.prefix, number.value.to_plain())
        }
        ValueMatch::OfType {
            system,
            code,
            value,
        } => format!("{system} {code} {value}"),
        ValueMatch::Near(near) => {
            let at = near.at;
            format!("{} {} {:.0} m", at.latitude, at.longitude, near.metres)
        }
        ValueMatch::Point(at) => format!("{} {}", at.latitude, at.longitude),
        ValueMatch::Reference(ReferenceMatch::Local(keys)) => keys
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("+"),
        ValueMatch::Reference(ReferenceMatch::Url(url)) => format!("url {url}"),
        ValueMatch::Reference(ReferenceMatch::Identifier(token)) => {
            format!("identifier {}", show_token(token))
        }
        ValueMatch::Composite(parts) => {
            parts.iter().map(show_value).collect::<Vec<_>>().join(" $ ")
        }
    }
}

#[test]
fn understood() {
    for (url, expect) in [
        // Membership and places.
        ("Patient?_list=42", "in List/42"),
        (
            "Patient?_in:not=Group/1,2",
            "not(active in Group/1 or CareTeam/2 or Group/2 or List/2)",
        ),
        ("Patient?_id:not=1", "not(id 1)"),
        ("Patient?_type=Patient", "()"),
        ("Patient?_list=$current-problems", ""),
        ("Location?near=1|2|3|km", "near:None 1 2 3000 m"),
        ("Location?contains=1|2", "contains:None 1 2"),
        // String.
        ("Patient?name=M%C3", "name:None m c3"),
        ("Patient?name=Müller", "name:None muller"),
        (
            "Patient?name=O'Brien,von  der",
            "name:None obrien or von der",
        ),
        (r"Patient?name=a\,b,c", "name:None a b or c"),
        ("Patient?name:exact=Müller", "name:Exact Müller"),
        ("Patient?family:contains=ÜL", "family:Contains ul"),
        ("Patient?given=a&given=b", "given:None a; given:None b"),
        // Token.
        ("Patient?identifier=a", "identifier:None a"),
        (
            "Patient?identifier=s|a,|b,t|",
            "identifier:None <s>a or <>b or <t>*",
        ),
        (
            r"Patient?identifier=s|a\|b\$c\,d\\e",
            r"identifier:None <s>a|b$c,d\e",
        ),
        (
            "Patient?gender:not=male,female",
            "gender:Not male or female",
        ),
        ("Patient?active=true", "active:None true"),
        ("Patient?deceased=false", "deceased:None false"),
        ("Patient?telecom=+1 555", "telecom:None +1 555"),
        (
            "Patient?identifier:of-type=s|MR|1",
            "identifier:OfType s MR 1",
        ),
        (
            "Patient?gender:in=http://hl7.org/fhir/ValueSet/administrative-gender|5.0.0",
            "gender:In http://hl7.org/fhir/ValueSet/administrative-gender|5.0.0 = <http://hl7.org/fhir/administrative-gender>male <http://hl7.org/fhir/administrative-gender>female <http://hl7.org/fhir/administrative-gender>other of 4",
        ),
        (
            "Patient?gender:not-in=ValueSet/administrative-gender",
            "gender:NotIn ValueSet/administrative-gender = <http://hl7.org/fhir/administrative-gender>male <http://hl7.org/fhir/administrative-gender>female <http://hl7.org/fhir/administrative-gender>other of 4",
        ),
        (
            "Patient?gender:in=http://h/fhir/ValueSet/administrative-gender",
            "gender:In http://h/fhir/ValueSet/administrative-gender = <http://hl7.org/fhir/administrative-gender>male <http://hl7.org/fhir/administrative-gender>female <http://hl7.org/fhir/administrative-gender>other of 4",
        ),
        // All of a code system that is not here: whatever code it has.
        (
            "Observation?combo-code:in=urn:vs:loinc",
            "combo-code:In urn:vs:loinc = <http://loinc.org>* of 1",
        ),
        ("Observation?code:text=Head Ache", "code:Text head ache"),
        (
            "Observation?code:below=urn:cs|b",
            "code:Below urn:cs|b = <urn:cs>b <urn:cs>c of 2",
        ),
        (
            "Observation?code:above=urn:cs|b",
            "code:Above urn:cs|b = <urn:cs>b <urn:cs>a of 2",
        ),
        (
            "Observation?code:below=urn:cs|z",
            "code:Below urn:cs|z = <urn:cs>z of 1",
        ),
        // Without a system: in every code system that has it.
        (
            "Observation?code:below=only-in-the-test",
            "code:Below only-in-the-test = only-in-the-test <urn:cs>only-in-the-test of 2",
        ),
        ("Observation?code:below=|b", "code:Below |b = <>b of 1"),
        (
            "DocumentReference?contenttype:below=image,text/xml",
            "contenttype:None image or text/xml or contenttype:CodeText image/ or text/xml;",
        ),
        (
            "DocumentReference?contenttype:above=text/xml;charset=utf-8",
            "contenttype:None text/xml or text or text/xml;charset=utf-8",
        ),
        (
            "Observation?code:below=urn:cs|",
            "code:Below urn:cs| = <urn:cs>* of 1",
        ),
        ("Patient?_tag=s|c", "_tag:None <s>c"),
        // Date.
        ("Patient?birthdate=1970-01-02", "birthdate:None Eq[1 2)"),
        ("Patient?birthdate=1970", "birthdate:None Eq[0 365)"),
        (
            "Patient?birthdate=ge1970-01,lt1971",
            "birthdate:None Ge[0 31) or Lt[365 730)",
        ),
        (
            "Patient?birthdate=sa1970&birthdate=eb1980",
            "birthdate:None Sa[0 365); birthdate:None Eb[3652 4018)",
        ),
        (
            "Patient?birthdate=ap1970-01-01",
            "birthdate:None Ap[-1999 2000)",
        ),
        (
            "Observation?date=1970-01-02T00:00:00 00:00",
            "date:None Eq[1 1)",
        ),
        // Number and quantity.
        (
            "RiskAssessment?probability=gt0.8",
            "probability:None Gt 0.8",
        ),
        (
            "RiskAssessment?probability=1e2,-5",
            "probability:None Eq 100 or Eq -5",
        ),
        (
            "Observation?value-quantity=5.40",
            "value-quantity:None Eq 5.40",
        ),
        (
            "Observation?value-quantity=le5|http://unitsofmeasure.org|mg",
            "value-quantity:None Le 5 <http://unitsofmeasure.org>mg",
        ),
        (
            "Observation?value-quantity=ap5||mg",
            "value-quantity:None Ap 5 mg",
        ),
        // Reference.
        ("Observation?patient=1", "patient:None Patient/1"),
        ("Observation?subject=Patient/1", "subject:None Patient/1"),
        (
            "Observation?subject=http://h/fhir/Patient/1",
            "subject:None Patient/1",
        ),
        (
            "Observation?subject=http://other/Patient/1",
            "subject:None url http://other/Patient/1",
        ),
        (
            "Observation?subject=Patient/1/_history/2",
            "subject:None url Patient/1/_history/2",
        ),
        (
            "Observation?subject=urn:uuid:1",
            "subject:None url urn:uuid:1",
        ),
        (
            "Observation?subject=Nothing/1",
            "subject:None url Nothing/1",
        ),
        ("Observation?subject:Patient=1", "subject:None Patient/1"),
        ("Observation?subject:Patient=Group/1", "subject:None "),
        (
            "Observation?subject:identifier=s|1",
            "subject:Identifier identifier <s>1",
        ),
        (
            "QuestionnaireResponse?questionnaire=http://x/q|1.0",
            "questionnaire:None url http://x/q|1.0",
        ),
        // Uri.
        ("ValueSet?url=http://x/VS", "url:None http://x/VS"),
        ("ValueSet?url:below=http://x/", "url:Below http://x/"),
        // Composite.
        (
            "Observation?code-value-quantity=s|c$gt5||mg",
            "code-value-quantity:None <s>c $ Gt 5 mg",
        ),
        (
            r"Observation?code-value-concept=a\$b$|c",
            "code-value-concept:None a$b $ <>c",
        ),
        (
            "Observation?combo-code-value-quantity=c$5",
            "combo-code-value-quantity:None c $ Eq 5",
        ),
        // The rest.
        ("Patient?_id=a,b", "id a or b"),
        ("Patient?_lastUpdated=ge2020", "lastUpdated Ge"),
        ("Patient?gender:missing=true", "gender missing true"),
        (
            "Observation?subject:Patient.name=A",
            "subject -> Patient(name:None a)",
        ),
        (
            "Observation?patient.identifier=s|1",
            "patient -> Patient(identifier:None <s>1)",
        ),
        (
            "Observation?subject.name=A",
            "subject -> Organization(name:None a)/Group(name:None a)/Practitioner(name:None a)/Location(name:None a)/Patient(name:None a)",
        ),
        (
            "Observation?patient.organization.name:exact=A",
            "patient -> Patient(organization -> Organization(name:Exact A))",
        ),
        ("Observation?patient._id=1", "patient -> Patient(id 1)"),
        (
            "Observation?patient.gender:missing=false",
            "patient -> Patient(gender missing false)",
        ),
        (
            "Patient?_has:Observation:patient:code=1",
            "Observation.patient <- code:None 1",
        ),
        (
            "Patient?_has:Observation:patient:_has:DiagnosticReport:result:status=final",
            "Observation.patient <- DiagnosticReport.result <- status:None final",
        ),
        (
            "Patient?_has:Observation:patient:encounter.status=planned",
            "Observation.patient <- encounter -> Encounter(status:None planned)",
        ),
        (
            "Observation?patient._has:Encounter:patient:status=planned",
            "patient -> Patient(Encounter.patient <- status:None planned)",
        ),
        (
            "Patient,Practitioner?name=A",
            "Patient(name:None a)/Practitioner(name:None a)",
        ),
        ("Patient,Practitioner?_id=A", "id A"),
        ("Patient?name=", ""),
        ("Patient?", ""),
        ("Patient?name=a,,b", "name:None a or b"),
    ] {
        let query = strict(url).unwrap_or_else(|issues| panic!("{url}: {issues:?}"));
        let got: Vec<_> = query.filter.iter().map(show).collect();
        assert_eq!(got.join("; "), expect, "{url}");
    }
}

#[test]
fn refused() {
    for (url, message) in [
        (
            "Patient?nothing=1",
            "Patient has no search parameter nothing",
        ),
        ("Patient?Name=1", "Patient has no search parameter Name"),
        ("Patient?name:foo=1", "name has no modifier foo"),
        (
            "Patient?birthdate:text=1",
            "the modifier :text cannot be used on birthdate",
        ),
        (
            "Patient?active:exact=true",
            "the modifier :exact cannot be used on active",
        ),
        (
            "Patient?gender:of-type=a|b|c",
            "the modifier :of-type cannot be used on gender",
        ),
        (
            "Patient?active=yes",
            "the search parameter active must be true or false",
        ),
        (
            "Patient?active=s|true",
            "the search parameter active has no system; a | in the value must be escaped",
        ),
        (
            "Patient?telecom=phone|1",
            "the search parameter telecom has no system; a | in the value must be escaped",
        ),
        (
            "Patient?identifier=|",
            "the search parameter identifier must not be | alone",
        ),
        (
            "Patient?identifier=a|b|c",
            "the search parameter identifier must be code, system|code, |code or system|",
        ),
        (
            "Patient?identifier:of-type=a|b",
            "the search parameter identifier with :of-type must be system|code|value",
        ),
        (
            "Patient?birthdate=23.May.2009",
            "the search parameter birthdate must be a date: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm[:ss][zone]",
        ),
        (
            "Patient?birthdate=2013-01-14T10",
            "the search parameter birthdate must be a date: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm[:ss][zone]",
        ),
        (
            "Patient?birthdate=xx2013",
            "a value of the search parameter birthdate begins with letters that are no prefix",
        ),
        (
            "Patient?_lastUpdated=soon",
            "a value of the search parameter _lastUpdated begins with letters that are no prefix",
        ),
        (
            "RiskAssessment?probability=1,2.x",
            "the search parameter probability must be a number",
        ),
        (
            "RiskAssessment?probability=gt",
            "the search parameter probability must be a number",
        ),
        (
            "Observation?value-quantity=5|mg",
            "the search parameter value-quantity must be number, number|system|code or number||code",
        ),
        (
            "Observation?code-value-quantity=c",
            "the search parameter code-value-quantity must be 2 values with $ between them",
        ),
        (
            "Observation?code-value-quantity=s|$5",
            "the search parameter code-value-quantity cannot have a system without a code in a part",
        ),
        (
            "Observation?code-value-quantity:missing=true",
            "the modifier :missing cannot be used on code-value-quantity, a composite",
        ),
        ("Patient?_count=1&_count=2", "_count may be given once only"),
        (
            "Patient?_sort=_id&_sort=-_id",
            "_sort may be given once only",
        ),
        (
            "Patient?gender:missing=maybe",
            "gender:missing must be true or false",
        ),
        (
            "Patient?active:in=ValueSet/administrative-gender",
            "the modifier :in cannot be used on active",
        ),
        (
            "Patient?identifier:below=s|1",
            "the modifier :below cannot be used on identifier",
        ),
        (
            "Patient?gender:in=urn:vs:unknown",
            "the search parameter gender names a value set that is not known here: it is neither stored on this server nor among its definitions",
        ),
        (
            "Patient?gender:not-in=urn:vs:of-unknown",
            "the search parameter gender names a code system, or a value set made of one, that is not known here: it is neither stored on this server nor among its definitions",
        ),
        (
            "Patient?gender:in=urn:vs:ring",
            "the search parameter gender names a value set that is made of itself",
        ),
        (
            "Observation?code:in=urn:vs:many",
            "the values of the search parameter code stand for more than 20000 concepts",
        ),
        (
            "Observation?code:below=http://loinc.org|718-7",
            "the search parameter code asks for concepts of a code system that is not here, or not as a whole; add it to the site's terminology folder",
        ),
        (
            "DocumentReference?contenttype:below=urn:x|image",
            "the search parameter contenttype must be a MIME type, or the part of one before the /",
        ),
        (
            "Patient?language:below=urn:ietf:bcp:47|de",
            "the search parameter language asks for concepts of a code system that is not here, or not as a whole; add it to the site's terminology folder",
        ),
        (
            "Observation?code:above=urn:no-such|1",
            "the search parameter code names a code system, or a value set made of one, that is not known here: it is neither stored on this server nor among its definitions",
        ),
        ("Patient?_id:exact=1", "_id takes no modifier of this name"),
        ("Patient?name=,", "the search parameter name has no value"),
        (
            "Patient?name.given=1",
            "name is no reference: nothing can be chained to it",
        ),
        (
            "Observation?subject:Encounter=1",
            "subject does not refer to Encounter",
        ),
        (
            "Observation?subject:Nothing.name=1",
            "subject does not refer to Nothing",
        ),
        (
            "Observation?patient.nothing=1",
            "Patient has no search parameter nothing",
        ),
        (
            "Patient?_has:Observation=1",
            "_has must be _has:Type:reference parameter:parameter",
        ),
        (
            "Patient?_has:Nothing:a:b=1",
            "_has names Nothing, and this server has no such type",
        ),
        (
            "Patient?_has:Observation:code:status=1",
            "Observation.code does not refer to Patient",
        ),
        (
            "Patient?_has:Observation:encounter:status=1",
            "Observation.encounter does not refer to Patient",
        ),
        (
            "Patient?_filter=x",
            "_filter: an operator is expected at character 2",
        ),
        (
            "Patient,Practitioner?birthdate=2020",
            "not all of the types searched have the search parameter birthdate",
        ),
        (
            "Patient?_sort=nothing",
            "Patient has no search parameter nothing",
        ),
        (
            "Observation?_sort=code-value-quantity",
            "results cannot be sorted by code-value-quantity: several values together have no order; sort by one of its components",
        ),
        ("Patient?_count=-1", "_count must be a number, 0 or more"),
        (
            "Patient?_total=all",
            "_total must be none, estimate or accurate",
        ),
        (
            "Patient?_summary=all",
            "_summary must be true, false, text, data or count",
        ),
        (
            "Patient?_include=Nothing:x",
            "_include names a resource type this server does not have",
        ),
        (
            "Patient?_include=Patient:name",
            "_include follows reference parameters only",
        ),
        (
            "Patient?_include=Patient:x",
            "Patient has no search parameter x",
        ),
        (
            "Patient?_include:x=Patient:organization",
            "_include has no modifier of this name",
        ),
        (
            "Patient?_include=a:b:c:d",
            "_include must be Type:parameter or Type:parameter:Type",
        ),
        (
            "Patient?_revinclude=*:subject",
            "_revinclude of every type takes no parameter: * or *:*:Type",
        ),
        (
            "Patient?name=\0",
            "the character U+0000 is not allowed in a search",
        ),
    ] {
        assert_eq!(strict(url).err(), Some(vec![message.to_owned()]), "{url}");
    }
    let both = strict("Patient?nothing=1&birthdate=x").unwrap_err();
    assert_eq!(both.len(), 2, "every issue, not only the first");
}

#[test]
fn limits() {
    let many = "a,".repeat(1001);
    let long_chain = "patient.".repeat(CHAIN_MAX + 2);
    for url in [
        format!("Patient?name={many}"),
        format!("Patient?_id={many}"),
        format!("Patient?name={}", "a".repeat(257)),
        format!("Patient?name={}", "a".repeat(70_000)),
        format!(
            "Patient?{}=1",
            "_has:Patient:link:".repeat(CHAIN_MAX + 2) + "name"
        ),
        format!("Observation?{long_chain}name=1"),
        "Provenance?target.target.target.target.recorded=2020".to_owned(),
        format!("Patient?{}", "name=a&".repeat(101)),
        "Patient?_sort=name,name,name,name,name,name".to_owned(),
    ] {
        assert!(strict(&url).is_err(), "{}", &url[..url.len().min(60)]);
    }
    assert!(strict(&format!("Patient?name:exact={}", "a".repeat(300))).is_ok());
}

#[test]
fn results() {
    for (url, count, summary, total) in [
        ("Patient?", 20, "False", "Default"),
        ("Patient?_count=5", 5, "False", "Default"),
        (
            "Patient?_count=99999999999999999999999",
            500,
            "False",
            "Default",
        ),
        ("Patient?_count=0", 20, "Count", "Default"),
        (
            "Patient?_summary=count&_total=accurate",
            20,
            "Count",
            "Accurate",
        ),
        (
            "Patient?_total=none&_summary=true&_elements=id&_format=json",
            20,
            "False",
            "None",
        ),
    ] {
        let query = strict(url).unwrap();
        assert_eq!(
            (
                query.count,
                format!("{:?}", query.summary).as_str(),
                format!("{:?}", query.total).as_str()
            ),
            (count, summary, total),
            "{url}"
        );
    }
    let query = strict("Patient?_sort=name,-_lastUpdated,-birthdate,_id").unwrap();
    assert_eq!(
        query.sort.iter().map(show_sort).collect::<Vec<_>>(),
        ["Patient.name", "-_lastUpdated", "-Patient.birthdate", "_id"]
    );
    let query = strict("Patient?_include=Patient:organization&_revinclude:iterate=Observation:subject:Patient&_include=*&_include=Patient:*").unwrap();
    let includes: Vec<_> = query
        .includes
        .iter()
        .map(|i| {
            format!(
                "{} {} {:?} {:?} {}",
                i.reverse,
                i.source.as_deref().unwrap_or("*"),
                i.parameter.as_ref().map(|p| p.code.as_str()),
                i.target,
                i.iterate
            )
        })
        .collect();
    assert_eq!(
        includes,
        [
            "false Patient Some(\"organization\") None false",
            "true Observation Some(\"subject\") Some(\"Patient\") true",
            "false * None None false",
            "false Patient None None false",
        ]
    );
}

fn show_sort(key: &SortKey) -> String {
    fn show(by: &SortBy) -> String {
        let all = |parameters: &[Arc<SearchParameter>]| {
            let names = parameters
                .iter()
                .map(|p| format!("{}.{}", p.resource_type, p.code));
            names.collect::<Vec<_>>().join("/")
        };
        match by {
            SortBy::LastUpdated => "_lastUpdated".to_owned(),
            SortBy::Id => "_id".to_owned(),
            SortBy::Score => "_score".to_owned(),
            SortBy::Parameter(parameters) => all(parameters),
            SortBy::Chain {
                parameters,
                types,
                by,
            } => format!("{} -> {}: {}", all(parameters), types.join("/"), show(by)),
        }
    }
    format!("{}{}", if key.descending { "-" } else { "" }, show(&key.by))
}

#[test]
fn sorts() {
    for (url, expect) in [
        (
            "Patient?_sort=-gender,identifier",
            "-Patient.gender, Patient.identifier",
        ),
        (
            "Patient?_sort=organization,_score",
            "Patient.organization, _score",
        ),
        ("ValueSet?_sort=url", "ValueSet.url"),
        (
            "Patient,Practitioner?_sort=name,-_id",
            "Patient.name/Practitioner.name, -_id",
        ),
        (
            "Observation?_sort=patient.name",
            "Observation.patient -> Patient: Patient.name",
        ),
        (
            "Observation?_sort=-subject:Patient.birthdate",
            "-Observation.subject -> Patient: Patient.birthdate",
        ),
        (
            "Condition?_sort=subject.name",
            "Condition.subject -> Group/Patient: Group.name/Patient.name",
        ),
        (
            "Encounter,Condition?_sort=patient._lastUpdated",
            "Encounter.patient/Condition.patient -> Patient: _lastUpdated",
        ),
        (
            "Observation?_sort=patient.organization.partof.name",
            "Observation.patient -> Patient: Patient.organization -> Organization: Organization.partof -> Organization: Organization.name",
        ),
    ] {
        let sort = strict(url)
            .unwrap_or_else(|issues| panic!("{url}: {issues:?}"))
            .sort;
        let shown: Vec<_> = sort.iter().map(show_sort).collect();
        let shown = shown.join(", ");
        assert_eq!(shown, expect, "{url}");
    }
    let deep = format!(
        "Patient?_sort={}name",
        "link:Patient.".repeat(CHAIN_MAX + 1)
    );
    for (url, expect) in [
        ("Patient?_sort=nothing", "no search parameter"),
        (
            "Observation?_sort=code-value-quantity",
            "no order; sort by one of its components",
        ),
        ("Location?_sort=near", "cannot be sorted by near"),
        ("Patient?_sort=name:exact", "takes no modifier"),
        ("Patient?_sort=name.family", "no reference"),
        (
            "Patient?_sort=organization:Patient.name",
            "does not refer to",
        ),
        ("Patient?_sort=organization.nothing", "no search parameter"),
        ("Patient?_sort=organization._score", "no search parameter"),
        (
            "Patient,Observation?_sort=birthdate",
            "not all of the types",
        ),
        ("Patient?_sort=a,b,c,d,e,f", "more than"),
        (&deep, "more than"),
        ("Patient?_maxresults=0", "must be 1 or more"),
        ("Patient?_maxresults=-1", "must be a number"),
        ("Patient?_getpagesoffset=10001", "follow the next links"),
        ("Patient?_getpagesoffset=1&_getpagesoffset=2", "once only"),
    ] {
        let issues = strict(url).expect_err(url);
        assert!(issues[0].contains(expect), "{url}: {issues:?}");
    }
}

/// A site's own parameters, which allow little.
static STRICT: LazyLock<Definitions> = LazyLock::new(|| {
    let file = |code: &str, rest: serde_json::Value| {
        let mut parameter = serde_json::json!({
            "resourceType": "SearchParameter", "url": format!("http://example.org/SearchParameter/{code}"), "status": "active",
            "name": "Strict", "description": "Allows little", "code": code, "base": ["Observation"]
        });
        let members = rest.as_object().unwrap().clone();
        parameter.as_object_mut().unwrap().extend(members);
        DataFile {
            path: format!("{code}.json"),
            bytes: parameter.to_string().into_bytes(),
        }
    };
    Definitions::load(&[
        file("s-code", serde_json::json!({"type": "token", "expression": "Observation.code", "multipleOr": false, "multipleAnd": false, "modifier": ["not"]})),
        file("s-date", serde_json::json!({"type": "date", "expression": "Observation.effective.ofType(dateTime)", "comparator": ["ge", "lt"]})),
        file("s-patient", serde_json::json!({"type": "reference", "expression": "Observation.subject", "target": ["Patient"], "chain": ["name"], "multipleAnd": false})),
    ])
    .unwrap()
});

/// `multipleOr`, `multipleAnd`, `comparator`, `modifier` and `chain` of a parameter.
#[test]
fn limits_of_parameters() {
    for (url, refused) in [
        ("s-code=a", ""),
        ("s-code=a,b", "one value only"),
        ("s-code=a&s-code=b", "once only"),
        ("s-code:not=a", ""),
        ("s-code=a&s-code:not=b", "once only"),
        ("s-code:missing=true", "cannot be used"),
        ("s-code:in=http://x", "cannot be used"),
        ("s-date=ge2020", ""),
        ("s-date=ge2020&s-date=lt2021", ""),
        ("s-date=gt2020", "the prefix gt"),
        ("s-patient.name=a", ""),
        ("s-patient:Patient.name:exact=a", ""),
        ("s-patient.birthdate=2020", "cannot be chained"),
        ("s-patient.name=a&s-patient=b", "once only"),
        ("_sort=s-patient.name", ""),
        ("_sort=s-patient.birthdate", "cannot be chained"),
    ] {
        let parameters: Vec<(String, String)> = url
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let context = Context {
            definitions: &STRICT,
            terminology: None,
            base: None,
            handling: Handling::Strict,
            now_micros: 0,
            count_default: 20,
            count_max: 500,
        };
        match parse(&context, &["Observation"], &parameters) {
            Ok(_) => assert_eq!(refused, "", "{url}"),
            Err(issues) => assert!(
                !refused.is_empty() && issues[0].diagnostics.contains(refused),
                "{url}: {issues:?}"
            ),
        }
    }
}

/// What a log may say of a search.
#[test]
fn shapes() {
    for (url, expect) in [
        ("Patient?", "Patient?_count=20"),
        (
            "Patient?name:exact=Anna,Eva&birthdate=ge1980&identifier=s|1,2&_sort=-birthdate,_id&_count=5",
            "Patient?name:exact=string x2&birthdate=ge date&identifier=system|token,token&_sort=-birthdate,_id&_count=5",
        ),
        (
            "Observation?subject:Patient.identifier=s|1&_has:Provenance:target:agent=Device/2&code-value-quantity=s|1$lt2",
            "Observation?subject:Patient.identifier=system|token&_has:Provenance:target:agent=reference&code-value-quantity=system|token$lt quantity&_count=20",
        ),
        (
            "Encounter,Condition?patient=p1&_lastUpdated=gt2020&_id=a,b&_total=none&_getpagesoffset=4",
            "Encounter,Condition?patient=reference x2&_lastUpdated=gt date&_id=id x2&_count=20&_total=none&_getpagesoffset=4",
        ),
        (
            "Observation?date:missing=true&_include:iterate=Observation:subject:Patient&_revinclude=Provenance:target&_sort=patient.name",
            "Observation?date:missing=true&_sort=patient.name&_include:iterate=Observation:subject:Patient&_revinclude=Provenance:target&_count=20",
        ),
    ] {
        assert_eq!(fhir_search::shape(&strict(url).unwrap()), expect, "{url}");
    }
}

/// What stands in the self link.
#[test]
fn applied() {
    for (url, expect) in [
        (
            "_count=7&_maxresults=9&_getpagesoffset=3",
            "_count=7&_maxresults=9&_getpagesoffset=3",
        ),
        ("_count=501", "_count=500"),
        ("_count=0", "_count=0"),
        ("_count=&name=a", "name=a"),
    ] {
        let query = search(&["Patient"], url, Handling::Strict).unwrap();
        let applied: Vec<_> = query
            .applied
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        assert_eq!(applied.join("&"), expect, "{url}");
    }
}

#[test]
fn lenient() {
    let query = search(
        &["Patient"],
        "nothing=1&name:foo=a&birthdate=zz2020&gender=male&name=",
        Handling::Lenient,
    )
    .unwrap();
    assert_eq!(query.applied, [("gender".to_owned(), "male".to_owned())]);
    assert_eq!(query.issues.len(), 3);
    assert!(query.issues.iter().all(|i| i.severity == Severity::Warning && i.diagnostics.ends_with("; it was ignored")));
    assert!(
        search(&["Patient"], "birthdate=20", Handling::Lenient).is_err(),
        "a bad value is an error all the same"
    );
}

#[test]
fn what_is_ignored_is_not_applied_in_part() {
    for url in [
        "_include=Patient:*,Nothing:x",
        "_revinclude=Observation:subject,Nothing:x",
    ] {
        let query = search(&["Patient"], url, Handling::Lenient).unwrap();
        assert!(
            query.includes.is_empty() && query.applied.is_empty(),
            "{url}"
        );
        assert_eq!(query.issues.len(), 1, "{url}");
    }
}

#[test]
fn atoms() {
    let atoms = |url: &str| strict(url).unwrap().atoms();
    assert_eq!(
        atoms("Patient?identifier=s|1"),
        atoms("Patient?identifier=s|1&name=x&identifier=s|1")
    );
    assert_eq!(atoms("Patient?identifier=s|1,s|2").len(), 2);
    assert_eq!(atoms("Observation?subject=Patient/1&patient.identifier=1&_has:Provenance:target:agent=Device/2").len(), 3);
    assert!(atoms("Patient?name=x&_id=1").is_empty());
}

proptest! {
    #[test]
    fn never_panics(name in "(name|identifier|birthdate|_has:|subject|_sort|_include|[a-z:._]{0,12}){1,3}", value in "\\PC{0,40}") {
        for resource_type in ["Patient", "Observation"] {
            let _ = search(&[resource_type], &format!("{name}={value}"), Handling::Lenient);
        }
    }

    #[test]
    fn values_never_panic(value in "[a-z0-9|$,\\\\.:é/_-]{0,30}") {
        for name in ["identifier", "name", "date", "value-quantity", "subject", "code-value-quantity", "code-value-concept", "_lastUpdated", "subject:identifier", "identifier:of-type"] {
            let _ = search(&["Observation"], &format!("{name}={value}"), Handling::Strict);
        }
    }
}

/// What a caller looks up before it parses.
#[test]
fn named_terminology() {
    for (url, value_sets, code_systems) in [
        ("code=a&name:exact=b", "", ""),
        (
            "code:in=urn:a,urn:b|1&subject:Patient.gender:not-in=ValueSet/c",
            "urn:a urn:b|1 ValueSet/c",
            "",
        ),
        (
            "code:below=urn:s|a,b,|c,urn:t|&x.y:above=urn:u|d",
            "",
            "urn:s urn:u",
        ),
        (
            "_filter=(code in urn:a and not (x.y ni \"urn:b\")) or subject[code ss urn:s|1].z sb urn:t|2",
            "urn:a urn:b",
            "urn:s urn:t",
        ),
        ("_filter=((", "", ""),
    ] {
        let parameters: Vec<(String, String)> = url
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut named = fhir_search::named(&DEFINITIONS, &["Observation"], &parameters);
        named.code_systems.sort();
        assert_eq!(
            (named.value_sets.join(" "), named.code_systems.join(" ")),
            (value_sets.to_owned(), code_systems.to_owned()),
            "{url}"
        );
    }
}
