//! What searches find, as data: a URL, and the ids in order.

use super::corpus::{BASE, Indexed, replace};
use super::resources::resources;
use crate::search::match_in;
use crate::{Error, Page, SearchPage, Store, testing};
use fhir_model::IssueKind;
use fhir_search::parse::Context;
use fhir_search::query::Summary;
use fhir_search::{Handling, Query, parse};
use serde_json::Value;

/// 2024-06-01.
const NOW_MICROS: i64 = 1_717_200_000_000_000;

/// URL: ids of the matches, `+` and the includes in the order of their ids, `#` and the total where it is not the number of matches.
const FOUND: &[(&str, &str)] = &[
    ("Patient", "p1 p2 p3 p4 p5"),
    // token
    ("Patient?gender=female", "p1 p3"),
    ("Patient?gender=FEMALE", "p1 p3"),
    ("Patient?gender=female,male", "p1 p2 p3 p5"),
    ("Patient?gender=other", ""),
    ("Patient?gender:not=female", "p2 p4 p5"),
    ("Patient?gender:not=female,male", "p4"),
    ("Patient?identifier=mrn|1", "p1"),
    ("Patient?identifier=1", "p1 p2"),
    ("Patient?identifier=mrn|", "p1 p2"),
    ("Patient?identifier=|X", "p4"),
    ("Patient?identifier=|1", ""),
    ("Patient?identifier=mrn|1,other|1", "p1 p2"),
    ("Patient?identifier=mrn|2&identifier=other|1", "p2"),
    ("Patient?identifier:not=mrn|1", "p2 p3 p4 p5"),
    ("Patient?active=true", "p1"),
    ("Patient?active=false", "p5"),
    ("Patient?deceased=true", "p3"),
    ("Patient?phone=555-1", "p1"),
    ("Patient?_tag=tags|vip", "p1"),
    ("Patient?gender=female&active=true", "p1"),
    ("Patient?gender=female&gender=male", ""),
    ("Observation?code=718-7", "ob1 ob2 ob6 ob7"),
    ("Observation?code=loinc|718-7", "ob1 ob2 ob6 ob7"),
    ("Observation?code=local|718-7", ""),
    ("Observation?code=local|", "ob1"),
    ("Observation?code=|x", "ob4"),
    ("Observation?code:not=loinc|718-7", "ob3 ob4 ob5"),
    ("Observation?status:not=final", "ob3 ob4"),
    ("Observation?value-concept=s|pos", "ob4"),
    ("Observation?component-code=8480-6", "ob3"),
    ("Observation?combo-code=8480-6,hb", "ob1 ob3"),
    ("Encounter?class=AMB", "e1"),
    // missing
    ("Patient?name:missing=true", "p4"),
    ("Patient?name:missing=false", "p1 p2 p3 p5"),
    ("Patient?birthdate:missing=true", "p4"),
    ("Patient?gender:missing=true", ""),
    ("Patient?organization:missing=true", "p5"),
    ("Observation?subject:missing=true", "ob5"),
    (
        "Observation?value-quantity:missing=false&status=final",
        "ob1 ob2 ob5 ob6",
    ),
    // string
    ("Patient?family=muller", "p1 p2"),
    ("Patient?family=MÜLL", "p1 p2"),
    ("Patient?family:exact=Müller", "p1"),
    ("Patient?family:exact=müller", ""),
    ("Patient?family:contains=ulle", "p1 p2"),
    ("Patient?family=obrien", "p3"),
    ("Patient?family=o'brien", "p3"),
    ("Patient?family=smith", "p5"),
    ("Patient?family=mu,o", "p1 p2 p3"),
    ("Patient?name=anna", "p1"),
    ("Patient?name=eva", "p1"),
    ("Patient?name=aunt", "p1"),
    ("Patient?name=polly", ""),
    ("Patient?name=carla&name=obrien", "p3"),
    ("Patient?given=bob", "p2"),
    ("Patient?given:contains=ari", "p1"),
    ("Patient?address=nandu", "p1"),
    ("Patient?address-city=ÑANDÚ", "p1"),
    ("Patient?family=%25", ""),
    ("Organization?name=min", "o1"),
    // date
    ("Patient?birthdate=1980-05-12", "p1"),
    ("Patient?birthdate=1980-05", "p1"),
    ("Patient?birthdate=1980", "p1 p2"),
    ("Patient?birthdate=ne1980", "p3 p5"),
    ("Patient?birthdate=gt1985", "p3 p5"),
    ("Patient?birthdate=ge1980-06", "p2 p3 p5"),
    ("Patient?birthdate=lt1980-06", "p1 p2"),
    ("Patient?birthdate=le1980", "p1 p2"),
    ("Patient?birthdate=sa1980", "p3 p5"),
    ("Patient?birthdate=eb1990", "p1 p2"),
    ("Patient?birthdate=sa1980-05-12", "p3 p5"),
    ("Patient?birthdate=1980,1990", "p1 p2 p3"),
    ("Patient?birthdate=ge1985&birthdate=lt1995", "p3"),
    ("Observation?date=2024-01", "ob1"),
    ("Observation?date=2024-01-15T10:00:00Z", "ob1"),
    ("Observation?date=2024-01-15T10:00:00.5Z", ""),
    ("Observation?date=2024-01-15T11:00:00%2B01:00", "ob1"),
    ("Observation?date=2024-02-10", ""),
    ("Observation?date=ap2024-02-10", "ob2"),
    ("Observation?date=2024-03", "ob3"),
    ("Observation?date=2024-03-05", ""),
    ("Observation?date=ge2024-03-05&date=le2024-03-05", "ob3"),
    ("Observation?date=gt2030", "ob4"),
    ("Observation?date=2024-04-01T06:30:15.250Z", "ob5"),
    ("Observation?date=lt2024-02", "ob1"),
    ("Observation?date:missing=true", "ob6 ob7"),
    ("Encounter?date=ge2024-01-11", "e1"),
    ("Encounter?date=2024-01", "e1"),
    ("Condition?onset-date=2023", "c1"),
    // number, quantity
    ("RiskAssessment?probability=0.25", "k1"),
    ("RiskAssessment?probability=0.3", "k1"),
    ("RiskAssessment?probability=0.30", ""),
    ("RiskAssessment?probability=gt0.25", "k2"),
    ("RiskAssessment?probability=ge0.25", "k1 k2"),
    ("RiskAssessment?probability=lt0.5", "k1"),
    ("RiskAssessment?probability=ne0.5", "k1 k2"),
    ("RiskAssessment?probability=gt0.6&probability=lt0.6", "k2"),
    ("Observation?value-quantity=12.5", "ob1"),
    ("Observation?value-quantity=12.50", "ob1"),
    ("Observation?value-quantity=13", "ob1"),
    ("Observation?value-quantity=12", ""),
    ("Observation?value-quantity=12.5|ucum|g/dL", "ob1"),
    ("Observation?value-quantity=12.5||g/dL", "ob1"),
    ("Observation?value-quantity=12.5|ucum|mg/L", ""),
    ("Observation?value-quantity=gt9|ucum|g/dL", "ob1 ob6"),
    ("Observation?value-quantity=ge9", "ob1 ob2 ob6"),
    ("Observation?value-quantity=lt9", "ob5"),
    ("Observation?value-quantity=lt4||mg/L", "ob5"),
    ("Observation?value-quantity=5", ""),
    ("Observation?value-quantity=1e2", "ob6"),
    ("Observation?value-quantity=ap10", "ob2"),
    ("Observation?value-quantity=sa12.5", "ob6"),
    ("Observation?value-quantity=eb12.5", "ob2 ob5"),
    ("Observation?component-value-quantity=gt100", "ob3"),
    ("Observation?combo-value-quantity=gt90", "ob3 ob6"),
    // uri
    ("ValueSet?url=http://x/vs", "v1"),
    ("ValueSet?url=http://x/VS", ""),
    // reference
    ("Observation?subject=Patient/p1", "ob1 ob3"),
    ("Observation?subject=p1", "ob1 ob3"),
    (
        "Observation?subject=http://localhost/fhir/Patient/p1",
        "ob1 ob3",
    ),
    ("Observation?subject:Patient=p1", "ob1 ob3"),
    ("Observation?subject:Group=g1", "ob7"),
    ("Observation?patient=p1,p2", "ob1 ob2 ob3"),
    ("Observation?subject=Group/g1", "ob7"),
    ("Observation?patient=g1", ""),
    ("Observation?subject=Patient/absent", "ob6"),
    ("Observation?subject=Patient/never", ""),
    (
        "Patient?organization=http://elsewhere/Organization/o1",
        "p4",
    ),
    ("Patient?organization=o1", "p1"),
    ("Patient?organization:identifier=orgs|o9", "p3"),
    ("Patient?organization:identifier=o9", "p3"),
    // composite
    (
        "Observation?code-value-quantity=loinc|718-7$gt10",
        "ob1 ob6",
    ),
    (
        "Observation?code-value-quantity=718-7$gt10|ucum|g/dL",
        "ob1 ob6",
    ),
    ("Observation?code-value-quantity=718-7$gt10|ucum|mg", ""),
    (
        "Observation?component-code-value-quantity=8480-6$gt100",
        "ob3",
    ),
    ("Observation?component-code-value-quantity=8462-4$gt100", ""),
    ("Observation?combo-code-value-quantity=8480-6$gt100", "ob3"),
    ("Observation?combo-code-value-quantity=hb$12.5", "ob1"),
    ("Observation?code-value-concept=|x$s|pos", "ob4"),
    ("Observation?code-value-date=718-7$2020", ""),
    // _id, _lastUpdated
    ("Patient?_id=p3", "p3"),
    ("Patient?_id=p5,p1,never", "p1 p5"),
    ("Patient?_id=ob1", ""),
    ("Patient?_lastUpdated=1970", "p1 p2 p3 p4 p5"),
    ("Patient?_lastUpdated=gt1970-01-01T00:00:09.998Z", "p1 p2"),
    (
        "Patient?_lastUpdated=ge1970-01-01T00:00:09.998Z",
        "p1 p2 p3",
    ),
    ("Patient?_lastUpdated=lt1970-01-01T00:00:09.998Z", "p4 p5"),
    (
        "Patient?_lastUpdated=le1970-01-01T00:00:09.998Z",
        "p3 p4 p5",
    ),
    ("Patient?_lastUpdated=1970-01-01T00:00:09.998Z", "p3"),
    (
        "Patient?_lastUpdated=ne1970-01-01T00:00:09.998Z",
        "p1 p2 p4 p5",
    ),
    ("Patient?_lastUpdated=gt2000", ""),
    // chains
    ("Observation?subject:Patient.gender=female", "ob1 ob3 ob4"),
    ("Observation?patient.gender=female", "ob1 ob3 ob4"),
    ("Observation?patient.family=mull", "ob1 ob2 ob3"),
    ("Observation?patient.identifier=mrn|1", "ob1 ob3"),
    ("Observation?patient._id=p2", "ob2"),
    ("Observation?patient.organization.name=ministry", "ob1 ob3"),
    (
        "Observation?patient.organization.partof.name=regional",
        "ob1 ob3",
    ),
    (
        "Observation?patient.organization.partof.partof.name=world",
        "ob1 ob3",
    ),
    ("Observation?patient.gender=other", ""),
    ("Observation?patient.gender:not=female", "ob2"),
    ("Observation?patient.birthdate:missing=true", ""),
    ("Observation?patient.gender=female&code=hb", "ob1"),
    ("Observation?subject:Group._id=g1", "ob7"),
    ("Patient?organization.name=regional", "p2"),
    (
        "Patient?general-practitioner:Practitioner.family=house",
        "p1",
    ),
    // _has
    ("Patient?_has:Observation:patient:code=718-7", "p1 p2"),
    ("Patient?_has:Observation:patient:code=hb", "p1"),
    ("Patient?_has:Observation:patient:value-quantity=gt10", "p1"),
    (
        "Patient?_has:Observation:patient:code=718-7&_has:Observation:patient:code=85354-9",
        "p1",
    ),
    ("Patient?_has:Observation:patient:_id=ob2", "p2"),
    ("Patient?_has:Observation:patient:status:not=final", "p1 p3"),
    ("Group?_has:Observation:subject:code=718-7", "g1"),
    ("Organization?_has:Patient:organization:gender=female", "o1"),
    (
        "Organization?_has:Patient:organization:_has:Observation:patient:code=hb",
        "o1",
    ),
    (
        "Observation?patient._has:Condition:patient:code=1",
        "ob1 ob3",
    ),
    ("Encounter?_has:Condition:encounter:code=snomed|1", "e1"),
    // sort
    ("Patient?_sort=_id", "p1 p2 p3 p4 p5"),
    ("Patient?_sort=-_id", "p5 p4 p3 p2 p1"),
    ("Patient?_sort=_lastUpdated", "p5 p4 p3 p2 p1"),
    ("Patient?_sort=-_lastUpdated", "p1 p2 p3 p4 p5"),
    ("Patient?_sort=birthdate", "p2 p1 p3 p5 p4"),
    ("Patient?_sort=-birthdate", "p5 p3 p1 p2 p4"),
    ("Patient?family=mu,ob&_sort=family,-_id", "p2 p1 p3"),
    ("Patient?_sort=-family,_id", "p5 p3 p1 p2 p4"),
    (
        "Observation?_sort=value-quantity&code=718-7",
        "ob2 ob1 ob6 ob7",
    ),
    (
        "Observation?_sort=-value-quantity&code=718-7",
        "ob6 ob1 ob2 ob7",
    ),
    ("RiskAssessment?_sort=-probability", "k2 k1"),
    ("Observation?_sort=date&status=final", "ob1 ob2 ob5 ob6 ob7"),
    // count, total
    ("Patient?_count=2", "p1 p2 # 5"),
    ("Patient?_count=2&_total=accurate", "p1 p2 # 5"),
    ("Patient?_count=2&_total=none", "p1 p2 # none"),
    ("Patient?_total=none", "p1 p2 p3 p4 p5 # none"),
    ("Patient?_count=0", "# 5"),
    ("Patient?_summary=count", "# 5"),
    ("Observation?code=718-7&_summary=count", "# 4"),
    // include
    (
        "Observation?_id=ob1&_include=Observation:patient",
        "ob1 + p1",
    ),
    (
        "Observation?_id=ob1&_include=Observation:subject",
        "ob1 + p1",
    ),
    (
        "Observation?_id=ob1&_include=Observation:subject:Group",
        "ob1",
    ),
    (
        "Observation?_id=ob1,ob7&_include=Observation:subject:Group",
        "ob1 ob7 + g1",
    ),
    ("Observation?_id=ob6&_include=Observation:patient", "ob6"),
    (
        "Observation?_id=ob1,ob7&_include=Observation:has-member",
        "ob1 ob7",
    ),
    (
        "Observation?_id=ob7&_include=Observation:has-member",
        "ob7 + ob1",
    ),
    ("Observation?_id=ob7&_include=Observation:*", "ob7 + g1 ob1"),
    ("Observation?_id=ob7&_include=*", "ob7 + g1 ob1"),
    (
        "Observation?_id=ob7&_include=Observation:has-member&_include=Observation:patient",
        "ob7 + ob1",
    ),
    (
        "Observation?_id=ob7&_include=Observation:has-member&_include:iterate=Observation:patient",
        "ob7 + ob1 p1",
    ),
    (
        "Patient?_id=p1&_include=Patient:organization&_include:iterate=Organization:partof",
        "p1 + o1 o2 o3",
    ),
    (
        "Patient?_id=p1&_revinclude=Observation:patient",
        "p1 + ob1 ob3",
    ),
    ("Patient?_id=p1&_revinclude=Observation:*", "p1 + ob1 ob3"),
    (
        "Patient?_id=p1&_revinclude=Observation:patient&_revinclude:iterate=DiagnosticReport:result",
        "p1 + ob1 ob3 r1",
    ),
    (
        "DiagnosticReport?_include=DiagnosticReport:result",
        "r1 + ob1 ob3",
    ),
    (
        "Patient?_count=1&_revinclude=Condition:patient",
        "p1 + c1 # 5",
    ),
    ("Patient?_id=p2&_revinclude=Condition:patient", "p2"),
    // several types
    ("Organization,Practitioner", "o1 o2 o3 d1"),
    ("Patient,Observation?_id=p2,ob3", "p2 ob3"),
    (
        "Observation,Patient?_lastUpdated=le1970-01-01T00:00:09.995Z&_count=2",
        "ob1 ob2 # 7",
    ),
    ("Encounter,Condition?patient=p1", "c1 e1"),
    ("Encounter,Condition?patient.gender=female", "c1 e1"),
    ("Encounter,Condition?_sort=_id", "c1 e1"),
    ("Patient,ValueSet?_tag:missing=false", "p1"),
    ("Practitioner,Group?_tag:not=tags|vip", "d1 g1"),
];

