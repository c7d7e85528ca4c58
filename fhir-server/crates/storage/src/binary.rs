//! The content of a Binary, which is stored as bytes beside its resource (docs/adr/0018-binary-content.md,
//! <https://hl7.org/fhir/R5/binary.html>).
//!
//! Base64 that would not come back as it was sent (white space in it, bits left over) stays in the resource, and so does what has an
//! extension.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// The number of the type.
pub(crate) const TYPE: i16 = 11;

/// The text of a version without resourceType, as SQL: of `$row`, which has its type and key, and `$version`, which has the rest. Null for a
/// deletion. [`TYPE`] stands in it as a literal.
macro_rules! stored_text {
    ($row:literal, $version:literal) => {
        concat!(
            "CASE WHEN ",
            $row,
            ".type = 11 THEN binary_text(",
            $version,
            ".content, ",
            $version,
            ".source, ",
            $row,
            ".pk, ",
            $version,
            ".version) ELSE coalesce(",
            $version,
            ".source, ",
            $version,
            ".content::text) END"
        )
    };
}
pub(crate) use stored_text;

/// The resource without its data, and that as bytes; `None` where it stays as it is.
pub(crate) fn apart(resource: &Map<String, Value>) -> Option<(Map<String, Value>, Vec<u8>)> {
    let text = resource.get("data")?.as_str()?;
    let data = STANDARD.decode(text).ok()?;
    if resource.contains_key("_data") || STANDARD.encode(&data) != text {
        return None;
    }
    let rest = resource.iter().filter(|(name, _)| *name != "data");
    let rest = rest.map(|(name, value)| (name.clone(), value.clone()));
    Some((rest.collect(), data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::{Change, Target, Version, VersionMatch, testing};
    use fhir_definitions::Definitions;
    use fhir_model::ResourceKey;
    use serde_json::json;

    #[test]
    fn number_of_the_type() {
        let definitions = Definitions::load(&[]).unwrap();
        assert_eq!(definitions.type_number("Binary"), Some(TYPE));
        assert!(stored_text!("r", "v").contains(&format!("r.type = {TYPE} ")));
    }

    async fn put(store: &Store, resource: &Value) {
        let change = Change::Update {
            target: Target::Id(ResourceKey::new("Binary", "b")),
            resource: resource.clone(),
            full_url: None,
            version: VersionMatch::Any,
            may_create: true,
        };
        store.commit(vec![change]).await.unwrap();
    }

    fn said(version: Option<Version>) -> Value {
        let Some(Version::Present(stored)) = version else {
            panic!("{version:?}");
        };
        let mut body: Value = serde_json::from_str(&stored.body).unwrap();
        body.as_object_mut().unwrap().shift_remove("meta");
        body
    }

    #[tokio::test]
    async fn every_version_comes_back_as_it_was_sent() {
        let store = testing::store().await;
        let key = ResourceKey::new("Binary", "b");
        let large = STANDARD.encode((0..100_000_u32).map(|n| n as u8).collect::<Vec<_>>());
        let sent = [
            // What is sent, and whether it is apart.
            (json!("aGVsbG8="), true),
            (json!(large), true),
            (json!("aGVs bG8="), false),
            (json!("aGVsbG9="), false),
            (Value::Null, false),
        ];
        let sent: Vec<(Value, bool)> = sent
            .into_iter()
            .map(|(data, is_apart)| {
                let mut resource =
                    json!({"resourceType": "Binary", "id": "b", "contentType": "text/plain"});
                if !data.is_null() {
                    resource["data"] = data;
                }
                (resource, is_apart)
            })
            .collect();
        for (resource, _) in &sent {
            put(&store, resource).await;
            assert_eq!(said(store.read(&key).await.unwrap()), *resource);
        }
        let kept: Vec<i32> = sqlx::query_scalar("SELECT version FROM binary_data ORDER BY version")
            .fetch_all(&store.inner.write_pool)
            .await
            .unwrap();
        let mut expect = Vec::new();
        for (version, (resource, is_apart)) in (1..).zip(&sent) {
            assert_eq!(said(store.vread(&key, version).await.unwrap()), *resource);
            expect.extend(is_apart.then_some(version));
        }
        assert_eq!(kept, expect);
    }

    /// Postgres reads the text of a function in SQL whenever it plans a statement that may call it: that costs more than a read.
    #[tokio::test]
    async fn no_function_is_read_by_the_planner() {
        let store = testing::store().await;
        let read: Vec<String> = sqlx::query_scalar(
            "SELECT proname::text FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang \
             WHERE pronamespace = current_schema()::regnamespace AND lanname = 'sql'",
        )
        .fetch_all(&store.inner.write_pool)
        .await
        .unwrap();
        assert_eq!(read, [""; 0]);
    }

    #[tokio::test]
    async fn it_goes_with_its_version() {
        let store = testing::store().await;
        for text in ["YQ==", "Yg==", "Yw=="] {
            put(&store, &json!({"resourceType": "Binary", "id": "b", "contentType": "text/plain", "data": text})).await;
        }
        let key = ResourceKey::new("Binary", "b");
        let mut left = Vec::new();
        for version in [Some(1), None] {
            store.delete_history(&key, version).await.unwrap();
            let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM binary_data")
                .fetch_one(&store.inner.write_pool)
                .await
                .unwrap();
            left.push(rows);
        }
        assert_eq!(left, [2, 1]);
        assert_eq!(said(store.read(&key).await.unwrap())["data"], "Yw==");
    }
}
