//! Senders that other people wrote.

use super::tests::{listen, quick};
use super::*;

/// Clients installed by `make clients`; `None`, with a line that says so, where they are missing.
fn third_party(path: &str) -> Option<std::path::PathBuf> {
    let path = repository(".cache/clients").join(path);
    let found = path.exists();
    if !found {
        println!("skipped: make clients has not installed {}", path.display());
    }
    found.then_some(path)
}

fn repository(path: &str) -> std::path::PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("..").join(path)
}

async fn output(command: &mut tokio::process::Command) -> String {
    let output = timeout(Duration::from_secs(90), command.kill_on_drop(true).output()).await;
    let output = output.expect("an end").expect("a start");
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "\n");
    assert!(
        output.status.success(),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[tokio::test]
async fn python_hl7_is_answered() {
    let Some(mllp_send) = third_party("venv/bin/mllp_send") else {
        return;
    };
    let listener = listen(quick()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let messages =
        ["P1", "P2"].map(|id| format!("MSH|^~\\&|0||||||ADT^A01|{id}|P|2.5.1\r\nPID|1\r\n"));
    std::fs::write(file.path(), messages.concat()).unwrap();
    let port = listener.address.port().to_string();
    let mut command = tokio::process::Command::new(mllp_send);
    let text = output(
        command
            .args(["-p", &port, "--loose", "-f"])
            .arg(file.path())
            .arg("127.0.0.1"),
    )
    .await;
    let answers: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("MSA"))
        .collect();
    assert_eq!(answers, ["MSA|AA|P1", "MSA|AA|P2"]);
}

#[tokio::test]
async fn simple_hl7_is_answered() {
    let Some(simple_hl7) = third_party("node_modules/simple-hl7") else {
        return;
    };
    let listener = listen(quick()).await;
    let script = r"
        const hl7 = require(process.argv[1]);
        const client = hl7.Server.createTcpClient('127.0.0.1', Number(process.argv[2]));
        const message = new hl7.Message('0', 'FAC', '', '', '', '', ['ADT', 'A01'], 'S1', 'P', '2.5.1');
        message.addSegment('PID', '1');
        client.send(message, (error, ack) => { console.log(error || ack.toString()); client.close(); });
    ";
    let port = listener.address.port().to_string();
    let mut command = tokio::process::Command::new("node");
    let text = output(command.args(["-e", script]).arg(simple_hl7).arg(port)).await;
    assert!(
        text.lines().any(|line| line.starts_with("MSA|AA|")),
        "{text}"
    );
}

#[tokio::test]
async fn node_hl7_client_is_answered() {
    let Some(module) = third_party("node_modules/node-hl7-client/lib/esm/index.mjs") else {
        return;
    };
    let listener = listen(quick()).await;
    let program = repository("tests/clients/with_node_hl7_client.mjs");
    let port = listener.address.port().to_string();
    let mut command = tokio::process::Command::new("node");
    let text = output(command.arg(program).arg(module).arg(port)).await;
    let answers: Vec<_> = text.lines().collect();
    assert_eq!(answers, ["MSA|AA|N1", "MSA|AA|N2", "MSA|AA|N3"]);
}

#[tokio::test]
async fn hapi_hl7v2_is_answered() {
    let Some(jar) = third_party("java/hapi-base-2.5.1.jar") else {
        return;
    };
    let listener = listen(quick()).await;
    let folder = jar.parent().expect("a folder").join("*");
    let program = repository("tests/clients/java/WithHapiV2.java");
    let port = listener.address.port().to_string();
    let mut command = tokio::process::Command::new("java");
    let text = output(command.arg("-cp").arg(folder).arg(program).arg(port)).await;
    let answers: Vec<_> = text.lines().collect();
    assert_eq!(answers, ["MSA|AA|J1", "MSA|AA|J2", "MSA|CA|J3"]);
}
