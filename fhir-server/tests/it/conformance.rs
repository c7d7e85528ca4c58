//! The scenarios of `tests/conformance` against the program, over HTTP and MLLP as any client speaks to it.

use crate::process::{directory, mappings, serve, terminate};
use ::conformance::{Outcome, Target};
use std::path::Path;

#[tokio::test]
async fn every_scenario() {
    let (_kept, directory) = directory();
    let mut running = serve(&directory, &mappings());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/scenarios");
    let scenarios = ::conformance::load_scenarios(&folder).unwrap();
    assert!(!scenarios.is_empty());
    let target = Target {
        base: running.site.base(),
        mllp: Some(running.mllp_addr.clone()),
    };
    let mut differences = Vec::new();
    for scenario in &scenarios {
        match ::conformance::run(scenario, &target, &running.site.client).await {
            Outcome::Passed => {}
            Outcome::Failed(why) | Outcome::Skipped(why) => {
                differences.push(format!("{} ({}): {why}", scenario.name, scenario.spec));
            }
        }
    }
    terminate(&running.child);
    running.child.wait().unwrap();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
