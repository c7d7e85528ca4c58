//! What each change comes to.

use crate::requests::*;
use fhir_model::{Issue, IssueKind};
use fhir_storage::{
    Answer, Change, CommitError, Effect, Error, HistoryQuery, Outcome, Page, Read, Scope, Store,
    Version,
    VersionMatch::{Absent, Any, Is, Present},
    testing,
};
use serde_json::Value;

/// A change, and the effect and version or the refusal expected of it.
type Step = (Change, Result<(Effect, i32), IssueKind>);

/// The issue kind of a refusal, with the index of the change.
fn refusal(error: CommitError) -> (Option<usize>, IssueKind) {
    match error.error {
        Error::Refused(issues) => (error.index, issues[0].kind),
        error => panic!("{error:?}"),
    }
}

async fn one(store: &Store, change: Change) -> Result<Outcome, IssueKind> {
    match store.commit(vec![change]).await {
        Ok(mut outcomes) => Ok(outcomes.remove(0)),
        Err(error) => Err(refusal(error).1),
    }
}

async fn body(store: &Store, at: &str) -> Value {
    match store.read(&key(at)).await.unwrap() {
        Some(Version::Present(resource)) => json(&resource.body),
        other => panic!("{at}: {other:?}"),
    }
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","active":true}"#;

/// What is rehearsed gets the answer of the commit, and is not there.
#[tokio::test]
async fn rehearsals() {
    let store = testing::store().await;
    let s = &store;
    let said = async |change: Change| match s.rehearse(vec![change]).await {
        Ok(mut outcomes) => {
            let outcome = outcomes.remove(0);
            Ok((outcome.effect, outcome.version))
        }
        Err(error) => Err(refusal(error).1),
    };
    let other = r#"{"resourceType":"Patient","id":"p","active":false}"#;
    let new = put("Patient/p", Any, PATIENT);
    assert_eq!(said(new.clone()).await, Ok((Effect::Created, 1)));
    assert!(s.read(&key("Patient/p")).await.unwrap().is_none());
    assert_eq!(one(s, new).await.unwrap().version, 1);
    for (change, expect) in [
        (put("Patient/p", Any, PATIENT), Ok((Effect::Unchanged, 1))),
        (put("Patient/p", Any, other), Ok((Effect::Updated, 2))),
        (
            put("Patient/p", Is(7), other),
            Err(IssueKind::VersionConflict),
        ),
        (delete("Patient/p", Any), Ok((Effect::Deleted, 2))),
        (put("Patient/p", Any, other), Ok((Effect::Updated, 2))),
    ] {
        assert_eq!(said(change.clone()).await, expect, "{change:?}");
    }
    assert_eq!(body(s, "Patient/p").await["active"], true);
    assert_eq!(
        one(s, put("Patient/p", Any, other)).await.unwrap().version,
        2
    );
}

#[tokio::test]
async fn patches() {
    let store = testing::store().await;
    let s = &store;
    let gender = |code: &'static str| {
        move |mut resource: Value| {
            resource["gender"] = code.into();
            Ok(resource)
        }
    };
    let unwilling = |_: Value| Err(vec![Issue::error(IssueKind::BusinessRule, "no")]);
    let by = |condition: &str, code| patch_matching(s, "Patient", condition, gender(code));
    let a = r#"{"resourceType":"Patient","identifier":[{"value":"1"}],"multipleBirthInteger":1.0}"#;
    let b = r#"{"resourceType":"Patient","identifier":[{"value":"2"}]}"#;
    let steps: Vec<Step> = vec![
        (
            patch("Patient/a", Any, gender("male")),
            Err(IssueKind::NotFound),
        ),
        (by("identifier=1", "male"), Err(IssueKind::NotFound)),
        (put("Patient/a", Any, a), Ok((Effect::Created, 1))),
        (
            patch("Patient/a", Any, gender("male")),
            Ok((Effect::Updated, 2)),
        ),
        (
            patch("Patient/a", Any, gender("male")),
            Ok((Effect::Unchanged, 2)),
        ),
        // Whether it applies is not even asked.
        (
            patch("Patient/a", Is(1), unwilling),
            Err(IssueKind::VersionConflict),
        ),
        (
            patch("Patient/a", Is(2), unwilling),
            Err(IssueKind::BusinessRule),
        ),
        (
            patch("Patient/a", Is(2), gender("other")),
            Ok((Effect::Updated, 3)),
        ),
        (
            patch("Patient/a", Absent, gender("male")),
            Err(IssueKind::VersionConflict),
        ),
        (by("identifier=1", "female"), Ok((Effect::Updated, 4))),
        (put("Patient/b", Any, b), Ok((Effect::Created, 1))),
        (
            by("identifier=1,2", "male"),
            Err(IssueKind::MultipleMatches),
        ),
        (delete("Patient/b", Any), Ok((Effect::Deleted, 2))),
        (
            patch("Patient/b", Any, gender("male")),
            Err(IssueKind::Deleted),
        ),
        (by("identifier=2", "male"), Err(IssueKind::NotFound)),
        (by("identifier=1,2", "unknown"), Ok((Effect::Updated, 5))),
    ];
    for (index, (change, expect)) in steps.into_iter().enumerate() {
        let found = one(s, change).await;
        let found = found.map(|outcome| (outcome.effect, outcome.version));
        assert_eq!(found, expect, "step {index}");
    }
    let now = body(s, "Patient/a").await;
    assert_eq!(now["gender"], "unknown");
    assert_eq!(now["id"], "a");
    assert_eq!(now["multipleBirthInteger"].to_string(), "1.0");
    // In a commit with others: references between them, no resource twice, all or nothing.
    let link = |mut resource: Value| {
        resource["link"] = json(r#"[{"type":"seealso","other":{"reference":"urn:uuid:1"}}]"#);
        Ok(resource)
    };
    let outcomes = s.commit(vec![
        post_as("urn:uuid:1", r#"{"resourceType":"Patient"}"#),
        patch("Patient/a", Any, link),
    ]);
    let outcomes = outcomes.await.unwrap();
    let now = body(s, "Patient/a").await;
    let reference = now["link"][0]["other"]["reference"].as_str().unwrap();
    assert_eq!(reference, outcomes[0].key.as_ref().unwrap().to_string());
    let found = s.commit(vec![by("identifier=1", "male"), put("Patient/a", Any, a)]);
    let refused = refusal(found.await.unwrap_err());
    assert_eq!(refused.1, IssueKind::Duplicate);
    let found = s.commit(vec![
        put("Patient/d", Any, b),
        patch("Patient/a", Any, unwilling),
    ]);
    let refused = refusal(found.await.unwrap_err());
    assert_eq!(refused, (Some(1), IssueKind::BusinessRule));
    assert!(s.read(&key("Patient/d")).await.unwrap().is_none());
}

#[tokio::test]
async fn effects_by_id() {
    let store = testing::store().await;
    let steps: Vec<Step> = vec![
        (delete("Patient/p", Any), Ok((Effect::Absent, 0))),
        (
            put("Patient/p", Is(1), PATIENT),
            Err(IssueKind::VersionConflict),
        ),
        (put("Patient/p", Absent, PATIENT), Ok((Effect::Created, 1))),
        (
            put("Patient/p", Absent, PATIENT),
            Err(IssueKind::VersionConflict),
        ),
        (put("Patient/p", Any, PATIENT), Ok((Effect::Unchanged, 1))),
        (
            put(
                "Patient/p",
                Any,
                r#"{"active":true,"meta":{"versionId":"7"},"resourceType":"Patient"}"#,
            ),
            Ok((Effect::Unchanged, 1)),
        ),
        (
            put("Patient/p", Is(2), r#"{"resourceType":"Patient"}"#),
            Err(IssueKind::VersionConflict),
        ),
        (
            put(
                "Patient/p",
                Is(1),
                r#"{"resourceType":"Patient","active":false}"#,
            ),
            Ok((Effect::Updated, 2)),
        ),
        (delete("Patient/p", Is(1)), Err(IssueKind::VersionConflict)),
        (delete("Patient/p", Is(2)), Ok((Effect::Deleted, 3))),
        (delete("Patient/p", Any), Ok((Effect::Absent, 3))),
        (
            put("Patient/p", Is(3), PATIENT),
            Err(IssueKind::VersionConflict),
        ),
        (put("Patient/p", Any, PATIENT), Ok((Effect::Created, 4))),
        (put("Patient/a_b", Any, PATIENT), Err(IssueKind::Value)),
        (
            put("Patient/p", Any, r#"{"resourceType":"Group"}"#),
            Err(IssueKind::Value),
        ),
        (
            put("Patient/p", Any, r#"{"resourceType":"Patient","meta":[]}"#),
            Err(IssueKind::Structure),
        ),
        (
            put("Nothing/p", Any, r#"{"resourceType":"Nothing"}"#),
            Err(IssueKind::UnknownType),
        ),
    ];
    for (number, (change, expect)) in steps.into_iter().enumerate() {
        let outcome = one(&store, change).await;
        let got = outcome.map(|outcome| (outcome.effect, outcome.version));
        assert_eq!(got, expect, "step {number}");
    }

    // The history holds every version, newest first, with growing times; the current one only once.
    let asked = |count| HistoryQuery {
        scope: Scope::Resources(vec![key("Patient/p")]),
        since: None,
        at: None,
        ascending: false,
        count,
        after: None,
    };
    let history = store.history(&asked(10)).await.unwrap();
    let times: Vec<i64> = history
        .versions
        .iter()
        .map(|found| found.version.last_updated_ms())
        .collect();
    let versions: Vec<(i32, bool, bool)> = history
        .versions
        .iter()
        .map(|found| {
            let is_present = matches!(found.version, Version::Present(_));
            (found.version.number(), is_present, found.created)
        })
        .collect();
    let expect = [
        (4, true, true),
        (3, false, false),
        (2, true, false),
        (1, true, true),
    ];
    assert_eq!(versions, expect);
    assert!(times.is_sorted_by(|a, b| a > b), "{times:?}");
    assert_eq!((history.total, history.next), (Some(4), None));
    let newer = store.history(&asked(2)).await.unwrap();
    assert_eq!(newer.total, Some(4));
    let older = HistoryQuery {
        after: newer.next,
        ..asked(1)
    };
    let older = store.history(&older).await.unwrap();
    assert!(matches!(&older.versions[..], [found] if found.version.number() == 2));
    let deleted = store.vread(&key("Patient/p"), 3).await.unwrap();
    assert!(matches!(deleted, Some(Version::Deleted { version: 3, .. })));
    assert_eq!(store.vread(&key("Patient/p"), 9).await.unwrap(), None);
    assert_eq!(store.read(&key("Patient/absent")).await.unwrap(), None);
}

/// What was sent is what is served, digit by digit.
#[tokio::test]
async fn stored_is_sent() {
    let store = testing::store().await;
    for (number, sent) in [
        r#"{"v":1.50}"#,
        r#"{"v":1.5}"#,
        r#"{"v":1.20e3}"#,
        r#"{"v":1E-7}"#,
        r#"{"v":-0.0}"#,
        r#"{"v":100000000000000000000.000000000000000000001}"#,
        r#"{"v":"é\n\"\ud83d\ude00"}"#,
        r#"{"_v":{"extension":[{"url":"x"}]},"w":[null,"a"],"_w":[{"id":"1"},null]}"#,
        r#"{"implicitRules":"","nested":{"b":1,"a":{"d":[],"c":{}}}}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let mut resource = json(sent);
        resource["resourceType"] = "Basic".into();
        let at = format!("Basic/b{number}");
        let text = resource.to_string();
        let outcome = one(&store, put(&at, Any, &text)).await.unwrap();
        assert!(
            outcome
                .body
                .unwrap()
                .starts_with(r#"{"resourceType":"Basic","id":"b"#)
        );
        let mut stored = body(&store, &at).await;
        let meta = stored["meta"].take();
        assert_eq!(meta["versionId"], "1");
        let members = stored.as_object_mut().unwrap();
        members.remove("meta");
        assert_eq!(members.remove("id").unwrap(), at[6..]);
        assert_eq!(stored, resource, "{sent}");
        // The same again is no new version; one digit less is.
        let again = one(&store, put(&at, Any, &text)).await.unwrap();
        assert_eq!(again.effect, Effect::Unchanged, "{sent}");
    }
    let fewer = one(
        &store,
        put("Basic/b0", Any, r#"{"resourceType":"Basic","v":1.5}"#),
    )
    .await;
    assert_eq!(fewer.unwrap().effect, Effect::Updated);
}

const A1: &str = r#"{"resourceType":"Patient","identifier":[{"system":"http://a","value":"1"}]}"#;

#[tokio::test]
async fn effects_by_condition() {
    let store = testing::store().await;
    let s = &store;
    let steps: Vec<Step> = vec![
        (
            delete_matching(s, "Patient", "identifier=http://a|1"),
            Ok((Effect::Absent, 0)),
        ),
        (
            post_if_none(s, "identifier=http://a|1", A1),
            Ok((Effect::Created, 1)),
        ),
        (
            post_if_none(s, "identifier=http://a|1", A1),
            Ok((Effect::Found, 1)),
        ),
        (post_if_none(s, "identifier=1", A1), Ok((Effect::Found, 1))),
        (
            post_if_none(s, "identifier=http://b|1", A1),
            Ok((Effect::Created, 1)),
        ),
        (
            post_if_none(s, "identifier=http://a|1", A1),
            Err(IssueKind::MultipleMatches),
        ),
        (
            put_matching(s, "identifier=http://a|1", None, A1),
            Err(IssueKind::MultipleMatches),
        ),
        (
            delete_matching(s, "Patient", "identifier=http://a|1"),
            Err(IssueKind::MultipleMatches),
        ),
        (
            put_matching(
                s,
                "identifier=c|1",
                Some("mine"),
                r#"{"resourceType":"Patient","id":"mine","identifier":[{"system":"c","value":"1"}]}"#,
            ),
            Ok((Effect::Created, 1)),
        ),
        (
            put_matching(
                s,
                "identifier=c|1",
                None,
                r#"{"resourceType":"Patient","active":true,"identifier":[{"system":"c","value":"1"}]}"#,
            ),
            Ok((Effect::Updated, 2)),
        ),
        (
            put_matching(
                s,
                "identifier=c|1",
                Some("other"),
                r#"{"resourceType":"Patient","id":"other"}"#,
            ),
            Err(IssueKind::Syntax),
        ),
        (
            put_matching(
                s,
                "identifier=d|1",
                Some("mine"),
                r#"{"resourceType":"Patient","id":"mine"}"#,
            ),
            Err(IssueKind::Conflict),
        ),
        (
            delete_matching(s, "Patient", "identifier=c|1"),
            Ok((Effect::Deleted, 3)),
        ),
        (
            delete_matching(s, "Patient", "identifier=c|1"),
            Ok((Effect::Absent, 0)),
        ),
    ];
    for (number, (change, expect)) in steps.into_iter().enumerate() {
        let outcome = one(s, change).await;
        let got = outcome.map(|outcome| (outcome.effect, outcome.version));
        assert_eq!(got, expect, "step {number}");
    }
}

#[tokio::test]
async fn references_in_a_commit() {
    let store = testing::store().await;
    one(&store, post_if_none(&store, "identifier=http://a|1", A1))
        .await
        .unwrap();
    let observation = |subject: &str, performer: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{{"reference":"{subject}"}},"performer":[{{"reference":"{performer}"}}]}}"#
        )
    };
    let outcomes = store
        .commit(vec![
            post_as("urn:uuid:AAAA", r#"{"resourceType":"Practitioner"}"#),
            post(&observation(
                "Patient?identifier=http%3A%2F%2Fa%7C1",
                "URN:uuid:aaaa#x",
            )),
            post(&observation(
                "Patient/absent",
                "http://elsewhere/Practitioner/1",
            )),
        ])
        .await
        .unwrap();
    let practitioner = outcomes[0].key.clone().unwrap();
    let patient = one(&store, post_if_none(&store, "identifier=1", A1))
        .await
        .unwrap()
        .key
        .unwrap();
    let first = json(outcomes[1].body.as_deref().unwrap());
    assert_eq!(first["subject"]["reference"], patient.to_string());
    assert_eq!(
        first["performer"][0]["reference"],
        format!("{practitioner}#x")
    );
    let second = body(&store, &outcomes[2].key.as_ref().unwrap().to_string()).await;
    assert_eq!(second["subject"]["reference"], "Patient/absent");
    assert_eq!(
        second["performer"][0]["reference"],
        "http://elsewhere/Practitioner/1"
    );

    // A target that is only referenced is nobody, until it is created.
    assert_eq!(store.read(&key("Patient/absent")).await.unwrap(), None);
    let history = HistoryQuery {
        scope: Scope::Resources(vec![key("Patient/absent")]),
        since: None,
        at: None,
        ascending: false,
        count: 9,
        after: None,
    };
    let history = store.history(&history).await.unwrap();
    assert!(history.versions.is_empty());
    for (found, parameters) in [(1, "subject=Patient/absent"), (1, "subject=Patient/p1")] {
        if parameters.ends_with("p1") {
            let created = put("Patient/absent", Absent, r#"{"resourceType":"Patient"}"#);
            assert_eq!(one(&store, created).await.unwrap().version, 1);
        }
        let query = query(&store, "Observation", "subject=Patient/absent");
        let page = store.search(&query, Page::First).await.unwrap();
        assert_eq!(page.matches.len(), found);
    }

    for (changes, index, kind) in [
        (
            vec![post(&observation("Patient?identifier=none", "x"))],
            Some(0),
            IssueKind::NotFound,
        ),
        (
            vec![
                put("Patient/q", Any, r#"{"resourceType":"Patient"}"#),
                delete("Patient/q", Any),
            ],
            Some(1),
            IssueKind::Duplicate,
        ),
        (
            vec![
                post_if_none(&store, "identifier=http://a|1", A1),
                put(&patient.to_string(), Any, A1),
            ],
            Some(1),
            IssueKind::Duplicate,
        ),
        (
            vec![
                post_if_none(
                    &store,
                    "identifier=http://n|1",
                    r#"{"resourceType":"Patient"}"#,
                ),
                post(
                    r#"{"resourceType":"Patient","identifier":[{"system":"http://n","value":"1"}]}"#,
                ),
            ],
            Some(1),
            IssueKind::Duplicate,
        ),
    ] {
        let error = store.commit(changes).await.unwrap_err();
        assert_eq!(refusal(error), (index, kind));
    }
    assert_eq!(
        store.read(&key("Patient/q")).await.unwrap(),
        None,
        "nothing of a refused commit is there"
    );
}

#[tokio::test]
async fn conditional_reference_to_what_the_commit_writes() {
    let store = testing::store().await;
    let outcomes = store
        .commit(vec![
            post(A1),
            post(r#"{"resourceType":"Basic","subject":{"reference":"Patient?identifier=http://a|1"}}"#),
        ])
        .await
        .unwrap();
    let basic = json(outcomes[1].body.as_deref().unwrap());
    assert_eq!(
        basic["subject"]["reference"],
        outcomes[0].key.as_ref().unwrap().to_string()
    );
    let query = query(
        &store,
        "Basic",
        &format!("subject={}", outcomes[0].key.as_ref().unwrap()),
    );
    assert_eq!(
        store
            .search(&query, Page::First)
            .await
            .unwrap()
            .matches
            .len(),
        1
    );
}

#[tokio::test]
async fn reads_of_a_transaction_see_its_changes() {
    let store = testing::store().await;
    let reads = [
        Read::Instance(key("Patient/p"), Any),
        Read::Version(key("Patient/p"), 2),
        Read::Search(
            Box::new(query(&store, "Patient", "active=true")),
            Page::First,
        ),
    ];
    let changes = vec![put("Patient/p", Any, PATIENT)];
    let (_, answers) = store.transact(changes, &reads).await.unwrap();
    assert!(matches!(&answers[0], Answer::Version(Some(Version::Present(r))) if r.version == 1));
    assert!(matches!(&answers[1], Answer::Version(None)));
    assert!(matches!(&answers[2], Answer::Page(page) if page.matches.len() == 1));
}

/// A read that names the version which is meant: another one, a deleted or a missing resource undoes the changes.
#[tokio::test]
async fn a_read_of_another_version_fails_the_transaction() {
    let store = testing::store().await;
    one(&store, put("Patient/p", Any, PATIENT)).await.unwrap();
    for (read, version, expect) in [
        ("Patient/p", Is(1), None),
        ("Patient/p", Present, None),
        ("Patient/p", Is(2), Some(1)),
        ("Patient/q", Present, Some(1)),
        ("Patient/q", Is(1), Some(1)),
        // As this transaction leaves it.
        ("Basic/b", Is(1), None),
    ] {
        let basic = put(
            "Basic/b",
            Any,
            r#"{"resourceType":"Basic","code":{"text":"x"}}"#,
        );
        let reads = [Read::Instance(key(read), version)];
        let done = store.transact(vec![basic], &reads).await;
        assert_eq!(
            done.map(drop).map_err(|error| error.index),
            expect.map_or(Ok(()), |index| Err(Some(index))),
            "{read} {version:?}"
        );
    }
    one(&store, delete("Patient/p", Any)).await.unwrap();
    let reads = [Read::Instance(key("Patient/p"), Is(2))];
    let other = put(
        "Basic/c",
        Any,
        r#"{"resourceType":"Basic","code":{"text":"x"}}"#,
    );
    assert!(store.transact(vec![other], &reads).await.is_err());
    assert!(store.read(&key("Basic/c")).await.unwrap().is_none());
}

/// Only index rows that differ are touched, and none is left over.
#[tokio::test]
async fn index_follows_the_resource() {
    let store = testing::store().await;
    for (birth, name, found) in [
        ("1980-01-01", "Ana", [1, 0, 1, 0]),
        ("1990-01-01", "Ana", [0, 1, 1, 0]),
        ("1990-01-01", "Berta", [0, 1, 0, 1]),
    ] {
        let patient = format!(
            r#"{{"resourceType":"Patient","birthDate":"{birth}","name":[{{"given":["{name}"]}}]}}"#
        );
        one(&store, put("Patient/p", Any, &patient)).await.unwrap();
        let parameters = [
            "birthdate=1980-01-01",
            "birthdate=1990-01-01",
            "given=ana",
            "given=berta",
        ];
        for round in ["written", "indexed again"] {
            for (parameters, expect) in parameters.iter().zip(found) {
                let query = query(&store, "Patient", parameters);
                let page = store.search(&query, Page::First).await.unwrap();
                assert_eq!(page.matches.len(), expect, "{parameters} {round}");
            }
            assert_eq!(store.reindex().await.unwrap(), 1);
        }
    }
    one(&store, delete("Patient/p", Any)).await.unwrap();
    let query = query(&store, "Patient", "given=berta");
    assert!(
        store
            .search(&query, Page::First)
            .await
            .unwrap()
            .matches
            .is_empty()
    );
    assert_eq!(store.reindex().await.unwrap(), 0);
}
