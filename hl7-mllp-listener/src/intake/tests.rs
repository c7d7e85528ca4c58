//! Frames in, acknowledgements out, with a stand-in for the processing.

use super::*;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What is done with a message is said in MSH-3: wait for milliseconds, be refused (AE, AR), not kept (DOWN), panic, or not kept while
/// the server is down (SPOOL).
#[derive(Debug, Default)]
struct StandIn {
    policy: Policy,
    is_down: AtomicBool,
    tried: AtomicUsize,
    /// MSH-10 of what was done, in order.
    done: Mutex<Vec<String>>,
}

impl Apply for StandIn {
    async fn apply(&self, message: Bytes, _: Option<&str>) -> Outcome {
        let header = Header::read(&message).unwrap();
        let (what, id) = (header.component(3, 1), header.component(10, 1));
        self.tried.fetch_add(1, Ordering::Relaxed);
        if let Ok(wait_ms) = what.parse() {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        assert_ne!(what, "PANIC");
        if what == "DOWN" || what == "SPOOL" && self.is_down.load(Ordering::Relaxed) {
            return Outcome::later(self.policy.later(ErrorCode::Internal, "x"));
        }
        self.done.lock().unwrap().push(id);
        let error = || AnswerError::error(ErrorCode::DataType, None, "x");
        let answer = match what.as_str() {
            "AE" => Answer::refuse(AckCode::AE, error()),
            "AR" => Answer::refuse(AckCode::AR, error()),
            _ => Answer::accept(),
        };
        Outcome {
            answer,
            is_kept: true,
            may_succeed_later: false,
        }
    }

    async fn keep(&self, _: Bytes, _: Option<&str>, why: AnswerError) -> Outcome {
        Outcome {
            answer: Answer::refuse(AckCode::AR, why),
            is_kept: true,
            may_succeed_later: false,
        }
    }

    fn policy(&self, _: &[u8], as_sender: Option<&str>) -> Policy {
        Policy {
            is_original_mode: self.policy.is_original_mode || as_sender == Some("ORIGINAL"),
            ..self.policy
        }
    }

    fn known(&self) -> Vec<(String, Policy)> {
        vec![("SPOOL.F".to_owned(), self.policy)]
    }
}

fn message(what: &str, id: &str, accept: &str, application: &str) -> String {
    format!("MSH|^~\\&|{what}|F|||||ADT^A01|{id}|P|2.5|||{accept}|{application}\rPID|1||{id}\r")
}

fn intake(policy: Policy) -> Arc<Intake<StandIn>> {
    let stand_in = StandIn {
        policy,
        ..StandIn::default()
    };
    Intake::start(stand_in, 8, None, CancellationToken::new()).unwrap()
}

async fn take(intake: &Arc<Intake<StandIn>>, frame: &str) -> Vec<String> {
    let frame = Frame::Message(Bytes::from(frame.to_owned()));
    let reply = intake.take(frame, &Admission::default()).await.unwrap();
    let said = reply.all().await;
    said.iter()
        .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        .collect()
}

/// MSA-1 and MSA-2 of all that is said, in order.
fn codes(said: &[String]) -> Vec<String> {
    let text = said.concat();
    let msa = text
        .split('\r')
        .filter_map(|line| line.strip_prefix("MSA|"));
    msa.map(|msa| msa.split('|').take(2).collect::<Vec<_>>().join("|"))
        .collect()
}

async fn check(frame: &str, expect: &[&str]) {
    let said = take(&intake(Policy::default()), frame).await;
    assert_eq!(codes(&said), expect, "{frame}");
}

#[tokio::test]
async fn messages_are_answered_as_they_ask() {
    check(&message("0", "1", "", ""), &["AA|1"]).await;
    check(&message("0", "1", "AL", "NE"), &["CA|1"]).await;
    check(&message("0", "1", "ER", "NE"), &[]).await;
    check(&message("0", "1", "AL", "AL"), &["CA|1", "AA|1"]).await;
    check(&message("0", "1", "NE", "AL"), &["AA|1"]).await;
    check(&message("AE", "1", "AL", "ER"), &["CA|1", "AE|1"]).await;
    check(&message("AR", "1", "AL", "AL"), &["CR|1"]).await;
    check(&message("DOWN", "1", "AL", "AL"), &["CE|1"]).await;
    check(&message("PANIC", "1", "", ""), &["AE|1"]).await;
    check(&message("0", "1", "", "").replace("ADT^A01", "ACK"), &[]).await;
}

#[tokio::test]
async fn a_sender_can_be_held_to_original_mode() {
    let original = Policy {
        is_original_mode: true,
        ..Policy::default()
    };
    let said = take(&intake(original), &message("0", "1", "NE", "NE")).await;
    assert_eq!(codes(&said), ["AA|1"]);
}

/// Also what is refused untried, a frame that is too long, is answered in the mode of the listener's policy.
#[tokio::test]
async fn the_policy_of_a_listener_holds_for_refusals() {
    let head = Bytes::from(message("0", "1", "AL", "AL"));
    let original = Admission::with_policy("ORIGINAL");
    for (admission, expect) in [(Admission::default(), "CR|1"), (original, "AR|1")] {
        let frame = Frame::TooLong {
            head: head.clone(),
            length: 1 << 30,
        };
        let intake = intake(Policy::default());
        let reply = intake.take(frame, &admission).await.unwrap();
        let said = String::from_utf8(reply.all().await.concat()).unwrap();
        assert_eq!(codes(&[said]), [expect]);
    }
}

#[tokio::test]
async fn a_batch_is_answered_as_a_batch() {
    let batch = ["0", "AE", "0"].map(|what| message(what, &format!("{what}1"), "", ""));
    let frame = format!("BHS|^~\\&|L|X|H|Y|||||B1\r{}BTS|3\r", batch.concat());
    check(&frame, &["AA|01", "AE|AE1", "AA|01"]).await;
    let said = take(&intake(Policy::default()), &frame).await;
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("BHS|^~\\&|H|Y|L|X|") && said[0].ends_with("BTS|3\r"));

