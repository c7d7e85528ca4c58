//! What happens often is logged seldom: under a flood a line for each refusal would be a flood of its own.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Least time between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts an event, and says when it is time for a line about it.
#[derive(Debug)]
pub struct Seldom(Mutex<State>);

#[derive(Debug)]
struct State {
    said: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    pub const fn new() -> Seldom {
        Seldom(Mutex::new(State {
            said: None,
            unsaid: 0,
        }))
    }

    /// It happened. How often since the last line, if there is to be one now: at the first time at once.
    pub fn happened(&self) -> Option<u64> {
        self.happened_at(Instant::now())
    }

    fn happened_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.unsaid += 1;
        match state.said {
            Some(said) if now.duration_since(said) < INTERVAL => None,
            _ => {
                state.said = Some(now);
                Some(std::mem::take(&mut state.unsaid))
            }
        }
    }
}

impl Default for Seldom {
    fn default() -> Seldom {
        Seldom::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_at_once_then_one_an_interval() {
        let (seldom, start) = (Seldom::new(), Instant::now());
        for (after_ms, expect) in [
            (0, Some(1)),
            (1, None),
            (9_999, None),
            (10_000, Some(3)),
            (10_001, None),
            (60_000, Some(2)),
        ] {
            let found = seldom.happened_at(start + Duration::from_millis(after_ms));
            assert_eq!(found, expect, "{after_ms}");
        }
    }
}
