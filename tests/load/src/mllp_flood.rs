//! MLLP connections that send one message after the other without waiting for answers.

use crate::workload::Target;
use load_driver::generate;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What became of the messages.
#[derive(Debug, Default)]
pub struct Acknowledged {
    pub sent: u64,
    /// MSA-1 to how often.
    pub codes: BTreeMap<String, u64>,
    pub unanswered: u64,
    /// The filler order numbers of messages that got AA.
    pub accepted: Vec<String>,
}

/// How long answers to what was sent are waited for after the flood; then the senders go away, as people who give up do.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of the sender's side: what waits there has not been sent.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// Floods until `running` is false, then takes the answers that still come.
pub async fn run(target: Arc<Target>, connections: u64, running: Arc<AtomicBool>) -> Acknowledged {
    let mut all = Acknowledged::default();
    let Some(address) = target.mllp.clone() else {
        return all;
    };
    let mut senders = JoinSet::new();
    for number in 0..connections {
        senders.spawn(flood(
            address.clone(),
            target.clone(),
            number,
            running.clone(),
        ));
    }
    while let Some(one) = senders.join_next().await {
        let one = one.unwrap_or_default();
        all.sent += one.sent;
        all.unanswered += one.unanswered;
        all.accepted.extend(one.accepted);
        for (code, count) in one.codes {
            *all.codes.entry(code).or_default() += count;
        }
    }
    all
}

async fn flood(
    address: String,
    target: Arc<Target>,
    number: u64,
    running: Arc<AtomicBool>,
) -> Acknowledged {
    let mut seen = Acknowledged::default();
    let Ok(stream) = connect(&address).await else {
        return seen;
    };
    let (mut read, mut write) = stream.into_split();
    let sent = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn({
        let (sent, running) = (sent.clone(), running.clone());
        async move {
            while running.load(Relaxed) {
                let i = sent.load(Relaxed);
                let n = (number * 7919 + i) % target.records.max(1);
                let control_id = format!("O{}-{number}-{i}", target.run);
                let frame = format!("\x0b{}\x1c\r", generate::oru(target.seed, n, &control_id));
                // A server that reads no more holds the sender back here: that is right.
                if write.write_all(frame.as_bytes()).await.is_err() {
                    break;
                }
                sent.fetch_add(1, Relaxed);
            }
            std::future::pending::<()>().await;
        }
    });
    let (mut answers, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    let mut until = None;
    loop {
        if !running.load(Relaxed) {
            let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
            if Instant::now() >= until || seen.answered() >= sent.load(Relaxed) {
                break;
            }
        }
        match timeout(PATIENCE / 4, read.read(&mut chunk)).await {
            Ok(Ok(length)) if length > 0 => answers.extend_from_slice(&chunk[..length]),
            Ok(_) => break,
            Err(_) => {}
        }
        while let Some(end) = answers.windows(2).position(|two| two == b"\x1c\r") {
            let frame: Vec<u8> = answers.drain(..end + 2).collect();
            seen.take(&String::from_utf8_lossy(&frame));
        }
    }
    writer.abort();
    seen.sent = sent.load(Relaxed);
    seen.unanswered = seen.sent.saturating_sub(seen.answered());
    seen
}

async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let address = lookup_host(address)
        .await?
        .next()
        .ok_or(ErrorKind::NotFound)?;
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    // Closed, the connection is gone at once, with what was not taken.
    socket.set_zero_linger()?;
    socket.connect(address).await
}

impl Acknowledged {
    fn answered(&self) -> u64 {
        self.codes.values().sum()
    }

    fn take(&mut self, ack: &str) {
        let msa = ack
            .split('\r')
            .find(|line| line.starts_with("MSA"))
            .unwrap_or_default();
        let mut fields = msa.split('|').skip(1);
        let (code, id) = (
            fields.next().unwrap_or("?"),
            fields.next().unwrap_or_default(),
        );
        *self.codes.entry(code.to_owned()).or_default() += 1;
        if code == "AA" {
            self.accepted.push(format!("F{id}"));
        }
    }
}
