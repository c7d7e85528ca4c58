//! Search documents put into the tables as a commit does, without the write road.

use crate::Store;
use fhir_definitions::SearchParameter;
use fhir_model::ResourceKey;
use fhir_search::document::{
    DateEntry, QuantityEntry, ReferenceEntry, SearchDocument, StringEntry,
};
use fhir_search::query::TokenMatch;
use fhir_search::token::STORED;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// The own base.
pub const BASE: &str = "http://localhost/fhir";

/// A resource as search sees it.
#[derive(Clone, Debug)]
pub struct Indexed {
    pub key: ResourceKey,
    pub updated_ms: i64,
    pub document: SearchDocument,
    /// The stored resource, but for its id.
    pub body: Value,
}

impl Indexed {
    pub fn new(resource_type: &str, id: &str, updated_ms: i64) -> Indexed {
        Indexed {
            key: ResourceKey::new(resource_type, id),
            updated_ms,
            document: SearchDocument::default(),
            body: json!({}),
        }
    }

    /// A member of the stored resource, which no index row is made of.
    pub fn with(mut self, name: &str, value: Value) -> Indexed {
        self.body[name] = value;
        self
    }

    pub fn token(mut self, parameter: &SearchParameter, system: &str, code: &str) -> Indexed {
        let forms = [
            TokenMatch::Code(code.into()),
            TokenMatch::SystemAndCode(system.into(), code.into()),
            TokenMatch::System(system.into()),
        ];
        for form in &forms {
            self.document.tokens.push(STORED.token(parameter.key, form));
        }
        self.present(parameter)
    }

    pub fn reference(mut self, parameter: &SearchParameter, target: ResourceKey) -> Indexed {
        self.document.references.push(ReferenceEntry {
            key: parameter.key,
            target,
        });
        self.present(parameter)
    }

    pub fn date(mut self, parameter: &SearchParameter, lo: i64, hi: i64) -> Indexed {
        self.document.dates.push(DateEntry {
            key: parameter.key,
            marker: 0,
            lo,
            hi,
        });
        self.present(parameter)
    }

    pub fn quantity(mut self, parameter: &SearchParameter, number: &str) -> Indexed {
        let number = fhir_model::Decimal::parse(number);
        self.document.quantities.push(QuantityEntry {
            key: parameter.key,
            marker: 0,
            units: Vec::new(),
            ucum: None,
            lo: number.clone(),
            hi: number,
        });
        self.present(parameter)
    }

    pub fn string(mut self, parameter: &SearchParameter, text: &str) -> Indexed {
        self.document.tokens.push(STORED.exact(parameter.key, text));
        let rows = parameter.own_string_rows();
        self.document.strings.push(StringEntry {
            key: rows.key,
            value: text.to_lowercase(),
            parts: rows.parts,
        });
        self.present(parameter)
    }

    fn present(mut self, parameter: &SearchParameter) -> Indexed {
        self.document.tokens.push(STORED.present(parameter.key));
        self.document.tokens.sort_unstable();
        self.document.tokens.dedup();
        self
    }
}

/// A parameter of the core definitions.
pub fn parameter(store: &Store, resource_type: &str, code: &str) -> Arc<SearchParameter> {
    let definitions = store.definitions();
    Arc::clone(
        definitions
            .search_parameter(resource_type, code)
            .unwrap_or_else(|| panic!("{resource_type}.{code}")),
    )
}

/// Replaces everything in the store.
pub async fn replace(store: &Store, resources: &[Indexed]) {
    sqlx::raw_sql("TRUNCATE resource, entry, sp_date, sp_quantity, sp_string RESTART IDENTITY")
        .execute(&store.inner.write_pool)
        .await
        .unwrap();
    add(store, resources).await;
}

/// Adds resources, with a small body each.
pub async fn add(store: &Store, resources: &[Indexed]) {
    let definitions = store.definitions();
    let number = |key: &ResourceKey| definitions.type_number(&key.resource_type).unwrap();
    let mut transaction = store.inner.write_pool.begin().await.unwrap();
    let mut rows: HashMap<ResourceKey, i64> = HashMap::new();
    for resource in resources {
        let pk = sqlx::query_scalar(
            "INSERT INTO resource (type, version, last_updated, id, content) \
             VALUES ($1, 1, 'epoch'::timestamptz + $2 * interval '1 millisecond', $3, jsonb_build_object('id', $3::text) || $4::jsonb) \
             ON CONFLICT (type, id) DO UPDATE SET version = 1, content = excluded.content, last_updated = excluded.last_updated RETURNING pk",
        )
        .bind(number(&resource.key))
        .bind(resource.updated_ms)
        .bind(&resource.key.id)
        .bind(&resource.body)
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
        rows.insert(resource.key.clone(), pk);
    }
    for resource in resources {
        let pk = rows[&resource.key];
        let mut references = Vec::new();
        for reference in &resource.document.references {
            let target: i64 = sqlx::query_scalar(
                "INSERT INTO resource (type, version, last_updated, id) VALUES ($1, 0, 'epoch', $2) \
                 ON CONFLICT (type, id) DO UPDATE SET id = excluded.id RETURNING pk",
            )
            .bind(number(&reference.target))
            .bind(&reference.target.id)
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
            references.push(super::super::sql::reference(reference.key.0, target));
        }
        sqlx::query(
            "INSERT INTO entry (pk, last_updated, type, tokens, refs) \
             VALUES ($1, 'epoch'::timestamptz + $2 * interval '1 millisecond', $3, $4, $5)",
        )
        .bind(pk)
        .bind(resource.updated_ms)
        .bind(number(&resource.key))
        .bind(&resource.document.tokens)
        .bind(references)
        .execute(&mut *transaction)
        .await
        .unwrap();
        for date in &resource.document.dates {
            sqlx::query(
                "INSERT INTO sp_date (pk, key, marker, lo, hi) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(pk)
            .bind(date.key.0)
            .bind(date.marker)
            .bind(date.lo)
            .bind(date.hi)
            .execute(&mut *transaction)
            .await
            .unwrap();
        }
        for quantity in &resource.document.quantities {
            sqlx::query(
                "INSERT INTO sp_quantity (pk, key, marker, units, lo, hi) VALUES ($1, $2, $3, $4, $5::text::numeric, $6::text::numeric)",
            )
            .bind(pk)
            .bind(quantity.key.0)
            .bind(quantity.marker)
            .bind(&quantity.units)
            .bind(quantity.lo.as_ref().map(|number| number.to_plain()))
            .bind(quantity.hi.as_ref().map(|number| number.to_plain()))
            .execute(&mut *transaction)
            .await
            .unwrap();
        }
        for string in &resource.document.strings {
            sqlx::query("INSERT INTO sp_string (pk, key, value, parts) VALUES ($1, $2, $3, $4)")
                .bind(pk)
                .bind(string.key.0)
                .bind(&string.value)
                .bind(string.parts)
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
    }
    transaction.commit().await.unwrap();
}
