//! From the command line to the figures, and from the figures to the server: `fhir-server dhis2 …`.

use super::aggregate::tabulate;
use super::collect::{collect, each};
use super::content::Content;
use super::error::Dhis2Error;
use super::event::{Event, Reader};
use super::period::Period;
use super::plan::{Plan, ValueKey, plan};
use super::report::{
    REPORT, measure_report, not_counted_report, report_id, report_identifier, reported, task, words,
};
use super::submit::{Client, State, Submission};
use fhir_model::ResourceKey;
use fhir_storage::{Change, Page, Snapshot, Store, Target, VersionMatch};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The commands of `fhir-server dhis2`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Print the data value sets of a period; what was not counted goes to stderr. Nothing is sent.
    Plan(Which),
    /// Send the data value sets of a period, read them back, and record what was sent and answered.
    Submit(Which),
    /// Whether each target can be reached and is a server that can be sent to.
    Check,
}

/// What to report.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// The period, as DHIS2 writes it: 202610 (or 2026-10), 2026W5, 2026Q1, 2026April.
    #[arg(long)]
    pub period: String,
    /// One data set's file name without `.yaml`; all that have such a period, if left out.
    #[arg(long)]
    pub data_set: Option<String>,
}

/// What a command prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    pub stdout: String,
    pub stderr: String,
    /// Whether everything that was asked for has been done.
    pub success: bool,
}

/// Runs a command. `base` is the server's own, `variable` the environment, `record` the server's road to a committed change.
///
/// # Errors
/// As [`plans`] and [`submit`].
pub async fn run(
    command: &Command,
    store: &Store,
    content: &Content,
    base: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
    record: impl AsyncFn(Vec<Change>) -> Result<(), Dhis2Error>,
) -> Result<Printed, Dhis2Error> {
    let mut printed = Printed {
        success: true,
        ..Printed::default()
    };
    match command {
        Command::Plan(Which { period, data_set }) => {
            let plans = plans(store, content, base, data_set.as_deref(), period).await?;
            printed.stdout = data_value_sets(&plans, content);
            printed.stderr = account(&plans);
        }
        Command::Submit(Which { period, data_set }) => {
            let plans = plans(store, content, base, data_set.as_deref(), period).await?;
            printed.stderr = account(&plans);
            for (id, submission) in submit(content, &plans, variable, record).await? {
                printed.success &= submission.state == State::Confirmed;
                let _ = writeln!(
                    printed.stdout,
                    "MeasureReport/{id}: {}",
                    outcome(&submission)
                );
            }
        }
        Command::Check => {
            for (id, version) in check(content, variable).await {
                printed.success &= version.is_ok();
                let said = version.map_or_else(
                    |error| error.to_string(),
                    |version| format!("DHIS2 {version}"),
                );
                let _ = writeln!(printed.stdout, "{id}: {said}");
            }
        }
    }
    Ok(printed)
}

/// The plans of a period for every data set that has such a period, or for one data set, from one state of the database.
///
/// # Errors
/// No such data set or period; database errors.
pub async fn plans(
    store: &Store,
    content: &Content,
    base: Option<&str>,
    data_set: Option<&str>,
    period: &str,
) -> Result<Vec<Plan>, Dhis2Error> {
    if let Some(id) = data_set.filter(|id| !content.data_sets.contains_key(*id)) {
        return Err(Dhis2Error::NoDataSet(id.to_string()));
    }
    let mut plans = Vec::new();
    let mut snapshot = store.snapshot().await?;
    for id in content
        .data_sets
        .keys()
        .filter(|id| data_set.is_none_or(|wanted| wanted == *id))
    {
        if let Some(period) = content.data_sets[id].period_type.parse(period) {
            plans.push(count(&mut snapshot, store, content, base, id, &period).await?);
        }
    }
    snapshot.close().await?;
    if plans.is_empty() {
        return Err(Dhis2Error::NoPeriod(period.to_string()));
    }
    Ok(plans)
}

/// Counts one data set.
async fn count(
    snapshot: &mut Snapshot,
    store: &Store,
    content: &Content,
    base: Option<&str>,
    id: &str,
    period: &Period,
) -> Result<Plan, Dhis2Error> {
    let definitions = store.definitions();
    let data_set = &content.data_sets[id];
    let mut events: BTreeMap<&str, Vec<Event>> = BTreeMap::new();
    let mut undated = BTreeMap::new();
    for (name, indicator) in data_set.indicators(content) {
        let reader = Reader {
            definitions: &definitions,
            indicator,
            period,
            utc_offset_seconds: content.targets[&data_set.target].utc_offset_seconds,
            base,
        };
        events.insert(name, collect(snapshot, &reader).await?);
        let query = indicator
            .undated(&definitions)
            .map_err(Dhis2Error::Refused)?;
        let total = snapshot.search(&query, Page::First).await?.total;
        undated.insert(name.to_string(), total.unwrap_or(0));
    }
    let tabulations = data_set.cells.iter().map(|cell| {
        let count = content.indicators[&cell.indicator].count;
        tabulate(
            cell,
            count,
            &content.dimensions,
            &data_set.org_units,
            &events[cell.indicator.as_str()],
        )
    });
    let mut before = BTreeMap::new();
    let identifier = format!("{REPORT}|{}", report_identifier(id, period));
    each(
        snapshot,
        &definitions,
        "MeasureReport",
        ("identifier", identifier),
        |_, report| before.extend(reported(&report)),
    )
    .await?;
    let mut plan = plan(id, data_set, period, tabulations.collect(), &before);
    plan.undated = undated;
    Ok(plan)
}

