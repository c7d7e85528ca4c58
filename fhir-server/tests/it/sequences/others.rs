//! What the folder `HL7V2_SEQUENCES` must lead to: all that its `expect.json` files say, and where they leave a choice, what is chosen here.

use super::{ACCEPTED, Check, Sequence};

const PATIENT: &str = "GET Patient?identifier=urn:oid:{oid}|100001";

/// Nobody is there.
const NOTHING: &[Check] = &[
    (PATIENT, "200 ; /total = 0"),
    (
        "GET Encounter?identifier=urn:oid:{oid}|V900001",
        "200 ; /total = 0",
    ),
    (
        "GET Observation?code=2823-3&patient.identifier=urn:oid:{oid}|100001",
        "200 ; /total = 0",
    ),
];

pub const SEQUENCES: &[Sequence] = &[
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
                // Five: registered, admitted, transferred, discharged; and the update, which changed the patient alone.
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
        ..ACCEPTED
    },
    Sequence {
        folder: "02-cancel-admit",
        in_any_order: &[
            (PATIENT, "200 ; /total = 1"),
            (
                "GET Encounter?identifier=urn:oid:{oid}|V900002",
                "200 ; /total = 1 ; /entry/0/resource/status = cancelled",
            ),
        ],
        ..ACCEPTED
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
        ..ACCEPTED
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
        ..ACCEPTED
    },
    Sequence {
        folder: "05-merge-A40",
        in_any_order: &[
            // Both have the number: the one that is merged away, also after an update that names it, and the survivor as an old one.
            (
                "GET Patient?identifier=urn:oid:{oid}|100010",
                "200 ; /total = 2",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100010&active=false&link:Patient.identifier=urn:oid:{oid}|100011",
                "200 ; /total = 1 ; /entry/0/resource/link/0/type = replaced-by ; /entry/0/resource/link/1 absent",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100011&link:Patient.identifier=urn:oid:{oid}|100010",
                "200 ; /total = 1 ; /entry/0/resource/active = true ; /entry/0/resource/link/0/type = replaces \
                 ; /entry/0/resource/identifier/1/value = 100010 ; /entry/0/resource/identifier/1/use = old",
            ),
            (
                "GET Observation?patient.identifier=urn:oid:{oid}|100011&code=2823-3",
                "200 ; /total = 1",
            ),
            (
                "GET Observation?patient.identifier=urn:oid:{oid}|100011&code=2951-2",
                "200 ; /total = 1",
            ),
            (
                "GET Observation?patient:Patient.active=false&patient.identifier=urn:oid:{oid}|100010",
                "200 ; /total = 0",
            ),
        ],
        ..ACCEPTED
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
                    // Nobody is deleted, so the one that is there is the one that was.
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
        ..ACCEPTED
    },
    Sequence {
        folder: "08-result-correction",
        answers: &["AA", "AA", "AA", "AA W100"],
        checks: &[(
            4,
            &[(
                "GET DiagnosticReport?patient.identifier=urn:oid:{oid}|100001",
                "200 ; /total = 1 ; /entry/0/resource/meta/versionId = 3",
            )],
        )],
        in_any_order: &[
            // In these files the status stands in OBR-24, and OBR-25 is empty: the report has that of its results.
            (
                "GET DiagnosticReport?patient.identifier=urn:oid:{oid}|100001",
                "200 ; /total = 1 ; /entry/0/resource/status = corrected",
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
        ..ACCEPTED
    },
    Sequence {
        folder: "11-duplicates",
        answers: &["AA", "AA", "AA W205"],
        checks: &[(
            2,
            &[
                (
                    PATIENT,
                    "200 ; /total = 1 ; /entry/0/resource/meta/versionId = 1",
                ),
                (
                    "GET Encounter?identifier=urn:oid:{oid}|V900050",
                    "200 ; /total = 1 ; /entry/0/resource/meta/versionId = 1",
                ),
                (
                    "GET Task?identifier=urn:hl7v2:message|HIS:{facility}%23DUPX",
                    "200 ; /total = 1",
                ),
            ],
        )],
        in_any_order: &[
            (
                "GET Patient?identifier=urn:oid:{oid}|100001,urn:oid:{oid}|100051",
                "200 ; /total = 2",
            ),
            (
                "GET Task?identifier=urn:hl7v2:message|HIS:{facility}%23DUPX",
                "200 ; /total = 2",
            ),
        ],
        ..ACCEPTED
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
        ..ACCEPTED
    },
    Sequence {
        folder: "13-charset-8859-1",
        answers: &["AA", "AA", "AA W102", "AA"],
        in_any_order: &[
            (
                "GET Patient?identifier=urn:oid:{oid}|100060",
                "200 ; /total = 1 ; /entry/0/resource/name/0/family = NÚÑEZ",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100061",
                "200 ; /total = 1 ; /entry/0/resource/name/0/family = Łukasz",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100062",
                "200 ; /total = 1 ; /entry/0/resource/name/0/family = MÜLLER",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100063",
                "200 ; /total = 1 ; /entry/0/resource/name/0/family = 山田",
            ),
        ],
        ..ACCEPTED
    },
    Sequence {
        folder: "15-datetimes",
        answers: &["AA", "AA", "AA", "AA W102", "AA W102"],
        in_any_order: &[
            (
                "GET Patient?identifier=urn:oid:{oid}|100070",
                "200 ; /total = 1 ; /entry/0/resource/birthDate = \"1980\"",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100071",
                "200 ; /total = 1 ; /entry/0/resource/birthDate = 1980-02",
            ),
            // The time has no offset: it is of the sender's zone.
            (
                "GET Patient?identifier=urn:oid:{oid}|100072",
                "200 ; /total = 1 ; /entry/0/resource/birthDate = 1980-02-29 \
                 ; /entry/0/resource/_birthDate/extension/0/url = http://hl7.org/fhir/StructureDefinition/patient-birthTime \
                 ; /entry/0/resource/_birthDate/extension/0/valueDateTime = 1980-02-29T12:30:00+03:00",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100073",
                "200 ; /total = 1 ; /entry/0/resource/birthDate absent",
            ),
            (
                "GET Patient?identifier=urn:oid:{oid}|100074",
                "200 ; /total = 1 ; /entry/0/resource/birthDate absent",
            ),
        ],
        ..ACCEPTED
    },
    Sequence {
        folder: "16-framing-and-layout",
        in_any_order: &[
            (
                "GET Patient?identifier=urn:oid:{oid}|100080,urn:oid:{oid}|100081,urn:oid:{oid}|100082,urn:oid:{oid}|100083,urn:oid:{oid}|100084",
                "200 ; /total = 5",
            ),
            // PID is the third segment of all, and nothing behind it is lost.
            (
                "GET Patient?identifier=urn:oid:{oid}|100080,urn:oid:{oid}|100081,urn:oid:{oid}|100082,urn:oid:{oid}|100083&address-city=LYON",
                "200 ; /total = 4",
            ),
            (
                "GET Task?identifier=urn:hl7v2:message|HIS:{facility}%23F4",
                "200 ; /total = 1 ; ~4 PD1, 5 ZPI",
            ),
        ],
        ..ACCEPTED
    },
    Sequence {
        folder: "17-rejects",
        answers: &[
            "AR E100", "AR E203", "AR E200", "AR E202", "AE E100", "AE E100", "AR E101",
        ],
        in_any_order: NOTHING,
        ..ACCEPTED
    },
    Sequence {
        folder: "18-enhanced-ack",
        answers: &["CA", "", "CA + AA", "AA"],
        in_any_order: &[
            (PATIENT, "200 ; /total = 1"),
            (
                "GET Task?identifier=urn:hl7v2:message|HIS:{facility}%23EA1,urn:hl7v2:message|HIS:{facility}%23EA2,\
                 urn:hl7v2:message|HIS:{facility}%23EA3,urn:hl7v2:message|HIS:{facility}%23EA4&business-status=applied",
                "200 ; /total = 4",
            ),
        ],
        ..ACCEPTED
    },
    Sequence {
        folder: "19-batch",
        answers: &["AA, AA, AA"],
        in_any_order: &[
            (
                "GET Observation?patient.identifier=urn:oid:{oid}|100001&code=2823-3",
                "200 ; /total = 3",
            ),
            (
                "GET DiagnosticReport?patient.identifier=urn:oid:{oid}|100001",
                "200 ; /total = 3",
            ),
        ],
        ..ACCEPTED
    },
    Sequence {
        folder: "19-batch",
        edit: Some(("BTS|3", "BTS|2")),
        answers: &["AE E100, AE E100, AE E100"],
        in_any_order: NOTHING,
        ..ACCEPTED
    },
];
