//! The SQL: rows in and out, nothing decided.

use std::collections::BTreeMap;

use pullpass_database::{Connection, from_micros, to_micros};
use pullpass_domain::name::CredentialName;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use time::OffsetDateTime;

use crate::seal::Sealed;

type Result<T> = std::result::Result<T, sqlx::Error>;

/// What is known of a credential, without its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: CredentialName,
    pub(crate) uid: String,
    pub(crate) description: String,
    /// The newest.
    pub(crate) version: i64,
    pub(crate) create_time: OffsetDateTime,
    pub(crate) update_time: OffsetDateTime,
    pub(crate) revision: i64,
}

impl Record {
    /// Changes with every write, since every write takes a revision; tells nothing of the material.
    pub(crate) fn etag(&self) -> String {
        format!("{:x}", self.revision)
    }
}

/// What is known of a credential, without material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) record: Record,
    /// Newest first.
    pub(crate) versions: Vec<Version>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) number: i64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) create_time: OffsetDateTime,
    pub(crate) creator: String,
    pub(crate) destroy_time: Option<OffsetDateTime>,
}

/// What may be shown of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) registry: String,
    pub(crate) username: String,
}

/// What may be shown of a version, as it is stored: a JSON array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entries(pub(crate) Vec<Entry>);

impl TryFrom<String> for Entries {
    type Error = serde_json::Error;

    fn try_from(text: String) -> std::result::Result<Self, serde_json::Error> {
        serde_json::from_str(&text).map(Self)
    }
}

/// The newest version of a credential, sealed.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Newest {
    #[sqlx(try_from = "String")]
    pub(crate) name: CredentialName,
    pub(crate) uid: String,
    pub(crate) version: i64,
    #[sqlx(try_from = "String")]
    pub(crate) entries: Entries,
    #[sqlx(flatten)]
    pub(crate) sealed: Sealed,
}

/// The data key of a version, wrapped.
#[derive(Debug, FromRow)]
pub(crate) struct Wrapped {
    pub(crate) uid: String,
    #[sqlx(try_from = "String")]
    pub(crate) name: CredentialName,
    pub(crate) version: i64,
    pub(crate) key_id: String,
    pub(crate) data_key: Vec<u8>,
}

/// A credential as watchers see it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: i64,
}

pub(crate) async fn find(sql: &mut Connection, name: &CredentialName) -> Result<Option<Credential>> {
    let Some(record) = record(sql, name).await? else { return Ok(None) };
    let versions = versions(sql, &record.uid).await?;
    Ok(Some(Credential { record, versions }))
}

pub(crate) async fn record(sql: &mut Connection, name: &CredentialName) -> Result<Option<Record>> {
    let row = sqlx::query_as("SELECT * FROM credentials WHERE name = $1").bind(name.to_string());
    let row: Option<Row> = row.fetch_optional(sql).await?;
    Ok(row.map(Record::from))
}

/// All of a credential, newest first.
pub(crate) async fn versions(sql: &mut Connection, uid: &str) -> Result<Vec<Version>> {
    let rows = sqlx::query_as(
        "SELECT uid, version, entries, creator, create_time, destroy_time FROM credential_versions \
         WHERE uid = $1 ORDER BY version DESC",
    );
    let rows: Vec<VersionRow> = rows.bind(uid).fetch_all(sql).await?;
    rows.into_iter().map(Version::try_from).collect()
}

pub(crate) async fn version(sql: &mut Connection, uid: &str, number: i64) -> Result<Option<Version>> {
    let row = sqlx::query_as(
        "SELECT uid, version, entries, creator, create_time, destroy_time FROM credential_versions \
         WHERE uid = $1 AND version = $2",
    );
    let row: Option<VersionRow> = row.bind(uid).bind(number).fetch_optional(sql).await?;
    row.map(Version::try_from).transpose()
}

/// The first `limit` credentials after the name `after`, by name.
pub(crate) async fn page(sql: &mut Connection, after: &str, limit: u32) -> Result<Vec<Credential>> {
    let rows = sqlx::query_as("SELECT * FROM credentials WHERE name > $1 ORDER BY name LIMIT $2");
    let rows = rows.bind(after).bind(i64::from(limit)).fetch_all(&mut *sql).await?;
    with_versions(sql, rows).await
}

pub(crate) async fn heads(sql: &mut Connection) -> Result<Vec<Head>> {
    sqlx::query_as("SELECT name, uid, version FROM credentials ORDER BY name").fetch_all(sql).await
}

pub(crate) async fn head(sql: &mut Connection, name: &str) -> Result<Option<Head>> {
    let head = sqlx::query_as("SELECT name, uid, version FROM credentials WHERE name = $1");
    head.bind(name).fetch_optional(sql).await
}

/// Those of these credentials that there are, in no order.
pub(crate) async fn newest(sql: &mut Connection, names: &[CredentialName]) -> Result<Vec<Newest>> {
    let places: Vec<_> = (1..=names.len()).map(|place| format!("${place}")).collect();
    let select = format!(
        "SELECT c.name, c.uid, c.version, v.entries, v.format, v.material_key_id, v.key_id, v.data_key, v.ciphertext \
         FROM credentials c \
         JOIN credential_versions v ON v.uid = c.uid AND v.version = c.version WHERE c.name IN ({})",
        places.join(", ")
    );
    let newest = sqlx::query_as(sqlx::AssertSqlSafe(select));
    names.iter().fold(newest, |newest, name| newest.bind(name.to_string())).fetch_all(sql).await
}

