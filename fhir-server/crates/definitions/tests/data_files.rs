//! The data folders: what they ship with is accepted, what is wrong is told with file, place and reason.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::{DataFile, Definitions, ParameterType};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The JSON files of the folders that the program ships with.
fn shipped() -> Vec<DataFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.join("profiles"), root.join("terminology")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "json") {
                files.push(DataFile {
                    path: path.strip_prefix(&root).unwrap().display().to_string(),
                    bytes: std::fs::read(&path).unwrap(),
                });
            }
        }
    }
    files
}

fn file(path: &str, content: &Value) -> DataFile {
    DataFile {
        path: path.to_owned(),
        bytes: content.to_string().into_bytes(),
    }
}

/// The places and a part of the reasons of all problems with these files, together with the shipped ones.
fn check(files: &[DataFile], expect: &[(&str, &str, &str)]) {
    let mut all = shipped();
    all.extend_from_slice(files);
    let errors = Definitions::load(&all).err().unwrap_or_default();
    assert_eq!(errors.len(), expect.len(), "{errors:#?}");
    for (error, (file, place, reason)) in errors.iter().zip(expect) {
        assert_eq!(
            (error.file.as_str(), error.place.as_str()),
            (*file, *place),
            "{error}"
        );
        assert!(error.reason.contains(reason), "{error}");
    }
}

fn parameter(changes: Value) -> Value {
    let mut parameter = json!({
        "resourceType": "SearchParameter", "url": "urn:x:p", "name": "p", "status": "active", "description": "d",
        "code": "p", "base": ["Patient"], "type": "token", "expression": "Patient.maritalStatus", "processingMode": "normal"
    });
    for (name, value) in changes.as_object().unwrap() {
        parameter[name] = value.clone();
    }
    parameter
}

fn profile(changes: Value) -> Value {
    let mut profile = json!({
        "resourceType": "StructureDefinition", "url": "urn:x:s", "name": "S", "status": "active", "kind": "resource", "abstract": false,
        "type": "Patient", "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient", "derivation": "constraint",
        "differential": {"element": [{"id": "Patient", "path": "Patient"}]}
    });
    for (name, value) in changes.as_object().unwrap() {
        profile[name] = value.clone();
    }
    profile
}

#[test]
fn shipped_files_are_accepted() {
    check(&[], &[]);
    let core = Definitions::load(&[]).unwrap();
    let definitions = Definitions::load(&shipped()).unwrap();
    let own = definitions
        .search_parameter("Patient", "displacement-status")
        .unwrap();
    assert_eq!(own.kind, ParameterType::Token);
    assert!(own.key.0 >= 8192 && own.program.is_some());
    assert!(
        core.search_parameter("Patient", "displacement-status")
            .is_none()
    );
    assert_ne!(core.fingerprint(), definitions.fingerprint());
    assert!(definitions.own_resources().count() >= 4);
}

#[test]
fn every_terminology_file_has_a_licence() {
    let licences = include_str!("../../../../terminology/LICENSES.md");
    for file in shipped() {
        if let Some(name) = file.path.strip_prefix("terminology/") {
            assert!(
                licences.contains(&format!("| `{name}` |")),
                "{name} is not in LICENSES.md"
            );
        }
    }
}

