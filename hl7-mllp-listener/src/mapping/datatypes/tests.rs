//! The converters as data: v2 in, FHIR out.

use super::*;
use crate::message::TextOptions;
use serde_json::json;

/// Converts the first repetition of OBX-5; OBX-2 and OBX-6 are the arguments of those that take a type or units.
fn convert(name: &str, value: &str, kind: &str, units: &str) -> (Json, usize) {
    let text = format!("MSH|^~\\&|APP|FAC\rOBX|1|{kind}|||{value}|{units}");
    let message = Message::parse(text.as_bytes(), &TextOptions::default()).unwrap();
    let systems = {
        let mut systems = Systems::default();
        let file = b"coding:\n  LN: http://loinc.org\n  UCUM: http://unitsofmeasure.org\n";
        systems
            .read(&crate::mapping::yaml::parse(file).unwrap())
            .unwrap();
        systems
    };
    let authorities = HashMap::new();
    let mut scope = Scope {
        message: &message,
        systems: &systems,
        authorities: &authorities,
        codes: &HashMap::new(),
        vocabularies: &[],
        zone: "+01:00",
        facility: "FAC".into(),
        at: (1, 5, 0),
        notices: Vec::new(),
        unmapped: Vec::new(),
    };
    let segment = message.segment(1).unwrap();
    let field = |n| Value::Repetition(segment.field(n).repetition(1));
    let builtin = BUILTINS
        .iter()
        .find(|builtin| builtin.name == name)
        .unwrap();
    let arguments: Vec<_> = builtin
        .parameters
        .iter()
        .map(|parameter| match *parameter {
            "type" if name == "VARIES.value" => Some(Argument::Value(field(2))),
            "units" => Some(Argument::Value(field(6))).filter(|_| !units.is_empty()),
            _ => None,
        })
        .collect();
    let given = Given {
        arguments: &arguments,
        vocabulary: None,
    };
    let value = field(5);
    let json = match builtin.run {
        Run::One(run) => run(&mut scope, value, &given),
        Run::Choice(run) => run(&mut scope, value, &given).map(|(name, json)| json!({name: json})),
    };
    (json.unwrap_or_default(), scope.notices.len())
}

#[test]
fn primitives() {
    for (name, value, expect, warnings) in [
        ("ST.string", " a\\T\\b ^x", json!("a&b"), 0),
        ("ST.string", "\"\"", json!(null), 0),
        ("TX.string", "a ^ b & c", json!("a ^ b & c"), 0),
        ("FT.markdown", "a\\.br\\b", json!("a\nb"), 0),
        ("TX.base64", "a^b", json!("YV5i"), 0),
        ("NM.positiveInt", "+7", json!(7), 0),
        ("NM.positiveInt", "0", json!(null), 1),
        ("NM.minutes", "90", json!(90), 0),
        ("CQ.minutes", "90^s&&", json!(2), 0),
        ("CQ.minutes", "2^hr", json!(120), 0),
        ("CQ.minutes", "2^fortnight", json!(null), 1),
        ("CQ.minutes", "1e99^h", json!(null), 1),
        ("ID.boolean", "Y", json!(true), 0),
        ("ID.boolean", "n", json!(false), 0),
        ("ID.boolean", "perhaps", json!(null), 1),
        ("ID.code", "a  b", json!("a b"), 0),
        ("NM.decimal", "+7.0", json!(7), 0),
        ("NM.integer", "+7", json!(7), 0),
        ("NM.integer", "7.5", json!(null), 1),
        ("ST.uri", "http://a b", json!(null), 1),
        ("DTM.date", "2026", json!("2026"), 0),
        ("DTM.date", "202602", json!("2026-02"), 0),
        ("DTM.date", "202602281530", json!("2026-02-28"), 0),
        ("DTM.date", "20260230", json!(null), 1),
        ("DTM.date", "20261301", json!(null), 1),
        ("DTM.dateTime", "20260228", json!("2026-02-28"), 0),
        (
            "DTM.dateTime",
            "2026022815",
            json!("2026-02-28T15:00:00+01:00"),
            1,
        ),
        (
            "DTM.dateTime",
            "202602281530",
            json!("2026-02-28T15:30:00+01:00"),
            0,
        ),
        (
            "DTM.dateTime",
            "20260228153059.1234-0500",
            json!("2026-02-28T15:30:59.1234-05:00"),
            0,
        ),
        ("DTM.dateTime", "202602282530", json!(null), 1),
        ("DTM.dateTime", "20260228+9900", json!(null), 1),
        ("DTM.dateTime", "yesterday", json!(null), 1),
        ("DTM.dateTime", "2026é", json!(null), 1),
        ("DTM.instant", "20260228", json!(null), 1),
        (
            "DTM.instant",
            "20260228153059",
            json!("2026-02-28T15:30:59+01:00"),
            0,
        ),
        ("DTM.time", "1530", json!("15:30:00"), 0),
        ("DTM.time", "2530", json!(null), 1),
    ] {
        let (json, count) = convert(name, value, "", "");
        let same = json == expect
            || (json.is_number() && json.to_string().starts_with(&expect.to_string()));
        assert!(same && count == warnings, "{name} {value}: {json} {count}");
    }
    for (value, text) in [
        ("+7.0", "7.0"),
        (".5", "0.5"),
        ("007", "7"),
        ("1.50E1", "1.50e+1"),
        ("-0.10", "-0.10"),
        ("5.", "5"),
    ] {
        assert_eq!(convert("NM.decimal", value, "", "").0.to_string(), text);
    }
}

