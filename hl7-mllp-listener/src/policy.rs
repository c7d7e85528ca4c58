//! How the messages of a sender are taken, as its file in `senders/` says: when it gets its acknowledgement and which, in which order its
//! messages are applied, and what an operator wants to be told.

use crate::ack::{AckCode, Answer, AnswerError, ErrorCode};
use crate::mapping::yaml::{Entry, Fault};

/// Longest deadline, in seconds: senders do not wait longer.
const MAX_DEADLINE_SECONDS: u64 = 300;

/// How the messages of a sender are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// AA or CA is said when the message is in the spool, not when it is applied.
    pub is_stored_first: bool,
    /// Else: how long it may take to apply a message before it goes to the spool, where there is one.
    pub deadline_ms: u64,
    /// One lane for all its messages: each waits for the one before it, whoever the patient is.
    pub is_single_lane: bool,
    /// Original mode whatever MSH-15 and MSH-16 say.
    pub is_original_mode: bool,
    /// What is said of a message that cannot be applied now: AR, for engines that send again after AR only, or AE.
    pub unreachable: AckCode,
    /// An alert when nothing came for so long.
    pub silent_minutes: Option<u64>,
    /// An alert when so many of a hundred messages are not accepted.
    pub errors_percent: Option<u64>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            is_stored_first: false,
            deadline_ms: 15_000,
            is_single_lane: false,
            is_original_mode: false,
            unreachable: AckCode::AR,
            silent_minutes: None,
            errors_percent: None,
        }
    }
}

impl Policy {
    /// What is said of a message that may be applied later: sending it again may help.
    pub fn later(&self, code: ErrorCode, text: &str) -> Answer {
        Answer::refuse(self.unreachable, AnswerError::error(code, None, text))
    }

    /// Takes a key of a sender's file; false if it is none of these.
    ///
    /// # Errors
    /// A value that makes no sense, with its line.
    pub fn read(&mut self, entry: &Entry) -> Result<bool, Fault> {
        match entry.key.as_str() {
            "ack" => self.is_stored_first = entry.one_of(["applied", "stored"])? == 1,
            "lanes" => self.is_single_lane = entry.one_of(["patient", "sender"])? == 1,
            "mode" => self.is_original_mode = entry.one_of(["asked", "original"])? == 1,
            "unreachable" => {
                let codes = [AckCode::AR, AckCode::AE];
                self.unreachable = codes[entry.one_of(codes.map(AckCode::code))?];
            }
            "deadline_seconds" => {
                self.deadline_ms = 1_000 * number(entry, 1..=MAX_DEADLINE_SECONDS)?;
            }
            "alert" => {
                for entry in entry.node.map()? {
                    match entry.key.as_str() {
                        "silent_minutes" => {
                            self.silent_minutes = Some(number(entry, 1..=100_000)?);
                        }
                        "errors_percent" => self.errors_percent = Some(number(entry, 1..=100)?),
                        _ => return Err(entry.unknown()),
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn number(entry: &Entry, range: std::ops::RangeInclusive<u64>) -> Result<u64, Fault> {
    let number = entry.node.text()?.parse().ok();
    let why = || {
        format!(
            "{}: a number from {} to {}",
            entry.key,
            range.start(),
            range.end()
        )
    };
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| Fault::new(entry.line, why()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::yaml;

    fn check(yaml: &str, expect: Result<Policy, &str>) {
        let node = yaml::parse(yaml.as_bytes()).unwrap();
        let mut policy = Policy::default();
        let read = node.map().unwrap().iter().try_for_each(|entry| {
            let is_known = policy.read(entry)?;
            assert!(is_known, "{yaml}");
            Ok(())
        });
        let found = read.map(|()| policy);
        let found = found.map_err(|fault: Fault| format!("{}: {}", fault.line, fault.reason));
        assert_eq!(found, expect.map_err(str::to_owned), "{yaml}");
    }

    #[test]
    fn a_policy_is_read() {
        let default = Policy::default();
        check("ack: applied\nlanes: patient\nmode: asked", Ok(default));
        check(
            "ack: stored\nlanes: sender\nmode: original\nunreachable: AE\ndeadline_seconds: 5",
            Ok(Policy {
                is_stored_first: true,
                is_single_lane: true,
                is_original_mode: true,
                unreachable: AckCode::AE,
                deadline_ms: 5_000,
                ..default
            }),
        );
        check(
            "alert: { silent_minutes: 60, errors_percent: 10 }",
            Ok(Policy {
                silent_minutes: Some(60),
                errors_percent: Some(10),
                ..default
            }),
        );
        check("ack: soon", Err("1: ack: applied or stored"));
        check("unreachable: CE", Err("1: unreachable: AR or AE"));
        check("lanes: two", Err("1: lanes: patient or sender"));
        check(
            "deadline_seconds: 0",
            Err("1: deadline_seconds: a number from 1 to 300"),
        );
        check("alert:\n  silence: 3", Err("2: unknown key `silence`"));
        check(
            "alert:\n  errors_percent: 101",
            Err("2: errors_percent: a number from 1 to 100"),
        );
    }
}
