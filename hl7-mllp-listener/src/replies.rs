//! Application acknowledgements that have an address of their own (`reply_to` of a listener): in enhanced mode (v2.9 section 2.9.2) the
//! responding system sends them as messages, and is told that they arrived (MSH-15 is AL).
//!
//! They go over one connection, one after the other, and are tried until they have arrived or are refused. What waits is bounded and in
//! memory: beyond the bound, and at a stop, the rest is given up. Nothing is lost by it but the telling: the journal has every answer, and
//! a message that is sent again gets it again.

use crate::ack::AckCode;
use crate::client::{Acknowledgment, Client};
use crate::intake::Application;
use crate::seldom::Seldom;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use metrics::{counter, gauge};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Most acknowledgements that wait.
const WAITING_MAX: usize = 1_000;
/// Longest wait for a connection, or for the word that one has arrived.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The first pause before one is tried again, doubled up to the second one.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(500)..Duration::from_secs(60);

/// Where acknowledgements wait. Cheap to clone; when all are gone what waits is sent, and then it ends.
#[derive(Clone, Debug)]
pub(crate) struct Replies(mpsc::Sender<Bytes>);

impl Replies {
    /// Acknowledgements for `host:port`, and the work of sending them.
    pub(crate) fn to(
        address: String,
        stop: CancellationToken,
    ) -> (Replies, impl Future<Output = ()> + Send) {
        let (waiting, replies) = mpsc::channel(WAITING_MAX);
        let sender = Sender {
            address,
            client: None,
        };
        (Replies(waiting), sender.run(replies, stop))
    }

    /// Lets what is said at once wait, and what is said later when it is.
    pub(crate) fn put(
        &self,
        now: Option<Application>,
        later: Option<BoxFuture<'static, Option<Application>>>,
    ) {
        self.put_one(now);
        if let Some(later) = later {
            let replies = self.clone();
            tokio::spawn(async move { replies.put_one(later.await) });
        }
    }

    /// Where there is no room it is given up.
    fn put_one(&self, application: Option<Application>) {
        let acknowledgment = application.and_then(|own| own.apart());
        if acknowledgment.is_some_and(|own| self.0.try_send(own).is_err()) {
            counter!("mllp_replies_total", "result" => "given up").increment(1);
            static FULL: Seldom = Seldom::new();
            if let Some(times) = FULL.happened() {
                tracing::warn!(times, "replies were given up: too many wait");
            }
        }
    }
}

struct Sender {
    address: String,
    client: Option<Client>,
}

impl Sender {
    async fn run(mut self, mut replies: mpsc::Receiver<Bytes>, stop: CancellationToken) {
        while let Some(reply) = replies.recv().await {
            gauge!("mllp_replies_waiting").set(replies.len() as f64);
            let mut pause = PAUSE.start;
            let result = loop {
                match self.exchange(&reply).await {
                    Ok(said) if said.is_accept() => break "delivered",
                    // It could not be kept there: again.
                    Ok(said) if said.code == AckCode::CE.code() => {}
                    Ok(said) => {
                        let (address, code) = (&self.address, &said.code);
                        tracing::warn!(%address, %code, "a reply was refused");
                        break "refused";
                    }
                    Err(error) => {
                        static UNREACHED: Seldom = Seldom::new();
                        if let Some(times) = UNREACHED.happened() {
                            let address = &self.address;
                            tracing::warn!(%address, %error, times, "replies did not arrive");
                        }
                        self.client = None;
                    }
                }
                // Once there is a stop each is tried once.
                if stop
                    .run_until_cancelled(tokio::time::sleep(pause))
                    .await
                    .is_none()
                {
                    break "given up";
                }
                pause = (pause * 2).min(PAUSE.end);
            };
            counter!("mllp_replies_total", "result" => result).increment(1);
        }
    }

    /// Sends one; what is said to it.
    async fn exchange(&mut self, reply: &Bytes) -> io::Result<Acknowledgment> {
        let client = match &mut self.client {
            Some(client) => client,
            None => {
                let client = Client::connect(self.address.as_str(), TIMEOUT).await?;
                self.client.insert(client)
            }
        };
        client.exchange(reply.clone()).await
    }
}
