//! Messages converted without a FHIR server, for those who write maps: what is said to the sender, and the transaction that a server
//! without any resources would be given. It is the way every message takes, to a server that finds nothing and keeps nothing.
//! It prints message content; that is its purpose, so it goes to standard output only and never to a log.

use crate::identity::SiteSecret;
use crate::journal::ending;
use crate::mapping::Mappings;
use crate::process::Processor;
use crate::submit::Submit;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value as Json, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

/// Ids are derived with this text instead of the secret of a site: they mean nothing outside.
const NO_SECRET: &str = "converted without a server";

/// Converts messages one after the other.
#[derive(Debug)]
pub struct Converter {
    processor: Processor,
    transaction: Transaction,
}

/// The last transaction that was sent.
type Transaction = Arc<Mutex<Json>>;

impl Converter {
    pub fn new(mappings: Arc<Mappings>) -> Option<Converter> {
        let transaction = Transaction::default();
        let kept = Arc::clone(&transaction);
        let submit = Submit::service(tower::service_fn(move |request: Request<Json>| {
            let answer = answer(request, &kept);
            async move { Ok::<_, Infallible>(answer) }
        }));
        let secret = SiteSecret::new(NO_SECRET)?;
        Some(Converter {
            processor: Processor::new(submit, mappings, secret),
            transaction,
        })
    }

    /// One message: `code` (MSA-1), `errors` (severity, code and text), `ending` of the journal and `bundle`, the transaction.
    pub async fn convert(&self, raw: &[u8]) -> Json {
        let answer = self.processor.answer(raw).await;
        let mut transaction = self
            .transaction
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let bundle = transaction.take();
        let entries = bundle["entry"].as_array().map_or(&[][..], Vec::as_slice);
        let task = entries.iter().map(|entry| &entry["resource"]);
        let task = task
            .filter_map(ending)
            .next()
            .unwrap_or_default()
            .to_owned();
        let errors: Vec<String> = answer.errors.iter().map(ToString::to_string).collect();
        let mut converted = json!({"code": answer.code.code(), "errors": errors, "ending": task});
        converted["bundle"] = bundle;
        converted
    }
}

/// Searches find nothing, a transaction is taken.
fn answer(mut request: Request<Json>, kept: &Transaction) -> Response<Bytes> {
    let bundle = request.body_mut();
    let body = match bundle["type"].as_str() {
        Some("batch") => {
            let searches = bundle["entry"].as_array().map_or(0, Vec::len);
            let empty = json!({"response": {"status": "200"}, "resource": {"resourceType": "Bundle", "type": "searchset"}});
            json!({"resourceType": "Bundle", "type": "batch-response", "entry": vec![empty; searches]})
        }
        Some(_) => {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = bundle.take();
            json!({"resourceType": "Bundle", "type": "transaction-response"})
        }
        None => {
            let mut missing = Response::new(Bytes::from_static(b"{}"));
            *missing.status_mut() = StatusCode::NOT_FOUND;
            return missing;
        }
    };
    Response::new(Bytes::from(body.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_becomes_the_transaction_for_an_empty_server() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/hl7v2");
        let files = crate::mapping::read_folder(&folder).unwrap();
        let converter = Converter::new(Arc::new(Mappings::load(&files).unwrap())).unwrap();
        for (event, pid, code, ending, kinds) in [
            (
                "ADT^A08",
                "PID|||7^^^A||Doe",
                "AA",
                "applied",
                "Patient Task Provenance Binary",
            ),
            (
                "XXX^X99",
                "PID|||7^^^A||Doe",
                "AA",
                "unmapped",
                "Task Binary",
            ),
            ("ADT^A08", "EVN", "AE", "refused", "Task Binary"),
        ] {
            let raw = format!("MSH|^~\\&|A|F|||2026||{event}|1|P|2.5\r{pid}");
            let got = converter.convert(raw.as_bytes()).await;
            assert_eq!(
                (got["code"].as_str(), got["ending"].as_str()),
                (Some(code), Some(ending)),
                "{event} {pid}"
            );
            let entries = got["bundle"]["entry"].as_array().unwrap();
            let mut found: Vec<_> = entries
                .iter()
                .filter_map(|e| e["resource"]["resourceType"].as_str())
                .collect();
            let mut expect: Vec<_> = kinds.split(' ').collect();
            found.sort_unstable();
            expect.sort_unstable();
            assert_eq!(found, expect, "{event} {pid}");
        }
    }
}
