//! `fhir-server upgrade` from the installed PostgreSQL to 18, killed on its way; `backup` and `restore` as commands.

use crate::process::{command, directory, off, start, terminate};
use crate::site::Site;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// PostgreSQL 18 of the tests, where the user of Postgres can run it; `None`: it is not there, or the installed one is not older.
fn second_postgres(directory: &Path) -> Option<PathBuf> {
    let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/postgres-18");
    if !cached.join("installed").exists() {
        eprintln!("skipped: no .cache/postgres-18, run scripts/fetch-postgres-18.sh");
        return None;
    }
    let copied = directory.join("postgres-18");
    let status = Command::new("cp")
        .arg("-r")
        .args([&cached, &copied])
        .status();
    assert!(status.unwrap().success());
    Some(copied.join("bin"))
}

/// A command that finds the second PostgreSQL too.
fn with(binaries: &Path, data: &Path, arguments: &[&str]) -> Command {
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let mut command = command(data);
    command.env("PATH", path).args(arguments);
    command
}

fn refused(output: &Output, part: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(part), "{said}");
}

fn done(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn major(cluster: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(cluster.join("PG_VERSION")).ok()?;
    text.trim().parse().ok()
}

/// What a backup of the directory holds, line by line, without order.
fn everything(binaries: &Path, data: &Path, name: &str) -> Vec<String> {
    let file = data.join(name);
    done(
        with(binaries, data, &["backup", file.to_str().unwrap()])
            .output()
            .unwrap(),
    );
    let script = done(Command::new("gzip").arg("-dc").arg(&file).output().unwrap());
    let mut lines: Vec<String> = script
        .lines()
        .filter(|line| !line.starts_with("-- sha256"))
        .map(str::to_string)
        .collect();
    lines.sort();
    lines
}

async fn fill(site: &Site, first: usize, text: &str) {
    let entry = |number: usize| {
        format!(
            r#"{{"resource":{{"resourceType":"Patient","id":"p{number}","name":[{{"family":"{text}"}}]}},"request":{{"method":"PUT","url":"Patient/p{number}"}}}}"#
        )
    };
    let entries: Vec<String> = (first..first + 1000).map(entry).collect();
    let entries = entries.join(",");
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
    site.check("POST ", &bundle, "200").await;
}

fn stop(mut running: crate::process::Running) {
    terminate(&running.child);
    assert!(running.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_later_major_version_strands_nobody() {
    let (_kept, root) = directory();
    let Some(binaries) = second_postgres(&root) else {
        return;
    };
    let data = root.join("data");
    let pgdata = data.join("pgdata");
    let beside = data.join("pgdata.upgrade");
    let empty = with(&binaries, &data, &["upgrade"]).output().unwrap();
    refused(&empty, "holds no database");

    let mut served = command(&data);
    served.arg("serve").args(off());
    let server = start(served);
    let from = major(&pgdata).unwrap();
    if from >= 18 {
        eprintln!("skipped: PostgreSQL {from} is installed, there is nothing to upgrade from");
        return stop(server);
    }
    for (first, text) in [(0, "first"), (1000, "first"), (0, "second")] {
        fill(&server.site, first, text).await;
    }
    let beside_server = with(&binaries, &data, &["upgrade"]).output().unwrap();
    refused(&beside_server, "used by another server");
    stop(server);

    // Killed at each step: the old data are in place, and serve.
    let steps: [fn(&Path) -> bool; 4] = [
        |data| data.join("pgdata.new").exists(),
        |data| data.join("pgdata.upgrade/PG_VERSION").exists(),
        |data| data.join("pgdata.upgrade/postmaster.pid").exists(),
        |data| {
            std::fs::read_to_string(data.join("pgdata.upgrade/postmaster.pid"))
                .is_ok_and(|text| text.contains("ready"))
        },
    ];
    for reached in steps {
        let mut upgrade = with(&binaries, &data, &["upgrade"]).spawn().unwrap();
        let begun = Instant::now();
        while !reached(&data) {
            assert!(begun.elapsed() < Duration::from_secs(60));
            assert!(upgrade.try_wait().unwrap().is_none(), "it ended");
            std::thread::sleep(Duration::from_millis(2));
        }
        upgrade.kill().unwrap();
        upgrade.wait().unwrap();
        assert_eq!(major(&pgdata), Some(from));
    }
    let mut served = command(&data);
    served.arg("serve").args(off());
    let server = start(served);
    fill(&server.site, 2000, "between").await;
    stop(server);

    let before = everything(&binaries, &data, "before");
    let said = done(with(&binaries, &data, &["upgrade"]).output().unwrap());
    let kept = data.join(format!("pgdata.{from}"));
    assert!(
        said.contains("PostgreSQL 18") && said.contains(kept.to_str().unwrap()),
        "{said}"
    );
    assert_eq!((major(&pgdata), major(&kept)), (Some(18), Some(from)));
    assert!(everything(&binaries, &data, "after") == before);

    // Killed between the exchange and the last renaming: the next call goes on.
    std::fs::rename(&kept, &beside).unwrap();
    let said = done(with(&binaries, &data, &["upgrade"]).output().unwrap());
    assert!(said.contains(kept.to_str().unwrap()), "{said}");
    assert!(!beside.exists() && kept.exists());
    let again = done(with(&binaries, &data, &["upgrade"]).output().unwrap());
    assert!(again.contains("nothing to do"), "{again}");

    let without = command(&data).arg("serve").args(off()).output().unwrap();
    refused(&without, "postgresql-18");
    let server = start(with(&binaries, &data, &["serve", "--mllp-addr", "off"]));
    server
        .site
        .table(&[
            ("GET Patient?_summary=count", "", "200 ; /total = 3000"),
            (
                "GET Patient?family=second&_total=accurate",
                "",
                "200 ; /total = 1000",
            ),
            (
                "GET Patient/p1/_history/1",
                "",
                "200 ; /name/0/family = first",
            ),
            (
                "PUT Patient/p1",
                r#"{"resourceType":"Patient","id":"p1"}"#,
                "200 ; ETag: W/\"3\"",
            ),
            ("POST Patient", r#"{"resourceType":"Patient"}"#, "201"),
        ])
        .await;

    // Beside the server a backup; into a directory of its own, and of the older version, a restore.
    let file = data.join("running");
    let file = file.to_str().unwrap();
    done(with(&binaries, &data, &["backup", file]).output().unwrap());
    refused(
        &with(&binaries, &data, &["restore", file]).output().unwrap(),
        "used by another server",
    );
    stop(server);
    refused(
        &with(&binaries, &data, &["restore", file]).output().unwrap(),
        "not empty",
    );
    let other = root.join("other");
    done(command(&other).args(["restore", file]).output().unwrap());
    assert_eq!(major(&other.join("pgdata")), Some(from));
    let mut served = command(&other);
    served.arg("serve").args(off());
    let server = start(served);
    let count = "200 ; /total = 3001";
    server
        .site
        .check("GET Patient?_summary=count", "", count)
        .await;
    stop(server);
}