    let lost = frame.replace("BTS|3", "BTS|4");
    let intake = intake(Policy::default());
    let said = take(&intake, &lost).await;
    assert_eq!(codes(&said), ["AE|01", "AE|AE1", "AE|01"]);
    assert_eq!(intake.apply.tried.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn messages_of_one_patient_are_applied_in_order_and_others_meanwhile() {
    let of = |what, id: &str, patient: &str| {
        message(what, id, "", "").replace(&format!("||{id}\r"), &format!("||{patient}\r"))
    };
    let frame = [of("200", "1", "A"), of("0", "2", "A"), of("0", "3", "B")].concat();
    let order = async |policy, frame: &str| {
        let intake = intake(policy);
        take(&intake, frame).await;
        intake.apply.done.lock().unwrap().concat()
    };
    assert_eq!(order(Policy::default(), &frame).await, "312");
    let single = Policy {
        is_single_lane: true,
        ..Policy::default()
    };
    let one_sender = frame.replace("|0|F|", "|200|F|");
    assert_eq!(order(single, &one_sender).await, "123");
}

#[tokio::test]
async fn a_stopping_server_begins_nothing() {
    let intake = intake(Policy::default());
    intake.shutdown.cancel();
    let frame = Frame::Message(Bytes::from(message("0", "1", "", "")));
    assert!(intake.take(frame, &Admission::default()).await.is_none());
    assert_eq!(intake.apply.tried.load(Ordering::Relaxed), 0);
}

fn with_spool(folder: &std::path::Path, policy: Policy) -> Arc<Intake<StandIn>> {
    for _ in 0..500 {
        let stand_in = StandIn {
            policy,
            ..StandIn::default()
        };
        let spool = SpoolSettings::at(folder.to_owned());
        match Intake::start(stand_in, 8, Some(&spool), CancellationToken::new()) {
            Ok(intake) => return intake,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("the folder stays in use");
}

const STORED: Policy = Policy {
    is_stored_first: true,
    deadline_ms: 15_000,
    is_single_lane: false,
    is_original_mode: false,
    unreachable: AckCode::AR,
    silent_minutes: None,
    errors_percent: None,
};

async fn wait_for(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), wait)
        .await
        .expect("it comes");
}

#[tokio::test]
async fn a_stored_message_is_acknowledged_before_it_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let intake = with_spool(folder.path(), STORED);
    intake.apply.is_down.store(true, Ordering::Relaxed);
    for (fields, expect) in [(("", ""), "AA|1"), (("AL", "NE"), "CA|1")] {
        let said = take(&intake, &message("SPOOL", "1", fields.0, fields.1)).await;
        assert_eq!(codes(&said), [expect]);
    }
    wait_for(|| intake.apply.tried.load(Ordering::Relaxed) > 0).await;
    assert_eq!(intake.apply.done.lock().unwrap().len(), 0);
    intake.apply.is_down.store(false, Ordering::Relaxed);
    wait_for(|| intake.apply.done.lock().unwrap().len() == 2).await;
    let said = take(&intake, &message("SPOOL", "3", "AL", "AL")).await;
    assert_eq!(codes(&said), ["CA|3", "AA|3"]);
}

#[tokio::test]
async fn what_was_stored_is_applied_after_a_stop_in_order_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let intake = with_spool(folder.path(), STORED);
    intake.apply.is_down.store(true, Ordering::Relaxed);
    for id in ["1", "2", "3"] {
        let of_one = message("SPOOL", id, "", "").replace(&format!("||{id}\r"), "||P\r");
        assert_eq!(codes(&take(&intake, &of_one).await), [format!("AA|{id}")]);
    }
    intake.shutdown.cancel();
    intake.ended().await;
    assert_eq!(intake.apply.done.lock().unwrap().len(), 0);
    drop(intake);
    let intake = with_spool(folder.path(), STORED);
    wait_for(|| intake.apply.done.lock().unwrap().len() == 3).await;
    assert_eq!(intake.apply.done.lock().unwrap().concat(), "123");
    intake.shutdown.cancel();
    intake.ended().await;
    drop(intake);
    let intake = with_spool(folder.path(), STORED);
    assert_eq!(
        codes(&take(&intake, &message("0", "9", "NE", "AL")).await),
        ["AA|9"]
    );
    assert_eq!(intake.apply.tried.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_takes_too_long_or_cannot_be_applied_now_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy {
        deadline_ms: 50,
        ..Policy::default()
    };
    let intake = with_spool(folder.path(), policy);
    // The deadline passes, then it is applied from the spool.
    assert_eq!(
        codes(&take(&intake, &message("200", "1", "", "")).await),
        ["AA|1"]
    );
    assert_eq!(intake.apply.done.lock().unwrap().len(), 0);
    wait_for(|| intake.apply.done.lock().unwrap().len() == 1).await;
    intake.apply.is_down.store(true, Ordering::Relaxed);
    assert_eq!(
        codes(&take(&intake, &message("SPOOL", "2", "", "")).await),
        ["AA|2"]
    );
    intake.apply.is_down.store(false, Ordering::Relaxed);
    wait_for(|| intake.apply.done.lock().unwrap().len() == 2).await;
    // What is wrong is told at once, as without a spool.
    assert_eq!(
        codes(&take(&intake, &message("AE", "3", "", "")).await),
        ["AE|3"]
    );
}

/// Whatever it is that cannot be done now: apply, apply in time, store.
#[tokio::test]
async fn what_is_not_possible_now_is_answered_as_the_sender_understands_it() {
    for (what, ack, expect) in [
        ("DOWN", Policy::default(), "AE|1"),
        ("500", Policy::default(), "AE|1"),
        ("0", STORED, "AE|1"),
    ] {
        let policy = Policy {
            unreachable: AckCode::AE,
            deadline_ms: 20,
            ..ack
        };
        let stand_in = StandIn {
            policy,
            ..StandIn::default()
        };
        let stored = Some(Stored::broken());
        let intake = Intake::new(stand_in, 8, stored, CancellationToken::new());
        let said = take(&Arc::new(intake), &message(what, "1", "", "")).await;
        assert_eq!(codes(&said), [expect], "{what}");
    }
}

#[tokio::test]
async fn a_stored_message_that_cannot_be_applied_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let intake = with_spool(folder.path(), STORED);
    take(&intake, &message("PANIC", "1", "", "")).await;
    take(&intake, &message("0", "1", "", "")).await;
    wait_for(|| intake.apply.done.lock().unwrap().len() == 1).await;
    let aside = std::fs::read_dir(folder.path().join("aside")).unwrap();
    assert_eq!(aside.count(), 1);
}

