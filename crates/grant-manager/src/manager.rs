//! The service's business, apart from the wire: the parts it is made of, and what all kinds of resources have in common.

use std::{future::Future, sync::Arc};

use prost_types::FieldMask;
use pullpass_api::{
    audit::v1::AuditEvent,
    convert,
    grant::v1::{ListAuditEventsRequest, ListAuditEventsResponse},
};
use pullpass_database::{Database, Events, Read};
use pullpass_runtime::Clock;
use sqlx::migrate::Migrator;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    error::Error,
    page::Page,
    presence::Presence,
    replicas::Replica,
    resource::{Resource, Stamp, merged},
    store,
    ticket::Signer,
    transaction::{Caller, Details, Transaction},
};

/// What the audit trail calls this service.
pub(crate) const NAME: &str = "grant-manager";

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Keeps links, grants and clusters, and knows who may fetch what. Clones are the same.
#[derive(Debug, Clone)]
pub struct Manager {
    pub(crate) database: Database,
    pub(crate) signer: Arc<Signer>,
    pub(crate) clock: Clock,
    pub(crate) presence: Presence,
    /// With the other replicas, if there may be others.
    _talk: Option<Arc<AbortOnDropHandle<()>>>,
}

/// A resource that is kept: what to check and to keep beside it.
pub(crate) trait Record: Resource {
    /// Whether it is on its way out and cannot be changed any more.
    fn is_leaving(&self) -> bool;

    /// The clusters whose appliers hear of it.
    fn audience(&self) -> &[String];

    /// What the audit trail tells of it.
    fn details(&self) -> Details;

