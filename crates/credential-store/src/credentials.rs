//! What can be done to credentials. Every change is one transaction: rows, change, audit event, remembered request.

use std::{collections::BTreeMap, sync::Arc};

use pullpass_database::{AuditEntry, AuditEvent, Connection, Database, Events, Head, Request, Write};
use pullpass_domain::{
    docker_config::{DockerConfig, SecretType},
    name::CredentialName,
};
use pullpass_runtime::{Clock, telemetry};
use time::OffsetDateTime;

use crate::{
    error::Error,
    keys::Keys,
    seal::Place,
    store::{self, Credential, Entry, Record, Version},
};

/// The kind of our changes in the feed.
const KIND: &str = "credential";

/// Who calls what, and how it is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// SPIFFE id of the caller.
    pub(crate) principal: String,
    /// The RPC.
    pub(crate) action: &'static str,
    /// The caller's id for this attempt.
    pub(crate) request_id: Option<String>,
    /// Check everything and store nothing.
    pub(crate) validate_only: bool,
}

#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) database: Database,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clock: Clock,
}

impl Credentials {
    pub(crate) async fn create(
        &self,
        call: &Call,
        name: &CredentialName,
        description: &str,
        material: &DockerConfig,
    ) -> Result<Credential, Error> {
        let mut change = self.begin(call, name).await?;
        if change.is_repeated().await? {
            return change.current().await;
        }
        if store::record(change.sql(), name).await?.is_some() {
            return Err(Error::Exists(name.clone()));
        }
        let now = change.now;
        let record = Record {
            name: name.clone(),
            uid: self.clock.new_id().to_string(),
            description: description.to_owned(),
            version: 1,
            create_time: now,
            update_time: now,
            revision: 0,
        };
        store::insert(change.sql(), &record).await?;
        self.insert_version(&mut change, &record, material).await?;
        change.finish(record, of_version(1)).await
    }

    pub(crate) async fn add_version(
        &self,
        call: &Call,
        name: &CredentialName,
        etag: &str,
        material: &DockerConfig,
    ) -> Result<Credential, Error> {
        let mut change = self.begin(call, name).await?;
        if change.is_repeated().await? {
            return change.current().await;
        }
        let mut record = change.record_at(etag).await?;
        record.version += 1;
        self.insert_version(&mut change, &record, material).await?;
        let details = of_version(record.version);
        change.finish(record, details).await
    }

    pub(crate) async fn get(&self, name: &CredentialName) -> Result<Credential, Error> {
        let mut read = self.database.read().await?;
        store::find(read.connection(), name).await?.ok_or_else(|| Error::NotFound(name.clone()))
    }

    /// The first `limit` credentials after the name `after`, by name.
    pub(crate) async fn list(&self, after: &str, limit: u32) -> Result<Vec<Credential>, Error> {
        Ok(store::page(self.database.read().await?.connection(), after, limit).await?)
    }

    /// Up to `limit` audit events, and how far the database is.
    pub(crate) async fn audit(&self, events: Events, limit: u32) -> Result<(Vec<AuditEvent>, Head), Error> {
        let mut read = self.database.read().await?;
        Ok((read.audit_events(events, limit).await?, read.head().await?))
    }

    pub(crate) async fn describe(
        &self,
        call: &Call,
        name: &CredentialName,
        etag: &str,
        description: &str,
    ) -> Result<Credential, Error> {
        let mut change = self.begin(call, name).await?;
        let record = Record { description: description.to_owned(), ..change.record_at(etag).await? };
        change.finish(record, BTreeMap::new()).await
    }

    pub(crate) async fn delete(&self, call: &Call, name: &CredentialName, etag: &str) -> Result<(), Error> {
        let mut change = self.begin(call, name).await?;
        let record = change.record_at(etag).await?;
        store::delete(change.sql(), &record.uid).await?;
        change.tell(true, of_version(record.version)).await?;
        change.commit().await?;
        scrub(&self.database).await;
        Ok(())
    }

    /// What is destroyed already stays so, and nothing is done.
    pub(crate) async fn destroy_version(
        &self,
        call: &Call,
        name: &CredentialName,
        version: i64,
    ) -> Result<Credential, Error> {
        let mut change = self.begin(call, name).await?;
        let record = change.record_at("").await?;
        let known = store::version(change.sql(), &record.uid, version).await?;
        match known {
            None => return Err(Error::VersionNotFound { name: name.clone(), version }),
            Some(_) if version == record.version => {
                return Err(Error::VersionIsCurrent { name: name.clone(), version });
            }
            Some(known) if known.destroy_time.is_some() => return change.current().await,
            Some(_) => {}
        }
        let now = change.now;
        store::destroy_version(change.sql(), &record.uid, version, now).await?;
        let credential = change.finish(record, of_version(version)).await?;
        scrub(&self.database).await;
        Ok(credential)
    }

