//! What the stories of tests/sequences lead to.

use super::{ACCEPTED, Sequence};

const VISIT: &str = "GET Encounter?identifier=urn:oid:{oid}|V7";

pub const SEQUENCES: &[Sequence] = &[
    // Admitted, moved to intensive care, moved back, discharged, and not discharged after all.
    Sequence {
        folder: "visit",
        checks: &[
            (
                2,
                &[(
                    VISIT,
                    "200 ; /total = 1 ; /entry/0/resource/location/0/status = completed ; /entry/0/resource/location/1/status = active",
                )],
            ),
            (
                3,
                &[(
                    VISIT,
                    "200 ; /entry/0/resource/location/0/status = active ; /entry/0/resource/location/1 absent",
                )],
            ),
            (
                4,
                &[(
                    VISIT,
                    "200 ; /entry/0/resource/status = completed ; /entry/0/resource/actualPeriod/end = 2026-10-21T10:00:00+03:00",
                )],
            ),
            (
                5,
                &[(
                    VISIT,
                    "200 ; /total = 1 ; /entry/0/resource/status = in-progress ; /entry/0/resource/actualPeriod/end absent",
                )],
            ),
        ],
        ..ACCEPTED
    },
    // Preliminary, final, corrected with a value that was never meant, and the preliminary ones again, late.
    Sequence {
        folder: "results",
        answers: &["AA", "AA", "AA", "AA W100"],
        checks: &[(
            4,
            &[(
                "GET DiagnosticReport?patient.identifier=urn:oid:{oid}|701",
                "200 ; /total = 1 ; /entry/0/resource/meta/versionId = 3",
            )],
        )],
        in_any_order: &[
            (
                "GET DiagnosticReport?patient.identifier=urn:oid:{oid}|701",
                "200 ; /total = 1 ; /entry/0/resource/status = corrected",
            ),
            (
                "GET Observation?patient.identifier=urn:oid:{oid}|701&code=718-7",
                "200 ; /total = 1 ; /entry/0/resource/status = corrected ; /entry/0/resource/valueQuantity/value = 11.2",
            ),
            (
                "GET Observation?patient.identifier=urn:oid:{oid}|701&code=777-3",
                "200 ; /total = 1 ; /entry/0/resource/status = entered-in-error",
            ),
        ],
        ..ACCEPTED
    },
    // A patient with results is merged into another; an update and results of the old number come late.
    Sequence {
        folder: "merge",
        in_any_order: &[
            (
                "GET Patient?identifier=urn:oid:{oid}|702&active=false&link:Patient.identifier=urn:oid:{oid}|703",
                "200 ; /total = 1 ; /entry/0/resource/link/0/type = replaced-by",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|703&active=true&identifier=urn:oid:{oid}|702",
                "200 ; /total = 1 ; /entry/0/resource/link/0/type = replaces",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|702,urn:oid:{oid}|703",
                "200 ; /total = 2",
            ),
            (
                "GET Observation?patient.identifier=urn:oid:{oid}|703",
                "200 ; /total = 2",
            ),
            (
                "GET Observation?patient:Patient.active=false&patient.identifier=urn:oid:{oid}|702",
                "200 ; /total = 0",
            ),
        ],
        ..ACCEPTED
    },
    // No message, another version, an event nobody has, no production, nobody it is about.
    Sequence {
        folder: "refused",
        answers: &["AR E100", "AR E203", "AR E201", "AR E202", "AE E100"],
        in_any_order: &[(
            "GET Patient?identifier=urn:oid:{oid}|704",
            "200 ; /total = 0",
        )],
        ..ACCEPTED
    },
    // MSH-15 and MSH-16: the first only, none on success, both; the last one is wrong, which the second tells.
    Sequence {
        folder: "acknowledgements",
        answers: &["CA", "", "CA + AA", "CA + AE E100"],
        in_any_order: &[(
            "GET Patient?identifier=urn:oid:{oid}|705",
            "200 ; /total = 1",
        )],
        ..ACCEPTED
    },
    Sequence {
        folder: "batch",
        answers: &["AA, AA"],
        in_any_order: &[(
            "GET Observation?patient.identifier=urn:oid:{oid}|706",
            "200 ; /total = 2",
        )],
        ..ACCEPTED
    },
    // A message of it is missing: none is applied.
    Sequence {
        folder: "batch",
        edit: Some(("BTS|2", "BTS|3")),
        answers: &["AE E100, AE E100"],
        in_any_order: &[(
            "GET Observation?patient.identifier=urn:oid:{oid}|706",
            "200 ; /total = 0",
        )],
        ..ACCEPTED
    },
];
