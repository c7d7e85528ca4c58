//! The DHIS2 exporter against the double of `tests/doubles/dhis2`, which a client of other people has checked first.
//! Long because each case has its resources, its plan and both families of answers beside it.

use crate::clients::third_party;
use crate::process::ROOT;
use fhir_definitions::{DataFile, Definitions};
use fhir_model::ResourceKey;
use fhir_server::dhis2::Content;
use fhir_server::dhis2::aggregate::Tabulation;
use fhir_server::dhis2::error::Dhis2Error;
use fhir_server::dhis2::period::PeriodType;
use fhir_server::dhis2::plan::{Plan, Slice, ValueKey, plan};
use fhir_server::dhis2::run::{self, Which};
use fhir_server::dhis2::submit::{Attempt, Client, State, Submission};
use fhir_storage::{Change, Target, Version, VersionMatch};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const TOKEN: &str = "d2pat_abcdefghijklmnopqrstuvwxyzABCDEF0123456789";

/// The double, for as long as this value lives.
struct Double {
    process: Child,
    base: String,
}

impl Double {
    fn start(dialect: &str) -> Double {
        let mut process = Command::new("python3")
            .arg(format!("{ROOT}/tests/doubles/dhis2/dhis2_double.py"))
            .args([
                "--dialect",
                dialect,
                "--user",
                "admin",
                "--password",
                "district",
                "--token",
                TOKEN,
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().rsplit(' ').next().unwrap();
        Double {
            base: format!("http://{address}"),
            process,
        }
    }

    async fn faults(&self, faults: Value) {
        let url = format!("{}/double/faults", self.base);
        reqwest::Client::new()
            .post(url)
            .body(faults.to_string())
            .send()
            .await
            .unwrap();
    }

    /// What was posted so far.
    async fn requests(&self) -> Vec<Value> {
        let body = reqwest::get(format!("{}/double/requests", self.base))
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn content() -> Content {
    let mut files = Vec::new();
    for folder in ["targets", "dimensions", "indicators", "datasets", "."] {
        for entry in std::fs::read_dir(format!("{ROOT}/mappings/dhis2/{folder}")).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                files.push(DataFile {
                    path: path.to_str().unwrap().to_string(),
                    bytes: std::fs::read(&path).unwrap(),
                });
            }
        }
    }
    Content::load(&files, &Definitions::load(&[]).unwrap()).unwrap()
}

fn client(content: &Content, double: &Double, token: Option<&str>, password: &str) -> Client {
    let mut target = content.targets["national"].clone();
    target.timeout_seconds = 2;
    let variable = |name: &str| match name {
        "DHIS2_URL" => Some(double.base.clone()),
        "DHIS2_TOKEN" => token.map(str::to_string),
        "DHIS2_USER" => Some("admin".to_string()),
        "DHIS2_PASSWORD" => Some(password.to_string()),
        _ => None,
    };
    Client::new(&target, variable).unwrap()
}

/// A plan of one clinic: 7 tests, and visits of girls under 5.
fn figures(content: &Content, period: &str, org_unit: &str, girls: u64) -> Plan {
    let one = |combo: Option<&str>, count| Tabulation {
        counts: BTreeMap::from([(
            org_unit.to_string(),
            BTreeMap::from([(combo.map(str::to_string), count)]),
        )]),
        ..Tabulation::default()
    };
    let tabulations = vec![
        one(None, 7),
        Tabulation::default(),
        Tabulation::default(),
        one(Some("FEMALE_UNDER_5"), girls),
    ];
    let period = PeriodType::Monthly.parse(period).unwrap();
    plan(
        "opd-monthly",
        &content.data_sets["opd-monthly"],
        &period,
        tabulations,
        &BTreeMap::new(),
    )
}

fn key(data_element: &str, combo: Option<&str>) -> ValueKey {
    ValueKey {
        data_element: data_element.into(),
        category_option_combo: combo.map(str::to_string),
    }
}

/// `state, confirmed of all, attempts; codes`.
fn summary(submission: &Submission) -> String {
    let attempts: Vec<String> = submission
        .attempts
        .iter()
        .map(|attempt| match attempt {
            Attempt::Answered { status, answer } => format!("{status} {}", answer.status),
            Attempt::Unreadable { status } => format!("{status}"),
            Attempt::NoAnswer => "-".into(),
        })
        .collect();
    let codes: Vec<String> = submission
        .unconfirmed
        .values()
        .map(|code| code.clone().unwrap_or_default())
        .collect();
    let all = submission.confirmed + submission.unconfirmed.len();
    format!(
        "{:?} {}/{all} [{}] {}",
        submission.state,
        submission.confirmed,
        attempts.join(", "),
        codes.join(",")
    )
}

#[test]
fn the_double_is_a_server_to_a_client_of_others() {
    let Some(python) = third_party("venv/bin/python") else {
        return;
    };
    for dialect in ["2.37", "2.42", "2.43"] {
        let double = Double::start(dialect);
        let output = Command::new(&python)
            .arg(format!(
                "{ROOT}/tests/doubles/dhis2/check_with_dhis2_client.py"
            ))
            .args([&double.base, dialect, "admin", "district"])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{dialect}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Sends one slice after telling the double what to do, and compares what is said about it.
async fn check(dialect: &str, faults: Value, plan: &Plan, slice: &Slice, expect: &str) {
    let content = content();
    let double = Double::start(dialect);
    let client = client(&content, &double, Some(TOKEN), "");
    assert_eq!(client.check().await.unwrap(), format!("{dialect}.0"));
    double.faults(faults.clone()).await;
    let submission = client.submit(plan, slice, &content.errors).await;
    assert_eq!(summary(&submission), expect, "{dialect} {faults}");
}

#[tokio::test]
async fn both_families_of_servers() {
    let content = content();
    let good = figures(&content, "2026-10", "CLINIC_A", 3);
    let closed = figures(&content, "2020-01", "CLINIC_A", 3);
    let nowhere = figures(&content, "2026-10", "CLINIC_Z", 3);
    for (dialect, plan, expect) in [
        ("2.37", &good, "Confirmed 2/2 [200 SUCCESS] "),
        ("2.42", &good, "Confirmed 2/2 [200 SUCCESS] "),
        ("2.43", &good, "Confirmed 2/2 [200 SUCCESS] "),
        ("2.42", &closed, "Held 0/2 [409 WARNING] E7640,E7640"),
        ("2.43", &closed, "Held 0/2 [409 ERROR] E8030,E8030"),
        ("2.42", &nowhere, "Failed 0/2 [409 WARNING] E7612,E7612"),
        ("2.43", &nowhere, "Failed 0/2 [409 ERROR] E8102,E8102"),
    ] {
        check(dialect, json!([]), plan, &plan.slices[0], expect).await;
    }
}

/// A wrong category option combo for one value: the older servers take the other one and say 409, the newer ones take none.
#[tokio::test]
async fn one_bad_value() {
    let content = content();
    let plan = figures(&content, "2026-10", "CLINIC_A", 3);
    let mut slice = plan.slices[0].clone();
    slice
        .values
        .insert(key("OUTPATIENT_VISITS", Some("NOBODY")), 1);
    check(
        "2.42",
        json!([]),
        &plan,
        &slice,
        "Failed 2/3 [409 WARNING] E7613",
    )
    .await;
    check(
        "2.43",
        json!([]),
        &plan,
        &slice,
        "Failed 0/3 [409 ERROR] E8102,E8102,E8102",
    )
    .await;
}

#[tokio::test]
async fn an_insignificant_zero_need_not_be_kept() {
    let content = content();
    let plan = figures(&content, "2026-10", "CLINIC_A", 0);
    for dialect in ["2.42", "2.43"] {
        check(
            dialect,
            json!([]),
            &plan,
            &plan.slices[0],
            "Confirmed 2/2 [200 SUCCESS] ",
        )
        .await;
    }
}

#[tokio::test]
async fn troubles_on_the_way() {
    let content = content();
    let plan = figures(&content, "2026-10", "CLINIC_A", 3);
    for (faults, expect) in [
        (
            json!([503, 429]),
            "Confirmed 2/2 [503 ERROR, 429 ERROR, 200 SUCCESS] ",
        ),
        // the values arrived although the answer did not: they are not sent again
        (json!(["hang-after"]), "Confirmed 2/2 [-] "),
        (json!(["hang-before"]), "Confirmed 2/2 [-, 200 SUCCESS] "),
        (json!([500]), "Unreachable 0/2 [500 ERROR] ,"),
        (json!([401]), "Forbidden 0/2 [401 ERROR] ,"),
        (json!(["page"]), "Unreachable 0/2 [200] ,"),
    ] {
        check("2.42", faults, &plan, &plan.slices[0], expect).await;
    }
}

/// What is no longer counted is deleted, in both families.
#[tokio::test]
async fn a_correction() {
    let content = content();
    for dialect in ["2.42", "2.43"] {
        let double = Double::start(dialect);
        let client = client(&content, &double, None, "district");
        let before = figures(&content, "2026-10", "CLINIC_A", 3);
        assert_eq!(
            client
                .submit(&before, &before.slices[0], &content.errors)
                .await
                .state,
            State::Confirmed
        );
        let mut after = before.slices[0].clone();
        after
            .values
            .remove(&key("OUTPATIENT_VISITS", Some("FEMALE_UNDER_5")));
        after.gone = vec![key("OUTPATIENT_VISITS", Some("FEMALE_UNDER_5"))];
        let submission = client.submit(&before, &after, &content.errors).await;
        assert_eq!(summary(&submission), "Confirmed 2/2 [200 SUCCESS] ");
        let requests = double.requests().await;
        assert_eq!(
            requests[1]["dataValues"][1]["deleted"], true,
            "{requests:?}"
        );
    }
}

#[tokio::test]
async fn a_wrong_secret_is_tried_once() {
    let content = content();
    let double = Double::start("2.42");
    let client = client(&content, &double, None, "wrong");
    assert!(client.check().await.is_err());
    let plan = figures(&content, "2026-10", "CLINIC_A", 3);
    let submission = client.submit(&plan, &plan.slices[0], &content.errors).await;
    assert_eq!(summary(&submission), "Forbidden 0/2 [401 ERROR] ,");
}

#[test]
fn secrets_that_cannot_be_right() {
    let content = content();
    let target = &content.targets["national"];
    for (url, token, expect) in [
        (
            "",
            None,
            "the environment variable DHIS2_TOKEN, or DHIS2_USER, or DHIS2_PASSWORD is not set",
        ),
        (
            "",
            Some("d2pat_abc"),
            "the value of DHIS2_TOKEN is not usable",
        ),
        (
            "ftp://",
            Some(TOKEN),
            "the value of DHIS2_URL is not usable",
        ),
    ] {
        let variable = |name: &str| match name {
            "DHIS2_URL" => Some(if url.is_empty() {
                "http://localhost".to_string()
            } else {
                url.to_string()
            }),
            "DHIS2_TOKEN" => token.map(str::to_string),
            _ => None,
        };
        let error = Client::new(target, variable).err().unwrap().to_string();
        assert!(error.starts_with(expect), "{error}");
    }
}

/// Resources to figures to a server, through a real database: what is counted, sent, recorded, corrected.
#[tokio::test]
async fn from_resources_to_the_server_and_back() {
    let mut content = content();
    content
        .data_sets
        .get_mut("opd-monthly")
        .unwrap()
        .org_units
        .otherwise = None;
    let store = fhir_storage::testing::store().await;
    let double = Double::start("2.43");
    let variable = |name: &str| match name {
        "DHIS2_URL" => Some(double.base.clone()),
        "DHIS2_TOKEN" => Some(TOKEN.to_string()),
        _ => None,
    };
    let record = async |changes| {
        let committed = store.commit(changes).await;
        committed
            .map(|_| ())
            .map_err(|error| Dhis2Error::Record(error.to_string()))
    };
    let at = |id: &str, gender: &str, born: &str, day: &str, clinic: &str, class: &str| {
        [
            json!({"resourceType": "Patient", "id": id, "gender": gender, "birthDate": born}),
            json!({"resourceType": "Encounter", "id": id, "status": "completed", "subject": {"reference": format!("Patient/{id}")},
                "class": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": class}]}],
                "actualPeriod": {"start": day}, "serviceProvider": {"reference": format!("Organization/{clinic}")}}),
            json!({"resourceType": "Observation", "id": id, "status": "final", "subject": {"reference": format!("Patient/{id}")},
                "encounter": {"reference": format!("Encounter/{id}")}, "effectiveDateTime": day,
                "code": {"coding": [{"system": "http://loinc.org", "code": "70569-9"}]},
                "valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": if gender == "male" { "10828004" } else { "260385009" }}]}}),
        ]
    };
    let clinic = |id: &str, code: &str| json!({"resourceType": "Organization", "id": id, "name": id, "identifier": [{"system": "urn:dhis2:org-unit", "value": code}]});
    let mut resources = vec![clinic("a", "CLINIC_A"), clinic("b", "CLINIC_B")];
    resources.extend(at(
        "1",
        "female",
        "2024-01-01",
        "2026-10-31T10:00:00Z",
        "a",
        "AMB",
    ));
    resources.extend(at("2", "male", "1990-01-01", "2026-10-01", "a", "AMB"));
    resources.extend(at("3", "male", "2024", "2026-10-15", "b", "AMB"));
    resources.extend(at("4", "male", "2024", "2026-10-15", "nowhere", "AMB"));
    resources.extend(at("5", "male", "2024", "2026-11-01", "a", "AMB"));
    resources.extend(at("6", "male", "2024", "2026-10-01", "a", "IMP"));
    let [patient, mut visit, _] = at("8", "male", "2024", "2026-10-01", "a", "AMB");
    visit.as_object_mut().unwrap().remove("actualPeriod");
    resources.extend([patient, visit]);
    resources.extend(at("7", "unknown", "2024", "2026-10-01", "a", "AMB"));
    store
        .commit(resources.into_iter().map(put).collect())
        .await
        .unwrap();

    let command = |name: &str| {
        let which = Which {
            period: "2026-10".into(),
            data_set: None,
        };
        if name == "plan" {
            run::Command::Plan(which)
        } else {
            run::Command::Submit(which)
        }
    };
    let plan = run::run(&command("plan"), &store, &content, None, variable, &record)
        .await
        .unwrap();
    let sets: Vec<Value> = serde_json::Deserializer::from_str(&plan.stdout)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let figures: Vec<String> = sets.iter().map(figures_of).collect();
    let clinic_a = "CLINIC_A: MALARIA_RDT_DONE=4 MALARIA_RDT_POSITIVE=2 OUTPATIENTS=3 OUTPATIENT_VISITS/FEMALE_UNDER_5=1 OUTPATIENT_VISITS/MALE_5_AND_OVER=1";
    let clinic_b = "CLINIC_B: MALARIA_RDT_DONE=1 MALARIA_RDT_POSITIVE=1 OUTPATIENTS=1 OUTPATIENT_VISITS/MALE_UNDER_5=1";
    assert_eq!(figures, [clinic_a, clinic_b]);
    for line in [
        "(outpatient-visits): 1 without a date are in no period",
        "OUTPATIENT_VISITS (outpatient-visits): 5 events, 3 counted",
        "1 not counted: no option of sex",
        "1 not counted: no org unit",
    ] {
        assert!(plan.stderr.contains(line), "{}", plan.stderr);
    }

    let submit = async || {
        run::run(
            &command("submit"),
            &store,
            &content,
            None,
            variable,
            &record,
        )
        .await
        .unwrap()
    };
    let sent = submit().await;
    assert!(sent.success, "{}", sent.stdout);
    for (line, expect) in sent.stdout.lines().zip(["5 of 5", "4 of 4"]) {
        assert!(
            line.ends_with(&format!(
                ": every value is there, {expect} values confirmed"
            )),
            "{line}"
        );
    }
    assert_eq!(double.requests().await, sets);
    let id = sent
        .stdout
        .lines()
        .next()
        .unwrap()
        .split([':', '/'])
        .nth(1)
        .unwrap()
        .to_string();
    assert_eq!(read(&store, "Task", &id).await["status"], "completed");
    assert_eq!(
        read(&store, "MeasureReport", &id).await["reporter"]["identifier"]["value"],
        "CLINIC_A"
    );
    assert_eq!(
        read(
            &store,
            "MeasureReport",
            "dhis2-opd-monthly-202610-not-counted"
        )
        .await["group"][0]["population"][0]["count"],
        6
    );

    // The same again: sent and confirmed again, and no new version of the figures.
    assert_eq!(submit().await.stdout, sent.stdout);

    // The girl's visit was an error: her figure is deleted at the server, and then forgotten.
    let mut visit = at(
        "1",
        "female",
        "2024-01-01",
        "2026-10-31T10:00:00Z",
        "a",
        "AMB",
    )[1]
    .clone();
    visit["status"] = json!("entered-in-error");
    store.commit(vec![put(visit)]).await.unwrap();
    let corrected = submit().await;
    assert!(corrected.success, "{}", corrected.stdout);
    let last = double.requests().await;
    let expect = "CLINIC_A: MALARIA_RDT_DONE=4 MALARIA_RDT_POSITIVE=2 OUTPATIENTS=2 OUTPATIENT_VISITS/MALE_5_AND_OVER=1 OUTPATIENT_VISITS/FEMALE_UNDER_5=gone";
    assert_eq!(figures_of(&last[last.len() - 2]), expect);
    submit().await;
    let last = double.requests().await;
    assert_eq!(
        figures_of(&last[last.len() - 2]),
        expect.replace(" OUTPATIENT_VISITS/FEMALE_UNDER_5=gone", "")
    );
}

async fn read(store: &fhir_storage::Store, resource_type: &str, id: &str) -> Value {
    match store
        .read(&ResourceKey::new(resource_type, id))
        .await
        .unwrap()
    {
        Some(Version::Present(found)) => serde_json::from_str(&found.body).unwrap(),
        other => panic!("{resource_type}/{id}: {other:?}"),
    }
}

fn put(resource: Value) -> Change {
    let text = |name: &str| resource[name].as_str().unwrap().to_string();
    Change::Update {
        target: Target::Id(ResourceKey::new(text("resourceType"), text("id"))),
        full_url: None,
        version: VersionMatch::Any,
        may_create: true,
        resource,
    }
}

/// `org unit: data element/category option combo=value …`.
fn figures_of(set: &Value) -> String {
    let values = set["dataValues"].as_array().unwrap().iter().map(|value| {
        let combo = value["categoryOptionCombo"]
            .as_str()
            .map_or(String::new(), |combo| format!("/{combo}"));
        let figure = value["value"].as_str().unwrap_or("gone");
        format!(
            " {}{combo}={figure}",
            value["dataElement"].as_str().unwrap()
        )
    });
    format!(
        "{}:{}",
        set["orgUnit"].as_str().unwrap(),
        values.collect::<String>()
    )
}
