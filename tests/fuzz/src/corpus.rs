//! Where fuzzing begins: seeds of `corpus/` and of the product's own data, and the words that inputs are made of.
//!
//! All of it is synthetic. What once broke stands in `regressions/`, named after what it broke.

use crate::search_url::{observation, patient};
use crate::shared::{DEFINITIONS, files, root};
use fhir_definitions::Structures;
use fhir_server::xml;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The inputs a target begins with.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut seeds = written(target);
    match target {
        "json_body" => {
            seeds.extend([patient(), observation()].map(|body| body.to_string().into_bytes()));
        }
        "fhirpath" => seeds.extend(expressions()),
        "xml_body" => {
            let written = [patient(), observation()].map(|body| xml::write(body, true));
            seeds.extend(written.map(|text| text.expect("R5 has all of it").into_bytes()));
        }
        "v2_message" => seeds.extend(messages()),
        "mllp_stream" => seeds.extend(messages().into_iter().map(framed)),
        "mapping_file" => {
            let folders = ["mappings", "profiles", "terminology"];
            let own = folders.iter().flat_map(|folder| files(folder));
            let data = own.filter(|file| !file.path.ends_with(".md"));
            seeds.extend(data.map(|file| [file.path.as_bytes(), b"\n", &file.bytes].concat()));
        }
        _ => {}
    }
    seeds
}

/// Inputs that broke something once.
pub fn regressions(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("regressions")
        .join(target);
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let read = paths.map(|path| (path.display().to_string(), fs::read(&path).expect("a file")));
    read.collect()
}

/// v2 messages: those of the listener's tests and of `corpus/v2_message.txt`.
pub fn messages() -> Vec<Vec<u8>> {
    let folder = root().join("hl7-mllp-listener/tests/messages");
    let mut messages: Vec<Vec<u8>> = fs::read_dir(folder)
        .expect("the folder is in the repository")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hl7"))
        .map(|path| fs::read(path).expect("it is a file"))
        .collect();
    messages.extend(written("v2_message"));
    messages
}

/// The seeds of `corpus/`, separated by lines of `===`.
fn written(target: &str) -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(format!("{target}.txt"));
    let text = fs::read_to_string(file).unwrap_or_default();
    let trimmed = text.strip_suffix('\n').unwrap_or(&text);
    let seeds = trimmed.split("\n===\n").filter(|seed| !seed.is_empty());
    seeds.map(|seed| seed.as_bytes().to_vec()).collect()
}

fn framed(message: Vec<u8>) -> Vec<u8> {
    [
        &[40, 7, 0x0B][..],
        &message,
        b"\x1C\r\x0B",
        &message,
        b"\x1C\r",
    ]
    .concat()
}

/// Every path expression of the specification's search parameters.
fn expressions() -> Vec<Vec<u8>> {
    let types = DEFINITIONS.resource_types().iter();
    let parameters = types.flat_map(|name| DEFINITIONS.search_parameters(name));
    let texts = parameters.map(|p| format!("{}\n{}", p.resource_type, p.expression));
    let short = texts.filter(|text| text.len() < 400);
    let all: BTreeSet<String> = short.collect();
    all.into_iter().map(String::into_bytes).collect()
}

/// What inputs of a target are made of, for mutations and for libFuzzer's dictionary.
pub fn words(target: &str) -> Vec<String> {
    let own: &[&str] = match target {
        "json_body" => &JSON,
        "search_url" => &URL,
        "search_filter" => &FILTER,
        "fhirpath" | "fhirpath_program" => &PATH,
        "xml_body" => &XML,
        "patch_document" => &PATCH,
        "v2_message" | "mllp_stream" => &V2,
        "mapping_file" => &MAPPING,
        _ => &HTTP,
    };
    let mut words: BTreeSet<String> = own.iter().map(|word| (*word).to_owned()).collect();
    let with_elements = [
        "json_body",
        "xml_body",
        "fhirpath",
        "fhirpath_program",
        "patch_document",
        "http_requests",
        "mapping_file",
    ];
    if with_elements.contains(&target) {
        words.extend(element_names());
    }
    if target == "patch_document" {
        let others = [&JSON[..], &PATH, &XML].concat();
        words.extend(others.into_iter().map(str::to_owned));
    }
    if target == "fhirpath_program" {
        let others = fhirpath::function_names().chain(["is", "as", "ofType"]);
        words.extend(others.map(|name| format!(".{name}(")));
        words.extend(PROGRAM.map(str::to_owned));
    }
    if ["search_url", "search_filter", "http_requests"].contains(&target) {
        words.extend(URL.iter().map(|word| (*word).to_owned()));
        let types = [
            "Patient",
            "Observation",
            "Encounter",
            "Condition",
            "Bundle",
            "Location",
        ];
        let codes = types
            .iter()
            .flat_map(|name| DEFINITIONS.search_parameters(name));
        words.extend(codes.map(|parameter| parameter.code.clone()));
    }
    words.into_iter().collect()
}