#[test]
fn complex_types() {
    let table = "http://terminology.hl7.org/CodeSystem/v2-0203";
    for (name, value, expect) in [
        (
            "CWE.CodeableConcept",
            "1-2^abc^LN^X^y^99L^^^words",
            json!({"coding": [
            {"system": "http://loinc.org", "code": "1-2", "display": "abc"},
            {"system": "urn:hl7v2:coding:FAC:99L", "code": "X", "display": "y"}], "text": "words"}),
        ),
        (
            "CWE.CodeableConcept",
            "^only words",
            json!({"text": "only words"}),
        ),
        (
            "CWE.CodeableConcept",
            "some words",
            json!({"text": "some words"}),
        ),
        (
            "CWE.CodeableConcept",
            "A",
            json!({"coding": [{"code": "A"}]}),
        ),
        (
            "CWE.CodeableReference",
            "A^^LN",
            json!({"concept": {"coding": [{"system": "http://loinc.org", "code": "A"}]}}),
        ),
        (
            "CX.Identifier",
            "12^^^AUTH&1.2.3&ISO^MR^^20260101^20270101",
            json!({
            "type": {"coding": [{"system": table, "code": "MR", "display": "Medical record number"}]},
            "system": "urn:oid:1.2.3", "value": "12", "period": {"start": "2026-01-01", "end": "2027-01-01"}}),
        ),
        (
            "CX.Identifier",
            "12^^^AUTH",
            json!({"system": "urn:hl7v2:authority:FAC:AUTH", "value": "12"}),
        ),
        (
            "CX.Identifier",
            "12",
            json!({"system": "urn:hl7v2:authority:FAC:-", "value": "12"}),
        ),
        ("CX.Identifier", "^^^AUTH", json!(null)),
        (
            "EI.Identifier",
            "7^LAB^1.2^ISO",
            json!({"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0301", "code": "ISO", "display": "ISO Object Identifier"}]},
            "system": "urn:oid:1.2", "value": "7"}),
        ),
        (
            "EI.Identifier",
            "7^LAB",
            json!({"system": "urn:hl7v2:authority:FAC:LAB", "value": "7"}),
        ),
        (
            "XCN.Reference",
            "D1^HOUSE^GREG^^^DR^^^1&2.1&ISO",
            json!({"type": "Practitioner",
            "identifier": {"system": "urn:oid:2.1", "value": "D1"}, "display": "DR GREG HOUSE"}),
        ),
        (
            "XCN.Reference",
            "^HOUSE",
            json!({"type": "Practitioner", "display": "HOUSE"}),
        ),
        ("XCN.Reference", "^^^", json!(null)),
        (
            "XON.Reference",
            "ACME^^^^^A&1.2&ISO^XX^^^5",
            json!({"type": "Organization",
            "identifier": {"type": {"coding": [{"system": table, "code": "XX", "display": "Organization identifier"}]}, "system": "urn:oid:1.2", "value": "5"},
            "display": "ACME"}),
        ),
        (
            "PL.Reference",
            "W1^101^A^H",
            json!({"type": "Location",
            "identifier": {"system": "urn:hl7v2:authority:FAC:H", "value": "W1/101/A"}, "display": "W1 101 A"}),
        ),
        (
            "XPN.HumanName",
            "VAN&van^ALICE^Q^JR^DR^^L",
            json!({"use": "official", "family": "VAN", "_family": {"extension": [
                {"url": "http://hl7.org/fhir/StructureDefinition/humanname-own-prefix", "valueString": "van"}]},
            "given": ["ALICE", "Q"], "prefix": ["DR"], "suffix": ["JR"]}),
        ),
        ("XPN.HumanName", "^^^^^^L", json!(null)),
        (
            "XPN.HumanName",
            "DOE^ANNA^^^^^L^^^^^^^^ANNIE",
            json!([{"use": "official", "family": "DOE", "given": ["ANNA"]}, {"use": "nickname", "given": ["ANNIE"]}]),
        ),
        ("XPN.string", "A^B", json!("B A")),
        (
            "XAD.Address",
            "1 MAIN&MAIN&1^APT 2^LYON^RH^69001^FRA^H^^D",
            json!({"use": "home", "line": ["1 MAIN", "APT 2"],
            "city": "LYON", "district": "D", "state": "RH", "postalCode": "69001", "country": "FRA"}),
        ),
        ("XAD.Address", "^^^^^^M", json!(null)),
        (
            "XTN.ContactPoint",
            "^PRN^PH^^33^4^7000^12",
            json!([{"system": "phone", "value": "+33 4 7000 ext. 12", "use": "home"}]),
        ),
        (
            "XTN.ContactPoint",
            "(555)1234",
            json!([{"system": "phone", "value": "(555)1234"}]),
        ),
        (
            "XTN.ContactPoint",
            "^NET^Internet^a@b.c",
            json!([{"system": "email", "value": "a@b.c"}]),
        ),
        (
            "XTN.ContactPoint",
            "^WPN^FX^^^^7",
            json!([{"system": "fax", "value": "7", "use": "work"}]),
        ),
        (
            "XTN.ContactPoint",
            "^PRN^CP^^^^7",
            json!([{"system": "phone", "value": "7", "use": "mobile"}]),
        ),
        (
            "XTN.ContactPoint",
            "^WPN^PH^a@b.c^^^7^^^^^^20260101^^^^^2",
            json!([
                {"use": "work", "rank": 2, "period": {"start": "2026-01-01"}, "system": "phone", "value": "7"},
                {"use": "work", "rank": 2, "period": {"start": "2026-01-01"}, "system": "email", "value": "a@b.c"},
            ]),
        ),
        (
            "XAD.Address",
            "&Rue A&12^^LYON^^^^^^^^^20260101&20270101^^^^^^^c/o B",
            json!({"line": ["Rue A 12", "c/o B"], "city": "LYON",
            "period": {"start": "2026-01-01", "end": "2027-01-01"}}),
        ),
        (
            "XPN.HumanName",
            "VAN^ALICE^^^^MD^D^^^20260101&20270101",
            json!({"use": "usual", "family": "VAN", "given": ["ALICE"], "suffix": ["MD"],
            "period": {"start": "2026-01-01", "end": "2027-01-01"}}),
        ),
        (
            "ED.Attachment",
            "^TEXT^plain^Base64^YWJj",
            json!({"contentType": "text/plain", "data": "YWJj"}),
        ),
        (
            "ED.Attachment",
            "^AP^PDF^Hex^6162 63",
            json!({"contentType": "application/pdf", "data": "YWJj"}),
        ),
        ("ED.Attachment", "^AP^PDF^Base64^***", json!(null)),
        (
            "RP.Attachment",
            "http://x/y&z^^image^jpeg",
            json!({"contentType": "image/jpeg", "url": "http://x/y&z"}),
        ),
    ] {
        assert_eq!(convert(name, value, "", "").0, expect, "{name} {value}");
    }
}

