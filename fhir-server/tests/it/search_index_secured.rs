//! A search index that is reached over TLS, with an authority of its own, and that asks who one is: a real Elasticsearch with its security on.

use crate::process::{ROOT, directory, off, serve, terminate};
use crate::search_index::{LONG, metric, patient, run_with, until};
use crate::site::{Site, with_settings};
use base64::Engine;
use fhir_storage::testing::{elasticsearch, empty_database};
use soak::node::{Node, Plan};
use std::path::Path;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const PORT: u16 = 9_241;
const PREFIX: &str = "secured";
/// Of the user `elastic`, whom the server does not know.
const OF_ELASTIC: &str = "not for servers";
/// Of `fhir`, who may what docs/elasticsearch.md asks for, and `reader`, who may less.
const RIGHT: &str = "right for the tests";
const WRONG: &str = "wrong for the tests";
/// As the file realm keeps it: SHA-1.
const HASH: &str = "{SHA}6a8LwPaaMmehlbKzyk1Z+eJM6l4=";

const ROLES: &str = "
server:
  indices:
    - names: [ 'secured', 'secured-*' ]
      privileges: [ 'manage', 'create_index', 'index', 'read' ]
reads:
  indices:
    - names: [ 'secured', 'secured-*' ]
      privileges: [ 'read' ]
";

const SECURITY: &str = "
xpack.security.enabled: true
xpack.security.http.ssl.enabled: true
xpack.security.http.ssl.key: node.key
xpack.security.http.ssl.certificate: node.pem
";

fn certificate(name: &str) -> String {
    format!("{ROOT}/fhir-server/tests/certificates/{name}.pem")
}

async fn node(files: &Path) -> Node {
    for name in ["node.pem", "node.key"] {
        let from = format!("{ROOT}/fhir-server/tests/certificates/{name}");
        std::fs::copy(from, files.join(name)).unwrap();
    }
    let users = format!("fhir:{HASH}\nreader:{HASH}\n");
    for (name, content) in [
        ("users", users.as_str()),
        ("users_roles", "server:fhir\nreads:reader\n"),
        ("roles.yml", ROLES),
    ] {
        std::fs::write(files.join(name), content).unwrap();
    }
    let root = Path::new(ROOT).canonicalize().unwrap();
    let mut node = Node::new(Plan {
        settings: SECURITY.to_owned(),
        files: Some(files.to_owned()),
        password: Some(OF_ELASTIC.to_owned()),
        ..Plan::new(&root, PORT)
    });
    node.start(true).await.unwrap();
    node
}

/// How a server reaches the node.
#[derive(Clone)]
struct Reach {
    url: String,
    authority: Option<String>,
    user: &'static str,
    password: &'static str,
}

impl Reach {
    fn settings(&self) -> Vec<(&'static str, &str)> {
        let mut settings = vec![
            ("elasticsearch_url", self.url.as_str()),
            ("elasticsearch_index", PREFIX),
            ("elasticsearch_asked", "always"),
            ("elasticsearch_user", self.user),
            ("elasticsearch_password", self.password),
        ];
        if let Some(authority) = &self.authority {
            settings.push(("elasticsearch_ca_file", authority));
        }
        settings
    }

    fn arguments(&self, database: &str) -> Vec<String> {
        let mut settings = self.settings();
        settings.push(("database_url", database));
        let arguments = settings
            .into_iter()
            .flat_map(|(name, value)| [format!("--{}", name.replace('_', "-")), value.to_owned()]);
        arguments.collect()
    }

    /// A server that reaches it so, on this database.
    fn site(&self, database: &str) -> Site {
        let mut settings = self.settings();
        settings.push(("database_url", database));
        with_settings(&settings)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts an Elasticsearch: for CI"]
async fn only_who_may_and_only_who_it_is() {
    if elasticsearch().is_none() {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let _node = node(files.path()).await;
    let database = empty_database().await;
    let right = Reach {
        url: format!("https://localhost:{PORT}"),
        authority: Some(certificate("authority")),
        user: "fhir",
        password: RIGHT,
    };

    // With no more rights than are asked for an index is made, written, searched, compared, and made anew.
    {
        let site = right.site(&database);
        until(&site, |said| said == "ready").await;
        site.check("PUT Patient/p", &patient("p", "let"), "201")
            .await;
        let by_index = async {
            while metric(&site, "fhir_search_index_answered_total").await < 1.0 {
                finds(&site).await;
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LONG, by_index).await.unwrap();
    }
    let arguments = right.arguments(&database);
    let index = async |command: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run_with(&[&arguments, command].concat()).await
    };
    let (said, is_right) = index(&["index", "rebuild"]).await;
    assert!(is_right, "{said}");
    let (said, is_right) = index(&["index", "verify"]).await;
    assert!(
        is_right && said.contains("1 resources in Postgres, 1 in the index"),
        "{said}"
    );

    // There is an index now. Who is not let in, or does not believe whom he meets, searches in Postgres and says what is the matter.
    let others = [
        (
            "refused",
            Reach {
                password: WRONG,
                ..right.clone()
            },
        ),
        (
            "refused",
            Reach {
                user: "reader",
                ..right.clone()
            },
        ),
        (
            "unreachable",
            Reach {
                authority: None,
                ..right.clone()
            },
        ),
        (
            "unreachable",
            Reach {
                authority: Some(certificate("other-authority")),
                ..right.clone()
            },
        ),
        // Its certificate is not of this name.
        (
            "unreachable",
            Reach {
                url: format!("https://127.0.0.1:{PORT}"),
                ..right.clone()
            },
        ),
        (
            "unreachable",
            Reach {
                url: format!("http://localhost:{PORT}"),
                ..right.clone()
            },
        ),
    ];
    for (at, (expect, reach)) in others.iter().enumerate() {
        let site = reach.site(&database);
        finds(&site).await;
        // This it cannot write into the index.
        let basic = format!(r#"{{"resourceType":"Basic","id":"b{at}","code":{{"text":"x"}}}}"#);
        site.check(&format!("PUT Basic/b{at}"), &basic, "201").await;
        let expect = format!("ready; the search index does not serve ({expect})");
        until(&site, |said| said == expect).await;
        finds(&site).await;
    }

    tells_no_password(&others[0].1, &database, "401 security_exception").await;
    tells_no_password(&right, &database, "").await;
    let (said, is_right) = index(&["index", "verify"]).await;
    assert!(is_right, "{said}");
}

/// Neither the logs nor a command tell what the server says to the cluster.
async fn tells_no_password(reach: &Reach, database: &str, expect: &str) {
    let (_kept, folder) = directory();
    let mut arguments = reach.arguments(database);
    let (said, _) = {
        let command = arguments.iter().map(String::as_str);
        let command: Vec<&str> = command.chain(["index", "verify"]).collect();
        run_with(&command).await
    };
    arguments.extend(off());
    arguments.extend(["--log-level", "debug"].map(str::to_owned));
    let mut running = serve(&folder, &arguments);
    finds(&running.site).await;
    let told = async {
        while !running.logs.lock().unwrap().contains(expect) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, told).await.unwrap();
    terminate(&running.child);
    running.child.wait().unwrap();
    let said = format!("{said}{}", running.logs.lock().unwrap());
    assert!(said.contains(expect), "{said}");
    let pair = format!("{}:{}", reach.user, reach.password);
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    for secret in [reach.password, &encoded] {
        assert!(!said.contains(secret), "{said}");
    }
}

/// The resource that is there is found.
async fn finds(site: &Site) {
    site.check(
        "GET Patient?family=let&_summary=count",
        "",
        "200 ; /total = 1",
    )
    .await;
}