    /// Refuses what does not fit with what else is kept, to become the resource `name`. `self` is as the caller gave it,
    /// so that errors can point there.
    fn admit(
        &self,
        name: &str,
        transaction: &mut Transaction,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Keeps what follows from it, after it was stored in the place of `before`.
    fn settle(
        &self,
        before: Option<&Self>,
        transaction: &mut Transaction,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A request to create.
#[derive(Debug)]
pub(crate) struct Creation<R> {
    pub(crate) id: String,
    pub(crate) resource: Option<R>,
    pub(crate) request_id: String,
    pub(crate) validate_only: bool,
}

/// A request to update.
#[derive(Debug)]
pub(crate) struct Update<R> {
    pub(crate) resource: Option<R>,
    pub(crate) mask: Option<FieldMask>,
    pub(crate) validate_only: bool,
}

/// A request to delete.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) name: String,
    pub(crate) etag: String,
    pub(crate) validate_only: bool,
}

impl Manager {
    /// On a database that has the tables of [`Self::migrations`]. Needs a running tokio runtime.
    pub fn new(database: Database, signer: Signer, clock: Clock) -> Self {
        let presence = Presence::default();
        let talk = database.may_be_shared().then(|| {
            let replica = Replica::new(database.clone(), clock.clone(), presence.clone());
            Arc::new(AbortOnDropHandle::new(tokio::spawn(replica.talk())))
        });
        Self { database, signer: Arc::new(signer), clock, presence, _talk: talk }
    }

    /// The tables of this service.
    pub fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    pub(crate) async fn read(&self) -> Result<Read, Error> {
        Ok(self.database.read().await?)
    }

    pub(crate) async fn write(&self, caller: Caller) -> Result<Transaction, Error> {
        Ok(Transaction::new(self.database.write().await?, caller, self.clock.now()))
    }

    pub(crate) async fn create<R: Record>(&self, caller: Caller, creation: Creation<R>) -> Result<R, Error> {
        let Creation { id, resource, request_id, validate_only } = creation;
        let name = R::name_of(&id).map_err(|problem| Error::name(&format!("{}_id", R::FIELD), &problem))?;
        check_request_id(&request_id)?;
        let given = given(resource)?;
        let checked = given.checked(&name).map_err(|problem| problem.within(R::FIELD))?;
        let mut transaction = self.write(caller).await?;
        if !validate_only && !transaction.is_new(&request_id, &name).await? {
            return existing(&mut transaction, &name).await;
        }
        if let Some(existing) = store::get::<R>(transaction.connection(), &name).await? {
            return Err(taken(&mut transaction, &existing).await?);
        }
        given.admit(&name, &mut transaction).await?;
        let details = checked.details();
        let revision = transaction.change(R::KIND, &name, false, checked.audience(), details).await?;
        let now = Some(convert::timestamp(transaction.now()));
        let uid = self.clock.new_id().to_string();
        let created = checked.stamped(Stamp { uid, create_time: now, update_time: now, revision });
        store::put(transaction.connection(), &created).await?;
        created.settle(None, &mut transaction).await?;
        transaction.commit(validate_only).await?;
        Ok(created)
    }

    pub(crate) async fn get<R: Record>(&self, name: &str) -> Result<R, Error> {
        let name = R::parse_name(name).map_err(|problem| Error::name("name", &problem))?;
        let found = store::get(self.read().await?.connection(), &name).await?;
        found.ok_or(Error::NotFound(name))
    }

    /// A page, and the token of the next.
    pub(crate) async fn list<R: Record>(&self, size: i32, token: &str) -> Result<(Vec<R>, String), Error> {
        let page = Page::parse(size, token, String::new(), |name| R::parse_name(name).ok())?;
        let mut found: Vec<R> =
            store::list(self.read().await?.connection(), &page.after, page.size + 1).await?;
        let next = page.cut(&mut found, |last| last.name().to_owned());
        Ok((found, next))
    }

    pub(crate) async fn update<R: Record>(&self, caller: Caller, update: Update<R>) -> Result<R, Error> {
        let Update { resource, mask, validate_only } = update;
        let given = given(resource)?;
        let name = R::parse_name(given.name())
            .map_err(|problem| Error::name(&format!("{}.name", R::FIELD), &problem))?;
        let mut transaction = self.write(caller).await?;
        let before: R = existing(&mut transaction, &name).await?;
        check_etag(given.etag(), &before)?;
        if before.is_leaving() {
            return Err(Error::BeingTakenBack(name));
        }
        let merged = merged(&before, &given, mask.as_ref())?;
        let checked = merged.checked(&name).map_err(|problem| problem.within(R::FIELD))?;
        merged.admit(&name, &mut transaction).await?;
        if checked.clone().stamped(before.stamp()) == before {
            return Ok(before);
        }
        let audience = [before.audience(), checked.audience()].concat();
        let mut details = checked.details();
        details.push(("fields", mask.unwrap_or_default().paths.join(",")));
        let revision = transaction.change(R::KIND, &name, false, &audience, details).await?;
        let update_time = Some(convert::timestamp(transaction.now()));
        let after = checked.stamped(Stamp { update_time, revision, ..before.stamp() });
        store::put(transaction.connection(), &after).await?;
        after.settle(Some(&before), &mut transaction).await?;
        transaction.commit(validate_only).await?;
        Ok(after)
    }

    /// A page of the audit trail.
    pub(crate) async fn audit_events(
        &self,
        request: ListAuditEventsRequest,
    ) -> Result<ListAuditEventsResponse, Error> {
        let ListAuditEventsRequest { page_size, page_token, after_sequence, order_by } = request;
        let first = convert::first_events(&order_by, after_sequence)?;
        let page = Page::parse(page_size, &page_token, first.sequence, |sequence| sequence.parse().ok())?;
        let asked = if first.newest_first { Events::Before(page.after) } else { Events::After(page.after) };
        let mut read = self.read().await?;
        let mut events = read.audit_events(asked, page.size + 1).await?;
        let next_page_token = page.cut(&mut events, |last| last.sequence.to_string());
        let head = Some(pullpass_recovery::wire_head(&read.head().await?));
        let events = events.into_iter().map(audit_event).collect();
        Ok(ListAuditEventsResponse { events, next_page_token, head })
    }
}

fn audit_event(event: pullpass_database::AuditEvent) -> AuditEvent {
    AuditEvent {
        sequence: event.sequence,
        time: Some(convert::timestamp(event.entry.time)),
        service: NAME.to_owned(),
        principal: event.entry.principal,
        action: event.entry.action,
        resource: event.entry.resource,
        details: event.entry.details.into_iter().collect(),
        revision: event.revision,
        epoch: event.epoch,
        mac: event.mac,
    }
}

fn given<R: Record>(resource: Option<R>) -> Result<R, Error> {
    resource.ok_or_else(|| convert::Error::new(R::FIELD, "is missing").into())
}

fn check_request_id(request_id: &str) -> Result<(), convert::Error> {
    if request_id.is_empty() || uuid::Uuid::try_parse(request_id).is_ok() {
        Ok(())
    } else {
        Err(convert::Error::new("request_id", "must be a UUID, or empty"))
    }
}

/// A write is refused if its caller has seen another state than `current`.
pub(crate) fn check_etag<R: Record>(given: &str, current: &R) -> Result<(), Error> {
    if given.is_empty() || given == current.etag() {
        Ok(())
    } else {
        Err(Error::StaleEtag(current.name().to_owned()))
    }
}

/// The resource of this name, which has to exist.
pub(crate) async fn existing<R: Record>(transaction: &mut Transaction, name: &str) -> Result<R, Error> {
    let found = store::get(transaction.connection(), name).await?;
    found.ok_or_else(|| Error::NotFound(name.to_owned()))
}

async fn taken<R: Record>(transaction: &mut Transaction, existing: &R) -> Result<Error, Error> {
    let name = existing.name().to_owned();
    if !existing.is_leaving() {
        return Ok(Error::AlreadyExists(name));
    }
    let mut clusters = store::targets::clusters(transaction.connection(), &name).await?.join(", ");
    if clusters.is_empty() {
        // It is a cluster itself.
        clusters.clone_from(&name);
    }
    Ok(Error::NameBeingTakenBack { name, clusters })
}
