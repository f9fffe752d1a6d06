//! Names of our own objects (`credentials/quay-robot`) and of Kubernetes' (namespaces, service accounts, Secrets).
//!
//! Everything that becomes part of a Kubernetes object is checked here, on its way in, by Kubernetes' own rules
//! (RFC 1123 labels and subdomains), so that nothing later can fail for the form of a name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// A DNS-1123 label or subdomain may be only so long.
    #[error("`{name}` is longer than {most} characters")]
    TooLong {
        /// The text.
        name: String,
        /// The limit.
        most: usize,
    },
    /// Not the form Kubernetes asks for.
    #[error(
        "`{0}` is not a DNS-1123 label: use lower-case letters, digits and `-`, beginning and ending with a letter or digit"
    )]
    NotALabel(String),
    /// Not the form Kubernetes asks for.
    #[error(
        "`{0}` is not a DNS-1123 subdomain: use lower-case letters, digits, `-` and `.`, each part beginning and ending with a letter or digit"
    )]
    NotASubdomain(String),
    /// A resource name of another collection, or none.
    #[error("`{name}` is not a resource name of the form `{collection}/{{id}}`")]
    NotInCollection {
        /// The text.
        name: String,
        /// The collection asked for.
        collection: &'static str,
    },
    /// Users and groups of Kubernetes are free text, but not without limit.
    #[error("`{0}` holds control characters or begins or ends with a blank")]
    NotPlain(String),
}

fn label(text: &str) -> Result<(), Error> {
    match text {
        "" => Err(Error::Empty),
        _ if text.len() > 63 => Err(Error::TooLong { name: text.into(), most: 63 }),
        _ if is_label(text) => Ok(()),
        _ => Err(Error::NotALabel(text.into())),
    }
}

fn subdomain(text: &str) -> Result<(), Error> {
    match text {
        "" => Err(Error::Empty),
        _ if text.len() > 253 => Err(Error::TooLong { name: text.into(), most: 253 }),
        _ if text.split('.').all(is_label) => Ok(()),
        _ => Err(Error::NotASubdomain(text.into())),
    }
}

/// Kubernetes lets users and groups be any text; what cannot be meant is refused.
fn subject(text: &str) -> Result<(), Error> {
    match text {
        "" => Err(Error::Empty),
        _ if text.len() > 253 => Err(Error::TooLong { name: text.into(), most: 253 }),
        _ if text.trim() != text || text.chars().any(char::is_control) => Err(Error::NotPlain(text.into())),
        _ => Ok(()),
    }
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.as_bytes().first().is_some_and(alphanumeric)
        && text.as_bytes().last().is_some_and(alphanumeric)
        && text.as_bytes().iter().all(|b| alphanumeric(b) || *b == b'-')
}

macro_rules! kubernetes_name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the form.
            pub fn new(text: impl Into<String>) -> Result<Self, Error> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

kubernetes_name!(
    /// Name of a namespace, which OpenShift calls project: a DNS-1123 label.
    Namespace,
    label
);
kubernetes_name!(
    /// Name of a service account: a DNS-1123 subdomain.
    ServiceAccount,
    subdomain
);
kubernetes_name!(
    /// Name of a Secret: a DNS-1123 subdomain.
    SecretName,
    subdomain
);
kubernetes_name!(
    /// Name of a user or a group: plain text, 253 characters at most.
    SubjectName,
    subject
);

impl Namespace {
    /// `kube-*`, `openshift` and `openshift-*` belong to the platform: no selector reaches them, only their own name.
    pub fn is_platform(&self) -> bool {
        self.0 == "openshift" || self.0.starts_with("openshift-") || self.0.starts_with("kube-")
    }
}

macro_rules! resource_name {
    ($(#[$doc:meta])* $name:ident, $collection:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The collection of its resource names.
            pub const COLLECTION: &'static str = $collection;

            /// From the bare id, a DNS-1123 label.
            pub fn from_id(id: impl Into<String>) -> Result<Self, Error> {
                let id = id.into();
                label(&id)?;
                Ok(Self(id))
            }

            /// From the resource name, `collection/id`.
            pub fn parse(name: &str) -> Result<Self, Error> {
                let id = name.strip_prefix(concat!($collection, "/")).ok_or_else(|| Error::NotInCollection {
                    name: name.into(),
                    collection: $collection,
                })?;
                Self::from_id(id)
            }

            /// The bare id.
            pub fn id(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($collection, "/{}"), self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(name: String) -> Result<Self, Error> {
                Self::parse(&name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }
    };
}

resource_name!(
    /// `credentials/{id}`.
    CredentialName,
    "credentials"
);
resource_name!(
    /// `secretLinks/{id}`.
    LinkName,
    "secretLinks"
);
resource_name!(
    /// `imageGrants/{id}`.
    GrantName,
    "imageGrants"
);
resource_name!(
    /// `clusters/{id}`.
    ClusterName,
    "clusters"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains_follow_rfc_1123() {
        for good in ["a", "a-b", "0", &"a".repeat(63)] {
            assert!(Namespace::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)] {
            assert!(Namespace::new(bad).is_err(), "{bad}");
        }
        for good in ["a.b", "a-b.c", &"a".repeat(63)] {
            assert!(SecretName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "a..b", "a.", "a/b", "a.-b", &"a".repeat(254)] {
            assert!(SecretName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_resource_name_is_its_collection_and_a_label() {
        assert_eq!(CredentialName::parse("credentials/quay").map(|n| n.id().to_owned()), Ok("quay".into()));
        assert_eq!(CredentialName::from_id("quay").map(|n| n.to_string()), Ok("credentials/quay".into()));
        for bad in ["quay", "clusters/quay", "credentials/", "credentials/a/b", "credentials/A"] {
            assert!(CredentialName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn platform_namespaces_are_told_by_their_names() {
        let platform = |name: &str| Namespace::new(name).map(|n| n.is_platform());
        for name in ["kube-system", "kube-public", "openshift", "openshift-config"] {
            assert_eq!(platform(name), Ok(true), "{name}");
        }
        for name in ["default", "kubernetes", "openshifty", "team-kube-a"] {
            assert_eq!(platform(name), Ok(false), "{name}");
        }
    }
}
