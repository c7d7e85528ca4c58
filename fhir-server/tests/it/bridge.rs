//! From MLLP to a DHIS2 figure, with the program itself and the maps of this repository: what a registration desk and a laboratory send
//! is acknowledged, accounted for line by line, found by search, and counted.

mod messages;

use crate::clients::third_party;
use crate::mllp::{Sender, message, msa};
use crate::process::{command, directory, mappings, serve, terminate};
use crate::site::Site;
use messages::{END_STATE, broken, figures, messages};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_mllp_to_a_figure() {
    let (_kept, data_dir) = directory();
    let mut running = serve(&data_dir, &mappings());
    let site = running.site.clone();
    let mut sender = Sender::connect(&running.mllp_addr).await.unwrap();
    let messages = messages();
    for message in &messages {
        accepted(&mut sender, message).await;
    }
    for message in &messages {
        check_lines(&site, message).await;
    }
    site.table(END_STATE).await;

    let before = site.resources().await;
    for message in &messages {
        accepted(&mut sender, message).await;
    }
    let after = site.resources().await;
    for (key, resource) in &after {
        assert_eq!(before.get(key), Some(resource), "{key} is not as it was");
    }
    assert_eq!(before.len(), after.len());

    check_figures(&data_dir);
    terminate(&running.child);
    running.child.wait().unwrap();
}

/// The policies are for clients; what the listener writes keeps to those that are for everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_every_policy() {
    let (_kept, data_dir) = directory();
    let mut arguments = mappings();
    for (flag, value) in [
        ("--client-ids", "none"),
        ("--if-match-types", "*"),
        ("--reference-integrity", "both"),
        ("--versioned-references", "strip"),
    ] {
        arguments.extend([flag.to_owned(), value.to_owned()]);
    }
    let mut running = serve(&data_dir, &arguments);
    let mut sender = Sender::connect(&running.mllp_addr).await.unwrap();
    for message in &messages() {
        accepted(&mut sender, message).await;
    }
    running.site.table(END_STATE).await;
    let patient = r#"{"resourceType":"Patient","id":"chosen"}"#;
    let refused = running.site.check("PUT Patient/chosen", patient, "405");
    refused.await;
    terminate(&running.child);
    running.child.wait().unwrap();
}

async fn accepted(sender: &mut Sender, message: &str) {
    let acknowledgement = sender.send(message).await.unwrap();
    let control_id = message.split('|').nth(9).unwrap();
    assert_eq!(
        msa(&acknowledgement),
        ("AA", control_id),
        "{acknowledgement}"
    );
}

/// Every line of a message is in a resource, or named as kept.
async fn check_lines(site: &Site, message: &str) {
    let control_id = message.split('|').nth(9).unwrap();
    let task = journal_entry(site, control_id, "applied").await;
    let numbers = |code: &str| -> Vec<usize> {
        let texts = outputs(&task, code).filter_map(|output| output["valueString"].as_str());
        let lines = texts.flat_map(|text| text.split(", "));
        lines
            .map(|line| line.split(' ').next().unwrap().parse().unwrap())
            .collect()
    };
    let mut lines = numbers("lines-mapped");
    let kept: Vec<_> = outputs(&task, "lines-kept")
        .filter_map(|output| output["valueString"].as_str())
        .flat_map(|text| text.split(", "))
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    // A line that no map knows is kept and named; EVN-2 is used only where a stay ends.
    assert!(
        kept.iter().all(|name| matches!(*name, "EVN" | "ZPV")),
        "{control_id}: {kept:?}"
    );
    lines.extend(numbers("lines-kept"));
    lines.sort_unstable();
    let all: Vec<usize> = (1..=message.trim().split('\r').count()).collect();
    assert_eq!(lines, all, "{control_id}");
}

fn outputs<'a>(task: &'a Value, code: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = task["output"].as_array().into_iter().flatten();
    all.filter(move |output| output["type"]["coding"][0]["code"] == code)
}

/// The one Task of a message, and that it ended so.
async fn journal_entry(site: &Site, control_id: &str, ending: &str) -> Value {
    let request = format!("GET Task?identifier=urn:hl7v2:message|DESK:CAMP4%23{control_id}");
    let expect =
        format!("200 ; /total = 1 ; /entry/0/resource/businessStatus/coding/0/code = {ending}");
    let found = site.check(&request, "", &expect).await.json();
    found["entry"][0]["resource"].clone()
}

