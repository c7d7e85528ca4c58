//! The language's mistakes as data, and whole messages through the real maps.

use super::*;
use crate::message::TextOptions;
use serde_json::{Value as Json, json};

fn real_files() -> Vec<File> {
    read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/hl7v2")).unwrap()
}

pub(super) fn real() -> Mappings {
    match Mappings::load(&real_files()) {
        Ok(mappings) => mappings,
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"))
        }
    }
}

pub(super) fn convert(mappings: &Mappings, text: &str) -> Result<Converted, ConvertError> {
    let message = Message::parse(text.as_bytes(), &TextOptions::default()).unwrap();
    mappings.convert(&message, mappings.sender(text.as_bytes()))
}

/// The drafts of one type.
pub(super) fn drafts(converted: &Converted, kind: &str) -> Vec<Json> {
    let bodies = converted.drafts.iter().map(|draft| {
        let mut body = draft.body.clone();
        for (name, value) in &draft.new {
            body.entry(name.as_str()).or_insert_with(|| value.clone());
        }
        Json::Object(body)
    });
    bodies.filter(|body| body["resourceType"] == kind).collect()
}

const MSH: &str = "MSH|^~\\&|HIS|GH|FHIR|HUB|20260301080000+0100||";

#[test]
fn a_version_is_one_of_the_data() {
    let files = real_files();
    let version = |files: &[File]| Mappings::load(files).unwrap().version;
    let mut data: Vec<File> = files
        .iter()
        .filter(|file| file.is_data())
        .cloned()
        .collect();
    assert!(data.len() < files.len());
    data.reverse();
    assert_eq!(version(&data), version(&files));
    data[0].bytes.extend_from_slice(b"\n");
    assert_ne!(version(&data), version(&files));
}

#[test]
fn an_admission() {
    let text = format!(
        "{MSH}ADT^A01^ADT_A01|1|P|2.5.1\rEVN|A01|20260301080000+0100\r\
         PID|1||100001^^^GH&1.2.3.4&ISO^MR||TEST^ALICE^Q||198002290930|F|||1 MAIN ST^^LYON^^69001^FRA^H||^PRN^PH^^33^4^70000001|||M\r\
         NK1|1|TEST^BOB|SPO\rPV1|1|I|W1^101^A^GH||||D10^HOUSE^GREG||||||||||||V9^^^GH&1.2.3.4&ISO^VN|||||||||||||||||||||||||20260301080000+0100\r\
         AL1|1|DA|123^Penicillin^99X|SV|rash\rZZZ|kept"
    );
    let mappings = real();
    let converted = convert(&mappings, &text).unwrap();
    assert_eq!(converted.unplaced, [6]);
    assert_eq!(converted.notices, []);
    let patient = &drafts(&converted, "Patient")[0];
    assert_eq!(
        *patient,
        json!({
            "resourceType": "Patient",
            "identifier": [{
                "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR", "display": "Medical record number"}]},
                "system": "urn:oid:1.2.3.4", "value": "100001",
                // It has no record: the patient contains it.
                "assigner": {"reference": {
                    "resourceType": "Organization",
                    "identifier": [
                        {"system": "http://terminology.hl7.org/CodeSystem/v2-0300", "value": "GH"},
                        {"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0301", "code": "ISO", "display": "ISO Object Identifier"}]},
                            "system": "urn:ietf:rfc:3986", "value": "urn:oid:1.2.3.4"}]}}}],
            "name": [{"family": "TEST", "given": ["ALICE", "Q"]}],
            "gender": "female",
            "birthDate": "1980-02-29",
            "address": [{"use": "home", "line": ["1 MAIN ST"], "city": "LYON", "postalCode": "69001", "country": "FRA"}],
            "telecom": [{"system": "phone", "value": "+33 4 70000001", "use": "home"}],
            "maritalStatus": {"coding": [
                {"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M", "display": "Married"},
                {"system": "http://terminology.hl7.org/CodeSystem/v2-0002", "code": "M"}]},
            "contact": [{
                "relationship": [{"coding": [
                    {"system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode", "code": "SPS", "display": "spouse"},
                    {"system": "http://terminology.hl7.org/CodeSystem/v2-0063", "code": "SPO"}]}],
                "name": {"family": "TEST", "given": ["BOB"]}}],
            "_birthDate": {"extension": [{
                "url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime",
                "valueDateTime": "1980-02-29T09:30:00Z"}]},
            "active": true,
        })
    );
    let encounter = &drafts(&converted, "Encounter")[0];
    assert_eq!(encounter["status"], "in-progress");
    assert_eq!(encounter["class"][0]["coding"][0]["code"], "IMP");
    assert_eq!(encounter["subject"], json!({"reference": "urn:draft:0"}));
    assert_eq!(
        encounter["actualPeriod"],
        json!({"start": "2026-03-01T08:00:00+01:00"})
    );
    let named = |reference: &Json| {
        let index = draft_index(reference["reference"].as_str().unwrap()).unwrap();
        Json::Object(converted.drafts[index].body.clone())
    };
    let bed = named(&encounter["location"][0]["location"]);
    assert_eq!(bed["identifier"][0]["value"], "W1/101/A");
    let room = named(&bed["partOf"]);
    assert_eq!(room["form"]["coding"][0]["code"], "ro");
    let ward = named(&room["partOf"]);
    assert_eq!(ward["name"], "W1");
    let site = named(&ward["partOf"]);
    assert_eq!(site["identifier"][0]["value"], "urn:hl7v2:authority:GH:GH");
    let attending = &encounter["participant"][0]["actor"];
    assert_eq!(attending["display"], "GREG HOUSE");
    assert_eq!(named(attending)["name"][0]["family"], "HOUSE");
    let identifiers = |kind: &str| {
        let is_one = |draft: &&Draft| draft.body["resourceType"] == kind;
        let draft = converted.drafts.iter().find(is_one).unwrap();
        draft.identifiers.clone()
    };
    assert_eq!(
        identifiers("Encounter"),
        [("urn:oid:1.2.3.4".to_owned(), "V9".to_owned())]
    );
    let allergy = &drafts(&converted, "AllergyIntolerance")[0];
    assert_eq!(allergy["criticality"], "high");
    assert_eq!(
        allergy["reaction"][0]["manifestation"][0]["concept"]["text"],
        "rash"
    );
    assert_eq!(converted.drafts[0].lines.iter().max(), Some(&3));
}

