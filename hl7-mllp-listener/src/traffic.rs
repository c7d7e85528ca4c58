//! What comes in, by sender and trigger: metrics, and alerts on silence and on errors. Labels are bounded, since both come from outside:
//! what is beyond the bound, or no name, counts as `other`.

use crate::ack::AckCode;
use crate::header::Header;
use crate::policy::Policy;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most senders that are told apart.
const MAX_SENDERS: usize = 200;
/// Most pairs of sender and trigger that are told apart.
const MAX_SERIES: usize = 2_000;
/// Longest name of a sender that is a label, in characters.
const MAX_NAME: usize = 60;
/// How far back errors are counted, and in how many steps that moves on.
const WINDOW: Duration = Duration::from_secs(15 * 60);
const STEPS: u32 = 15;
/// Fewer messages than this say nothing about a rate of errors.
const FEW: u64 = 10;
const OTHER: &str = "other";

/// Counts messages. Shared by all listeners of a process.
#[derive(Debug)]
pub struct Traffic {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    series: HashMap<(String, String), Arc<Series>>,
    senders: HashMap<String, Sender>,
}

/// The metrics of one sender and trigger.
struct Series {
    received: Counter,
    bytes: Counter,
    codes: Mutex<HashMap<&'static str, Counter>>,
    seconds: Histogram,
    sender: String,
    trigger: String,
}

#[derive(Debug)]
struct Sender {
    policy: Policy,
    last: Option<Instant>,
    window: Window,
    is_silent: Alert,
    has_errors: Alert,
}

/// Messages and those not accepted, of the last minutes.
#[derive(Debug, Default)]
struct Window {
    counts: [(u64, u64); STEPS as usize],
    step: u64,
}

#[derive(Debug, Default)]
struct Alert(bool);

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Series({} {})", self.sender, self.trigger)
    }
}

impl Traffic {
    /// Knows the senders that have a policy from the beginning: silence is told of those that never came.
    pub fn new(known: impl IntoIterator<Item = (String, Policy)>) -> Traffic {
        let senders = known
            .into_iter()
            .map(|(name, policy)| (name, Sender::new(policy)));
        Traffic {
            started: Instant::now(),
            state: Mutex::new(State {
                series: HashMap::new(),
                senders: senders.collect(),
            }),
        }
    }

    /// A message was answered; no code: nothing is ever said to it.
    pub fn answered(
        &self,
        header: Option<&Header<'_>>,
        policy: &Policy,
        bytes: usize,
        code: Option<AckCode>,
        started: Instant,
    ) {
        let (sender, trigger) = labels(header);
        let series = self.note(sender, trigger, policy, code, Instant::now());
        series.received.increment(1);
        series.bytes.increment(bytes as u64);
        series.seconds.record(started.elapsed());
        let code = code.map_or("none", AckCode::code);
        let mut codes = series.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes
            .entry(code)
            .or_insert_with(|| series.code(code))
            .increment(1);
        tracing::debug!(
            code,
            bytes,
            milliseconds = started.elapsed().as_millis() as u64,
            "message answered"
        );
    }

