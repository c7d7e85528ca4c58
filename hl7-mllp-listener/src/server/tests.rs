//! Over real sockets, with a stand-in for the processing.

use super::*;
use crate::ack::{AckCode, Answer, AnswerError};
use crate::intake::Outcome;
use crate::policy::Policy;
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A running listener; dropped connections and tasks end with the test's runtime.
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// What the stand-in does with a message is said in MSH-3: wait for milliseconds, or panic.
#[derive(Debug)]
struct StandIn;

impl Apply for StandIn {
    async fn apply(&self, message: Bytes, _: Option<&str>) -> Outcome {
        let text = String::from_utf8_lossy(&message).into_owned();
        let application = text.split('|').nth(2).unwrap_or_default();
        match application.parse() {
            Ok(wait_ms) => sleep(Duration::from_millis(wait_ms)).await,
            Err(_) => assert_ne!(application, "PANIC"),
        }
        Outcome {
            answer: Answer::accept(),
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

    fn policy(&self, _: &[u8], _: Option<&str>) -> Policy {
        Policy::default()
    }

    fn known(&self) -> Vec<(String, Policy)> {
        Vec::new()
    }
}

fn intake(settings: &ConnectionSettings, shutdown: &CancellationToken) -> Arc<Intake<StandIn>> {
    let max_in_work = settings.max_messages_in_work;
    Intake::start(StandIn, max_in_work, None, shutdown.clone()).unwrap()
}

pub(super) fn quick() -> ConnectionSettings {
    ConnectionSettings {
        max_message_bytes: 1_000_000,
        idle_timeout_ms: 30_000,
        read_timeout_ms: 200,
        write_timeout_ms: 200,
        max_junk_bytes: 1000,
        shutdown_grace_ms: 5_000,
        ..ConnectionSettings::default()
    }
}

pub(super) async fn listen(settings: ConnectionSettings) -> Listener {
    listen_as(settings, None, Admission::default()).await
}

pub(super) async fn listen_as(
    settings: ConnectionSettings,
    tls: Option<TlsAcceptor>,
    admission: Admission,
) -> Listener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let entrance = Entrance {
        tls,
        admission,
        ..Entrance::open(listener)
    };
    listen_at(entrance, settings)
}

fn listen_at(entrance: Entrance, settings: ConnectionSettings) -> Listener {
    let address = entrance.listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let intake = intake(&settings, &shutdown);
    let task = tokio::spawn(serve(entrance, intake, settings, shutdown.clone()));
    Listener {
        address,
        shutdown,
        task,
    }
}

impl Listener {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends the chunks with pauses between, reads until `frames` answers or the end of the connection.
    async fn exchange(&self, chunks: &[&[u8]], frames: usize) -> Vec<String> {
        let mut stream = self.connect().await;
        for (i, chunk) in chunks.iter().enumerate() {
            if i > 0 {
                sleep(Duration::from_millis(30)).await;
            }
            stream.write_all(chunk).await.unwrap();
        }
        read_answers(&mut stream, frames).await
    }
}

/// MSA-1 and MSA-2 of each answer.
pub(super) async fn read_answers(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    frames: usize,
) -> Vec<String> {
    let mut bytes = Vec::new();
    let wait = async {
        while bytes.iter().filter(|b| **b == 0x1C).count() < frames {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    timeout(Duration::from_secs(10), wait)
        .await
        .expect("an answer or the end");
    let text = String::from_utf8(bytes).unwrap();
    let frames = text
        .split_terminator("\x1c\r")
        .map(|frame| frame.strip_prefix('\x0b').expect("a frame"));
    frames.map(msa).collect()
}

fn msa(ack: &str) -> String {
    let line = ack
        .split('\r')
        .find(|line| line.starts_with("MSA"))
        .expect("an MSA");
    line["MSA|".len()..].to_owned()
}

pub(super) fn message(application: &str, id: &str) -> String {
    format!("\x0bMSH|^~\\&|{application}|||||||{id}|P|2.5.1\rPID|1\x1c\r")
        .replace("|||||||", "||||||ADT^A01|")
}

#[tokio::test]
async fn split_and_merged_frames_are_answered_in_order() {
    let listener = listen(quick()).await;
    let (one, two) = (message("50", "1"), message("0", "2"));
    let merged = format!("{one}{two}{one}");
    assert_eq!(
        listener.exchange(&[merged.as_bytes()], 3).await,
        ["AA|1", "AA|2", "AA|1"]
    );
    let (head, tail) = one.as_bytes().split_at(20);
    assert_eq!(
        listener.exchange(&[head, tail, two.as_bytes()], 2).await,
        ["AA|1", "AA|2"]
    );
    let (head, tail) = one.as_bytes().split_at(one.len() - 1);
    assert_eq!(
        listener.exchange(&[head, tail, two.as_bytes()], 2).await,
        ["AA|1", "AA|2"]
    );
}

#[tokio::test]
async fn a_peer_that_speaks_no_mllp_is_closed_and_others_are_served() {
    let listener = listen(quick()).await;
    let junk = vec![b'x'; 2000];
    assert_eq!(listener.exchange(&[&junk], 1).await, [""; 0]);
    assert_eq!(
        listener
            .exchange(&[b"noise", message("0", "1").as_bytes()], 1)
            .await,
        ["AA|1"]
    );
    assert_eq!(listener.exchange(&[b"\x0bnot hl7\x1c\r"], 1).await, ["AA"]);
}

#[tokio::test]
async fn a_message_that_stops_in_the_middle_ends_its_connection() {
    let listener = listen(quick()).await;
    assert_eq!(listener.exchange(&[b"\x0bMSH|^~\\&|0"], 1).await, [""; 0]);
    assert_eq!(
        listener.exchange(&[message("0", "1").as_bytes()], 1).await,
        ["AA|1"]
    );
}

#[tokio::test]
async fn a_message_above_the_limit_is_rejected_under_its_own_id() {
    let listener = listen(quick()).await;
    let long = message("0", "L1").replace("PID", &"x".repeat(1_200_000));
    let both = format!("{long}{}", message("0", "2"));
    assert_eq!(
        listener.exchange(&[both.as_bytes()], 2).await,
        ["AR|L1", "AA|2"]
    );
}

#[tokio::test]
async fn large_messages_take_turns() {
    let listener = listen(ConnectionSettings {
        max_large_messages: 1,
        ..quick()
    })
    .await;
    let large = |wait, id| message(wait, id).replace("PID", &"x".repeat(900_000));
    let (first, second) = (large("300", "1"), large("0", "2"));
    // The second is ready at once, but is not read whole while the first is in work.
    second_waits(&listener, &first, &second).await;
}

#[tokio::test]
async fn messages_wait_their_turn_and_are_not_refused() {
    let listener = listen(ConnectionSettings {
        max_messages_in_work: 1,
        ..quick()
    })
    .await;
    second_waits(&listener, &message("300", "1"), &message("0", "2")).await;
}

/// Sends message 1, and message 2 on another connection a little later; it is answered after the first.
async fn second_waits(listener: &Listener, first: &str, second: &str) {
    let (mut one, mut two) = (listener.connect().await, listener.connect().await);
    one.write_all(first.as_bytes()).await.unwrap();
    let second = async {
        sleep(Duration::from_millis(100)).await;
        two.write_all(second.as_bytes()).await.unwrap();
        assert_eq!(read_answers(&mut two, 1).await, ["AA|2"]);
    };
    let first = async { assert_eq!(read_answers(&mut one, 1).await, ["AA|1"]) };
    tokio::pin!(first, second);
    tokio::select! {
        () = &mut first => {}
        () = &mut second => panic!("the second message did not wait"),
    }
    second.await;
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let listener = listen(quick()).await;
    let both = format!("{}{}", message("PANIC", "1"), message("0", "2"));
    assert_eq!(
        listener.exchange(&[both.as_bytes()], 2).await,
        ["AE|1", "AA|2"]
    );
}

#[tokio::test]
async fn an_acknowledgement_gets_no_answer() {
    let listener = listen(quick()).await;
    let ack = "\x0bMSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|AA|7\x1c\r";
    let both = format!("{ack}{}", message("0", "2"));
    assert_eq!(listener.exchange(&[both.as_bytes()], 1).await, ["AA|2"]);
}

#[tokio::test]
async fn connections_above_the_bound_are_closed() {
    let listener = listen(ConnectionSettings {
        max_connections: 2,
        ..quick()
    })
    .await;
    let _held = [listener.connect().await, listener.connect().await];
    sleep(Duration::from_millis(50)).await;
    let mut third = listener.connect().await;
    assert_eq!(third.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    let listener = listen(ConnectionSettings {
        idle_timeout_ms: 100,
        ..quick()
    })
    .await;
    let mut idle = listener.connect().await;
    let closed = timeout(Duration::from_secs(5), idle.read(&mut [0; 1])).await;
    assert_eq!(closed.expect("closed in time").unwrap(), 0);
}

#[tokio::test]
async fn a_thousand_idle_connections_disturb_nobody() {
    raise_open_file_limit();
    let listener = listen(quick()).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(listener.connect().await);
    }
    assert_eq!(
        listener.exchange(&[message("0", "1").as_bytes()], 1).await,
        ["AA|1"]
    );
    let last = idle.last_mut().unwrap();
    last.write_all(message("0", "2").as_bytes()).await.unwrap();
    assert_eq!(read_answers(last, 1).await, ["AA|2"]);
}

#[tokio::test]
async fn a_shutdown_answers_messages_in_work_and_closes_the_rest() {
    let listener = listen(quick()).await;
    let mut idle = listener.connect().await;
    let mut busy = listener.connect().await;
    let two = format!("{}{}", message("400", "1"), message("0", "2"));
    busy.write_all(two.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    listener.shutdown.cancel();
    // The second message was not begun: its sender gets no answer and sends it again.
    assert_eq!(read_answers(&mut busy, 2).await, ["AA|1"]);
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    timeout(Duration::from_secs(2), listener.task)
        .await
        .expect("ended")
        .unwrap();
    assert!(TcpStream::connect(listener.address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let listener = listen(ConnectionSettings {
        shutdown_grace_ms: 100,
        ..quick()
    })
    .await;
    let mut busy = listener.connect().await;
    busy.write_all(message("60000", "1").as_bytes())
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    listener.shutdown.cancel();
    timeout(Duration::from_secs(2), listener.task)
        .await
        .expect("ended")
        .unwrap();
    assert_eq!(read_answers(&mut busy, 1).await, [""; 0]);
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_is_closed() {
    let (mut peer, ours) = tokio::io::duplex(64);
    let settings = quick();
    let shutdown = CancellationToken::new();
    let (intake, large) = (intake(&settings, &shutdown), Semaphore::new(1));
    let admission = Admission::default();
    let session = session::run(
        ours, &intake, &admission, &settings, &large, None, &shutdown,
    );
    let sender = async {
        let _ = peer.write_all(message("0", "1").as_bytes()).await;
        // Kept open, never read.
        sleep(Duration::from_secs(5)).await;
    };
    tokio::select! {
        end = session => assert_eq!(end, End::Unread),
        () = sender => panic!("the session did not end"),
    }
}

/// Whom application acknowledgements go to: it answers one after the other by these codes, and closes the connection where one is
/// empty. Gives MSH-15, MSH-16 and MSA of each that came.
async fn replies_to(listener: TcpListener, codes: &[&str]) -> Vec<String> {
    let mut came = Vec::new();
    while came.len() < codes.len() {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while came.len() < codes.len() && stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
            if !bytes.ends_with(b"\x1c\r") {
                continue;
            }
            let frame = String::from_utf8(std::mem::take(&mut bytes)).unwrap();
            let header: Vec<&str> = frame.split('\r').next().unwrap().split('|').collect();
            let code = codes[came.len()];
            came.push(format!("{} {} {}", header[14], header[15], msa(&frame)));
            if code.is_empty() {
                break;
            }
            let id = header[9];
            let answer = format!("\x0bMSH|^~\\&|||||||ACK|9|P|2.5\rMSA|{code}|{id}\r\x1c\r");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
    came
}

#[tokio::test]
async fn application_acknowledgements_go_where_they_are_wanted() {
    let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reply_to = Some(there.local_addr().unwrap().to_string());
    let entrance = Entrance {
        reply_to,
        ..Entrance::open(TcpListener::bind("127.0.0.1:0").await.unwrap())
    };
    let listener = listen_at(entrance, quick());
    let enhanced = |id: &str, fields: &str| {
        message("0", id).replace("|2.5.1\r", &format!("|2.5.1|||{fields}\r"))
    };
    let sent = [
        enhanced("1", "AL|AL"),
        message("0", "2"),
        enhanced("3", "AL|NE"),
        enhanced("4", "NE|AL"),
    ]
    .concat();
    // The first is tried again: it could not be kept, then the connection breaks.
    let there = tokio::spawn(replies_to(there, &["CE", "", "CA", "CR"]));
    let said = listener.exchange(&[sent.as_bytes()], 3).await;
    assert_eq!(said, ["CA|1", "AA|2", "CA|3"]);
    let came = timeout(Duration::from_secs(20), there).await;
    let came = came.expect("all of them come").unwrap();
    assert_eq!(
        came,
        ["AL NE AA|1", "AL NE AA|1", "AL NE AA|1", "AL NE AA|4"]
    );
}
