//! Which acknowledgements a message gets (v2.9 section 2.9.2): one in original mode; in enhanced mode a commit acknowledgement as
//! MSH-15 asks for it, and an application acknowledgement as MSH-16 does (table 0155: AL, NE, ER, SU).
//!
//! Readings where the text is open. Enhanced mode is where one of the two fields holds a code of table 0155; an empty other one is NE.
//! Other values mean no mode: analyzers put the kind of a sample into MSH-16. CA says the message is in safe storage, so content that
//! is wrong and kept gets CA; what is wrong with it is told by the application acknowledgement, or in the CA's ERR segments where none
//! is wanted. CR: something in the header is not supported. CE: it could not be kept, send it again. After CE and CR nothing follows.

use super::{AckCode, Answer};
use crate::header::Header;

/// MSH-15 or MSH-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Always,
    Never,
    Error,
    Success,
}

/// How a message is to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One acknowledgement: AA, AE or AR.
    Original,
    Enhanced {
        accept: Condition,
        application: Condition,
    },
}

impl Condition {
    fn read(code: &str) -> Option<Condition> {
        match code {
            "AL" => Some(Condition::Always),
            "NE" => Some(Condition::Never),
            "ER" => Some(Condition::Error),
            "SU" => Some(Condition::Success),
            _ => None,
        }
    }

    fn wants(self, is_accepted: bool) -> bool {
        match self {
            Condition::Always => true,
            Condition::Never => false,
            Condition::Error => !is_accepted,
            Condition::Success => is_accepted,
        }
    }
}

impl Mode {
    /// What the header of a message asks for; without a header it is original mode.
    pub fn of(header: Option<&Header<'_>>) -> Mode {
        let asked = |field| {
            let code = header.map(|header| header.component(field, 1));
            Condition::read(code.unwrap_or_default().trim())
        };
        match (asked(15), asked(16)) {
            (None, None) => Mode::Original,
            (accept, application) => Mode::Enhanced {
                accept: accept.unwrap_or(Condition::Never),
                application: application.unwrap_or(Condition::Never),
            },
        }
    }

    /// What is said once a message has its outcome; `is_kept`: it is in the journal, whatever became of it.
    pub fn on_applied(self, answer: &Answer, is_kept: bool) -> Vec<Answer> {
        let Mode::Enhanced {
            accept,
            application,
        } = self
        else {
            return vec![answer.clone()];
        };
        let commit = match answer.code {
            _ if !is_kept => AckCode::CE,
            AckCode::AR | AckCode::CR => AckCode::CR,
            _ => AckCode::CA,
        };
        let says_commit = accept.wants(commit.is_accept());
        // The receiver of CE or CR waits for nothing more.
        let is_over = says_commit && !commit.is_accept();
        let says_application = !is_over && application.wants(answer.code.is_accept());
        let mut said = Vec::new();
        if says_commit {
            let errors = match says_application {
                true => Vec::new(),
                false => answer.errors.clone(),
            };
            said.push(Answer {
                code: commit,
                errors,
            });
        }
        if says_application {
            said.push(answer.clone());
        }
        said
    }

    /// What is said when a message is in the spool and its outcome is not known yet.
    pub fn on_stored(self) -> Vec<Answer> {
        let stored = |code| Answer {
            code,
            errors: Vec::new(),
        };
        match self {
            Mode::Original => vec![stored(AckCode::AA)],
            Mode::Enhanced { accept, .. } if accept.wants(true) => vec![stored(AckCode::CA)],
            Mode::Enhanced { .. } => Vec::new(),
        }
    }

    /// What is said when a message in the spool has its outcome.
    pub fn after_stored(self, answer: &Answer) -> Option<Answer> {
        match self {
            Mode::Enhanced { application, .. } if application.wants(answer.code.is_accept()) => {
                Some(answer.clone())
            }
            _ => None,
        }
    }

    /// Whether this is the application's acknowledgement of enhanced mode, which may go another way than the commit acknowledgement.
    pub fn is_application(self, said: &Answer) -> bool {
        let of_commit = [AckCode::CA, AckCode::CE, AckCode::CR];
        self != Mode::Original && !of_commit.contains(&said.code)
    }