/// Every element name of R5, choices with each of their types.
pub fn element_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let elements = Structures::r5()
        .all()
        .iter()
        .flat_map(|structure| &structure.elements);
    for element in elements {
        names.insert(element.name.to_owned());
        if element.types.len() > 1 {
            for of in &element.types {
                let (first, rest) = of.name.split_at(1);
                names.insert(format!("{}{}{rest}", element.name, first.to_uppercase()));
            }
        }
    }
    names
}

const JSON: [&str; 22] = [
    "resourceType",
    "contained",
    "\"#\"",
    "http://localhost/fhir/Patient/a",
    "Patient/a/_history/2",
    "urn:uuid:0",
    "2026-02-29",
    "2026-02-28T24:00:00Z",
    "2026-12-31T23:59:60.999999+14:00",
    "0001",
    "9999-12-31T23:59:59.999999999-12:00",
    "1e400",
    "-0.0",
    "1E-7",
    "\\u0000",
    "\\ud800",
    "99999999999999999999",
    "2147483648",
    "true",
    "null",
    "[]",
    "{}",
];
const FILTER: [&str; 34] = [
    " and ",
    " or ",
    "not (",
    "(",
    ")",
    "[",
    "].",
    ".",
    "\"",
    "\\u00e9",
    "\\",
    "_has:Observation:patient:",
    ":Patient",
    " eq ",
    " ne ",
    " co ",
    " sw ",
    " ew ",
    " gt ",
    " lt ",
    " ge ",
    " le ",
    " ap ",
    " sa ",
    " eb ",
    " pr false",
    " po ",
    " ss ",
    " sb ",
    " in ",
    " ni ",
    " re ",
    "loinc|",
    "2026-01-01T10:00:00+01:00",
];

