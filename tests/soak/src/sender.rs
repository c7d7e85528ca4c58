//! A sender of HL7 v2 messages (registrations, results, merges): one connection, the next message when the last one is accepted; sent again when there is no answer or
//! a refusal, and now and then although it was accepted.

use crate::content::MESSAGE_SEED;
use crate::ledger::Kind;
use crate::writer::{PATIENCE, Round};
use load_driver::client::Client;
use load_driver::generate::{self, Random};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Patients of a round that messages are about.
const PATIENTS: u64 = 40;
/// So many of them, each with the one before, turn out to be one person.
const MERGED: u64 = 5;

pub struct Sender {
    round: Arc<Round>,
    client: Client,
    random: Random,
    name: String,
    at: usize,
}

impl Sender {
    pub fn new(round: Arc<Round>, number: u64, random: Random) -> Sender {
        Sender {
            name: format!("{}S{number}", round.name),
            at: number as usize,
            round,
            client: Client::new(),
            random,
        }
    }

    pub async fn run(mut self) {
        for number in 0.. {
            if self.round.stop.load(Ordering::Relaxed) {
                return;
            }
            let control_id = format!("{}N{number}", self.name);
            let first = self.round.first;
            let patient = first + self.random.below(PATIENTS);
            let message = match self.random.below(12) {
                0..4 => generate::adt(MESSAGE_SEED, patient, &control_id),
                4 => {
                    let survivor = first + 2 * self.random.below(MERGED);
                    generate::adt_merge(MESSAGE_SEED, survivor, survivor + 1, &control_id)
                }
                _ => generate::oru(MESSAGE_SEED, patient, &control_id),
            };
            self.round.ledger.sending(&control_id, &message);
            if !self.insist(&control_id, &message).await {
                continue;
            }
            self.round.ledger.accepted(&control_id);
            if self.random.below(8) == 0 {
                self.at += 1;
                self.insist(&control_id, &message).await;
            }
        }
    }

    async fn insist(&mut self, control_id: &str, message: &str) -> bool {
        let began = Instant::now();
        let ledger = self.round.ledger.clone();
        let mut last = String::new();
        while began.elapsed() < PATIENCE {
            let address = &self.round.listeners[self.at % self.round.listeners.len()];
            let pause = match self.client.send(address, message).await {
                Ok(answer) => match acknowledgement(&answer) {
                    ("AA", id) if id == control_id => return true,
                    (code @ ("AE" | "AR"), id) if id == control_id => {
                        ledger.refused(code);
                        last = answer;
                        100
                    }
                    (code, id) => {
                        let text = format!("{control_id} is answered {code} for {id}");
                        ledger.find(Kind::Answer, text);
                        return false;
                    }
                },
                Err(_) => {
                    ledger.unanswered();
                    self.at += 1;
                    20
                }
            };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let text = format!("{control_id} is not accepted in {PATIENCE:?}: {last}");
        ledger.find(Kind::Silent, text);
        false
    }
}

/// MSA-1 and MSA-2.
fn acknowledgement(answer: &str) -> (&str, &str) {
    let msa = answer.split('\r').find(|line| line.starts_with("MSA|"));
    let mut fields = msa.unwrap_or_default().split('|').skip(1);
    let mut next = || fields.next().unwrap_or_default();
    (next(), next())
}
