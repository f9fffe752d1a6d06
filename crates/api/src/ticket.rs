//! The ticket: a JWT (RFC 7519, `EdDSA`) by which grant-manager lets one applier fetch the material of one link.
//!
//! It is bound to the applier's certificate by `cnf.x5t#S256` (RFC 8705), so a stolen one is of no use elsewhere.

use serde::{Deserialize, Serialize};

/// `iss` of every ticket.
pub const ISSUER: &str = "grant-manager";
/// `aud` of every ticket.
pub const AUDIENCE: &str = "credential-store";
/// A ticket lives this long, in seconds, at most.
pub const LIFETIME_SECONDS: i64 = 60;

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// SPIFFE id of the applier.
    pub sub: String,
    /// When it was issued; seconds since the epoch.
    pub iat: i64,
    /// When it ends; seconds since the epoch, [`LIFETIME_SECONDS`] after `iat` at most.
    pub exp: i64,
    /// Its own UUID, for the audit trail.
    pub jti: String,
    /// What the bearer must prove.
    pub cnf: Confirmation,
    /// Resource name of the cluster.
    pub cluster: String,
    /// Resource name of the link.
    pub link: String,
    /// Revision of the link.
    pub revision: i64,
    /// Resource names of the credentials, in the order in which they are merged.
    pub credentials: Vec<String>,
    /// `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg`.
    pub secret_type: String,
}

/// Proof of possession (RFC 7800): the certificate of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// SHA-256 of the certificate's DER form, base64url without padding (RFC 8705 section 3.1).
    #[serde(rename = "x5t#S256")]
    pub certificate_sha256: String,
}
