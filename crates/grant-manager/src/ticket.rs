//! Tickets: may this applier have the material of this link? If so, it gets that in writing.

use std::path::{Path, PathBuf};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pullpass_api::{
    convert,
    grant::v1::{Cluster, IssueTicketResponse, SecretLink},
    ticket::{AUDIENCE, Claims, Confirmation, ISSUER, LIFETIME_SECONDS},
};
use pullpass_domain::name::LinkName;
use pullpass_runtime::{SpiffeId, private_file};
use time::{Duration, OffsetDateTime};

use crate::{
    error::Error,
    manager::{Manager, existing},
    metrics,
    resource::Resource,
    store::appliers,
    transaction::{Caller, Transaction},
};

/// Why tickets cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read, or others can.
    #[error("the ticket signing key cannot be used: {0}")]
    File(#[from] private_file::Error),
    /// The file is no such key.
    #[error("the ticket signing key {} is not an Ed25519 key in PKCS #8 PEM", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// Why.
        source: jsonwebtoken::errors::Error,
    },
}

/// Signs tickets.
#[derive(Debug)]
pub struct Signer(EncodingKey);

impl Signer {
    /// Reads the key, and tries it.
    pub fn load(file: &Path) -> Result<Self, KeyError> {
        let pem = private_file::read(file)?;
        let parse = |source| KeyError::Parse { file: file.to_owned(), source };
        let key = EncodingKey::from_ed_pem(&pem).map_err(parse)?;
        sign(&key, &()).map_err(parse)?;
        Ok(Self(key))
    }

    fn sign(&self, claims: &Claims) -> Result<String, Error> {
        sign(&self.0, claims).map_err(Error::Sign)
    }
}

fn sign<T: serde::Serialize>(key: &EncodingKey, claims: &T) -> Result<String, jsonwebtoken::errors::Error> {
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, key)
}

impl Manager {
    /// A ticket for the caller's own cluster to fetch the material of a link. It leaves only after the audit trail has it.
    pub(crate) async fn issue_ticket(
        &self,
        caller: Caller,
        link: &str,
    ) -> Result<IssueTicketResponse, Error> {
        let name = SecretLink::parse_name(link).map_err(|problem| Error::name("secret_link", &problem))?;
        let peer = caller.identity.clone();
        let mut transaction = self.write(caller).await?;
        let cluster = appliers::of_identity(transaction.connection(), &peer.spiffe_id).await?.cluster;
        let link: SecretLink = existing(&mut transaction, &name).await?;
        if let Err(refusal) = check(&link, &cluster) {
            return Err(refuse(transaction, &name, &cluster, refusal).await?);
        }
        let Some(certificate) = peer.certificate_sha256 else {
            return Err(refuse(transaction, &name, &cluster, Error::NoCertificate).await?);
        };
        let issued = transaction.now();
        let cnf = Confirmation { certificate_sha256: BASE64_URL_SAFE_NO_PAD.encode(certificate) };
        let claims = claims(&link, &cluster, &peer.spiffe_id, cnf, issued, self.clock.new_id().to_string())?;
        let ticket = self.signer.sign(&claims)?;
        let details = vec![
            ("cluster", claims.cluster),
            ("credentials", claims.credentials.join(",")),
            ("jti", claims.jti),
            ("link_revision", claims.revision.to_string()),
        ];
        transaction.audit(&name, details).await?;
        transaction.commit(false).await?;
        metrics::ticket("issued");
        let end = issued + Duration::seconds(LIFETIME_SECONDS);
        let expire_time = end.replace_nanosecond(0).map(convert::timestamp).ok();
        Ok(IssueTicketResponse { ticket, expire_time })
    }
}

fn check(link: &SecretLink, cluster: &Cluster) -> Result<(), Error> {
    if !link.clusters.contains(&cluster.name) {
        return Err(Error::LinkNotOfCluster { link: link.name.clone(), cluster: cluster.name.clone() });
    }
    match link.delete_time {
        Some(_) => Err(Error::LinkBeingTakenBack(link.name.clone())),
        None => Ok(()),
    }
}

/// An applier that asks for what is not its own belongs in the audit trail.
async fn refuse(
    mut transaction: Transaction,
    link: &str,
    cluster: &Cluster,
    refusal: Error,
) -> Result<Error, Error> {
    let details = vec![("cluster", cluster.name.clone()), ("refused", refusal.to_string())];
    transaction.audit(link, details).await?;
    transaction.commit(false).await?;
    metrics::ticket("refused");
    Ok(refusal)
}

fn claims(
    link: &SecretLink,
    cluster: &Cluster,
    peer: &SpiffeId,
    cnf: Confirmation,
    issued: OffsetDateTime,
    jti: String,
) -> Result<Claims, Error> {
    let name = LinkName::parse(&link.name).map_err(|problem| Error::name("secret_link", &problem))?;
    let secret_type = convert::link(&name, link)?.secret_type();
    let iat = issued.unix_timestamp();
    Ok(Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: peer.to_string(),
        iat,
        exp: iat + LIFETIME_SECONDS,
        jti,
        cnf,
        cluster: cluster.name.clone(),
        link: link.name.clone(),
        revision: link.revision,
        credentials: link.credentials.clone(),
        secret_type: secret_type.kubernetes_type().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn key() -> String {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem()
    }

    #[test]
    fn a_key_for_its_owner_alone_is_taken() {
        Signer::load(file(key().as_bytes(), 0o600).path()).unwrap();
        Signer::load(file(key().as_bytes(), 0o400).path()).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        for mode in [0o604, 0o660, 0o644] {
            let file = file(key().as_bytes(), mode);
            let error = Signer::load(file.path()).unwrap_err();
            assert!(
                matches!(error, KeyError::File(private_file::Error::Exposed { mode: found, .. }) if found == mode),
                "{error}"
            );
        }
    }

    #[test]
    fn another_kind_of_key_or_none_is_refused() {
        let elliptic = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        for content in [elliptic.as_str(), "", "nonsense"] {
            let error = Signer::load(file(content.as_bytes(), 0o600).path()).unwrap_err();
            assert!(matches!(error, KeyError::Parse { .. }), "{error}");
        }
        let error = Signer::load(Path::new("/nowhere/key")).unwrap_err();
        assert!(matches!(error, KeyError::File(private_file::Error::Read { .. })), "{error}");
    }
}