    fn note(
        &self,
        sender: String,
        trigger: String,
        policy: &Policy,
        code: Option<AckCode>,
        now: Instant,
    ) -> Arc<Series> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !state.senders.contains_key(&sender);
        let sender = match is_new && state.senders.len() >= MAX_SENDERS {
            true => OTHER.to_owned(),
            false => sender,
        };
        let seen = state
            .senders
            .entry(sender.clone())
            .or_insert_with(|| Sender::new(*policy));
        seen.last = Some(now);
        let step = self.step(now);
        seen.window
            .add(step, code.is_some_and(|code| !code.is_accept()));
        let is_full = state.series.len() >= MAX_SERIES;
        let mut key = (sender, trigger);
        if is_full && !state.series.contains_key(&key) {
            key = (OTHER.to_owned(), OTHER.to_owned());
        }
        let series = state.series.entry(key.clone());
        series
            .or_insert_with(|| Arc::new(Series::new(key.0, key.1)))
            .clone()
    }

    fn step(&self, now: Instant) -> u64 {
        let step = WINDOW / STEPS;
        now.duration_since(self.started).as_secs() / step.as_secs()
    }

    /// Looks for silence and errors, tells of changes in the log, and sets the gauges. Called now and then.
    pub fn look(&self) {
        self.look_at(Instant::now());
    }

    /// The names of those that changed, for tests: `silent A.B`, `errors A.B`, `well A.B`.
    fn look_at(&self, now: Instant) -> Vec<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let step = self.step(now);
        let mut told = Vec::new();
        for (name, sender) in &mut state.senders {
            let since = now.duration_since(sender.last.unwrap_or(self.started));
            let minutes = since.as_secs() / 60;
            if let Some(limit) = sender.policy.silent_minutes {
                let is_silent = minutes >= limit;
                gauge!("mllp_sender_silent", "sender" => name.clone())
                    .set(f64::from(u8::from(is_silent)));
                if sender.is_silent.changes(is_silent) {
                    match is_silent {
                        true => {
                            tracing::warn!(sender = name, minutes, "nothing comes from a sender")
                        }
                        false => tracing::info!(sender = name, "messages come again from a sender"),
                    }
                    told.push(format!(
                        "{} {name}",
                        if is_silent { "silent" } else { "well" }
                    ));
                }
            }
            let (messages, errors) = sender.window.sum(step);
            if let Some(limit) = sender.policy.errors_percent {
                let percent = (errors * 100).checked_div(messages).unwrap_or(0);
                let has_errors = messages >= FEW && percent >= limit;
                gauge!("mllp_sender_errors_percent", "sender" => name.clone()).set(percent as f64);
                if sender.has_errors.changes(has_errors) {
                    match has_errors {
                        true => tracing::warn!(
                            sender = name,
                            messages,
                            errors,
                            "many messages of a sender are not accepted"
                        ),
                        false => {
                            tracing::info!(sender = name, "messages of a sender are accepted again")
                        }
                    }
                    told.push(format!(
                        "{} {name}",
                        if has_errors { "errors" } else { "well" }
                    ));
                }
            }
        }
        told.sort();
        told
    }
}

impl Series {
    fn new(sender: String, trigger: String) -> Series {
        let labels = [("sender", sender.clone()), ("trigger", trigger.clone())];
        Series {
            received: counter!("mllp_messages_received_total", &labels),
            bytes: counter!("mllp_received_bytes_total", &labels),
            codes: Mutex::default(),
            seconds: histogram!("mllp_acknowledgment_seconds", &labels),
            sender,
            trigger,
        }
    }

    fn code(&self, code: &'static str) -> Counter {
        counter!("mllp_acknowledgments_total", "code" => code, "sender" => self.sender.clone(), "trigger" => self.trigger.clone())
    }
}

impl Sender {
    fn new(policy: Policy) -> Sender {
        Sender {
            policy,
            last: None,
            window: Window::default(),
            is_silent: Alert::default(),
            has_errors: Alert::default(),
        }
    }
}

impl Window {
    fn add(&mut self, step: u64, is_error: bool) {
        self.move_to(step);
        let count = &mut self.counts[(step % u64::from(STEPS)) as usize];
        count.0 += 1;
        count.1 += u64::from(is_error);
    }

    fn sum(&mut self, step: u64) -> (u64, u64) {
        self.move_to(step);
        let sum = |(a, b), (c, d): &(u64, u64)| (a + c, b + d);
        self.counts.iter().fold((0, 0), sum)
    }

    /// What is older than the window is forgotten.
    fn move_to(&mut self, step: u64) {
        let passed = step.saturating_sub(self.step).min(u64::from(STEPS));
        for past in 0..passed {
            self.counts[((step - past) % u64::from(STEPS)) as usize] = (0, 0);
        }
        self.step = self.step.max(step);
    }
}

impl Alert {
    fn changes(&mut self, is: bool) -> bool {
        std::mem::replace(&mut self.0, is) != is
    }
}