fn check_figures(data_dir: &Path) {
    let output = command(data_dir)
        .args(["dhis2", "plan", "--period", "2026-10"])
        .args(&mappings()[2..])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let planned: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, expect) in [
        ("dataSet", "OPD_MONTHLY"),
        ("period", "202610"),
        ("orgUnit", "THIS_SITE"),
    ] {
        assert_eq!(planned[name], expect, "{planned:#}");
    }
    assert_eq!(planned["dataValues"], figures(), "{planned:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_messages_and_replay() {
    let (_kept, data_dir) = directory();
    let mut arguments = mappings();
    arguments.extend(["--mllp-message-max-bytes", "20000"].map(str::to_string));
    let mut running = serve(&data_dir, &arguments);
    let site = running.site.clone();
    let mut sender = Sender::connect(&running.mllp_addr).await.unwrap();
    for (message, code, place) in broken() {
        let acknowledgement = sender.send(&message).await.unwrap();
        assert_eq!(msa(&acknowledgement).0, code, "{acknowledgement}");
        assert!(acknowledgement.contains(place), "{acknowledgement}");
    }
    // What is too long is not kept; what comes after it is served, on the same connection or the next.
    let long = message(
        "ADT^A04^ADT_A01",
        "X9",
        &format!("PID|1||X9^^^CAMP4^MR||{}", "X".repeat(30_000)),
    );
    let mut other = Sender::connect(&running.mllp_addr).await.unwrap();
    let acknowledgement = other.send(&long).await.unwrap();
    assert_eq!(msa(&acknowledgement).0, "AR", "{acknowledgement}");
    let count = broken().len();
    let failed = format!("200 ; /total = {count}");
    site.table(&[
        ("GET Task?status=failed&_summary=count", "", &failed),
        ("GET Binary?_summary=count", "", &failed),
        ("GET Patient?_summary=count", "", "200 ; /total = 0"),
    ])
    .await;

    // One visit was registered twice; a message that names both numbers cannot be placed until one is gone.
    let visit = |id: &str, number: &str, alternate: &str| {
        let lines = format!(
            "PID|1||R1^^^CAMP4^MR||Abebe^Sara
             PV1|1|O|||||||||||||||||{number}^^^CAMP4^VN|||||||||||||||||||||||||20261005||||||{alternate}"
        );
        message("ADT^A04^ADT_A01", id, &lines)
    };
    accepted(&mut sender, &visit("R1", "V1", "")).await;
    accepted(&mut sender, &visit("R2", "V2", "")).await;
    let both = visit("R3", "V1", "V2^^^CAMP4^VN");
    let acknowledgement = sender.send(&both).await.unwrap();
    assert_eq!(msa(&acknowledgement), ("AE", "R3"), "{acknowledgement}");
    assert!(acknowledgement.contains("205^"), "{acknowledgement}");
    let task = journal_entry(&site, "R3", "refused").await;
    let task_id = task["id"].as_str().unwrap();
    let replay = || {
        let output = command(&data_dir)
            .args(["hl7v2", "replay", task_id])
            .args(&mappings()[2..])
            .output();
        output.unwrap()
    };
    assert!(!replay().status.success());
    journal_entry(&site, "R3", "refused").await;

    let second = site
        .check("GET Encounter?identifier=V2", "", "200 ; /total = 1")
        .await;
    let second = second.json()["entry"][0]["resource"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    site.check(&format!("DELETE Encounter/{second}"), "", "204")
        .await;
    let replayed = replay();
    assert!(
        replayed.status.success(),
        "{}",
        String::from_utf8_lossy(&replayed.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&replayed.stdout), "AA\n");
    check_lines(&site, &both).await;
    site.table(&[
        ("GET Encounter?_summary=count", "", "200 ; /total = 1"),
        (
            "GET Encounter?identifier=V1&identifier=V2",
            "",
            "200 ; /total = 1",
        ),
    ])
    .await;
    // The sender who sends it again hears that it is done.
    accepted(&mut sender, &both).await;
    assert!(
        !replay().status.success(),
        "an applied message is not run again"
    );
    terminate(&running.child);
    running.child.wait().unwrap();
}

/// Every message of this file through the clients of PyPI `hl7` and npm `simple-hl7`, which share no code with ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_others() {
    let (Some(mllp_send), Some(simple_hl7)) = (
        third_party("venv/bin/mllp_send"),
        third_party("node_modules/simple-hl7"),
    ) else {
        return;
    };
    let (_kept, data_dir) = directory();
    let mut running = serve(&data_dir, &mappings());
    let port = running.mllp_addr.rsplit(':').next().unwrap().to_owned();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), messages().concat().replace('\r', "\r\n")).unwrap();
    let mut python = Command::new(mllp_send);
    python
        .args(["-p", &port, "--loose", "-f"])
        .arg(file.path())
        .arg("127.0.0.1");
    check_answers(&mut python);
    running.site.table(END_STATE).await;

    let script = r"
        const hl7 = require(process.argv[1]);
        const text = require('fs').readFileSync(process.argv[3], 'latin1');
        const messages = text.replaceAll('\n', '').split(/(?=MSH\|)/);
        const client = hl7.Server.createTcpClient({ host: '127.0.0.1', port: Number(process.argv[2]), keepalive: true });
        const parser = new hl7.Parser({ segmentSeperator: '\r' });
        const next = () => {
            if (!messages.length) return client.close();
            client.send(parser.parse(messages.shift().trim()), (error, ack) => {
                console.log(error || ack.toString());
                setImmediate(next);
            });
        };
        next();
    ";
    let mut node = Command::new("node");
    node.args(["-e", script])
        .arg(simple_hl7)
        .arg(&port)
        .arg(file.path());
    check_answers(&mut node);
    running.site.table(END_STATE).await;
    terminate(&running.child);
    running.child.wait().unwrap();
}

/// The client prints an AA for each message, in order.
fn check_answers(client: &mut Command) {
    let output = client.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{said}");
    let answers: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("MSA"))
        .collect();
    let expect: Vec<_> = (1..=messages().len())
        .map(|n| format!("MSA|AA|B{n}"))
        .collect();
    assert_eq!(answers, expect);
}
