//! The only way out for material: a ticket in, one rendered Secret out, and an audit event in any case.

use std::{collections::BTreeMap, sync::Arc};

use pullpass_api::ticket::Claims;
use pullpass_database::{AuditEntry, Database};
use pullpass_domain::{
    docker_config::{DockerConfig, SecretType},
    name::CredentialName,
    secret::SecretBytes,
};
use pullpass_runtime::{Clock, PeerIdentity};

use crate::{
    error::Error,
    keys::Keys,
    lookup::Lookup,
    metrics,
    seal::{Kek, Place},
    store::Newest,
    ticket::{self, Ticket, Verifier},
};

/// What the audit trail calls it.
pub(crate) const ACTION: &str = "FetchPullSecret";
/// The detail that says what was handed out, as in `credentials/quay@1,credentials/ghcr@4`; refusals have none.
pub(crate) const VERSIONS: &str = "versions";

#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) database: Database,
    pub(crate) lookup: Lookup,
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
        self.database.audit(entry).await?;
        metrics::fetched(outcome.as_ref().err());
        pullpass_runtime::failpoint::pass_with("after", "fetch", &outcome);
        outcome
    }

    async fn render(&self, ticket: &Ticket) -> Result<Fetched, Error> {
        let mut materials = Vec::with_capacity(ticket.credentials.len());
        for (newest, kek) in self.newest(ticket).await? {
            let material = open(&newest, &kek)?;
            materials.push((newest.name, newest.version, material));
        }
        let data = rendered(&materials, ticket.secret_type)?;
        let versions = materials.into_iter().map(|(name, version, _)| (name, version)).collect();
        Ok(Fetched { data, versions })
    }

    /// All of one moment, each with the key that opens it.
    async fn newest(&self, ticket: &Ticket) -> Result<Vec<(Newest, Arc<Kek>)>, Error> {
        let rows = self.rows(ticket).await?;
        self.with_keys_or_again(rows, ticket).await
    }

    /// What was read may have been re-wrapped since, and its former key removed; then it is read again.
    async fn with_keys_or_again(
        &self,
        rows: Vec<Newest>,
        ticket: &Ticket,
    ) -> Result<Vec<(Newest, Arc<Kek>)>, Error> {
        match self.with_keys(rows).await {
            Err(Error::Key(_)) => self.with_keys(self.rows(ticket).await?).await,
            done => done,
        }
    }

    async fn rows(&self, ticket: &Ticket) -> Result<Vec<Newest>, Error> {
        let newest = self.lookup.newest(&ticket.credentials).await?;
        let of = |name: &CredentialName| {
            let newest = newest.iter().find(|newest| newest.name == *name);
            newest.cloned().ok_or_else(|| Error::LinkedNotFound(name.clone()))
        };
        ticket.credentials.iter().map(of).collect()
    }

    async fn with_keys(&self, rows: Vec<Newest>) -> Result<Vec<(Newest, Arc<Kek>)>, Error> {
        let mut all = Vec::with_capacity(rows.len());
        for newest in rows {
            let kek = self.keys.opening(&newest.sealed.key_id).await?;
            all.push((newest, kek));
        }
        Ok(all)
    }
}

fn open(newest: &Newest, kek: &Kek) -> Result<SecretBytes, Error> {
    let Newest { name, uid, version, .. } = newest;
    let (version, place) = (*version, Place { uid, name, version: *version });
    let material = kek.open(place, &newest.entries.0, &newest.sealed);
    material.map_err(|source| Error::Seal { name: name.clone(), version, source })
}

/// The material of these versions in one, as a Secret of this type.
fn rendered(
    materials: &[(CredentialName, i64, SecretBytes)],
    secret_type: SecretType,
) -> Result<SecretBytes, Error> {
    // What is stored is a rendering of this type.
    if let ([(.., material)], SecretType::DockerConfigJson) = (materials, secret_type) {
        return Ok(material.clone());
    }
    let parse = |(name, version, material): &(CredentialName, i64, SecretBytes)| {
        DockerConfig::parse(material.expose()).map_err(|source| Error::Unreadable {
            name: name.clone(),
            version: *version,
            source,
        })
    };
    let configs: Vec<_> = materials.iter().map(parse).collect::<Result<_, _>>()?;
    DockerConfig::merge(&configs).render(secret_type).map_err(Error::DoesNotFit)
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
