//! `conformance --base http://…/fhir [--mllp host:port] [--peer peers/x.toml] [--only part-of-a-name]`.

use clap::Parser;
use conformance::{Outcome, Target};
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
        let known = peer.deviations.get(&scenario.name);
        match (conformance::run(scenario, &target, &client).await, known) {
            (Outcome::Passed, None) => passed += 1,
            (Outcome::Passed, Some(_)) => {
                failed += 1;
                println!("{}: passes, but is listed as a deviation", scenario.name);
            }
            (Outcome::Failed(_), Some(reason)) => {
                skipped += 1;
                println!("skipped: {}: known deviation: {reason}", scenario.name);
            }
            (Outcome::Skipped(reason), _) => {
                skipped += 1;
                println!("skipped: {}: {reason}", scenario.name);
            }
            (Outcome::Failed(why), None) => {
                failed += 1;
                println!("{} ({}): {why}", scenario.name, scenario.spec);
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
