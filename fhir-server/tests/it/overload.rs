//! More is asked for than can be done: who is refused is told when to come back, what was accepted is there, health is told, and
//! afterwards all is as before. `make overload` does the same with figures (tests/load).

use crate::process::{command, directory, start, terminate};
use crate::site::{Site, with_settings};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const BASIC: &str = r#"{"resourceType":"Basic","code":{"text":"x"}}"#;
/// A machine that does other things as well may take its time.
const PATIENCE: Duration = Duration::from_secs(60);

fn transaction(entries: usize) -> String {
    let entry = format!(r#"{{"resource":{BASIC},"request":{{"method":"POST","url":"Basic"}}}}"#);
    let entries = vec![entry; entries].join(",");
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
}

async fn connect(site: &Site) -> TcpStream {
    let address = site.origin.strip_prefix("http://").unwrap();
    TcpStream::connect(address).await.unwrap()
}

/// Asks again until the answer has this status.
async fn until(site: &Site, request: &str, body: &str, status: u16) -> String {
    let began = Instant::now();
    loop {
        let answer = site.send(request, body).await;
        if answer.status == status {
            return answer.text;
        }
        assert!(began.elapsed() < PATIENCE, "{request}: still {answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_refused_in_part_and_then_forgotten() {
    let site = with_settings(&[
        ("requests_max", "2"),
        ("requests_waiting_max", "4"),
        ("requests_wait_ms", "200"),
        ("bodies_max_bytes", "1000000"),
        ("body_max_bytes", "1000000"),
    ]);
    let (small, large) = (transaction(20), transaction(3_000));
    assert!(large.len() > 256 * 1024, "worked on apart from the others");
    let mut requests = JoinSet::new();
    for i in 0..120 {
        let (site, small, large) = (site.clone(), small.clone(), large.clone());
        requests.spawn(async move {
            match i {
                _ if i % 40 == 0 => (3_000, site.send("POST ", &large).await),
                _ if i % 3 == 0 => (0, site.send("GET Basic?_count=50", "").await),
                _ => (20, site.send("POST ", &small).await),
            }
        });
    }
    let mut health = JoinSet::new();
    for path in ["live", "ready"].repeat(10) {
        let (site, url) = (site.clone(), format!("GET {}/health/{path}", site.origin));
        health.spawn(async move { site.send(&url, "").await.status });
    }
    let (mut written, mut refused) = (0, 0);
    while let Some(answer) = requests.join_next().await {
        let (entries, answer) = answer.unwrap();
        match answer.status {
            200 => written += entries,
            429 | 503 => {
                refused += 1;
                assert_eq!(answer.header("retry-after"), "1");
                assert_eq!(answer.json()["resourceType"], "OperationOutcome");
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(
        refused > 0 && written > 0,
        "{refused} refused, {written} written"
    );
    assert_eq!(health.join_all().await, [200; 20]);
    let total = format!("200 ; /total = {written}");
    site.check("GET Basic?_summary=count", "", &total).await;
    let metrics = site.send(&format!("GET {}/metrics", site.origin), "").await;
    assert!(metrics.text.contains("fhir_requests_refused_total{reason="));
    assert!(metrics.text.contains("fhir_requests_waiting 0"));
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let site = with_settings(&[("connections_max", "2")]);
    let open = [connect(&site).await, connect(&site).await];
    let answer = until(&site, "GET Basic/none", "", 503).await;
    assert!(answer.contains("OperationOutcome"), "{answer}");
    for path in ["live", "ready"] {
        let health = format!("GET {}/health/{path}", site.origin);
        assert_eq!(site.send(&health, "").await.status, 200);
    }
    drop(open);
    until(&site, "GET Basic/none", "", 404).await;
}

#[tokio::test]
async fn answers_that_are_not_taken_are_bounded_together() {
    let site = with_settings(&[("answers_max_bytes", "100000"), ("requests_wait_ms", "200")]);
    // More than the system's buffers between the two hold.
    let text = "x".repeat(900_000);
    for id in 0..16 {
        let body = format!(r#"{{"resourceType":"Basic","id":"b{id}","code":{{"text":"{text}"}}}}"#);
        site.check(&format!("PUT Basic/b{id}"), &body, "201").await;
    }
    let mut lazy = connect(&site).await;
    let request = "GET /fhir/Basic?_count=50 HTTP/1.1\r\nHost: h\r\n\r\n";
    lazy.write_all(request.as_bytes()).await.unwrap();
    lazy.read_u8().await.unwrap();
    let refused = site.check("GET Basic?_count=50", "", "503").await;
    assert_eq!(refused.header("retry-after"), "1");
    site.check("GET Basic?_count=50&_id=none", "", "200").await;
    site.check("POST Basic", BASIC, "201").await;
    drop(lazy);
    until(&site, "GET Basic?_count=50", "", 200).await;
}

#[tokio::test]
async fn a_body_without_length_takes_the_room_it_needs() {
    let site = with_settings(&[
        ("body_max_bytes", "200000"),
        ("bodies_max_bytes", "200000"),
        ("requests_wait_ms", "200"),
    ]);
    let head = "POST /fhir/Basic HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let chunked = |text_bytes: usize| {
        let text = "x".repeat(text_bytes);
        let body = format!(r#"{{"resourceType":"Basic","code":{{"text":"{text}"}}}}"#);
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    // One that has begun holds little, so that others have room.
    let mut begun = connect(&site).await;
    begun.write_all(head.as_bytes()).await.unwrap();
    for (text_bytes, expect) in [(10, "201"), (120_000, "201"), (250_000, "413")] {
        if text_bytes > 100_000 {
            begun = connect(&site).await;
        }
        let mut stream = connect(&site).await;
        let request = chunked(text_bytes);
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {expect}"), "{text_bytes}");
    }
    drop(begun);
}

/// A small disk of its own, for as long as the value lives.
struct SmallDisk<'p>(&'p Path);

impl SmallDisk<'_> {
    /// `None` where that is not allowed here.
    fn mount(path: &Path) -> Option<SmallDisk<'_>> {
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs"])
            .arg(path)
            .stderr(std::process::Stdio::null())
            .status();
        status
            .is_ok_and(|status| status.success())
            .then_some(SmallDisk(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: what still uses it goes on with it.
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0)
            .status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[tokio::test]
async fn a_full_disk_is_not_ready() {
    let (_kept, path) = directory();
    let Some(_disk) = SmallDisk::mount(&path) else {
        println!("skipped: this user may not mount a small disk");
        return;
    };
    let mut command = command(&path);
    command.args(["serve", "--mllp-addr", "off"]);
    let mut running = start(command);
    let site = running.site.clone();
    let ready = format!("GET {}/health/ready", site.origin);
    assert_eq!(site.send(&ready, "").await.status, 200);
    let filler = path.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 65_536]).is_ok() {}
    drop(file);
    let resource = format!(
        r#"{{"resourceType":"Basic","code":{{"text":"{}"}}}}"#,
        noise(200_000)
    );
    until(&site, "POST Basic", &resource, 503).await;
    let said = until(&site, &ready, "", 503).await;
    assert!(said.contains("disk"), "{said}");
    site.check("GET Basic?_count=1", "", "200").await;
    std::fs::remove_file(&filler).unwrap();
    until(&site, &ready, "", 200).await;
    until(&site, "POST Basic", &resource, 201).await;
    terminate(&running.child);
    running.child.wait().unwrap();
}

/// Text that does not compress.
fn noise(bytes: usize) -> String {
    let mut state = 7_u64;
    let digit = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'A' + (state >> 59) as u8 % 26)
    };
    (0..bytes).map(digit).collect()
}