/// Up to `limit` data keys that hang on the key `key_id`.
pub(crate) async fn wrapped_by(sql: &mut Connection, key_id: &str, limit: i64) -> Result<Vec<Wrapped>> {
    let wrapped = sqlx::query_as(
        "SELECT v.uid, c.name, v.version, v.key_id, v.data_key FROM credential_versions v \
         JOIN credentials c ON c.uid = v.uid WHERE v.key_id = $1 LIMIT $2",
    );
    wrapped.bind(key_id).bind(limit).fetch_all(sql).await
}

/// Hangs a data key on the key `key_id`. False if that was done, or the version destroyed, since it was read.
pub(crate) async fn rewrap(
    sql: &mut Connection,
    before: &Wrapped,
    key_id: &str,
    data_key: &[u8],
) -> Result<bool> {
    let update = sqlx::query(
        "UPDATE credential_versions SET key_id = $4, data_key = $5 WHERE uid = $1 AND version = $2 AND key_id = $3",
    );
    let update =
        update.bind(&before.uid).bind(before.version).bind(&before.key_id).bind(key_id).bind(data_key);
    Ok(update.execute(sql).await?.rows_affected() == 1)
}

pub(crate) async fn insert(sql: &mut Connection, record: &Record) -> Result<()> {
    let insert = sqlx::query(
        "INSERT INTO credentials (name, uid, description, version, create_time, update_time, revision) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    );
    let insert = insert
        .bind(record.name.to_string())
        .bind(&record.uid)
        .bind(&record.description)
        .bind(record.version)
        .bind(to_micros(record.create_time))
        .bind(to_micros(record.update_time))
        .bind(record.revision);
    insert.execute(sql).await.map(drop)
}

/// Makes of it what the record says.
pub(crate) async fn update(sql: &mut Connection, record: &Record) -> Result<()> {
    let update = sqlx::query(
        "UPDATE credentials SET description = $2, version = $3, update_time = $4, revision = $5 WHERE uid = $1",
    );
    let update = update
        .bind(&record.uid)
        .bind(&record.description)
        .bind(record.version)
        .bind(to_micros(record.update_time))
        .bind(record.revision);
    update.execute(sql).await.map(drop)
}

pub(crate) async fn insert_version(
    sql: &mut Connection,
    uid: &str,
    version: &Version,
    sealed: Sealed,
) -> Result<()> {
    let entries =
        serde_json::to_string(&version.entries).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let insert = sqlx::query(
        "INSERT INTO credential_versions \
         (uid, version, entries, creator, create_time, format, material_key_id, key_id, data_key, ciphertext) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    );
    let insert = insert
        .bind(uid)
        .bind(version.number)
        .bind(entries)
        .bind(&version.creator)
        .bind(to_micros(version.create_time))
        .bind(sealed.format)
        .bind(sealed.material_key_id)
        .bind(sealed.key_id)
        .bind(sealed.data_key)
        .bind(sealed.ciphertext);
    insert.execute(sql).await.map(drop)
}

pub(crate) async fn destroy_version(
    sql: &mut Connection,
    uid: &str,
    version: i64,
    now: OffsetDateTime,
) -> Result<()> {
    let update = sqlx::query(
        "UPDATE credential_versions SET destroy_time = $3, key_id = NULL, data_key = NULL, ciphertext = NULL \
         WHERE uid = $1 AND version = $2",
    );
    update.bind(uid).bind(version).bind(to_micros(now)).execute(sql).await.map(drop)
}

/// With all its versions.
pub(crate) async fn delete(sql: &mut Connection, uid: &str) -> Result<()> {
    sqlx::query("DELETE FROM credentials WHERE uid = $1").bind(uid).execute(sql).await.map(drop)
}

#[derive(FromRow)]
struct Row {
    #[sqlx(try_from = "String")]
    name: CredentialName,
    uid: String,
    description: String,
    version: i64,
    create_time: i64,
    update_time: i64,
    revision: i64,
}

#[derive(FromRow)]
struct VersionRow {
    uid: String,
    version: i64,
    entries: String,
    creator: String,
    create_time: i64,
    destroy_time: Option<i64>,
}

/// `rows` are in order of name and leave nothing out.
async fn with_versions(sql: &mut Connection, rows: Vec<Row>) -> Result<Vec<Credential>> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(Vec::new());
    };
    let versions = sqlx::query_as(
        "SELECT v.uid, v.version, v.entries, v.creator, v.create_time, v.destroy_time FROM credential_versions v \
         JOIN credentials c ON c.uid = v.uid WHERE c.name >= $1 AND c.name <= $2 ORDER BY v.version DESC",
    );
    let versions = versions.bind(first.name.to_string()).bind(last.name.to_string());
    let mut of_uid = BTreeMap::<String, Vec<Version>>::new();
    for row in versions.fetch_all(sql).await? {
        let row: VersionRow = row;
        of_uid.entry(row.uid.clone()).or_default().push(row.try_into()?);
    }
    let with_its_own = |row: Row| {
        let versions = of_uid.remove(&row.uid).unwrap_or_default();
        Credential { record: row.into(), versions }
    };
    Ok(rows.into_iter().map(with_its_own).collect())
}

impl From<Row> for Record {
    fn from(row: Row) -> Self {
        Self {
            name: row.name,
            uid: row.uid,
            description: row.description,
            version: row.version,
            create_time: from_micros(row.create_time),
            update_time: from_micros(row.update_time),
            revision: row.revision,
        }
    }
}

impl TryFrom<VersionRow> for Version {
    type Error = sqlx::Error;

    fn try_from(row: VersionRow) -> Result<Self> {
        Ok(Self {
            number: row.version,
            entries: serde_json::from_str(&row.entries).map_err(|error| sqlx::Error::Decode(error.into()))?,
            create_time: from_micros(row.create_time),
            creator: row.creator,
            destroy_time: row.destroy_time.map(from_micros),
        })
    }
}
