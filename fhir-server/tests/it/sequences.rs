//! Sequences of messages and the state they lead to: those of the folder that `HL7V2_SEQUENCES` names, if there is one, in order, with every
//! message sent twice, and shuffled where the order must not matter. The stories of this repository are scenarios of
//! `tests/conformance/scenarios/hl7v2`.

use crate::mllp::{Sender, msa};
use crate::process::{directory, mappings, serve, terminate};
use crate::site::Site;
use std::path::{Path, PathBuf};

/// A request and what must come back. `{oid}` is the authority of the run's identifiers, so that no run meets the patients of another.
type Check = (&'static str, &'static str);

struct Sequence {
    folder: &'static str,
    /// After how many messages, what must be so.
    checks: &'static [(usize, &'static [Check])],
    /// What must be so at the end whatever the order; empty where the order matters.
    in_any_order: &'static [Check],
}

const PATIENT: &str = "GET Patient?identifier=urn:oid:{oid}|100001";

const SEQUENCES: &[Sequence] = &[
    Sequence {
        folder: "01-adt-lifecycle",
        checks: &[(
            5,
            &[
                (
                    PATIENT,
                    "200 ; /total = 1 ; /entry/0/resource/name/0/given/0 = ALICIA",
                ),
                (
                    "GET Encounter?identifier=urn:oid:{oid}|V900001",
                    "200 ; /total = 1 ; /entry/0/resource/status = completed \
                     ; /entry/0/resource/actualPeriod/end = 2026-03-05T12:00:00+01:00 \
                     ; /entry/0/resource/location/1/status = completed ; /entry/0/resource/location/2/status = completed \
                     ; /entry/0/resource/location/3 absent",
                ),
                // Registered, admitted, transferred, discharged; the update changed the patient.
                (
                    "GET Provenance?target:Encounter.identifier=urn:oid:{oid}|V900001",
                    "200 ; /total = 4",
                ),
                (
                    "GET Provenance?target:Patient.identifier=urn:oid:{oid}|100001",
                    "200 ; /total = 2",
                ),
            ],
        )],
        in_any_order: &[],
    },
    Sequence {
        folder: "02-cancel-admit",
        checks: &[],
        in_any_order: &[
            (PATIENT, "200 ; /total = 1"),
            (
                "GET Encounter?identifier=urn:oid:{oid}|V900002",
                "200 ; /total = 1 ; /entry/0/resource/status = cancelled",
            ),
        ],
    },
    Sequence {
        folder: "03-cancel-discharge",
        checks: &[
            (
                2,
                &[(
                    "GET Encounter?identifier=urn:oid:{oid}|V900003",
                    "200 ; /entry/0/resource/status = completed",
                )],
            ),
            (
                3,
                &[(
                    "GET Encounter?identifier=urn:oid:{oid}|V900003",
                    "200 ; /total = 1 ; /entry/0/resource/status = in-progress ; /entry/0/resource/actualPeriod/end absent \
                     ; /entry/0/resource/location/0/status = active ; /entry/0/resource/location/0/period/end absent",
                )],
            ),
        ],
        in_any_order: &[],
    },
    Sequence {
        folder: "04-cancel-transfer",
        checks: &[
            (
                2,
                &[(
                    "GET Encounter?identifier=urn:oid:{oid}|V900004",
                    "200 ; /entry/0/resource/location/0/status = completed ; /entry/0/resource/location/1/status = active",
                )],
            ),
            (
                3,
                &[(
                    "GET Encounter?identifier=urn:oid:{oid}|V900004",
                    "200 ; /total = 1 ; /entry/0/resource/status = in-progress ; /entry/0/resource/location/0/status = active \
                     ; ~W1 ; /entry/0/resource/location/1 absent",
                )],
            ),
        ],
        in_any_order: &[],
    },
    Sequence {
        folder: "05-merge-A40",
        checks: &[],
        in_any_order: &[
            // Both have the number: the one that is merged away, and the survivor as an old one.
            (
                "GET Patient?identifier=urn:oid:{oid}|100010",
                "200 ; /total = 2",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100010&active=false",
                "200 ; /total = 1 ; /entry/0/resource/link/0/type = replaced-by ; /entry/0/resource/link/1 absent",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100011",
                "200 ; /total = 1 ; /entry/0/resource/active = true ; /entry/0/resource/link/0/type = replaces \
                 ; /entry/0/resource/identifier/1/value = 100010 ; /entry/0/resource/identifier/1/use = old",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100011&link:Patient.identifier=urn:oid:{oid}|100010",
                "200 ; /total = 1",
            ),
            (
                "GET Observation?patient.identifier=urn:oid:{oid}|100011",
                "200 ; /total = 2",
            ),
            (
                "GET Observation?patient:Patient.active=false&patient.identifier=urn:oid:{oid}|100010",
                "200 ; /total = 0",
            ),
        ],
    },
    Sequence {
        folder: "07-move-visit-A45-change-id-A47",
        checks: &[
            (
                3,
                &[(
                    "GET Encounter?identifier=urn:oid:{oid}|V900030&patient.identifier=urn:oid:{oid}|100031",
                    "200 ; /total = 1",
                )],
            ),
            (
                4,
                &[
                    (
                        "GET Patient?identifier=urn:oid:{oid}|100032",
                        "200 ; /total = 1 ; /entry/0/resource/identifier/0/value = 100031 ; /entry/0/resource/identifier/0/use = old",
                    ),
                    (
                        "GET Patient?identifier=urn:oid:{oid}|100031,urn:oid:{oid}|100032",
                        "200 ; /total = 1",
                    ),
                    (
                        "GET Encounter?identifier=urn:oid:{oid}|V900030&patient.identifier=urn:oid:{oid}|100032",
                        "200 ; /total = 1",
                    ),
                ],
            ),
        ],
        in_any_order: &[],
    },
    Sequence {
        folder: "08-result-correction",
        checks: &[],
        in_any_order: &[
            (
                "GET DiagnosticReport?patient.identifier=urn:oid:{oid}|100001",
                // In these files the status stands in OBR-24, and OBR-25 is empty: the report's is unknown, that of its results counts.
                "200 ; /total = 1",
            ),
            (
                "GET Observation?patient.identifier=urn:oid:{oid}|100001&code=2823-3",
                "200 ; /total = 1 ; /entry/0/resource/status = corrected ; /entry/0/resource/valueQuantity/value = 4.8",
            ),
            (
                "GET Observation?patient.identifier=urn:oid:{oid}|100001&code=2951-2",
                "200 ; /total = 1 ; /entry/0/resource/status = entered-in-error",
            ),
        ],
    },
    Sequence {
        folder: "12-nulls-and-absent",
        checks: &[
            (
                2,
                &[(
                    PATIENT,
                    "200 ; /total = 1 ; /entry/0/resource/address absent ; /entry/0/resource/telecom/0/system = phone",
                )],
            ),
            (
                3,
                &[(
                    PATIENT,
                    "200 ; /total = 1 ; /entry/0/resource/gender absent",
                )],
            ),
        ],
        in_any_order: &[],
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_lead_where_they_must() {
    let Some(folder) = std::env::var_os("HL7V2_SEQUENCES").map(PathBuf::from) else {
        println!("skipped: HL7V2_SEQUENCES names no folder of sequences");
        return;
    };
    let (_kept, data_dir) = directory();
    let mut running = serve(&data_dir, &mappings());
    let mut run = Run {
        site: running.site.clone(),
        sender: Sender::connect(&running.mllp_addr).await.unwrap(),
        number: 0,
    };
    for sequence in SEQUENCES {
        let messages = read(&folder.join(sequence.folder));
        for copies in [1, 2] {
            run.in_order(sequence, &messages, copies).await;
        }
        if !sequence.in_any_order.is_empty() {
            for order in orders(messages.len()) {
                run.in_this_order(sequence, &messages, &order).await;
            }
        }
    }
    terminate(&running.child);
    running.child.wait().unwrap();
}

fn read(folder: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|own| own == "hl7"))
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect()
}