#[test]
fn observation_values() {
    let quantity = |value: &str| json!({"Quantity": {"value": serde_json::from_str::<Json>(value).unwrap(), "unit": "mg"}});
    for (kind, value, expect, warnings) in [
        ("NM", "5.90", quantity("5.90"), 0),
        ("NM", "trace", json!({"string": "trace"}), 1),
        ("SN", "^182", quantity("182"), 0),
        (
            "SN",
            "<^5",
            json!({"Quantity": {"value": 5, "comparator": "<", "unit": "mg"}}),
            0,
        ),
        (
            "SN",
            "^1^-^5",
            json!({"Range": {"low": {"value": 1, "unit": "mg"}, "high": {"value": 5, "unit": "mg"}}}),
            0,
        ),
        (
            "SN",
            "^1^:^128",
            json!({"Ratio": {"numerator": {"value": 1}, "denominator": {"value": 128, "unit": "mg"}}}),
            0,
        ),
        ("SN", "^2^+", json!({"string": "2+"}), 0),
        ("SN", "<>^2", json!({"string": "<>2"}), 0),
        (
            "CWE",
            "P^Pos^LN",
            json!({"CodeableConcept": {"coding": [{"system": "http://loinc.org", "code": "P", "display": "Pos"}]}}),
            0,
        ),
        ("DT", "20260101", json!({"dateTime": "2026-01-01"}), 0),
        ("TS", "soon", json!({"string": "soon"}), 1),
        ("TM", "0830", json!({"time": "08:30:00"}), 0),
        (
            "DR",
            "20260101^20270101",
            json!({"Period": {"start": "2026-01-01", "end": "2027-01-01"}}),
            0,
        ),
        (
            "DR",
            "^20270101",
            json!({"Period": {"end": "2027-01-01"}}),
            0,
        ),
        ("FT", "a\\.br\\b", json!({"string": "a\nb"}), 0),
        ("ST", "a&b", json!({"string": "a&b"}), 0),
        ("", "x", json!({"string": "x"}), 0),
        ("ZZ", "x", json!({"string": "x"}), 1),
        ("NM", "\"\"", json!(null), 0),
    ] {
        let (json, count) = convert("VARIES.value", value, kind, "mg");
        assert_eq!((json, count), (expect, warnings), "{kind} {value}");
    }
}

#[test]
fn reference_ranges() {
    for (text, low, high) in [
        ("3.5-5.1", Some("3.5"), Some("5.1")),
        ("-2 - +2", Some("-2"), Some("2")),
        ("<5", None, Some("5")),
        (">=3", Some("3"), None),
        ("negative", None, None),
    ] {
        let range = convert("ST.Range", text, "", "").0;
        let bound = |name: &str| range[name]["value"].as_number().map(ToString::to_string);
        assert_eq!(range["text"], text);
        assert_eq!(
            (bound("low").as_deref(), bound("high").as_deref()),
            (low, high),
            "{text}"
        );
    }
}

/// docs/mapping-language.md names every converter.
#[test]
fn converters_are_documented() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mapping-language.md");
    let page = std::fs::read_to_string(path).unwrap();
    for builtin in BUILTINS {
        assert!(
            page.contains(&format!("`{}`", builtin.name)),
            "{}",
            builtin.name
        );
    }
}