fn load_errors(path: &str, text: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/hl7v2");
    let mut files = read_folder(&folder).unwrap();
    files.retain(|file| file.path != path);
    files.push(File {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
    });
    let errors = Mappings::load(&files).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

/// The lines of a message, by number, that went into its resources.
fn mapped(text: &str) -> Vec<usize> {
    let converted = convert(&real(), text).unwrap();
    let mut lines: Vec<usize> = converted
        .drafts
        .iter()
        .flat_map(|draft| draft.lines.clone())
        .collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

#[test]
fn notes_of_an_order_stand_in_two_places() {
    let text = format!(
        "{MSH}ORM^O01^ORM_O01|1|P|2.5.1\rPID|1||1^^^A^MR\rORC|NW|P1^H\rNTE|1||of the order\r\
         OBR|1|P1^H||1-1^a^LN\rNTE|1||of its detail\rZZZ|1"
    );
    let order = drafts(&convert(&real(), &text).unwrap(), "ServiceRequest").remove(0);
    let notes = json!([{"text": "of the order"}, {"text": "of its detail"}]);
    assert_eq!(order["note"], notes);
    // The header is in the Provenance.
    assert_eq!(mapped(&text), [0, 1, 2, 3, 4, 5]);
}

/// Who is named twice is made once; who has no number lives in what names them.
#[test]
fn people_are_resources_where_a_number_tells_who() {
    let text = format!(
        "{MSH}ORU^R01^ORU_R01|1|P|2.5.1\rPID|1||1^^^A^MR\rORC|RE|P1^H|F1^L|||||||||7^WHO^ANNA^^^^^^LAB\r\
         OBR|1|P1^H|F1^L|1-1^a^LN\rNTE|1||first~second||7^WHO^ANNA^^^^^^LAB\r\
         OBX|1|NM|1-1^a^LN||1||||||F|||||7^WHO^ANNA^^^^^^LAB~^NAMED^ONLY||A1^ANALYZER"
    );
    let converted = convert(&real(), &text).unwrap();
    let people = drafts(&converted, "Practitioner");
    assert_eq!(people.len(), 2);
    assert_eq!(
        people[1]["name"],
        json!([{"family": "NAMED", "given": ["ONLY"]}])
    );
    assert_eq!(
        people[0]["identifier"],
        json!([{"system": "urn:hl7v2:authority:GH:LAB", "value": "7", "assigner": people[0]["identifier"][0]["assigner"]}])
    );
    let result = &drafts(&converted, "Observation")[0];
    let named = &result["performer"][1];
    let index = draft_index(named["reference"].as_str().unwrap()).unwrap();
    assert_eq!(named["display"], "ONLY NAMED");
    assert!(converted.drafts[index].identifiers.is_empty());
    let order = &drafts(&converted, "ServiceRequest")[0];
    assert_eq!(order["requester"], result["performer"][0]);
    let report = &drafts(&converted, "DiagnosticReport")[0];
    assert_eq!(
        report["note"],
        json!([{"authorReference": result["performer"][0], "text": "first\nsecond"}])
    );
    // And the application that sent the message.
    assert_eq!(drafts(&converted, "Device").len(), 2);
}

#[test]
fn a_document_between_order_and_request_is_no_result() {
    let text = format!(
        "{MSH}ORU^R01^ORU_R01|1|P|2.8\rPID|1||1^^^A^MR\rORC|NW||F1^L\rPRT|1||AD\rOBX|1|ED|1-1^doc^LN||^TEXT^plain^A^x\r\
         TXA|1|DIS\rOBR|1||F1^L|2-2^a^LN\rOBX|1|NM|2-2^a^LN||1"
    );
    let converted = convert(&real(), &text).unwrap();
    assert_eq!(drafts(&converted, "Observation").len(), 1);
    assert!(converted.unplaced.is_empty());
    let document = &drafts(&converted, "DocumentReference")[0];
    assert_eq!(document["content"][0]["attachment"]["data"], "eA==");
    // Kept, not mapped: PRT without a person.
    assert_eq!(mapped(&text), [0, 1, 2, 4, 5, 6, 7]);
}

#[test]
fn mistakes_are_named_by_file_and_line() {
    for (path, text, expect) in [
        (
            "segments/X.yaml",
            "resource: Patient\ncolour: red\n",
            "segments/X.yaml:2: unknown key `colour`",
        ),
        (
            "segments/X.yaml",
            "rules: |\n  a: PID-1\n",
            "segments/X.yaml:1: `resource` is missing",
        ),
        (
            "segments/X.yaml",
            "resource: Patient\nrules: |\n  a: PID-1\n  b: PID-0\n",
            "segments/X.yaml:4: `PID-0`: fields are numbered from 1 to 999",
        ),
        (
            "segments/X.yaml",
            "resource: Patient\nrules: |\n  a: PID-1 | PIN.code\n",
            "segments/X.yaml:3: no converter `PIN.code`",
        ),
        (
            "segments/X.yaml",
            "resource: Patient\nrules: |\n  # c\n  a: PID-1 | ID.code -> Nothing\n",
            "segments/X.yaml:4: no vocabulary `Nothing`",
        ),
        (
            "segments/X.yaml",
            "resource: Patient\nrules: |\n  a: PID-1 | ST.string -> PatientClass\n",
            "segments/X.yaml:3: this converter takes no vocabulary",
        ),
        (
            "segments/X.yaml",
            "resource: Patient\nrules: |\n  a: PID-1 | CX.Identifier(kind=MR)\n",
            "segments/X.yaml:3: CX.Identifier takes no `kind`",
        ),
        (
            "segments/X.yaml",
            "resource: Patient\nrules: |\n  a: $event.colour\n",
            "segments/X.yaml:3: no event sets `colour`",
        ),
        (
            "segments/X.yaml",
            "resource: Patient\nrules: |\n  a: $sender.colour\n",
            "segments/X.yaml:3: no sender sets `colour`",
        ),
        (
            "segments/X.yaml",
            "resource: Patient\nrules: |\n  a[x]: PID-1\n",
            "segments/X.yaml:3: [x] stands last, and its converter says the type",
        ),
        (
            "segments/X.yaml",
            "resource: Patient\nrules: |\n  a: .1\n",
            "segments/X.yaml:3: an address without a segment is for element maps",
        ),
        (
            "segments/X.yaml",
            "resource: Patient\nwrite: { ADT: replace }\n",
            "segments/X.yaml:2: write: upsert or create",
        ),
        (
            "datatypes/CX.X.yaml",
            "element: Extension\nrules: |\n  a: PID-3\n",
            "datatypes/CX.X.yaml:3: PID is not the segment of this map",
        ),
        (
            "messages/X.yaml",
            "structure: ORU_R02\n",
            "messages/X.yaml:1: no structure `ORU_R02`",
        ),
        (
            "messages/X.yaml",
            "structure: ORU_R01\ndo:\n  - XCN.Practitioner\n",
            "messages/X.yaml:3: no map `XCN.Practitioner` in segments/",
        ),
        (
            "messages/X.yaml",
            "structure: ORU_R01\ndo:\n  - PID.Person\n",
            "messages/X.yaml:3: no map `PID.Person` in segments/",
        ),
        (
            "messages/X.yaml",
            "structure: ORU_R01\ndo:\n  - PV1.Encounter(subject=$p)\n",
            "messages/X.yaml:3: `$p` is not known here",
        ),
        (
            "messages/X.yaml",
            "structure: ORU_R01\ndo:\n  - let p = PID.Patient(colour=red)\n",
            "messages/X.yaml:3: PID.Patient uses no `$colour`",
        ),
        (
            "messages/X.yaml",
            "structure: ORU_R01\ndo:\n  - for: VISITS\n    do: [PID.Patient]\n",
            "messages/X.yaml:3: `VISITS` is no group here, and no segment",
        ),
        (
            "events/x.yaml",
            "ADT^A99:\n  message: ADT_A99\n",
            "events/x.yaml:1: no message map `ADT_A99`",
        ),
        (
            "events/x.yaml",
            "ADT^A01:\n  message: ADT_A01\n",
            "events/x.yaml:1: ADT^A01 is here twice",
        ),
        (
            "structures/X.yaml",
            "groups: MSH pid\n",
            "structures/X.yaml:1: `pid` is neither a segment nor followed by [...]",
        ),
        (
            "vocabulary/X.json",
            "{}",
            "vocabulary/X.json:1: this is no ConceptMap",
        ),
        (
            "vocabulary/X.json",
            "{\n,",
            "vocabulary/X.json:2: this is not valid JSON",
        ),
        (
            "senders/X.yaml",
            "zone: CET\n",
            "senders/X.yaml:1: zone: +01:00, -05:00 or Z",
        ),
        (
            "senders/X.yaml",
            "charset: EBCDIC\n",
            "senders/X.yaml:1: this character set is not in table 0211, or not supported",
        ),
        (
            "systems.yaml",
            "coding:\n  LN: loinc\n",
            "systems.yaml:2: this is no URI",
        ),
        (
            "other/X.yaml",
            "a: b\n",
            "other/X.yaml:1: no data belongs into \"other\"",
        ),
    ] {
        let errors = load_errors(path, text);
        assert!(
            errors.iter().any(|error| error == expect),
            "{text}\n{errors:?}"
        );
    }
    assert_eq!(load_errors("README.md", "# words"), [""; 0]);
}

#[test]
fn a_sender_has_events_segments_and_codes_of_its_own() {
    let file = |path: &str, text: &str| File {
        path: path.into(),
        bytes: text.into(),
    };
    let local = r#"{"resourceType": "ConceptMap", "group": [{"target": "http://loinc.org", "element": [{"code": "NA", "target": [{"code": "2951-2"}]}]}]}"#;
    let files = [
        file("structures/S.yaml", "groups: MSH PID OBX*"),
        file("structures/Z.yaml", "groups: MSH PID ZPI OBX*"),
        file(
            "messages/S.yaml",
            "do: [PID.Patient, OBX.Observation when OBX]",
        ),
        file("messages/Z.yaml", "do: [ZPI.Patient]"),
        file(
            "events/e.yaml",
            "ADT^A01: { message: S }\nADT^A08: { message: S }",
        ),
        file(
            "segments/PID.Patient.yaml",
            "resource: Patient\nrules: |\n  gender: PID-8 | CWE.code -> Sex\n",
        ),
        file(
            "segments/ZPI.Patient.yaml",
            "resource: Patient\nrules: |\n  birthDate: ZPI-1 | DTM.date\n",
        ),
        file(
            "segments/OBX.Observation.yaml",
            "resource: Observation\nrules: |\n  code: OBX-3 | CWE.CodeableConcept\n",
        ),
        file(
            "vocabulary/Sex.ConceptMap.json",
            &local.replace("NA", "M").replace("2951-2", "male"),
        ),
        file(
            "vocabulary/OwnSex.ConceptMap.json",
            &local.replace("NA", "1").replace("2951-2", "male"),
        ),
        file("vocabulary/Lab.ConceptMap.json", local),
        file(
            "senders/HIS.GH.yaml",
            "accept: [ADT^A01, ADT^A05]\nevents:\n  ADT^A05: { message: Z }\nvocabulary: { Sex: OwnSex }\ncodes: { 99LAB: Lab }",
        ),
    ];
    let mappings = Mappings::load(&files).unwrap();
    let message = |event: &str, pid: &str| {
        format!("{MSH}{event}|1|P|2.5\rPID|||||||{pid}\rOBX|1|NM|NA^Sodium^99LAB")
    };
    let converted = convert(&mappings, &message("ADT^A01", "|1")).unwrap();
    assert_eq!(drafts(&converted, "Patient")[0]["gender"], "male");
    assert_eq!(
        drafts(&converted, "Observation")[0]["code"]["coding"],
        json!([
            {"system": "http://loinc.org", "code": "2951-2"},
            {"system": "urn:hl7v2:coding:GH:99LAB", "code": "NA", "display": "Sodium"},
        ])
    );
    let other = message("ADT^A01", "|1").replace("HIS", "LIS");
    assert!(drafts(&convert(&mappings, &other).unwrap(), "Patient")[0]["gender"].is_null());
    assert!(matches!(
        convert(&mappings, &message("ADT^A08", "|M")),
        Err(ConvertError::Unmapped)
    ));
    let own = message("ADT^A05", "|1").replace("OBX|", "ZPI|1980\rOBX|");
    assert_eq!(
        drafts(&convert(&mappings, &own).unwrap(), "Patient")[0]["birthDate"],
        "1980"
    );
}

#[test]
fn what_a_sender_does_not_set_is_as_by_default() {
    let file = |path: &str, text: &str| File {
        path: path.into(),
        bytes: text.into(),
    };
    let mappings = Mappings::load(&[
        file("structures/S.yaml", "groups: MSH PID"),
        file("messages/S.yaml", "do: [PID.Patient]"),
        file("events/e.yaml", "ADT^A01: { message: S }"),
        file(
            "segments/PID.Patient.yaml",
            "resource: Patient\nrules: |\n  gender: $sender.one\n  language: $sender.two\n",
        ),
        file("senders/default.yaml", "set: { one: a, two: b }"),
        file("senders/HIS.GH.yaml", "set: { one: own }"),
    ]);
    let mappings = mappings.unwrap();
    let own = format!("{MSH}ADT^A01|1|P|2.5\rPID|1");
    for (text, one) in [(own.replace("HIS", "LIS"), "a"), (own, "own")] {
        let patient = &drafts(&convert(&mappings, &text).unwrap(), "Patient")[0];
        assert_eq!(
            (&patient["gender"], &patient["language"]),
            (&json!(one), &json!("b"))
        );
    }
}

/// The practitioners of OBX-16 are made while the result they stand in is, and who has no number is no resource.
#[test]
fn a_trace_names_the_draft_of_each_rule() {
    let text = format!(
        "{MSH}ORU^R01^ORU_R01|1|P|2.5.1\rPID|1||1^^^A^MR\rOBR|1|P1^H|F1^L|1-1^a^LN\r\
         OBX|1|NM|1-1^a^LN||1||||||F|||||7^WHO^ANNA^^^^^^LAB~^NAMED^ONLY||A1^ANALYZER"
    );
    let message = Message::parse(text.as_bytes(), &TextOptions::default()).unwrap();
    let (mappings, trace) = (real(), Trace::default());
    let sender = mappings.sender(text.as_bytes());
    let converted = mappings.convert_with(&message, sender, Some(&trace));
    let drafts = converted.unwrap().drafts;
    let steps = trace.steps();
    for step in &steps {
        assert_eq!(drafts[step.draft].map, step.map, "{step:?}");
    }
    for (index, draft) in drafts.iter().enumerate() {
        let is_its = |step: &Step| step.draft == index;
        assert!(steps.iter().any(is_its), "{:?}", draft.body);
    }
}

/// All maps over a folder of messages (HL7V2_CORPUS), if there is one.
#[test]
fn a_folder_of_messages_converts() {
    let Some(folder) = std::env::var_os("HL7V2_CORPUS") else {
        println!("skipped: HL7V2_CORPUS names no folder of messages");
        return;
    };
    let mappings = real();
    let mut counts: std::collections::BTreeMap<String, (usize, usize)> = Default::default();
    let mut warnings: std::collections::BTreeMap<String, usize> = Default::default();
    for file in read_folder(Path::new(&folder)).unwrap() {
        for text in messages(&file.bytes) {
            let Ok(message) = Message::parse(&text, &TextOptions::default()) else {
                continue;
            };
            let converted = mappings.convert(&message, mappings.sender(&text));
            if matches!(converted, Err(ConvertError::Unmapped)) {
                continue;
            }
            let trigger = message.trigger();
            let count = counts
                .entry(format!("{}^{}", trigger.message_type, trigger.event))
                .or_default();
            count.0 += 1;
            match converted {
                Ok(converted) => {
                    count.1 += 1;
                    for notice in converted.notices {
                        let at = notice.location.unwrap_or_default();
                        *warnings
                            .entry(format!("{}-{} {}", at.segment, at.field, notice.text))
                            .or_default() += 1;
                    }
                }
                Err(error) => println!("{}: {error:?}", file.path),
            }
        }
    }
    println!("{counts:#?}");
    let mut warnings: Vec<_> = warnings.into_iter().collect();
    warnings.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    warnings.truncate(40);
    println!("{warnings:#?}");
    let sent: usize = counts.values().map(|(sent, _)| sent).sum();
    let converted: usize = counts.values().map(|(_, converted)| converted).sum();
    assert!(converted * 100 >= sent * 95, "{converted} of {sent}");
}

/// The messages of a file, without batch segments.
fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for line in bytes.split(|byte| matches!(byte, b'\r' | b'\n')) {
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        match line.get(..3) {
            Some(b"MSH") => messages.push(line.to_vec()),
            Some(b"FHS" | b"BHS" | b"BTS" | b"FTS") | None => {}
            Some(_) => {
                if let Some(message) = messages.last_mut() {
                    message.push(b'\r');
                    message.extend(line);
                }
            }
        }
    }
    messages
}

#[path = "order_tests.rs"]
mod orders;
#[path = "specimen_tests.rs"]
mod specimens;

const ORU: &str = "MSH|^~\\&|LAB|GH|||20260301||ORU^R01^ORU_R01|1|P|2.5.1\rPID|1||1^^^A||X^Y||1980\r\
    PV1|1|I|W^1||||D1^H^G||||||||||||V1\rORC|RE|O1^H|F1^L\rOBR|1|O1^H|F1^L|1-1^a^LN|||2026||||||||S&b||||||||2026030110||CH|F\r\
    NTE|1||note~more\rOBX|1|NM|1-1^a^LN||+7.0|mg^m^UCUM|1-2|H~L|||F|||2026\rOBX|2|SN|2-2^b^LN||^1^-^2|mg\r\
    OBX|3|ED|3^c^99||^TEXT^plain^Base64^YWJj\rOBX|4|CWE|4||A^b^L~C^d^L\rNTE|1||x\rSPM|1|1&a^2&b||BLD^x^HL70487\rZZZ|1";

proptest::proptest! {
    /// Whatever a sender does to a message, it converts or is refused; it never panics.
    #[test]
    fn mutated_messages_never_panic(
        cuts in proptest::collection::vec((0usize..700, 0usize..12, "[|^~&\\\\\r\"A-Z0-9é.+-]{0,6}"), 0..12)
    ) {
        static MAPPINGS: std::sync::LazyLock<Mappings> = std::sync::LazyLock::new(real);
        let mut text: Vec<char> = ORU.chars().collect();
        for (at, length, insert) in cuts {
            let at = 9 + at % (text.len() - 9);
            let end = (at + length).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Ok(message) = Message::parse(text.as_bytes(), &TextOptions::default()) {
            let _ = MAPPINGS.convert(&message, MAPPINGS.sender(text.as_bytes()));
        }
    }
}