/// Backwards, and turned round by each number of places.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let turned = (1..count).map(|by| (0..count).map(|n| (n + by) % count).collect());
    std::iter::once((0..count).rev().collect())
        .chain(turned)
        .collect()
}

struct Run {
    site: Site,
    sender: Sender,
    number: usize,
}

impl Run {
    async fn in_order(&mut self, sequence: &Sequence, messages: &[String], copies: usize) {
        self.number += 1;
        for (at, message) in messages.iter().enumerate() {
            for _ in 0..copies {
                self.send(sequence, message).await;
            }
            for (after, checks) in sequence.checks {
                if *after == at + 1 {
                    self.check(checks).await;
                }
            }
        }
        self.check(sequence.in_any_order).await;
    }

    async fn in_this_order(&mut self, sequence: &Sequence, messages: &[String], order: &[usize]) {
        self.number += 1;
        for at in order {
            self.send(sequence, &messages[*at]).await;
        }
        self.check(sequence.in_any_order).await;
    }

    async fn send(&mut self, sequence: &Sequence, message: &str) {
        let message = message
            .replace("1.2.3.4", &self.oid())
            .replace("^HIS", &format!("^HIS{}", self.number))
            .replace("^LAB", &format!("^LAB{}", self.number));
        let answer = self.sender.send(&message).await.unwrap();
        assert_eq!(
            msa(&answer).0,
            "AA",
            "{}\n{message}\n{answer}",
            sequence.folder
        );
    }

    async fn check(&self, checks: &[Check]) {
        for (request, expect) in checks {
            self.site
                .check(&request.replace("{oid}", &self.oid()), "", expect)
                .await;
        }
    }

    fn oid(&self) -> String {
        format!("1.2.3.4.{}", self.number)
    }
}
