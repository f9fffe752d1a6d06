//! The only way out for material: a ticket in, one rendered Secret out, and an audit event in any case.

use std::{collections::BTreeMap, sync::Arc};

use pullpass_api::ticket::Claims;
use pullpass_database::{AuditEntry, Database};
use pullpass_domain::{docker_config::DockerConfig, name::CredentialName, secret::SecretBytes};
use pullpass_runtime::{Clock, PeerIdentity};

use crate::{
    error::Error,
    keys::Keys,
    metrics,
    seal::{Kek, Place},
    store::{self, Newest},
    ticket::{self, Ticket, Verifier},
};

/// What the audit trail calls it.
pub(crate) const ACTION: &str = "FetchPullSecret";
/// The detail that says what was handed out, as in `credentials/quay@1,credentials/ghcr@4`; refusals have none.
pub(crate) const VERSIONS: &str = "versions";

#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) database: Database,
    pub(crate) keys: Arc<Keys>,
    pub(crate) tickets: Verifier,
    pub(crate) clock: Clock,
}

/// A rendered Secret, and the versions that it was rendered from in the link's order.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) data: SecretBytes,
    pub(crate) versions: Vec<(CredentialName, i64)>,
}

impl Fetch {
    /// The bytes leave only after the event that tells of them is on disk.
    pub(crate) async fn fetch(&self, peer: &PeerIdentity, ticket: &str) -> Result<Fetched, Error> {
        let now = self.clock.now();
        let claims = self.tickets.read(ticket);
        let allowed =
            claims.as_ref().map_err(Clone::clone).and_then(|claims| ticket::check(claims, peer, now));
        let outcome = match allowed {
            Ok(ticket) => self.render(&ticket).await,
            Err(refusal) => Err(refusal.into()),
        };
        let claims = claims.ok();
        let entry = AuditEntry {
            time: now,
            principal: peer.spiffe_id.to_string(),
            action: ACTION.to_owned(),
            resource: claims.as_ref().map(|claims| claims.link.clone()).unwrap_or_default(),
            details: details(claims.as_ref(), &outcome),
        };
        let mut write = self.database.write().await?;
        write.audit(entry).await?;
        write.commit().await?;
        metrics::fetched(outcome.as_ref().err());
        outcome
    }

    async fn render(&self, ticket: &Ticket) -> Result<Fetched, Error> {
        let mut configs = Vec::with_capacity(ticket.credentials.len());
        let mut versions = Vec::with_capacity(ticket.credentials.len());
        for (name, newest, kek) in self.newest(ticket).await? {
            configs.push(open(&name, &newest, &kek)?);
            versions.push((name, newest.version));
        }
        let data = DockerConfig::merge(&configs).render(ticket.secret_type).map_err(Error::DoesNotFit)?;
        Ok(Fetched { data, versions })
    }

    /// All of one moment, each with the key that opens it.
    async fn newest(&self, ticket: &Ticket) -> Result<Vec<(CredentialName, Newest, Arc<Kek>)>, Error> {
        let rows = self.rows(ticket).await?;
        self.with_keys_or_again(rows, ticket).await
    }

    /// What was read may have been re-wrapped since, and its former key removed; then it is read again.
    async fn with_keys_or_again(
        &self,
        rows: Vec<(CredentialName, Newest)>,
        ticket: &Ticket,
    ) -> Result<Vec<(CredentialName, Newest, Arc<Kek>)>, Error> {
        match self.with_keys(rows).await {
            Err(Error::Key(_)) => self.with_keys(self.rows(ticket).await?).await,
            done => done,
        }
    }

    async fn rows(&self, ticket: &Ticket) -> Result<Vec<(CredentialName, Newest)>, Error> {
        let mut read = self.database.read().await?;
        let mut all = Vec::with_capacity(ticket.credentials.len());
        for name in &ticket.credentials {
            let newest = store::newest(read.connection(), name).await?;
            all.push((name.clone(), newest.ok_or_else(|| Error::LinkedNotFound(name.clone()))?));
        }
        Ok(all)
    }

    async fn with_keys(
        &self,
        rows: Vec<(CredentialName, Newest)>,
    ) -> Result<Vec<(CredentialName, Newest, Arc<Kek>)>, Error> {
        let mut all = Vec::with_capacity(rows.len());
        for (name, newest) in rows {
            let kek = self.keys.opening(&newest.sealed.key_id).await?;
            all.push((name, newest, kek));
        }
        Ok(all)
    }
}

fn open(name: &CredentialName, newest: &Newest, kek: &Kek) -> Result<DockerConfig, Error> {
    let (version, place) = (newest.version, Place { uid: &newest.uid, name, version: newest.version });
    let material = kek.open(place, &newest.entries.0, &newest.sealed);
    let material = material.map_err(|source| Error::Seal { name: name.clone(), version, source })?;
    DockerConfig::parse(material.expose()).map_err(|source| Error::Unreadable {
        name: name.clone(),
        version,
        source,
    })
}

/// Claims are told only where the signature is grant-manager's.
fn details(claims: Option<&Claims>, outcome: &Result<Fetched, Error>) -> BTreeMap<String, String> {
    let mut details = BTreeMap::new();
    let mut tell = |key: &str, value: String| details.insert(key.to_owned(), value);
    if let Some(claims) = claims {
        tell("cluster", claims.cluster.clone());
        tell("jti", claims.jti.clone());
        tell("link_revision", claims.revision.to_string());
    }
    match outcome {
        Ok(fetched) => {
            let versions = fetched.versions.iter().map(|(name, version)| format!("{name}@{version}"));
            tell(VERSIONS, versions.collect::<Vec<_>>().join(","))
        }
        Err(error) => tell("refused", error.contract().1.to_owned()),
    };
    details
}

#[cfg(test)]
mod tests;