    async fn begin<'a>(&self, call: &'a Call, name: &'a CredentialName) -> Result<Change<'a>, Error> {
        let write = self.database.write().await?;
        Ok(Change { write, call, name, now: self.clock.now() })
    }

    /// The newest of what the record tells.
    async fn insert_version(
        &self,
        change: &mut Change<'_>,
        record: &Record,
        material: &DockerConfig,
    ) -> Result<(), Error> {
        let Record { name, uid, version, .. } = record;
        let version = *version;
        let unreadable = |source| Error::Unreadable { name: name.clone(), version, source };
        let rendered = material.render(SecretType::DockerConfigJson).map_err(unreadable)?;
        let shown = |(registry, username): (&str, &str)| Entry {
            registry: registry.to_owned(),
            username: username.to_owned(),
        };
        let entries: Vec<_> = material.summaries().map(shown).collect();
        let sealed = self.keys.sealing()?.seal(Place { uid, name, version }, &entries, &rendered);
        let sealed = sealed.map_err(|source| Error::Seal { name: name.clone(), version, source })?;
        let version = Version {
            number: version,
            entries,
            create_time: change.now,
            creator: change.call.principal.clone(),
            destroy_time: None,
        };
        store::insert_version(change.sql(), uid, &version, sealed).await.map_err(Error::of_key)
    }
}

/// The change is made and stays made, so a failure is no failure of the call; the next checkpoint catches up.
pub(crate) async fn scrub(database: &Database) {
    match database.scrub().await {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!("destroyed material stays in the write-ahead log until the next checkpoint");
        }
        Err(error) => tracing::warn!(%error, "destroyed material may still be in the write-ahead log"),
    }
}

/// A change of one credential under way.
struct Change<'a> {
    write: Write,
    call: &'a Call,
    name: &'a CredentialName,
    now: OffsetDateTime,
}

impl Change<'_> {
    fn sql(&mut self) -> &mut Connection {
        self.write.connection()
    }

    /// Whether this attempt has succeeded before.
    async fn is_repeated(&mut self) -> Result<bool, Error> {
        let Some(request_id) = &self.call.request_id else {
            return Ok(false);
        };
        let resource = self.name.to_string();
        let request = Request {
            principal: &self.call.principal,
            request_id,
            method: self.call.action,
            resource: &resource,
            now: self.now,
        };
        Ok(!self.write.first_time(request).await?)
    }

    async fn current(&mut self) -> Result<Credential, Error> {
        let name = self.name;
        store::find(self.sql(), name).await?.ok_or_else(|| Error::NotFound(name.clone()))
    }

    /// The record as it is, which must be as `etag` says, if it says anything.
    async fn record_at(&mut self, etag: &str) -> Result<Record, Error> {
        let name = self.name;
        let record = store::record(self.sql(), name).await?.ok_or_else(|| Error::NotFound(name.clone()))?;
        if etag.is_empty() || etag == record.etag() { Ok(record) } else { Err(Error::Stale(record.name)) }
    }

    /// Appends to the feed and to the audit trail; gives the revision.
    async fn tell(&mut self, deleted: bool, details: BTreeMap<String, String>) -> Result<i64, Error> {
        let name = self.name.to_string();
        let trace_context = telemetry::trace_context();
        let revision = self.write.change(KIND, &name, deleted, trace_context.as_deref()).await?;
        let entry = AuditEntry {
            time: self.now,
            principal: self.call.principal.clone(),
            action: self.call.action.to_owned(),
            resource: name,
            details,
        };
        self.write.audit(entry).await?;
        Ok(revision)
    }

    /// The credential is to be what the record says; gives it as it is then.
    async fn finish(
        mut self,
        record: Record,
        details: BTreeMap<String, String>,
    ) -> Result<Credential, Error> {
        let revision = self.tell(false, details).await?;
        let record = Record { update_time: self.now, revision, ..record };
        store::update(self.sql(), &record).await?;
        let versions = store::versions(self.sql(), &record.uid).await?;
        self.commit().await?;
        Ok(Credential { record, versions })
    }

    async fn commit(self) -> Result<(), Error> {
        if !self.call.validate_only {
            self.write.commit().await?;
        }
        Ok(())
    }
}

/// The one detail of most events.
fn of_version(version: i64) -> BTreeMap<String, String> {
    BTreeMap::from([("version".to_owned(), version.to_string())])
}
