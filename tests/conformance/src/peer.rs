//! A server's known deviations, and what an outcome means beside them: a deviation that is gone, or whose scenario is, is told as well.

use crate::run::Outcome;
use crate::scenario::{Peer, Scenario};

/// What a run says of one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

impl Peer {
    /// What the outcome of the scenario means for this peer.
    pub fn judge(&self, scenario: &Scenario, outcome: Outcome) -> Verdict {
        match (outcome, self.deviations.get(&scenario.name)) {
            (Outcome::Passed, None) => Verdict::Passed,
            (Outcome::Passed, Some(_)) => {
                Verdict::Failed("passes, but is listed as a deviation".into())
            }
            (Outcome::Failed(_), Some(reason)) => {
                Verdict::Skipped(format!("known deviation: {reason}"))
            }
            (Outcome::Skipped(reason), _) => Verdict::Skipped(reason),
            (Outcome::Failed(why), None) => Verdict::Failed(format!("({}) {why}", scenario.spec)),
        }
    }

    /// Deviations from scenarios that do not exist: renamed, or mistyped.
    pub fn without_scenario<'p>(&'p self, scenarios: &[Scenario]) -> Vec<&'p str> {
        let exists = |name: &str| scenarios.iter().any(|scenario| scenario.name == name);
        let names = self.deviations.keys().map(String::as_str);
        names.filter(|name| !exists(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Target, run};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SCENARIOS: &str = r#"
- {name: right, title: is, spec: x, steps: [{request: GET Patient/1, expect: {status: 200, body: {id: "1"}}}]}
- {name: wrong, title: is, spec: x, steps: [{request: GET Patient/1, expect: {status: 404}}]}
- {name: deviates, title: is, spec: x, steps: [{request: GET Patient/1, expect: {status: 410}}]}
- {name: mended, title: is, spec: x, steps: [{request: GET Patient/1, expect: {status: 200}}]}
- {name: needs-mllp, title: is, spec: x, steps: [{mllp: "MSH|^~\\&|"}]}
"#;

    /// A server that has one answer.
    async fn server() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/fhir", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let body = r#"{"resourceType":"Patient","id":"1"}"#;
                let head = "HTTP/1.1 200 OK\r\nconnection: close";
                let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Target { base, mllp: None }
    }

    #[tokio::test]
    async fn verdicts_on_a_peer() {
        let peer: Peer = toml::from_str(
            "[deviations]\ndeviates = 'never forgets'\nmended = 'once was so'\ngone = 'who knows'",
        )
        .unwrap();
        let scenarios: Vec<Scenario> = serde_saphyr::from_str(SCENARIOS).unwrap();
        let (target, client) = (server().await, reqwest::Client::new());
        let mut verdicts = Vec::new();
        for scenario in &scenarios {
            let outcome = run(scenario, &target, &client).await;
            verdicts.push(match peer.judge(scenario, outcome) {
                Verdict::Passed => "passed".to_owned(),
                Verdict::Skipped(why) => format!("skipped: {why}"),
                Verdict::Failed(why) => format!("failed: {}", why.split(';').next().unwrap()),
            });
        }
        let expect = [
            "passed",
            "failed: (x) step 1 (GET Patient/1): status 200, not One(404)",
            "skipped: known deviation: never forgets",
            "failed: passes, but is listed as a deviation",
            "skipped: no MLLP address",
        ];
        assert_eq!(verdicts, expect);
        assert_eq!(peer.without_scenario(&scenarios), ["gone"]);
    }
}