/// The data value sets of the plans as JSON texts, one after the other: what `dhis2 plan` prints.
pub fn data_value_sets(plans: &[Plan], content: &Content) -> String {
    let mut text = String::new();
    for plan in plans {
        let schemes = &content.targets[&plan.data_set.target].id_schemes;
        for slice in &plan.slices {
            let _ = writeln!(text, "{:#}", plan.data_value_set(slice, schemes));
        }
    }
    text
}

/// For a person: how many events there were and what became of them.
pub fn account(plans: &[Plan]) -> String {
    let mut text = String::new();
    for plan in plans {
        for (indicator, count) in plan.undated.iter().filter(|(_, count)| **count > 0) {
            let _ = writeln!(
                text,
                "{} ({indicator}): {count} without a date are in no period",
                plan.id
            );
        }
        for (data_element, indicator, facts, reasons) in plan.not_counted() {
            let left: u64 = reasons.values().sum();
            let _ = writeln!(
                text,
                "{} {} {data_element} ({indicator}): {facts} events, {} counted",
                plan.id,
                plan.period.id,
                facts - left
            );
            for (reason, count) in reasons {
                let _ = writeln!(text, "    {count} not counted: {}", reason.reason());
            }
        }
    }
    text
}

/// Sends the plans, slice by slice. Before a slice is sent its figures are recorded, and after it the answer: a run that breaks off in
/// between is made up for by the next. `record` commits changes together, on the server's one road. Stops at a server that gives no right.
///
/// # Errors
/// The target's variables, its server, or the database; refusals of figures are in what is returned, under the id of their report.
pub async fn submit(
    content: &Content,
    plans: &[Plan],
    variable: impl Fn(&str) -> Option<String>,
    record: impl AsyncFn(Vec<Change>) -> Result<(), Dhis2Error>,
) -> Result<Vec<(String, Submission)>, Dhis2Error> {
    let mut submissions = Vec::new();
    for plan in plans {
        let client = Client::new(&content.targets[&plan.data_set.target], &variable)?;
        client.check().await?;
        let left = match not_counted_report(plan) {
            Some(report) => update(report),
            // An earlier run may have left one.
            None => Change::Delete {
                target: Target::Id(ResourceKey::new("MeasureReport", report_id(plan, None))),
                version: VersionMatch::Any,
                at_most: 1,
            },
        };
        record(vec![left]).await?;
        for slice in &plan.slices {
            let before = [
                measure_report(plan, slice, &slice.gone),
                task(plan, slice, None),
            ];
            record(before.map(update).into()).await?;
            let submission = client.submit(plan, slice, &content.errors).await;
            let pending: Vec<ValueKey> = slice
                .gone
                .iter()
                .filter(|key| submission.unconfirmed.contains_key(key))
                .cloned()
                .collect();
            let after = [
                measure_report(plan, slice, &pending),
                task(plan, slice, Some(&submission)),
            ];
            record(after.map(update).into()).await?;
            let forbidden = submission.state == State::Forbidden;
            submissions.push((report_id(plan, Some(&slice.org_unit)), submission));
            if forbidden {
                return Ok(submissions);
            }
        }
    }
    Ok(submissions)
}

/// A submission in a line, and a line for each value that is not there.
fn outcome(submission: &Submission) -> String {
    let all = submission.confirmed + submission.unconfirmed.len();
    let mut text = format!(
        "{}, {} of {all} values confirmed",
        words(submission.state),
        submission.confirmed
    );
    for (key, code) in &submission.unconfirmed {
        let combo = key.category_option_combo.as_deref().unwrap_or("default");
        let code = code.as_deref().unwrap_or("no reason given");
        let _ = write!(text, "\n    {} {combo}: {code}", key.data_element);
    }
    text
}

/// The targets that the data sets name, each with the version of its server, or why it cannot be sent to: what `dhis2 check` prints.
pub async fn check(
    content: &Content,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<(String, Result<String, Dhis2Error>)> {
    let mut found = Vec::new();
    for (id, target) in &content.targets {
        let version = match Client::new(target, &variable) {
            Ok(client) => client.check().await,
            Err(error) => Err(error),
        };
        found.push((id.clone(), version));
    }
    found
}

fn update(resource: Value) -> Change {
    let text = |name: &str| resource[name].as_str().unwrap_or_default().to_string();
    Change::Update {
        target: Target::Id(ResourceKey::new(text("resourceType"), text("id"))),
        full_url: None,
        version: VersionMatch::Any,
        may_create: true,
        resource,
    }
}