/// Sender and trigger of a message as labels.
fn labels(header: Option<&Header<'_>>) -> (String, String) {
    let Some(header) = header else {
        return (OTHER.to_owned(), OTHER.to_owned());
    };
    let sender = header.sender();
    let is_name = |c: char| c.is_alphanumeric() || "._-/ ".contains(c);
    let sender = match sender.len() <= MAX_NAME && sender.chars().all(is_name) && sender != "." {
        true => sender,
        false => OTHER.to_owned(),
    };
    let (kind, event) = (header.component(9, 1), header.component(9, 2));
    let is_code = |code: &str| {
        (2..=3).contains(&code.len())
            && code
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    let trigger = match (is_code(&kind), event.as_str()) {
        (true, "") => kind,
        (true, event) if is_code(event) => format!("{kind}^{event}"),
        _ => OTHER.to_owned(),
    };
    (sender, trigger)
}

/// Messages that wait for their turn or are worked on, while it lives.
#[derive(Debug)]
pub struct InWork(Gauge);

impl InWork {
    pub fn begin() -> InWork {
        let gauge = gauge!("mllp_messages_in_work");
        gauge.increment(1);
        InWork(gauge)
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, sender: &str, trigger: &str) {
        let header = format!("MSH|^~\\&|{header}");
        let found = labels(Header::read(header.as_bytes()).as_ref());
        assert_eq!(
            (found.0.as_str(), found.1.as_str()),
            (sender, trigger),
            "{header}"
        );
    }

    #[test]
    fn labels_are_names() {
        check(
            "HIS^1|GENHOSP|||||ADT^A01^ADT_A01",
            "HIS.GENHOSP",
            "ADT^A01",
        );
        check("HIS||||||ACK", "HIS.", "ACK");
        check("||||||ADT^A01", "other", "ADT^A01");
        check("A\"B|C|||||ADT^a1", "other", "other");
        check(&"x".repeat(100), "other", "other");
        assert_eq!(labels(None).0, "other");
    }

    fn policy() -> Policy {
        Policy {
            silent_minutes: Some(60),
            errors_percent: Some(50),
            ..Policy::default()
        }
    }

    #[test]
    fn silence_and_errors_are_told_once_and_so_is_their_end() {
        let traffic = Traffic::new([("A.B".to_owned(), policy())]);
        let at = |minutes: u64| traffic.started + Duration::from_secs(minutes * 60);
        let came = |minutes, code| {
            let name = ("A.B".to_owned(), "ADT^A01".to_owned());
            traffic.note(name.0, name.1, &Policy::default(), Some(code), at(minutes));
        };
        assert_eq!(traffic.look_at(at(59)), [""; 0]);
        assert_eq!(traffic.look_at(at(60)), ["silent A.B"]);
        assert_eq!(traffic.look_at(at(61)), [""; 0]);
        came(62, AckCode::AA);
        assert_eq!(traffic.look_at(at(62)), ["well A.B"]);
        (0..8).for_each(|_| came(63, AckCode::AE));
        assert_eq!(traffic.look_at(at(63)), [""; 0], "nine are few");
        came(63, AckCode::AR);
        assert_eq!(traffic.look_at(at(64)), ["errors A.B"]);
        (0..20).for_each(|_| came(70, AckCode::CA));
        assert_eq!(traffic.look_at(at(70)), ["well A.B"]);
        came(71, AckCode::AE);
        assert_eq!(
            traffic.look_at(at(79)),
            [""; 0],
            "errors are forgotten after 15 minutes"
        );
    }

    #[test]
    fn senders_and_series_are_bounded() {
        let traffic = Traffic::new([]);
        let now = Instant::now();
        for n in 0..MAX_SENDERS * 2 {
            for trigger in 0..20 {
                let trigger = format!("T{trigger}");
                traffic.note(format!("S{n}."), trigger, &policy(), None, now);
            }
        }
        let state = traffic.state.lock().unwrap();
        assert_eq!(state.senders.len(), MAX_SENDERS + 1);
        assert!(state.series.len() <= MAX_SERIES + 1);
    }
}