const URL: [&str; 62] = [
    "?",
    "&",
    "=",
    ":",
    "|",
    "%7C",
    "%2C",
    ",",
    "%5C",
    "$",
    "%24",
    "%00",
    "%F0%9F%98%80",
    "+",
    "/fhir/Patient",
    "/fhir/Observation",
    "/_search",
    "/_history",
    "_id",
    "_lastUpdated",
    "_tag",
    "_profile",
    "_security",
    "_source",
    "_has:",
    "_include",
    "_revinclude",
    ":iterate",
    "_sort",
    "_count",
    "_total",
    "_summary",
    "_elements",
    "_contained",
    "_filter",
    "_text",
    "_content",
    "_list",
    "_query",
    ":missing",
    ":exact",
    ":contains",
    ":text",
    ":not",
    ":in",
    ":not-in",
    ":above",
    ":below",
    ":of-type",
    ":identifier",
    ":code-text",
    "eq",
    "ne",
    "gt",
    "ge",
    "sa",
    "ap",
    "Patient.name",
    "subject:Patient",
    "2026-02-29",
    "1e400",
    "http://loinc.org|718-7",
];
const PATH: [&str; 26] = [
    ".ofType(",
    ".where(",
    ".exists()",
    ".resolve()",
    " is ",
    " as ",
    ".as(",
    " | ",
    " and ",
    " or ",
    "=",
    "!=",
    "'",
    "`",
    "\\u00e9",
    "(",
    ")",
    "Patient",
    "Observation",
    "Resource",
    "extension('u')",
    ".value",
    "[0]",
    "@2026-01-01",
    "%resource",
    "$this",
];
const PROGRAM: [&str; 34] = [
    "div ",
    " mod ",
    " xor ",
    " implies ",
    " in ",
    " contains ",
    " & ",
    "~",
    "!~",
    "<=",
    ">",
    "{}",
    "%context",
    "%rootResource",
    "%ucum",
    "%terminologies",
    "$index",
    "$total",
    "@2026-02-29T24:00:00.000+14:00",
    "@T23:59",
    "@9999-12-31",
    "1 'mg'",
    "1 year",
    "3 weeks",
    "9223372036854775807L",
    "2147483647",
    "0.00000001",
    "99999999999999999999.9",
    "'(a+)+$'",
    "'\\u0000'",
    "System.String",
    "FHIR.Quantity",
    "'hex'",
    "// c\n",
];
const PATCH: [&str; 44] = [
    "application/json-patch+json\n",
    "application/xml-patch+xml\n",
    "application/fhir+json\n",
    "application/merge-patch+json\n",
    "application/json\n",
    "\"op\"",
    "\"path\"",
    "\"from\"",
    "\"value\"",
    "\"add\"",
    "\"test\"",
    "\"move\"",
    "\"copy\"",
    "\"remove\"",
    "\"replace\"",
    "/-",
    "/0",
    "~1",
    "~0",
    "\"name\":\"operation\"",
    "\"name\":\"type\"",
    "\"name\":\"path\"",
    "\"name\":\"name\"",
    "\"name\":\"value\"",
    "\"name\":\"index\"",
    "\"name\":\"source\"",
    "\"name\":\"destination\"",
    "\"part\":[",
    "\"valueCode\":\"insert\"",
    "\"valueCode\":\"delete\"",
    "\"valueInteger\":",
    "\"valueString\":",
    "<diff>",
    "<add sel=\"",
    "<replace sel=\"",
    "<remove sel=\"",
    " pos=\"before\"",
    " type=\"@value\"",
    " ws=\"both\"",
    "fhir:",
    "/@value",
    "[1]",
    "[@url='",
    "text()",
];
const XML: [&str; 22] = [
    "<",
    "/>",
    "</",
    "<div xmlns=\"http://www.w3.org/1999/xhtml\">",
    " xmlns=\"http://hl7.org/fhir\"",
    " xmlns:f=\"http://hl7.org/fhir\"",
    "<f:",
    " value=\"",
    " id=\"",
    " url=\"",
    "<extension url=\"http://a\">",
    "<contained>",
    "&amp;",
    "&nbsp;",
    "&#10;",
    "&#0;",
    "&#xD800;",
    "&#x1F600;",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "<![CDATA[a]]>",
    "<!-- a -->",
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
];
const V2: [&str; 48] = [
    "MSH|^~\\&|",
    "PID|",
    "PV1|",
    "EVN|",
    "OBR|",
    "OBX|",
    "ORC|",
    "NK1|",
    "AL1|",
    "DG1|",
    "IN1|",
    "SPM|",
    "NTE|",
    "ZZZ|",
    "FHS|",
    "BHS|",
    "ACK",
    "ADT^A01",
    "ADT^A03",
    "ADT^A08",
    "ORU^R01",
    "ORM^O01",
    "2.5.1",
    "2.3",
    "\"\"",
    "\\F\\",
    "\\.br\\",
    "\\X4D\\",
    "\\.sp9\\",
    "^^^",
    "&1.2.3&ISO",
    "UNICODE UTF-8",
    "8859/1",
    "ISO IR87",
    "20260301",
    "202603010800+0100",
    "20269999",
    "2026",
    "NM",
    "SN",
    "CWE",
    "TS",
    "DTM",
    "ST",
    "\u{000B}",
    "\u{FEFF}",
    "LN",
    "UCUM",
];
const MAPPING: [&str; 46] = [
    "resource:",
    "element:",
    "rules: |",
    "new: |",
    "identifier:",
    "prefer:",
    "key:",
    "write:",
    "union:",
    "order:",
    "otherwise: contained",
    "ambiguous: best",
    "absent: delete",
    "repeated: numbered",
    "structure:",
    "require:",
    "do:",
    "for:",
    "message:",
    "set:",
    "groups:",
    " when ",
    " <- ",
    "->",
    "[]",
    "[+]",
    "PID-3",
    "OBX-5",
    "MSH-9.2",
    "\"",
    "'",
    "#",
    "&a",
    "*a",
    "!!str",
    "? ",
    "- ",
    "|-",
    ">",
    "\t",
    "search:",
    "count:",
    "orgUnit:",
    "title:",
    "date:",
    "Z|+01:00",
];
const HTTP: [&str; 40] = [
    "PATCH ",
    "Accept: application/fhir+xml",
    "Content-Type: application/fhir+xml",
    "Content-Type: application/json-patch+json",
    "_format=xml",
    "_pretty=true",
    "_summary=",
    "_elements=",
    "_since=",
    "_at=",
    "_list=",
    "/_history",
    "\"op\":\"replace\",\"path\":\"/",
    "Accept-Encoding: gzip",
    "Prefer: respond-async",
    "$meta",
    "GET ",
    "POST ",
    "PUT ",
    "DELETE ",
    "HEAD ",
    "OPTIONS ",
    "\n---\n",
    "If-Match: W/\"1\"",
    "If-None-Match: *",
    "If-None-Exist: identifier=a|1",
    "Prefer: return=minimal",
    "Prefer: handling=lenient",
    "Accept: application/fhir+json",
    "Content-Type: application/x-www-form-urlencoded",
    "If-Modified-Since: Sun, 01 Mar 2026 00:00:00 GMT",
    "X-Forwarded-Host: a",
    "Host: localhost",
    "/fhir/metadata",
    "\"transaction\"",
    "\"batch\"",
    "urn:uuid:7a0b1c2d-0000-4000-8000-000000000001",
    "fullUrl",
    "ifNoneExist",
    "Patient?identifier=a|1",
];
