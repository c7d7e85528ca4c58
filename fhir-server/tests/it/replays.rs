//! The journal as operators use it: searched, its work list worked off, messages run again by the command line and at the start of a listener
//! with other maps.

use crate::listeners::stop;
use crate::mllp::{Sender, adt, msa};
use crate::process::{command, copy, directory, mappings_folder, serve};
use serde_json::{Value, json};
use std::time::Duration;

const VOCABULARY: &str = "hl7v2/vocabulary/AdministrativeSex.ConceptMap.json";
const OPEN: &str = "GET Task?code=urn:hl7v2:journal|map-code&status=requested";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_gets_its_mapping() {
    let (_kept, data_dir) = directory();
    let maps = tempfile::tempdir().unwrap();
    copy(&mappings_folder(), maps.path());
    // Pages are short, so what there is more is asked for, too.
    let mut arguments = ["--mllp-addr", "127.0.0.1:0", "--count-max", "1"]
        .map(str::to_string)
        .to_vec();
    arguments.push("--mappings-dir".to_owned());
    arguments.push(maps.path().to_str().unwrap().to_string());
    let mut running = serve(&data_dir, &arguments);
    let site = running.site.clone();
    let mut sender = Sender::connect(&running.mllp_addr).await.unwrap();
    for message in [
        adt("A04", "J1", 1).replace("|M|||", "|Q|||"),
        adt("A08", "J2", 1)
            .replace("|M|||", "|Q|||")
            .replace("Given1", "Other"),
        adt("A04", "J3", 2),
        adt("A99", "J4", 3),
    ] {
        assert_eq!(msa(&sender.send(&message).await.unwrap()).0, "AA");
    }
    let patient = site
        .check("GET Patient?identifier=M00001", "", "200 ; /total = 1")
        .await
        .json();
    let patient = patient["entry"][0]["resource"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let items = site.check(OPEN, "", "200 ; /total = 1").await.json();
    let item = items["entry"][0]["resource"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    site.table(&[
        (
            &format!("GET Task?output=Task/{item}"),
            "",
            "200 ; /total = 2",
        ),
        (
            &format!("GET Task?output=Patient/{patient}"),
            "",
            "200 ; /total = 2",
        ),
        (
            "GET Task?requester:identifier=urn:hl7v2:sender|REG:CAMP4&code=A08",
            "",
            "200 ; /total = 1",
        ),
        (
            "GET Task?business-status=urn:hl7v2:journal|unmapped",
            "",
            "200 ; /total = 1",
        ),
        (
            "GET Task?business-status=urn:hl7v2:journal|applied&authored-on=ge2020",
            "",
            "200 ; /total = 3",
        ),
        (
            "GET Task?business-status=urn:hl7v2:journal|applied&authored-on=lt2020",
            "",
            "200 ; /total = 0",
        ),
    ])
    .await;
    stop(&mut running.child);

    // The vocabulary is completed: the next start runs both messages again, in their order.
    let file = maps.path().join(VOCABULARY);
    let mut map: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let element = json!({"code": "Q", "target": [{"code": "other", "relationship": "equivalent"}]});
    map["group"][0]["element"]
        .as_array_mut()
        .unwrap()
        .push(element);
    std::fs::write(&file, map.to_string()).unwrap();
    let mut running = serve(&data_dir, &arguments);
    let site = running.site.clone();
    for _ in 0..600 {
        if site.check(OPEN, "", "200").await.json()["total"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    site.table(&[
        (
            &format!("GET Patient/{patient}"),
            "",
            "200 ; /gender = other ; /name/0/given/0 = Other",
        ),
        (&format!("GET Task/{item}"), "", "200 ; /status = completed"),
        // Each run has its Provenance.
        (
            &format!("GET Provenance?target=Patient/{patient}"),
            "",
            "200 ; /total = 3",
        ),
    ])
    .await;
    stop(&mut running.child);

    let replay = |arguments: &[&str]| {
        let output = command(&data_dir)
            .args(["hl7v2", "replay"])
            .args(arguments)
            .arg("--mappings-dir")
            .arg(maps.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().last().unwrap().to_owned()
    };
    let count =
        |accepted: usize| format!("{accepted} accepted, 0 refused, 0 no longer in the journal");
    for (arguments, accepted) in [
        (
            &["--ending", "applied", "--outdated", "--event", "A99"][..],
            0,
        ),
        (&["--ending", "applied", "--to", "2020-01-01"], 0),
        (
            &["--ending", "applied", "--outdated", "--sender", "REG:CAMP4"],
            1,
        ),
        (&["--ending", "applied", "--outdated"], 0),
        (&["--event", "A99"], 1),
    ] {
        assert_eq!(replay(arguments), count(accepted), "{arguments:?}");
    }
}
