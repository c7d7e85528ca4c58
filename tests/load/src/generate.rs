//! Deterministic synthetic records of realistic size. The n-th patient of a seed is always the same; no real person is described.

use serde_json::{Value, json};

pub const IDENTIFIER_SYSTEM: &str = "http://records.example.org/mrn";
pub const LOINC: &str = "http://loinc.org";
/// Patients, encounter, observations and condition of one record.
pub const RECORD_SIZE: u64 = 10;
pub const OBSERVATIONS: u64 = 7;

const FAMILIES: &[&str] = &[
    "Abdullah",
    "Bekele",
    "Chowdhury",
    "Diallo",
    "Eze",
    "Fofana",
    "Getachew",
    "Hassan",
    "Ibrahim",
    "Juma",
    "Kamau",
    "Lopez",
    "Mensah",
    "Nguyen",
    "Okafor",
    "Pham",
    "Qureshi",
    "Rahman",
    "Sow",
    "Traore",
    "Umar",
    "Vargas",
    "Wanjiru",
    "Yusuf",
    "Zewde",
    "Müller",
    "Ångström",
];
const GIVENS: &[&str] = &[
    "Amina", "Biruk", "Chloé", "Daniel", "Esther", "Fatou", "Grace", "Hamid", "Inés", "Joseph",
    "Khadija", "Lemlem", "Moussa", "Naledi", "Omar", "Peter", "Rania", "Samuel", "Tigist", "Yared",
    "Zainab",
];
/// LOINC code, text, unit, smallest value, spread.
const TESTS: &[(&str, &str, &str, u64, u64)] = &[
    (
        "718-7",
        "Hemoglobin [Mass/volume] in Blood",
        "g/dL",
        60,
        120,
    ),
    (
        "4544-3",
        "Hematocrit [Volume Fraction] of Blood",
        "%",
        200,
        300,
    ),
    (
        "6690-2",
        "Leukocytes [#/volume] in Blood",
        "10*3/uL",
        20,
        180,
    ),
    (
        "777-3",
        "Platelets [#/volume] in Blood",
        "10*3/uL",
        500,
        4000,
    ),
    (
        "2345-7",
        "Glucose [Mass/volume] in Serum or Plasma",
        "mg/dL",
        500,
        3000,
    ),
    (
        "2160-0",
        "Creatinine [Mass/volume] in Serum or Plasma",
        "mg/dL",
        3,
        90,
    ),
    ("8310-5", "Body temperature", "Cel", 350, 70),
    ("8867-4", "Heart rate", "/min", 400, 1400),
    ("8480-6", "Systolic blood pressure", "mm[Hg]", 700, 1500),
    ("29463-7", "Body weight", "kg", 25, 1100),
];

/// A small generator of the splitmix family: enough for test data, the same on every machine.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64, stream: u64) -> Random {
        Random(
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03),
        )
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What a search must know of the n-th patient.
pub struct Person {
    pub identifier: String,
    pub family: &'static str,
    pub given: &'static str,
    pub birth_date: String,
}

pub fn person(seed: u64, n: u64) -> Person {
    let mut random = Random::new(seed, n);
    Person {
        // Of another seed another patient: a server may be loaded more than once.
        identifier: format!("MRN{seed}-{n:08}"),
        family: random.pick(FAMILIES),
        given: random.pick(GIVENS),
        birth_date: format!(
            "{:04}-{:02}-{:02}",
            1940 + random.below(85),
            1 + random.below(12),
            1 + random.below(28)
        ),
    }
}

/// A Patient of about 1.5 kB.
pub fn patient(seed: u64, n: u64) -> Value {
    let p = person(seed, n);
    let mut random = Random::new(seed ^ 0x5151, n);
    let gender = random.pick(&["female", "male"]);
    let phone = format!("+2519{:08}", random.below(100_000_000));
    json!({
        "resourceType": "Patient",
        "text": {"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p><b>{} {}</b> ({gender}), born {}, record {}</p></div>", p.given, p.family, p.birth_date, p.identifier)},
        "identifier": [
            {"use": "usual", "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR", "display": "Medical record number"}], "text": "Medical record number"},
             "system": IDENTIFIER_SYSTEM, "value": p.identifier, "assigner": {"display": "Camp 4 health post"}},
            {"use": "secondary", "system": "http://registration.example.org/household", "value": format!("HH-{:07}", n / 5)}
        ],
        "active": true,
        "name": [{"use": "official", "family": p.family, "given": [p.given, random.pick(GIVENS)]}, {"use": "nickname", "given": [random.pick(GIVENS)]}],
        "telecom": [{"system": "phone", "value": phone, "use": "mobile", "rank": 1}],
        "gender": gender,
        "birthDate": p.birth_date,
        "address": [{"use": "home", "type": "physical", "line": [format!("Block {}, shelter {}", 1 + random.below(40), 1 + random.below(400))], "city": "Camp 4", "district": "North", "country": "ET",
            "period": {"start": "2024-03-01"}}],
        "maritalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": random.pick(&["M", "S", "W"])}]},
        "contact": [{"relationship": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0131", "code": "N"}]}], "name": {"family": p.family, "given": [random.pick(GIVENS)]},
            "telecom": [{"system": "phone", "value": format!("+2519{:08}", random.below(100_000_000))}]}],
        "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "am"}]}, "preferred": true}]
    })
}