#[test]
fn files_are_checked() {
    let broken = DataFile {
        path: "a.json".into(),
        bytes: b"{\n  \"resourceType\":,".to_vec(),
    };
    check(
        &[broken],
        &[("a.json", "line 2, column 18", "not valid JSON")],
    );
    let twice = DataFile {
        path: "a.json".into(),
        bytes: b"{\"a\":1,\n\"a\":2}".to_vec(),
    };
    check(&[twice], &[("a.json", "line 2, column 6", "twice")]);
    let nul = DataFile {
        path: "a.json".into(),
        bytes: br#"{"resourceType":"a\u0000"}"#.to_vec(),
    };
    check(&[nul], &[("a.json", "resourceType", "U+0000")]);
    check(
        &[file("a.json", &json!([]))],
        &[("a.json", "Resource", "JSON object")],
    );
    check(
        &[file("a.json", &json!({"resourceType": "Patient"}))],
        &[("a.json", "resourceType", "one of")],
    );
    check(
        &[file(
            "x/examples/a.json",
            &json!({"resourceType": "Patient"}),
        )],
        &[],
    );
    check(
        &[file(
            "x/examples/a.json",
            &json!({"resourceType": "Patient", "gender": "x"}),
        )],
        &[("x/examples/a.json", "Patient.gender", "value set")],
    );
    check(
        &[file(
            "a.json",
            &json!({"resourceType": "ValueSet", "status": "active"}),
        )],
        &[("a.json", "ValueSet.url", "required")],
    );
    check(
        &[file(
            "a.json",
            &json!({"resourceType": "ValueSet", "url": "http://hl7.org/fhir/ValueSet/x", "status": "active"}),
        )],
        &[("a.json", "ValueSet.url", "belongs to")],
    );
    let value_set = json!({"resourceType": "ValueSet", "url": "urn:x:v", "status": "active"});
    check(
        &[file("a.json", &value_set), file("b.json", &value_set)],
        &[("b.json", "ValueSet.url", "a.json")],
    );
    check(
        &[file(
            "a.json",
            &json!({"resourceType": "ValueSet", "url": "urn:x:v", "staus": "active"}),
        )],
        &[
            ("a.json", "ValueSet.staus", "no such element"),
            ("a.json", "ValueSet.status", "missing"),
        ],
    );
}

#[test]
fn search_parameters_are_checked() {
    let check = |changes, expect| check(&[file("a.json", &parameter(changes))], expect);
    check(json!({}), &[]);
    check(
        json!({"base": ["Patient", "Person"], "expression": "Patient.maritalStatus | Person.maritalStatus"}),
        &[],
    );
    check(json!({"status": "retired", "expression": "nonsense("}), &[]);
    check(
        json!({"base": ["Patient", "Pateint"]}),
        &[("a.json", "SearchParameter.base[1]", "")],
    );
    check(
        json!({"base": ["HumanName"]}),
        &[("a.json", "SearchParameter.base[0]", "")],
    );
    check(
        json!({"code": "name"}),
        &[("a.json", "SearchParameter.code", "Patient-name")],
    );
    check(
        json!({"expression": "Patient.martialStatus"}),
        &[("a.json", "SearchParameter.expression", "for Patient")],
    );
    check(
        json!({"expression": "Patient.maritalStatus."}),
        &[("a.json", "SearchParameter.expression", "for Patient")],
    );
    check(
        json!({"type": "composite"}),
        &[("a.json", "SearchParameter.component", "two or more")],
    );
    let composite = |second: &str| {
        let component = |expression: &str| json!({"definition": "http://hl7.org/fhir/SearchParameter/Patient-name", "expression": expression});
        json!({"type": "composite", "expression": "Patient", "component": [component("name"), component(second)]})
    };
    check(composite("gender"), &[]);
    check(
        composite("gendre"),
        &[("a.json", "SearchParameter.expression", "for Patient")],
    );
}

#[test]
fn structures_are_checked() {
    let check = |changes, expect| check(&[file("a.json", &profile(changes))], expect);
    check(json!({}), &[]);
    check(
        json!({"type": "Pateint"}),
        &[("a.json", "StructureDefinition.type", "no such type")],
    );
    check(
        json!({"baseDefinition": "urn:x:none"}),
        &[("a.json", "StructureDefinition.baseDefinition", "")],
    );
    check(
        json!({"derivation": "specialization"}),
        &[("a.json", "StructureDefinition.derivation", "")],
    );
    let elements =
        |path: &str| json!({"differential": {"element": [{"path": "Patient"}, {"path": path}]}});
    for path in [
        "Patient.deceased[x]",
        "Patient.contact.name.family",
        "Patient.extension.value[x]",
        "Patient.link.other.identifier.system",
    ] {
        check(elements(path), &[]);
    }
    for path in [
        "Patient.deceased",
        "Patient.famly",
        "Patient.name[x]",
        "Observation.code",
        "Patient.name.family.x",
    ] {
        check(
            elements(path),
            &[(
                "a.json",
                "StructureDefinition.differential.element[1].path",
                "no such element",
            )],
        );
    }
}
