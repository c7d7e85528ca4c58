//! `conformance --base http://…/fhir [--mllp host:port] [--peer peers/x.toml] [--only part-of-a-name]`.

use clap::Parser;
use conformance::{Target, Verdict};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "http://127.0.0.1:8080/fhir")]
    base: String,
    #[arg(long)]
    mllp: Option<String>,
    #[arg(long, default_value = "tests/conformance/scenarios")]
    scenarios: PathBuf,
    /// Known deviations of the server under test.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Only scenarios whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, String> {
    let arguments = Arguments::parse();
    let target = Target {
        base: arguments.base.trim_end_matches('/').to_owned(),
        mllp: arguments.mllp,
    };
    let peer = arguments
        .peer
        .as_deref()
        .map(conformance::load_peer)
        .transpose()?
        .unwrap_or_default();
    let scenarios = conformance::load_scenarios(&arguments.scenarios)?;
    let client = reqwest::Client::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for scenario in scenarios.iter().filter(|s| {
        arguments
            .only
            .as_ref()
            .is_none_or(|part| s.name.contains(part))
    }) {
        let outcome = conformance::run(scenario, &target, &client).await;
        match peer.judge(scenario, outcome) {
            Verdict::Passed => passed += 1,
            Verdict::Skipped(why) => {
                skipped += 1;
                println!("skipped: {}: {why}", scenario.name);
            }
            Verdict::Failed(why) => {
                failed += 1;
                println!("{}: {why}", scenario.name);
            }
        }
    }
    for name in peer.without_scenario(&scenarios) {
        failed += 1;
        println!("{name}: is listed as a deviation, but there is no such scenario");
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
