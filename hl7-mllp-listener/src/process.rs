//! From one framed message to its acknowledgement.

use crate::ack::{AckCode, Answer, AnswerError, ErrorCode};
use crate::message::{Message, TextOptions};
use crate::submit::Submit;
use bytes::Bytes;

/// What is sent back for one message.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The ACK message without its frame; `None` if nothing is to be sent: the message was an acknowledgement, or the
    /// sender asked for none (MSH-15, MSH-16).
    pub acknowledgment: Option<Bytes>,
    /// The outcome, for metrics and logs, also when nothing is sent.
    pub code: Option<AckCode>,
}

impl Reply {
    /// The reply to the message `raw` begins with.
    pub fn to(raw: &[u8], answer: &Answer) -> Reply {
        Reply {
            acknowledgment: answer.acknowledge(raw),
            code: Some(answer.code),
        }
    }
}

/// Takes messages to the FHIR server.
#[derive(Clone, Debug)]
pub struct Processor {
    #[expect(dead_code, reason = "filled with the mapping half")]
    submit: Submit,
}

impl Processor {
    pub fn new(submit: Submit) -> Processor {
        Processor { submit }
    }

    /// Answers one message: it is committed before AA is said. Never fails; what goes wrong is in the reply.
    pub async fn process(&self, frame: Bytes) -> Reply {
        let answer = match Message::parse(&frame, &TextOptions::default()) {
            Err(error) => Answer::from(&error),
            Ok(_) => Answer::refuse(
                AckCode::AR,
                AnswerError::error(ErrorCode::UnsupportedMessageType, None, "no mapping"),
            ),
        };
        Reply::to(&frame, &answer)
    }
}
