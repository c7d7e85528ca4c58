//! Order where order matters: a message waits for the earlier ones of its patient, those of different patients go side by side.
//!
//! A message stands in the lane of every patient it names (PID-3, PID-2, and MRG-1 to MRG-4 of merges); one that names none stands in the lane of its
//! sender, and a sender may be given one lane for all its messages. Lanes are told apart by the number alone, without its authority:
//! two patients who share a number merely wait for each other. A place depends on earlier places only, so nothing waits in a circle.

use crate::header::{Header, without_leading_space};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Most lanes of one message; a message with more stands in the lane of its sender, and those patients' later messages may overtake it.
const MAX_LANES: usize = 64;

/// All lanes of a process, whatever connections messages come on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lanes(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    entered: u64,
    /// The last message of each lane.
    last: HashMap<u64, (u64, CancellationToken)>,
}

/// The place of one message in its lanes; when it is dropped, the next ones may go on.
#[derive(Debug)]
pub struct Place {
    earlier: Vec<CancellationToken>,
    keys: Vec<u64>,
    number: u64,
    lanes: Lanes,
    _done: DropGuard,
}

impl Lanes {
    /// Takes places behind all messages that entered before.
    pub fn enter(&self, mut keys: Vec<u64>) -> Place {
        keys.sort_unstable();
        keys.dedup();
        let done = CancellationToken::new();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.entered += 1;
        let number = state.entered;
        let mut earlier = Vec::new();
        for key in &keys {
            let before = state.last.insert(*key, (number, done.clone()));
            earlier.extend(before.map(|(_, done)| done));
        }
        Place {
            earlier,
            keys,
            number,
            lanes: self.clone(),
            _done: done.drop_guard(),
        }
    }
}

impl Place {
    /// Waits until all earlier messages in its lanes are done.
    pub async fn turn(&self) {
        for done in &self.earlier {
            done.cancelled().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.lanes.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &self.keys {
            if state
                .last
                .get(key)
                .is_some_and(|(last, _)| *last == self.number)
            {
                state.last.remove(key);
            }
        }
    }
}

/// The lanes of a message, read from its bytes, also of one that cannot be parsed.
pub fn keys(raw: &[u8], is_single: bool) -> Vec<u64> {
    let header = Header::read(raw);
    let sender = || {
        let part = |n| header.map(|header| header.component(n, 1));
        vec![key("sender", &(part(3), part(4)))]
    };
    let Some(header) = header.filter(|_| !is_single) else {
        return sender();
    };
    let separators = header.separators;
    let mut keys = Vec::new();
    let mut add = |field: &[u8]| {
        for repetition in field.split(|byte| *byte == separators.repetition) {
            let id = repetition.split(|byte| matches!(*byte, b if b == separators.component || b == separators.subcomponent));
            let id = id.map(<[u8]>::trim_ascii).next().unwrap_or_default();
            if !id.is_empty() && id != b"\"\"" {
                keys.push(key("patient", &id));
            }
        }
    };
    for line in raw.split(|byte| matches!(byte, b'\r' | b'\n')) {
        let line = without_leading_space(line);
        let fields: &[usize] = match line.get(..3) {
            Some(b"PID") => &[2, 3],
            Some(b"MRG") => &[1, 2, 4],
            _ => continue,
        };
        let mut values = line.split(|byte| *byte == separators.field).enumerate();
        while let Some((n, value)) = values.next().filter(|(n, _)| *n <= 4) {
            if fields.contains(&n) {
                add(value);
            }
        }
    }
    match keys.len() {
        0 => sender(),
        n if n > MAX_LANES => sender(),
        _ => keys,
    }
}

fn key(kind: &str, of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, of).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn is_ready(place: &Place) -> bool {
        place.turn().now_or_never().is_some()
    }

    #[test]
    fn lanes_keep_their_order_and_do_not_hold_up_each_other() {
        let lanes = Lanes::default();
        let [one, two] = [1, 2].map(|key| lanes.enter(vec![key]));
        let both = lanes.enter(vec![1, 2, 1]);
        let again = lanes.enter(vec![2]);
        assert!(is_ready(&one) && is_ready(&two) && !is_ready(&both) && !is_ready(&again));
        drop(one);
        assert!(!is_ready(&both));
        drop(two);
        assert!(is_ready(&both) && !is_ready(&again));
        drop(both);
        assert!(is_ready(&again));
        drop(again);
        assert!(lanes.0.lock().unwrap().last.is_empty());
    }

    fn check(message: &str, is_single: bool, expect: &[(&str, &str)]) {
        let raw = format!("MSH|^~\\&|APP|FAC\r{message}");
        let mut expect: Vec<u64> = expect
            .iter()
            .map(|(kind, id)| match *kind {
                "sender" => key(kind, &(Some("APP".to_owned()), Some("FAC".to_owned()))),
                _ => key(kind, &id.as_bytes()),
            })
            .collect();
        let mut found = keys(raw.as_bytes(), is_single);
        found.sort_unstable();
        expect.sort_unstable();
        assert_eq!(found, expect, "{message}");
    }

    #[test]
    fn a_message_stands_in_the_lanes_of_its_patients() {
        check(
            "PID|1||7^^^A~8^^^B",
            false,
            &[("patient", "7"), ("patient", "8")],
        );
        check(
            "PID|1|6|7&x^^^A",
            false,
            &[("patient", "6"), ("patient", "7")],
        );
        check(
            "PID|1||7\rMRG|9^^^A",
            false,
            &[("patient", "7"), ("patient", "9")],
        );
        check("PID|1||7", true, &[("sender", "")]);
        check("PID|1||\"\"", false, &[("sender", "")]);
        check("MFI|1", false, &[("sender", "")]);
        assert_eq!(keys(b"garbage", false).len(), 1);
    }
}
