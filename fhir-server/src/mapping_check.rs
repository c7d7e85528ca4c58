//! The HL7 v2 maps against the R5 definitions: every place a rule writes to exists, is a list where the rule makes a list, and takes
//! the type the rule writes; every required element of a resource has a rule. Mistakes are named by file and line.

use fhir_definitions::{Definitions, Element, Structure, structure::Kind};
use hl7_mllp_listener::mapping::program::{Index, Target};
use hl7_mllp_listener::mapping::{LoadError, Mappings, TargetUse, Written, read_folder};
use std::collections::BTreeMap;
use std::path::Path;

/// Reads, compiles and checks `hl7v2/` in a mappings folder.
///
/// # Errors
/// Every mistake of every file.
pub fn load(mappings: &Path, definitions: &Definitions) -> Result<Mappings, Vec<LoadError>> {
    let folder = mappings.join("hl7v2");
    let files = read_folder(&folder).map_err(|error| {
        vec![LoadError {
            file: folder.display().to_string(),
            line: 0,
            reason: error.to_string(),
        }]
    })?;
    let mappings = Mappings::load(&files)?;
    let errors = check(&mappings, definitions);
    match errors.is_empty() {
        true => Ok(mappings),
        false => Err(errors),
    }
}

/// Checks compiled maps.
pub fn check(mappings: &Mappings, definitions: &Definitions) -> Vec<LoadError> {
    let uses = mappings.targets();
    let mut errors: Vec<LoadError> = uses
        .iter()
        .filter_map(|target| {
            let reason = check_target(target, definitions).err()?;
            Some(LoadError {
                file: target.file.to_owned(),
                line: target.line,
                reason,
            })
        })
        .collect();
    let mut by_map: BTreeMap<(&str, &str), Vec<&TargetUse<'_>>> = BTreeMap::new();
    for target in &uses {
        let map = by_map.entry((target.file, target.root)).or_default();
        map.push(target);
    }
    for ((file, root), targets) in by_map {
        let missing = structure(root, definitions)
            .into_iter()
            .flat_map(|own| required(own, &targets));
        errors.extend(missing.map(|name| LoadError {
            file: file.to_owned(),
            line: 1,
            reason: format!("{root}.{name} is required and has no rule"),
        }));
    }
    errors.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    errors
}

/// Names of required elements that no rule writes.
fn required<'d>(structure: &'d Structure, targets: &[&TargetUse<'_>]) -> Vec<&'d str> {
    let elements = structure.elements.iter().filter(|element| element.min > 0);
    elements
        .filter(|element| {
            !targets.iter().any(|target| {
                let first = target.steps.first().map_or("", |step| &step.name);
                find(structure, first).is_some_and(|(own, _)| own.name == element.name)
            })
        })
        .map(|element| element.name)
        .collect()
}

fn check_target(target: &TargetUse<'_>, definitions: &Definitions) -> Result<(), String> {
    let mut current = structure(target.root, definitions)
        .ok_or_else(|| format!("R5 has no type {}", target.root))?;
    let (last, way) = target.steps.split_last().ok_or("the rule has no target")?;
    for step in way {
        if let Some(primitive) = step.name.strip_prefix('_') {
            find(current, primitive)
                .ok_or_else(|| format!("{} has no element {primitive}", current.name))?;
            current = structure("Element", definitions).ok_or("R5 has no type Element")?;
            continue;
        }
        let (element, type_name) = element(current, step)?;
        let type_name = type_name
            .or_else(|| (!element.choice).then_some(element.types.first()?.name))
            .ok_or_else(|| format!("{} is a choice: name its type", step.name))?;
        current = structure(type_name, definitions)
            .ok_or_else(|| format!("R5 has no type {type_name}"))?;
    }
    let (element, chosen) = element(current, last)?;
    let types: Vec<&str> = match (chosen, last.index) {
        (Some(chosen), _) => vec![chosen],
        (None, Index::Choice) if !element.choice => {
            return Err(format!("{} is no choice element", last.name));
        }
        (None, Index::One) if element.choice => {
            return Err(format!(
                "{} is a choice: name its type, or write [x]",
                last.name
            ));
        }
        (None, _) => element.types.iter().map(|own| own.name).collect(),
    };
    let is_choice = last.index == Index::Choice;
    if is_written(&target.written, element, &types, is_choice, definitions) {
        return Ok(());
    }
    Err(format!(
        "{} takes {}, the rule writes {}",
        last.name,
        types.join(" or "),
        described(&target.written)
    ))
}

/// The element a step names, and its type when the name says it (`valueString`); a list where the step makes one, and only there.
fn element<'d>(
    current: &'d Structure,
    step: &Target,
) -> Result<(&'d Element, Option<&'d str>), String> {
    let found = find(current, &step.name);
    let (element, chosen) =
        found.ok_or_else(|| format!("{} has no element {}", current.name, step.name))?;
    let makes_list = !matches!(step.index, Index::One | Index::Choice);
    match (element.is_array(), makes_list) {
        (true, false) => Err(format!("{} is a list: write [], [+] or [label]", step.name)),
        (false, true) => Err(format!("{} is no list", step.name)),
        _ => Ok((element, chosen)),
    }
}