/// What is refused.
const REFUSED: &[(&str, IssueKind)] = &[
    ("Observation?_sort=code", IssueKind::NotSupported),
    ("Observation?code:text=abc", IssueKind::NotSupported),
    ("Patient?_revinclude=*", IssueKind::SearchParameter),
];

#[tokio::test(flavor = "multi_thread")]
async fn finds() {
    let store = store().await;
    let mut wrong = Vec::new();
    for (url, expect) in FOUND {
        let got = match search(&store, url, Page::First).await {
            Ok(page) => shown(&page),
            Err(error) => format!("{error:?}"),
        };
        let expect = expect.split_whitespace().collect::<Vec<_>>().join(" ");
        if got != expect {
            wrong.push(format!("{url}\n  expected {expect}\n  got      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same matches in the same order, page by page.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_parts_of_the_whole() {
    let store = store().await;
    for (url, _) in FOUND {
        let mut query = understood(&store, url).unwrap();
        if query.summary == Summary::Count {
            continue;
        }
        query.count = 100;
        let whole = store.search(&query, Page::First).await.unwrap();
        query.count = 1;
        let mut matches = Vec::new();
        let mut at = Page::First;
        loop {
            let page = store.search(&query, at).await.unwrap();
            assert!(page.matches.len() <= 1, "{url}");
            matches.extend(page.matches);
            match page.next {
                Some(next) => at = Page::After(next),
                None => break,
            }
        }
        let ids = |found: &[crate::StoredResource]| {
            found
                .iter()
                .map(|found| found.key.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&matches), ids(&whole.matches), "{url}");
    }
}

/// The condition of a write finds what the search finds.
#[tokio::test(flavor = "multi_thread")]
async fn matches_in_a_transaction() {
    let store = store().await;
    let mut transaction = store.inner.write_pool.begin().await.unwrap();
    for (url, limit, expect) in [
        ("Patient?identifier=mrn|1", 2, vec!["p1"]),
        ("Patient?identifier=1", 2, vec!["p1", "p2"]),
        ("Patient?identifier=none", 2, vec![]),
        (
            "Observation?patient.identifier=mrn|1&code=hb",
            2,
            vec!["ob1"],
        ),
        (
            "Patient?gender=female,male",
            10,
            vec!["p1", "p2", "p3", "p5"],
        ),
    ] {
        let query = understood(&store, url).unwrap();
        let (definitions, statistics) = (store.definitions(), &store.inner.statistics);
        let found = match_in(&mut transaction, &definitions, statistics, &query, limit)
            .await
            .unwrap();
        let ids: Vec<_> = found.iter().map(|found| found.key.id.as_str()).collect();
        assert_eq!(ids, expect, "{url}");
        assert!(found.iter().all(|found| found.version == 1 && found.pk > 0));
    }
}

/// What takes longer than the limit is the client's to change.
#[tokio::test(flavor = "multi_thread")]
async fn too_long_is_too_costly() {
    let store = store().await;
    let mut connection = store.inner.search_pool.acquire().await.unwrap();
    sqlx::raw_sql("SET statement_timeout = 1")
        .execute(&mut *connection)
        .await
        .unwrap();
    let slow = sqlx::query("SELECT pg_sleep(1)")
        .execute(&mut *connection)
        .await;
    match crate::search::too_costly(slow.unwrap_err().into()) {
        Error::Refused(issues) => assert_eq!(issues[0].kind, IssueKind::TooCostly),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses() {
    let store = store().await;
    for (url, expect) in REFUSED {
        match search(&store, url, Page::First).await {
            Err(Error::Refused(issues)) => assert_eq!(issues[0].kind, *expect, "{url}"),
            other => panic!("{url}: {other:?}"),
        }
    }
    match search(&store, "Patient", Page::After(b"[]".to_vec())).await {
        Err(Error::Refused(issues)) => assert_eq!(issues[0].kind, IssueKind::Expired),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_whole() {
    let store = store().await;
    let page = search(&store, "Patient?_id=p1", Page::First).await.unwrap();
    let body: Value = serde_json::from_str(&page.matches[0].body).unwrap();
    assert_eq!(body, resources()[0]);
    assert!(
        page.matches[0]
            .body
            .starts_with(r#"{"resourceType":"Patient","#)
    );
    assert_eq!(
        (page.matches[0].version, page.matches[0].last_updated_ms),
        (1, 10_000)
    );
}

async fn store() -> Store {
    let store = testing::store().await;
    let resources: Vec<_> = resources()
        .iter()
        .enumerate()
        .map(|(index, resource)| Indexed::of(&store, resource, 10_000 - index as i64))
        .collect();
    replace(&store, &resources).await;
    sqlx::raw_sql("ANALYZE")
        .execute(&store.inner.write_pool)
        .await
        .unwrap();
    store.inner.statistics.expire();
    store
}

async fn search(store: &Store, url: &str, at: Page) -> Result<SearchPage, Error> {
    store.search(&understood(store, url)?, at).await
}

fn understood(store: &Store, url: &str) -> Result<Query, Error> {
    let definitions = store.definitions();
    let context = Context {
        definitions: &definitions,
        base: Some(BASE),
        handling: Handling::Strict,
        now_micros: NOW_MICROS,
        count_default: 20,
        count_max: 100,
    };
    let (types, parameters) = url.split_once('?').unwrap_or((url, ""));
    let types: Vec<&str> = types.split(',').collect();
    let parameters: Vec<(String, String)> = parameters
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.into(), value.replace("%2B", "+").replace("%25", "%")))
        .collect();
    parse(&context, &types, &parameters).map_err(Error::Refused)
}

fn shown(page: &SearchPage) -> String {
    let ids = |found: &[crate::StoredResource]| {
        found
            .iter()
            .map(|found| found.key.id.clone())
            .collect::<Vec<_>>()
    };
    let mut shown = ids(&page.matches);
    if !page.includes.is_empty() {
        let mut includes = ids(&page.includes);
        includes.sort();
        shown.push("+".into());
        shown.extend(includes);
    }
    match page.total {
        Some(total) if total == page.matches.len() as u64 && page.next.is_none() => {}
        Some(total) => shown.extend(["#".into(), total.to_string()]),
        None => shown.extend(["#".into(), "none".into()]),
    }
    shown.join(" ")
}