pub fn encounter(seed: u64, n: u64, subject: &str) -> Value {
    let mut random = Random::new(seed ^ 0xE1, n);
    let day = when(&mut random);
    json!({
        "resourceType": "Encounter", "status": "completed",
        "identifier": [{"system": "http://records.example.org/visit", "value": format!("V{n:08}")}],
        "class": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": random.pick(&["AMB", "IMP", "EMER"])}]}],
        "subject": {"reference": subject},
        "actualPeriod": {"start": format!("{day}T08:00:00+03:00"), "end": format!("{day}T09:30:00+03:00")},
        "reason": [{"value": [{"concept": {"text": "Fever and cough for three days"}}]}]
    })
}

pub fn observation(seed: u64, n: u64, k: u64, subject: &str, encounter: Option<&str>) -> Value {
    let mut random = Random::new(seed ^ 0x0B5, n * OBSERVATIONS + k);
    let (code, text, unit, low, spread) = random.pick(TESTS);
    let tenths = low + random.below(spread);
    let day = when(&mut random);
    let mut observation = json!({
        "resourceType": "Observation",
        "identifier": [{"system": "http://laboratory.example.org/result", "value": format!("R{n:08}-{k}")}],
        "status": "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory", "display": "Laboratory"}]}],
        "code": {"coding": [{"system": LOINC, "code": code, "display": text}], "text": text},
        "subject": {"reference": subject},
        "effectiveDateTime": format!("{day}T{:02}:{:02}:00+03:00", 7 + random.below(10), random.below(60)),
        "issued": format!("{day}T18:00:00.000+03:00"),
        "performer": [{"display": "Field laboratory"}],
        "valueQuantity": {"value": serde_json::from_str::<Value>(&format!("{}.{}", tenths / 10, tenths % 10)).expect("a decimal literal"), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
        "interpretation": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": random.pick(&["N", "N", "N", "H", "L"])}]}],
        "referenceRange": [{"low": {"value": low / 10, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}, "text": "adult"}]
    });
    if let Some(encounter) = encounter {
        observation["encounter"] = json!({"reference": encounter});
    }
    observation
}

pub fn condition(seed: u64, n: u64, subject: &str, encounter: &str) -> Value {
    let mut random = Random::new(seed ^ 0xC0, n);
    let (code, text) = random.pick(&[
        ("1F40", "Malaria"),
        ("1A00", "Cholera"),
        ("CA40", "Pneumonia"),
        ("5B51", "Wasting in children"),
        ("1F03", "Measles"),
    ]);
    json!({
        "resourceType": "Condition",
        "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
        "code": {"coding": [{"system": "http://id.who.int/icd/release/11/mms", "code": code, "display": text}], "text": text},
        "subject": {"reference": subject}, "encounter": {"reference": encounter}, "recordedDate": when(&mut random)
    })
}

/// A transaction of whole records, ten entries each, linked by `urn:uuid`.
pub fn transaction(seed: u64, first: u64, records: u64) -> Value {
    let mut entries = Vec::new();
    for n in first..first + records {
        let (patient_url, encounter_url) = (uuid(seed, n, 0), uuid(seed, n, 1));
        entries.push(entry(&patient_url, patient(seed, n)));
        entries.push(entry(&encounter_url, encounter(seed, n, &patient_url)));
        for k in 0..OBSERVATIONS {
            entries.push(entry(
                &uuid(seed, n, 2 + k),
                observation(seed, n, k, &patient_url, Some(&encounter_url)),
            ));
        }
        entries.push(entry(
            &uuid(seed, n, 9),
            condition(seed, n, &patient_url, &encounter_url),
        ));
    }
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
}

/// The same, whose patients are created only where they are not there yet: everything else refers to what the server finds out.
pub fn conditional_transaction(seed: u64, first: u64, records: u64) -> Value {
    let mut bundle = transaction(seed, first, records);
    let entries = bundle["entry"].as_array_mut().into_iter().flatten();
    for (n, entry) in (first..).zip(entries.step_by(RECORD_SIZE as usize)) {
        let condition = format!(
            "identifier={IDENTIFIER_SYSTEM}|{}",
            person(seed, n).identifier
        );
        entry["request"]["ifNoneExist"] = json!(condition);
    }
    bundle
}