fn find<'d>(structure: &'d Structure, name: &str) -> Option<(&'d Element, Option<&'d str>)> {
    if let Some(element) = structure.element(name) {
        return Some((element, None));
    }
    let (at, chosen) = structure.member(name)?;
    Some((&structure.elements[at], Some(chosen)))
}

fn is_written(
    written: &Written<'_>,
    element: &Element,
    types: &[&str],
    is_choice: bool,
    definitions: &Definitions,
) -> bool {
    let is_text = |name: &&str| {
        definitions
            .structure(name)
            .is_some_and(|own| own.kind == Kind::Primitive)
            && !matches!(
                *name,
                "boolean" | "integer" | "integer64" | "decimal" | "positiveInt" | "unsignedInt"
            )
    };
    let is_target = |name: &str| {
        element
            .types
            .iter()
            .filter(|own| own.name == "Reference")
            .any(|own| {
                own.targets.is_empty()
                    || own.targets.split(',').any(|t| t == name || t == "Resource")
            })
    };
    let takes = |name: &&str| match name.strip_prefix("Reference(") {
        Some(target) => types.contains(&"Reference") && is_target(target.trim_end_matches(')')),
        None => types.contains(&renamed(name)),
    };
    match written {
        Written::Nothing => true,
        Written::Text(_) => types.iter().any(is_text),
        Written::Argument => types.contains(&"Reference") || types.iter().any(is_text),
        Written::Types(names) if is_choice => names.iter().all(takes),
        Written::Types(names) => names.iter().any(takes),
    }
}

fn described(written: &Written<'_>) -> String {
    match written {
        Written::Nothing => "nothing".to_owned(),
        Written::Text(_) => "a text".to_owned(),
        Written::Argument => "what it is given".to_owned(),
        Written::Types(names) => names.join(" or "),
    }
}

fn structure<'d>(name: &str, definitions: &'d Definitions) -> Option<&'d Structure> {
    let name = name.split('(').next().unwrap_or(name);
    definitions.structure(renamed(name))
}

