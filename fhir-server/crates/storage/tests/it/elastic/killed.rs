//! Elasticsearch itself is killed, with writes running and an index half made, and comes back.

use super::*;
use std::path::Path;
use std::process::Command;

/// A node of its own, at a port of its own, which others do not kill and are not killed with.
struct Node {
    port: u16,
}

impl Node {
    fn script(&self, command: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../scripts/es-node.sh");
        let output = Command::new(script)
            .arg(command)
            .env("PORT", self.port.to_string())
            .env("HEAP", "256m")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn start(port: u16) -> Node {
        let node = tokio::task::spawn_blocking(move || {
            let node = Node { port };
            node.script("start");
            node
        });
        node.await.unwrap()
    }

    /// Gives it no time for anything.
    fn kill(&self) {
        let pid = self.script("pid").trim().parse().unwrap();
        // SAFETY: kill(2) takes plain numbers.
        let sent = unsafe { libc::kill(pid, libc::SIGKILL) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.script("stop");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "starts an Elasticsearch twice: for CI"]
async fn elasticsearch_is_killed() {
    if testing::elasticsearch().is_none() {
        return;
    }
    let node = Node::start(9_231).await;
    let site = Site::on(format!("http://127.0.0.1:{}", node.port)).await;
    let store = site
        .open_by(&site.cluster, |elastic| elastic.bulk_timeout_ms = 5_000)
        .await;
    let basic = r#"{"resourceType":"Basic","code":{"text":"x"}}"#;
    for _ in 0..10 {
        write(&store, vec![post(basic); 500]).await;
    }
    settle(&store).await;
    let indexing = [Indexing::start(&store), Indexing::start(&store)];
    assert!(store.index_rebuild(None).await.unwrap());
    let writers = Writers::start(&store, 4);
    sleep(Duration::from_millis(500)).await;
    node.kill();
    let while_down = Writers::start(&store, 1);
    let gone = async {
        while store.index_use().await.unwrap().unwrap().trouble.is_none() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();
    assert!(while_down.stop().await > 0, "writes go on");
    let node = Node::start(9_231).await;
    sleep(Duration::from_millis(500)).await;
    assert!(writers.stop().await > 100);
    drop(indexing);
    settle(&store).await;
    right(&store, 5_000).await;
    drop(node);
}