    /// Whether something may be said after the message is in the spool.
    pub fn awaits_application(self) -> bool {
        matches!(self, Mode::Enhanced { application, .. } if application != Condition::Never)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ack::{AnswerError, ErrorCode};

    fn mode(accept: &str, application: &str) -> Mode {
        let raw = format!("MSH|^~\\&|||||||ADT^A01|1|P|2.5|||{accept}|{application}");
        Mode::of(Header::read(raw.as_bytes()).as_ref())
    }

    /// The codes said, with `!` behind those that list errors.
    fn codes(said: Vec<Answer>) -> String {
        let one = |answer: &Answer| match answer.errors.is_empty() {
            true => answer.code.code().to_owned(),
            false => format!("{}!", answer.code.code()),
        };
        said.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn check(accept: &str, application: &str, outcome: (AckCode, bool), expect: &str) {
        let (code, is_kept) = outcome;
        let errors = match code {
            AckCode::AA => Vec::new(),
            _ => vec![AnswerError::error(ErrorCode::DataType, None, "x")],
        };
        let said = mode(accept, application).on_applied(&Answer { code, errors }, is_kept);
        assert_eq!(codes(said), expect, "{accept} {application} {outcome:?}");
    }

    const GOOD: (AckCode, bool) = (AckCode::AA, true);
    const WRONG: (AckCode, bool) = (AckCode::AE, true);
    const UNSUPPORTED: (AckCode, bool) = (AckCode::AR, true);
    const OUTSIDE: (AckCode, bool) = (AckCode::AR, false);

    #[test]
    fn original_mode_says_one_thing() {
        for (fields, outcome, expect) in [
            (("", ""), GOOD, "AA"),
            (("", ""), WRONG, "AE!"),
            (("", ""), OUTSIDE, "AR!"),
            (("", "0"), GOOD, "AA"),
            (("", "2"), GOOD, "AA"),
            (("\"\"", "al"), GOOD, "AA"),
        ] {
            check(fields.0, fields.1, outcome, expect);
        }
    }

    #[test]
    fn enhanced_mode_says_what_is_asked_for() {
        for (fields, outcome, expect) in [
            (("AL", "NE"), GOOD, "CA"),
            (("AL", ""), GOOD, "CA"),
            (("AL", "NE"), WRONG, "CA!"),
            (("AL", "NE"), UNSUPPORTED, "CR!"),
            (("AL", "NE"), OUTSIDE, "CE!"),
            (("AL", "AL"), GOOD, "CA AA"),
            (("AL", "AL"), WRONG, "CA AE!"),
            (("AL", "AL"), UNSUPPORTED, "CR!"),
            (("AL", "AL"), OUTSIDE, "CE!"),
            (("AL", "ER"), GOOD, "CA"),
            (("AL", "ER"), WRONG, "CA AE!"),
            (("AL", "SU"), WRONG, "CA!"),
            (("ER", "NE"), GOOD, ""),
            (("ER", "NE"), WRONG, ""),
            (("ER", "ER"), WRONG, "AE!"),
            (("ER", "NE"), UNSUPPORTED, "CR!"),
            (("SU", "NE"), GOOD, "CA"),
            (("SU", "AL"), UNSUPPORTED, "AR!"),
            (("NE", "AL"), GOOD, "AA"),
            (("", "AL"), WRONG, "AE!"),
            (("NE", "AL"), OUTSIDE, "AR!"),
            (("NE", "NE"), WRONG, ""),
            (("NE", ""), GOOD, ""),
        ] {
            check(fields.0, fields.1, outcome, expect);
        }
    }

    #[test]
    fn a_message_in_the_spool_is_committed_and_applied_later() {
        for (fields, stored, later) in [
            (("", ""), "AA", ""),
            (("AL", "NE"), "CA", ""),
            (("AL", "AL"), "CA", "AA"),
            (("NE", "AL"), "", "AA"),
            (("ER", "SU"), "", "AA"),
            (("AL", "ER"), "CA", ""),
        ] {
            let mode = mode(fields.0, fields.1);
            assert_eq!(codes(mode.on_stored()), stored, "{fields:?}");
            let after = mode.after_stored(&Answer::accept());
            assert_eq!(codes(after.into_iter().collect()), later, "{fields:?}");
        }
    }

    #[test]
    fn a_message_without_a_header_is_in_original_mode() {
        assert_eq!(Mode::of(None), Mode::Original);
    }
}
