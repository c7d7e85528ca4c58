//! Orders and reports with several specimens: which of them an observation is about, and which it comes from.

use super::*;

const TWO_SPECIMENS: &str = "SPM|1|S1&H||BLD\rOBX|9|ST|V^volume^L||5 ml||||||F\rSPM|2|S2&H||UR\rOBX|9|ST|V^volume^L||9 ml||||||F";

/// What an observation says of specimens: the numbers of the one it is about (`focus`) and of the one it comes from.
#[derive(Debug, PartialEq)]
struct Says {
    code: String,
    about: Option<String>,
    from: Vec<String>,
}

fn says(trigger: &str, version: &str, segments: &str) -> Vec<Says> {
    let text = format!("{MSH}{trigger}|1|P|{version}\rPID|1||1^^^A^MR||X^Y\r{segments}");
    let converted = convert(&real(), &text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    assert!(converted.unplaced.is_empty(), "{:?}", converted.unplaced);
    let number = |reference: &Json| -> Option<String> {
        let draft = draft_index(reference["reference"].as_str()?)?;
        let body = &converted.drafts[draft].body;
        assert_eq!(body["resourceType"], "Specimen");
        Some(body["identifier"][0]["value"].as_str()?.to_owned())
    };
    let from = |specimen: &Json| -> Vec<String> {
        let draft = specimen["reference"].as_str().and_then(draft_index);
        let group = draft.map(|draft| &converted.drafts[draft].body);
        let group = group.filter(|body| body["resourceType"] == "Group");
        match group {
            Some(group) => {
                assert_eq!(group["type"], "specimen");
                assert_eq!(group["membership"], "enumerated");
                let members = group["member"].as_array().into_iter().flatten();
                members.filter_map(|m| number(&m["entity"])).collect()
            }
            None => number(specimen).into_iter().collect(),
        }
    };
    let found = drafts(&converted, "Observation").into_iter();
    found
        .map(|body| Says {
            code: body["code"]["coding"][0]["code"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            about: body.get("focus").and_then(|focus| number(&focus[0])),
            from: body.get("specimen").map(from).unwrap_or_default(),
        })
        .collect()
}

fn said(code: &str, about: Option<&str>, from: &[&str]) -> Says {
    Says {
        code: code.to_owned(),
        about: about.map(str::to_owned),
        from: from.iter().map(|one| (*one).to_owned()).collect(),
    }
}

/// Those after SPM, in all structures that have them.
#[test]
fn what_follows_a_specimen_is_about_it() {
    for (trigger, versions, segments) in [
        (
            "ORU^R01^ORU_R01",
            &["2.5.1", "2.8.2"][..],
            format!("OBR|1|P1^H|F1^L|1^a^L\r{TWO_SPECIMENS}"),
        ),
        (
            "OML^O21^OML_O21",
            &["2.5.1", "2.8.2"],
            format!("ORC|NW|P1^H\rOBR|1|P1^H||1^a^L\r{TWO_SPECIMENS}"),
        ),
        (
            "ORM^O01^ORM_O01",
            &["2.5.1"],
            format!("ORC|NW|P1^H\rOBR|1|P1^H||1^a^L\r{TWO_SPECIMENS}"),
        ),
        (
            "OUL^R22^OUL_R22",
            &["2.5.1", "2.8.2"],
            format!("{TWO_SPECIMENS}\rOBR|1|P1^H|F1^L|1^a^L"),
        ),
        (
            "OUL^R24^OUL_R24",
            &["2.5.1", "2.8.2"],
            format!("OBR|1|P1^H|F1^L|1^a^L\r{TWO_SPECIMENS}"),
        ),
        (
            "OML^O33^OML_O33",
            &["2.5.1", "2.8.2"],
            format!("{TWO_SPECIMENS}\rORC|NW|P1^H\rOBR|1|P1^H||1^a^L"),
        ),
    ] {
        for version in versions {
            let found = says(trigger, version, &segments);
            let expect = [
                said("V", Some("S1"), &["S1"]),
                said("V", Some("S2"), &["S2"]),
            ];
            assert_eq!(found, expect, "{trigger} {version}");
        }
    }
}

/// OBX after SAC, of the container that belongs to the last SPM.
#[test]
fn what_follows_a_container_comes_from_its_specimen() {
    let found = says(
        "OML^O21^OML_O21",
        "2.5.1",
        "ORC|NW|P1^H\rOBR|1|P1^H||1^a^L\rSPM|1|S1&H||BLD\rSPM|2|S2&H||UR\rSAC|||BC77\rOBX|1|ST|3^full^L||yes",
    );
    assert_eq!(found, [said("3", None, &["S2"])]);
}

/// OBX-33 says it; without, one specimen is the one, and of several none.
#[test]
fn a_result_comes_from_the_specimen_that_it_names() {
    let result = |related: &str| format!("OBX|1|NM|R^r^L||1||||||F{:|<22}{related}", "");
    for (related, specimens, expect) in [
        ("", "SPM|1|S1&H||BLD", &["S1"][..]),
        ("", "SPM|1|S1&H||BLD\rSPM|2|S2&H||UR", &[]),
        ("S2&H", "SPM|1|S1&H||BLD\rSPM|2|S2&H||UR", &["S2"]),
        (
            "^T2&L",
            "SPM|1|S1&H^T1&L||BLD\rSPM|2|S2&H^T2&L||UR",
            &["T2"],
        ),
        // Of before, or of another message.
        ("S3&H", "SPM|1|S1&H||BLD", &["S3"]),
        (
            "S1&H~S2&H",
            "SPM|1|S1&H||BLD\rSPM|2|S2&H||UR",
            &["S1", "S2"],
        ),
    ] {
        for version in ["2.5.1", "2.8.2"] {
            let segments = format!("OBR|1|P1^H|F1^L|1^a^L\r{}\r{specimens}", result(related));
            let found = says("ORU^R01^ORU_R01", version, &segments);
            assert_eq!(found, [said("R", None, expect)], "{related} {specimens}");
        }
    }
}

/// The report names all of them.
#[test]
fn a_report_has_all_specimens() {
    let text = format!(
        "{MSH}ORU^R01^ORU_R01|1|P|2.5.1\rPID|1||1^^^A^MR||X^Y\rOBR|1|P1^H|F1^L|1^a^L\rOBX|1|NM|R^r^L||1\r{TWO_SPECIMENS}"
    );
    let converted = convert(&real(), &text).unwrap();
    let report = &drafts(&converted, "DiagnosticReport")[0];
    let results = report["result"].as_array().map(Vec::len);
    let specimens = report["specimen"].as_array().map(Vec::len);
    assert_eq!((specimens, results), (Some(2), Some(1)));
}