/// A converter names the one backbone element it writes.
fn renamed(name: &str) -> &str {
    match name {
        "ObservationReferenceRange" => "Observation.referenceRange",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hl7_mllp_listener::mapping::File;
    use hl7_mllp_listener::message::{Message, TextOptions};
    use serde_json::{Value, json};

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings")
    }

    fn definitions() -> Definitions {
        Definitions::load(&[]).unwrap()
    }

    #[test]
    fn the_maps_fit_r5() {
        if let Err(errors) = load(&folder(), &definitions()) {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"));
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let definitions = definitions();
        let files = read_folder(&folder().join("hl7v2")).unwrap();
        for (rule, expect) in [
            ("name[]: PID-5 | XPN.HumanName", None),
            ("colour: PID-5", Some("Patient has no element colour")),
            ("name: PID-5 | XPN.HumanName", Some("name is a list")),
            ("gender[]: PID-8 | ID.code", Some("gender is no list")),
            (
                "gender: PID-8 | CWE.CodeableConcept",
                Some("gender takes code, the rule writes CodeableConcept"),
            ),
            (
                "active: PID-8",
                Some("active takes boolean, the rule writes a text"),
            ),
            ("deceased: PID-8 | ID.boolean", Some("deceased is a choice")),
            (
                "deceasedString: PID-8",
                Some("Patient has no element deceasedString"),
            ),
            ("deceasedBoolean: PID-8 | ID.boolean", None),
            (
                "deceased[x]: PID-8 | VARIES.value",
                Some("deceased takes boolean or dateTime"),
            ),
            ("contact[a].name.family: PID-5", None),
            (
                "contact[a].name.surname: PID-5",
                Some("HumanName has no element surname"),
            ),
            ("_birthDate.extension[].url: PID-5", None),
            (
                "_birthday.extension[].url: PID-5",
                Some("Patient has no element birthday"),
            ),
            ("generalPractitioner[]: PID-5 | XCN.Reference", None),
            (
                "managingOrganization: PID-5 | XCN.Reference",
                Some(
                    "managingOrganization takes Reference, the rule writes Reference(Practitioner)",
                ),
            ),
        ] {
            let mut files = files.clone();
            files.push(File {
                path: "segments/X.yaml".into(),
                bytes: format!("resource: Patient\nrules: |\n  {rule}\n").into_bytes(),
            });
            let errors = check(&Mappings::load(&files).unwrap(), &definitions);
            let got = errors.first().map(|error| error.reason.as_str());
            let fits = match (got, expect) {
                (None, None) => true,
                (Some(got), Some(expect)) => got.contains(expect) && errors[0].line == 3,
                _ => false,
            };
            assert!(fits, "{rule}: {got:?}");
        }
        let missing = File {
            path: "segments/X.yaml".into(),
            bytes: b"resource: Observation\nrules: |\n  status: OBX-11\n".to_vec(),
        };
        let files: Vec<File> = files.into_iter().chain([missing]).collect();
        let errors = check(&Mappings::load(&files).unwrap(), &definitions);
        assert_eq!(
            errors[0].to_string(),
            "segments/X.yaml:1: Observation.code is required and has no rule"
        );
    }

    /// What a message becomes is valid R5, whatever it lacks.
    #[test]
    fn what_is_written_is_valid() {
        let definitions = definitions();
        let mappings = load(&folder(), &definitions).unwrap();
        let header = |kind: &str| format!("MSH|^~\\&|A|B|||20260301||{kind}|1|P|2.5.1");
        let full = "PID|1||1^^^A^MR||X^Y^^^^^L||198001010930|F||a|s&t^^c||555^PRN|||M|R|||||P||Y|2|F^Fr||||2026|Y\rNK1|1|A^B|SPO|||||2026\rPV1|1|I|W^1|E|P1|W^0|D1^H^G|||MED||||1|A0|V||||V1|||||||||||||||||01|||||||||20260301||||||A1";
        let bare = "PID\rPV1|1";
        let odd = "PID|1||1||\"\"||soon|?\rPV1|x|?|||||^^^\rAL1|1||^\rDG1|1||\rIN1|1|x";
        let results = "ORC|XX|1\rOBR|1|1|2|^^|||soon|||||||||||||||soon||?|?\rNTE|1||a~b\rOBX|1|NM|1||x|u|1-2|?|||?|||soon\rOBX|2||\rOBX|3|CWE|a||A^B~C|||||\rOBX|4|ED|a||^a^b^Base64^YQ==|||||\rSPM|1|1&a^2||B|||||||||||||20260301";
        let order = "ORC|NW|1^A|2^B|3^C|IP||^BID^^2026^2027^R|4&A^5&B|202603010800|1^E^F||7^WHO^ANNA^^^^^^H||555||||||1^G||LAB^L^9|1 MAIN ST^^X|555|2 MAIN ST^^Y|||||I^Inpatient\rTQ1|1|5^ml|Q6H&x&y^^^^6^h^^PC^30^min|0800~2000|5^min|3^d|202603010800|202603020800|S|pain|slowly||2^h|5\rOBR|1|1^A|2^B|1-1^a^LN|S|2026|2026|2027|5^ml|8^C^D|G|d|i|2026|BLD&b^x^m^ART|9^O^P|555||||||||||^^^2026|||1^2||R^r||7&X&Y^2026|7&X&Y|7&X&Y|7&X&Y||||c^d|||||||s^t|u^v||||||3^^^A\rNTE|1||a~b||7^W^A|2026\rPRT|1|AD||OP|7^W^A|||1^ORG^9||D1^A||||||1^2|2026|2027|L|S\rDG1|1||I10^x^I10";
        let drug = "RXO|A^B^C|1|2|mg^m^UCUM|TAB|i^j|k^l||G||10|TAB|3|7^D^E|8^F^G|||5|mg|r^s|3|mL/h|2^mg\rRXR|PO^Oral|ARM^a||IV|x^y\rRXE|^BID^^2026^2027^S|A^B|1|2|mg|TAB|i^j|||10|TAB|3|7^D^E|8^F^G|RX1||||2^mg||||5|mL/h|r|||||||||||||||5|P^Q\rRXC|A|W^w|1|ml|2|mg";
        let schedule = "SCH|1^A|2^B|||||R^r|T^t|30|min|^^^202603010800^202603010830^S|7^P^Q||||8^R^S||||9^T^U|||||Booked|1^A|2^B\rTQ1|1||||||202603010800|202603010830\rNTE|1||n\rPID|1||1^^^A\rPID|2||2^^^A\rDG1|1||I10^x\rRGS|1\rAIS|1|A|S^s|202603010800|||30|min|||B\rAIG|1|A|D^d|E^e||||202603010800|||30|m\rNTE|1||n\rAIL|1|D|W^1^2^F|C|||202603010800|||30|min\rAIP|1|A|7^P^Q|R^r||202603010800|||1|fortnight||?\rAIG|2\rAIL|2\rAIP|2||||||soon";
        let document = "ORC|NW|1|2\rOBR|1|1|2|A^B\rTXA|1|DI|TX|2026|5^A^B|202603010800|||7^C^D|8^E^F||D1^A|D0^A|||f.txt|AU|R|AV|||9^G^H^^^^^^^^^^^^202603010900|||d";
        for text in [
            format!(
                "{}\rEVN|A01|2026\r{full}\rAL1|1|DA|X^Y|SV|rash~itch\rDG1|1||I10^x^I10|y|2026\rIN1|1|P^Q|C|D|||||||||2026|2027||T||18\rOBX|1|NM|8302-2^h^LN||1.8|m||||||F",
                header("ADT^A01")
            ),
            format!("{}\rEVN|A03|2026030112\r{full}", header("ADT^A03")),
            format!("{}\r{bare}", header("ADT^A08")),
            format!("{}\r{odd}", header("ADT^A04")),
            format!("{}\r{full}\r{results}", header("ORU^R01")),
            format!("{}\r{bare}\r{results}", header("ORU^R01")),
            format!("{}\r{results}", header("ORU^R01")),
            format!("{}\r{full}\r{results}\rDG1|1||A^B", header("ORM^O01")),
            format!("{}\rORC|NW", header("ORM^O01")),
            format!(
                "{}\r{full}\r{order}\rSPM|1|1&a^2||B|x|y|z|w||||5^ml||t|||2026^2027|2026||Y|R^r||||||C^c|||1^^^A|2^^^B|3^C\rSAC||1^A|2^B",
                header("OML^O21")
            ),
            format!("{}\r{bare}\rSPM|1\rSAC|||x\r{order}", header("OML^O33")),
            format!("{}\rSPM|1|1\rSAC|||x\r{order}\rORC|?", header("OML^O35")),
            format!(
                "{}\r{bare}\rSPM|1|1&a^2\rINV|x\r{results}",
                header("OUL^R22")
            ),
            format!("{}\r{bare}\r{results}", header("OUL^R24")),
            format!("{}\rSAC||1^A|2^B\r{results}", header("OUL^R21")),
            format!(
                "{}\r{full}\rOBR|1||1\rOBX|1|NA|1||1^2|mV\rOBX|2|MA|1||1^2~3^x|mV\rOBX|3|DR|1||2026^2027\rOBX|4|NR|1||1^2|mg",
                header("ORU^W01")
            ),
            format!("{}\r{full}\r{order}\r{drug}", header("RDE^O11")),
            format!("{}\rORC|?\rRXO\rRXE|x", header("OMP^O09")),
            format!(
                "{}\r{bare}\rORC|NW|1|2\rRXD|x||soon|y|z\rRXD|1|A^B|2026|5|TAB|||RX|n||7^D^E|G|5^mg|||I^i",
                header("RDS^O13")
            ),
            format!(
                "{}\r{bare}\rORC|NW|1|2\rRXA|x|y||soon|y|z\rRXA|0|1|2026|2027|A^B|5|mg|f|n^t~^u|7^D^E||||||||r^s|i^j|CP|D|2026\rRXR|PO|A||B",
                header("RAS^O17")
            ),
            format!("{}\r{schedule}", header("SIU^S12")),
            format!("{}\rSCH", header("SIU^S15")),
            format!("{}\r{schedule}", header("SIU^S23")),
            format!("{}\r{schedule}", header("SIU^S17")),
            format!(
                "{}\rEVN|T02|2026\r{full}\r{document}\rOBX|1|TX|1^n||a\rOBX|2|ED|1^n||^application^pdf^Base64^YQ==\rOBX|3|RP|1^n||http://a.b^^IM^JPEG\rOBX|4|NM|8302-2^h^LN||5|cm",
                header("MDM^T02")
            ),
            format!("{}\rEVN|T09\rPID\rTXA|x", header("MDM^T09")),
            format!("{}\rEVN|T11|2026\r{full}\r{document}", header("MDM^T11")),
        ] {
            let problems = invalid(text.as_bytes(), &mappings, &definitions);
            assert_eq!(problems, [""; 0], "{text}");
        }
    }

    /// The same over a folder of messages (HL7V2_CORPUS), if there is one.
    #[test]
    fn a_folder_of_messages_becomes_valid() {
        let Some(corpus) = std::env::var_os("HL7V2_CORPUS") else {
            println!("skipped: HL7V2_CORPUS names no folder of messages");
            return;
        };
        let definitions = definitions();
        let mappings = load(&folder(), &definitions).unwrap();
        let mut problems: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for file in read_folder(Path::new(&corpus)).unwrap() {
            for problem in invalid(&file.bytes, &mappings, &definitions) {
                let seen = problems.entry(problem).or_insert((0, file.path.clone()));
                seen.0 += 1;
            }
        }
        assert!(problems.is_empty(), "{problems:#?}");
    }

    fn invalid(raw: &[u8], mappings: &Mappings, definitions: &Definitions) -> Vec<String> {
        let Ok(message) = Message::parse(raw, &TextOptions::default()) else {
            return Vec::new();
        };
        let Ok(converted) = mappings.convert(&message, mappings.sender(raw)) else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        for draft in converted.drafts {
            let mut body = draft.body;
            for (name, value) in draft.new {
                body.entry(name).or_insert(value);
            }
            // The journal adds what was written, and who sent where the message does not say it.
            if body.get("resourceType").and_then(Value::as_str) == Some("Provenance") {
                body.insert("target".into(), json!([{"reference": "Task/1"}]));
                let sender = json!([{"who": {"display": "unknown"}}]);
                body.entry("agent").or_insert(sender);
            }
            let mut resources = vec![Value::Object(body)];
            while let Some(mut resource) = resources.pop() {
                take_contained(&mut resource, &mut resources);
                for issue in definitions.validate(&resource) {
                    let place = issue.expression.unwrap_or_default();
                    problems.push(format!("{place}: {}", issue.diagnostics));
                }
            }
        }
        problems
    }

    /// Resources that stand where a reference goes become contained ones when a message is assembled.
    fn take_contained(node: &mut Value, resources: &mut Vec<Value>) {
        match node {
            Value::Object(members) => {
                for (name, child) in members {
                    match name == "reference" && child.get("resourceType").is_some() {
                        true => resources.push(std::mem::replace(child, json!("#1"))),
                        false => take_contained(child, resources),
                    }
                }
            }
            Value::Array(children) => {
                for child in children {
                    take_contained(child, resources);
                }
            }
            _ => {}
        }
    }
}
