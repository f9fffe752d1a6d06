//! The SQL of the key-encryption keys: rows in and out, nothing decided.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use pullpass_database::{Connection, from_micros, to_micros};
use pullpass_kms::Encrypted;
use sqlx::FromRow;
use time::OffsetDateTime;

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    File,
    Kms,
}

/// A key-encryption key that the database knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) provider: Provider,
    /// The provider's own id of it; of a file, our id again.
    pub(crate) provider_key_id: String,
    /// The key as the KMS encrypted it.
    pub(crate) encrypted: Option<Encrypted>,
    pub(crate) create_time: OffsetDateTime,
}

/// Oldest first.
pub(crate) async fn all(sql: &mut Connection) -> Result<Vec<Known>> {
    let select = sqlx::query_as(
        "SELECT id, provider_key_id, ciphertext, annotations, create_time FROM key_encryption_keys \
         ORDER BY create_time, id",
    );
    let rows: Vec<Row> = select.fetch_all(sql).await?;
    rows.into_iter().map(Known::try_from).collect()
}

/// False if the provider's key is known already.
pub(crate) async fn add(sql: &mut Connection, known: &Known) -> Result<bool> {
    let insert = sqlx::query(
        "INSERT INTO key_encryption_keys (id, provider, provider_key_id, ciphertext, annotations, create_time) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    );
    let insert = insert
        .bind(&known.id)
        .bind(known.provider.text())
        .bind(&known.provider_key_id)
        .bind(known.encrypted.as_ref().map(|encrypted| encrypted.ciphertext.as_slice()))
        .bind(annotations(known.encrypted.as_ref()))
        .bind(to_micros(known.create_time));
    Ok(insert.execute(sql).await?.rows_affected() == 1)
}

/// The database refuses while a data key hangs on it.
pub(crate) async fn remove(sql: &mut Connection, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM key_encryption_keys WHERE id = $1").bind(id).execute(sql).await.map(drop)
}

/// The ids of the keys that a data key hangs on.
pub(crate) async fn in_use(sql: &mut Connection) -> Result<Vec<String>> {
    let select = sqlx::query_scalar(
        "SELECT id FROM key_encryption_keys k \
         WHERE EXISTS (SELECT 1 FROM credential_versions v WHERE v.key_id = k.id) ORDER BY id",
    );
    select.fetch_all(sql).await
}

/// How many versions hang on each key; none of those that nothing hangs on.
pub(crate) async fn counts(sql: &mut Connection) -> Result<BTreeMap<String, i64>> {
    let select = sqlx::query_as(
        "SELECT key_id, count(*) FROM credential_versions WHERE key_id IS NOT NULL GROUP BY key_id",
    );
    let rows: Vec<(String, i64)> = select.fetch_all(sql).await?;
    Ok(rows.into_iter().collect())
}

impl Provider {
    fn text(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Kms => "kms",
        }
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    provider_key_id: String,
    ciphertext: Option<Vec<u8>>,
    annotations: String,
    create_time: i64,
}

impl TryFrom<Row> for Known {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self> {
        let encrypted = match row.ciphertext {
            Some(ciphertext) => {
                let (key_id, annotations) = (row.provider_key_id.clone(), parse(&row.annotations)?);
                Some(Encrypted { ciphertext, key_id, annotations })
            }
            None => None,
        };
        Ok(Self {
            provider: if encrypted.is_some() { Provider::Kms } else { Provider::File },
            id: row.id,
            provider_key_id: row.provider_key_id,
            encrypted,
            create_time: from_micros(row.create_time),
        })
    }
}

fn annotations(encrypted: Option<&Encrypted>) -> String {
    let annotations = encrypted.into_iter().flat_map(|encrypted| &encrypted.annotations);
    let texts = annotations.map(|(key, value)| (key.clone(), BASE64_STANDARD.encode(value).into()));
    serde_json::Value::Object(texts.collect()).to_string()
}

fn parse(annotations: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let damaged = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    let texts: BTreeMap<String, String> = serde_json::from_str(annotations).map_err(|e| damaged(e.into()))?;
    let bytes = |(key, text): (String, String)| {
        Ok((key, BASE64_STANDARD.decode(text).map_err(|e| damaged(e.into()))?))
    };
    texts.into_iter().map(bytes).collect()
}