/// The same, that refers to the patients as it would outside of a transaction, by their identifiers.
pub fn referring_transaction(seed: u64, first: u64, records: u64) -> Value {
    let mut bundle = transaction(seed, first, records);
    let entries = bundle["entry"].as_array_mut().into_iter().flatten();
    for (at, entry) in (0..).zip(entries) {
        let identifier = person(seed, first + at / RECORD_SIZE).identifier;
        if let Some(subject) = entry.pointer_mut("/resource/subject/reference") {
            *subject = json!(format!(
                "Patient?identifier={IDENTIFIER_SYSTEM}|{identifier}"
            ));
        }
    }
    bundle
}

fn entry(full_url: &str, resource: Value) -> Value {
    let url = resource["resourceType"].clone();
    json!({"fullUrl": full_url, "resource": resource, "request": {"method": "POST", "url": url}})
}

fn uuid(seed: u64, n: u64, k: u64) -> String {
    format!(
        "urn:uuid:{:08x}-0000-4000-8000-{:012x}",
        seed as u32,
        (n << 8) | k
    )
}

fn when(random: &mut Random) -> String {
    format!(
        "20{:02}-{:02}-{:02}",
        24 + random.below(3),
        1 + random.below(10),
        1 + random.below(28)
    )
}

/// An ADT^A04 that registers the n-th patient for a visit; `control_id` makes each send a message of its own.
pub fn adt(seed: u64, n: u64, control_id: &str) -> String {
    visit(seed, n, "A04", &format!("Block {n}"), control_id)
}

/// An ADT^A08 that tells another address of the n-th patient each time.
pub fn adt_update(seed: u64, n: u64, turn: u64, control_id: &str) -> String {
    visit(seed, n, "A08", &format!("Tent {turn}"), control_id)
}

/// An ADT^A40 that merges the patient `source` into the patient `survivor`.
pub fn adt_merge(seed: u64, survivor: u64, source: u64, control_id: &str) -> String {
    let (p, merged) = (person(seed, survivor), person(seed, source));
    format!(
        "MSH|^~\\&|REG|CAMP4|EHR|CAMP4|20261001080000+0300||ADT^A40^ADT_A39|{control_id}|P|2.5.1||||||UNICODE UTF-8\r\
         EVN|A40|20261001080000+0300\r\
         PID|1||{}^^^RECORDS^MR||{}^{}||{}|F\r\
         MRG|{}^^^RECORDS^MR\r",
        p.identifier,
        p.family,
        p.given,
        p.birth_date.replace('-', ""),
        merged.identifier
    )
}

fn visit(seed: u64, n: u64, event: &str, address: &str, control_id: &str) -> String {
    let p = person(seed, n);
    format!(
        "MSH|^~\\&|REG|CAMP4|EHR|CAMP4|20261001080000+0300||ADT^{event}^ADT_A01|{control_id}|P|2.5.1||||||UNICODE UTF-8\r\
         EVN|{event}|20261001080000+0300\r\
         PID|1||{}^^^RECORDS^MR||{}^{}||{}|F|||{address}^^Camp 4^^^ET\r\
         PV1|1|O|OPD^^^CAMP4||||||||||||||||V{n:08}^^^RECORDS\r",
        p.identifier,
        p.family,
        p.given,
        p.birth_date.replace('-', "")
    )
}

/// An ORU^R01 of about 2 kB with ten results, for the n-th patient; `control_id` makes each send a message of its own.
pub fn oru(seed: u64, n: u64, control_id: &str) -> String {
    let p = person(seed, n);
    let mut random = Random::new(seed ^ 0x0C, n);
    let stamp = format!(
        "2026{:02}{:02}{:02}{:02}00+0300",
        1 + random.below(10),
        1 + random.below(28),
        7 + random.below(10),
        random.below(60)
    );
    let order = format!("F{control_id}");
    let mut message = format!(
        "MSH|^~\\&|LAB|CAMP4|EHR|CAMP4|{stamp}||ORU^R01^ORU_R01|{control_id}|P|2.5.1||||||UNICODE UTF-8\r\
         PID|1||{}^^^RECORDS^MR||{}^{}||{}|F\r\
         PV1|1|O|OPD^^^CAMP4||||||||||||||||V{n:08}^^^RECORDS\r\
         ORC|RE|P{control_id}|{order}||CM\r\
         OBR|1|P{control_id}|{order}|58410-2^Complete blood count panel^LN|||{stamp}|||||||||||||||{stamp}||HM|F\r",
        p.identifier,
        p.family,
        p.given,
        p.birth_date.replace('-', "")
    );
    for (i, (code, text, unit, low, spread)) in TESTS.iter().enumerate() {
        let tenths = low + random.below(*spread);
        message.push_str(&format!(
            "OBX|{}|NM|{code}^{text}^LN||{}.{}|{unit}^{unit}^UCUM|{}-{}|N|||F|||{stamp}\r",
            i + 1,
            tenths / 10,
            tenths % 10,
            low / 10,
            (low + spread) / 10
        ));
    }
    message
}