/// Applies nothing for now, and stores so many bytes.
fn down_with_spool(folder: &Path, max_bytes: usize) -> Arc<Intake<StandIn>> {
    let stand_in = StandIn {
        policy: STORED,
        is_down: AtomicBool::new(true),
        ..StandIn::default()
    };
    let spool = SpoolSettings {
        max_bytes,
        ..SpoolSettings::at(folder.to_owned())
    };
    Intake::start(stand_in, 8, Some(&spool), CancellationToken::new()).unwrap()
}

#[tokio::test]
async fn a_spool_that_is_full_holds_senders_back() {
    let folder = tempfile::tempdir().unwrap();
    let intake = down_with_spool(folder.path(), 2_048);
    for id in ["1", "2"] {
        take(&intake, &message("SPOOL", id, "", "")).await;
    }
    let third = message("SPOOL", "3", "", "");
    let third = take(&intake, &third);
    tokio::pin!(third);
    let early = timeout(Duration::from_millis(100), &mut third).await;
    assert!(early.is_err(), "there was room for a third one");
    intake.apply.is_down.store(false, Ordering::Relaxed);
    assert_eq!(codes(&third.await), ["AA|3"]);
}

/// A batch whose fifth message is not looked at yet, and messages behind it that take all room there is.
#[tokio::test]
async fn room_that_is_taken_by_later_messages_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let intake = down_with_spool(folder.path(), 5 << 10);
    let of = |id: &str, patient: &str| {
        message("SPOOL", id, "AL", "AL").replace(&format!("||{id}\r"), &format!("||{patient}\r"))
    };
    let batch: Vec<String> = (1..=5)
        .map(|n| of(&n.to_string(), &format!("P{n}")))
        .collect();
    let batch = batch.concat();
    let later: Vec<String> = (6..=12).map(|n| of(&n.to_string(), "P5")).collect();
    let all = async {
        // In the order in which they are polled: the batch has its places first.
        let later = later.iter().map(|message| take(&intake, message));
        let later = futures_util::future::join_all(later);
        let up = async {
            wait_for(|| intake.stored.as_ref().unwrap().is_full()).await;
            intake.apply.is_down.store(false, Ordering::Relaxed);
        };
        tokio::join!(take(&intake, &batch), later, up)
    };
    let said = timeout(Duration::from_secs(20), all).await;
    let (batch, later, ()) = said.expect("somebody waits for ever");
    let of_batch = codes(&batch).concat();
    assert!(
        (1..=5).all(|n| of_batch.contains(&format!("AA|{n}"))),
        "{of_batch}"
    );
    assert_eq!(later.len(), 7);
    let done = intake.apply.done.lock().unwrap();
    let mut of_patient: Vec<u32> = done.iter().map(|id| id.parse().unwrap()).collect();
    of_patient.retain(|id| *id >= 5);
    assert_eq!(of_patient, (5..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn stored_first_needs_a_spool() {
    let stand_in = StandIn {
        policy: STORED,
        ..StandIn::default()
    };
    let refused = Intake::start(stand_in, 8, None, CancellationToken::new());
    assert!(refused.unwrap_err().contains("FHIR_MLLP_SPOOL_DIR"));
}
