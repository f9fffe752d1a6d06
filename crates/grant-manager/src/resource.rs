//! What links, grants and clusters have in common on the wire: a name, a stamp that the service sets, and fields that a
//! caller may change.

use prost::Message;
use prost_types::{FieldMask, Timestamp};
use pullpass_api::{convert, grant::v1 as wire};
use pullpass_domain::name::{self, ClusterName, GrantName, LinkName};
use pullpass_runtime::SpiffeId;

/// One field that an update mask can name, and how to take it over.
pub(crate) type Field<R> = (&'static str, fn(&mut R, &R));

/// A link, a grant or a cluster.
pub(crate) trait Resource: Message + Default + Clone + PartialEq + 'static {
    /// As RPCs, the change feed and the audit trail spell it.
    const KIND: &'static str;
    /// The field of requests that holds it.
    const FIELD: &'static str;
    /// The part of its resource name before the slash.
    const COLLECTION: &'static str;
    /// What an update can change.
    const FIELDS: &'static [Field<Self>];

    /// The resource name that goes with an id.
    fn name_of(id: &str) -> Result<String, name::Error>;

    /// What it says, valid and with defaults filled in, without a stamp.
    fn checked(&self, name: &str) -> Result<Self, convert::Error>;

    fn name(&self) -> &str;
    fn etag(&self) -> &str;
    fn stamp(&self) -> Stamp;
    fn stamped(self, stamp: Stamp) -> Self;

    /// A resource name, if it is one of this collection.
    fn parse_name(text: &str) -> Result<String, name::Error> {
        let id = text.strip_prefix(Self::COLLECTION).and_then(|rest| rest.strip_prefix('/'));
        let collection = Self::COLLECTION;
        Self::name_of(id.ok_or_else(|| name::Error::NotInCollection { name: text.into(), collection })?)
    }
}

/// What the service sets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stamp {
    pub(crate) uid: String,
    pub(crate) create_time: Option<Timestamp>,
    pub(crate) update_time: Option<Timestamp>,
    pub(crate) revision: i64,
}

/// `current` with the fields that `mask` names taken from `given`; not checked yet.
pub(crate) fn merged<R: Resource>(
    current: &R,
    given: &R,
    mask: Option<&FieldMask>,
) -> Result<R, convert::Error> {
    let known = || R::FIELDS.iter().map(|(field, _)| format!("`{field}`")).collect::<Vec<_>>().join(", ");
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        let problem = format!("names no field: give one or several of {}", known());
        return Err(convert::Error::new("update_mask", problem));
    }
    let mut next = current.clone();
    for (i, path) in paths.iter().enumerate() {
        let Some((_, take)) = R::FIELDS.iter().find(|(field, _)| field == path) else {
            let problem = format!("`{path}` is not a field that can be changed: those are {}", known());
            return Err(convert::Error::new(format!("update_mask.paths[{i}]"), problem));
        };
        take(&mut next, given);
    }
    Ok(next)
}

/// The kind of link or grant that has this name.
pub(crate) fn kind_of(declaration: &str) -> &'static str {
    if wire::SecretLink::parse_name(declaration).is_ok() {
        wire::SecretLink::KIND
    } else {
        wire::ImageGrant::KIND
    }
}

/// The name of a link or a grant.
pub(crate) fn declaration_name(text: &str) -> Result<String, name::Error> {
    wire::ImageGrant::parse_name(text).or_else(|_| wire::SecretLink::parse_name(text))
}

macro_rules! fields {
    ($($field:ident),*) => {
        &[$((stringify!($field), |to, from| to.$field.clone_from(&from.$field))),*]
    };
}

macro_rules! stamping {
    () => {
        fn name(&self) -> &str {
            &self.name
        }

        fn etag(&self) -> &str {
            &self.etag
        }

        fn stamp(&self) -> Stamp {
            Stamp {
                uid: self.uid.clone(),
                create_time: self.create_time,
                update_time: self.update_time,
                revision: self.revision,
            }
        }

        fn stamped(self, stamp: Stamp) -> Self {
            let Stamp { uid, create_time, update_time, revision } = stamp;
            Self { uid, create_time, update_time, revision, etag: revision.to_string(), ..self }
        }
    };
}

impl Resource for wire::SecretLink {
    const KIND: &'static str = "SecretLink";
    const FIELD: &'static str = "secret_link";
    const COLLECTION: &'static str = LinkName::COLLECTION;
    const FIELDS: &'static [Field<Self>] =
        fields!(credentials, clusters, namespaces, service_accounts, usages, secret_name, secret_type);

    fn name_of(id: &str) -> Result<String, name::Error> {
        LinkName::from_id(id).map(|name| name.to_string())
    }

    fn checked(&self, name: &str) -> Result<Self, convert::Error> {
        let name = LinkName::parse(name).map_err(|problem| convert::Error::new("name", problem))?;
        Ok(convert::link_message(&name, &convert::link(&name, self)?))
    }

    stamping!();
}

impl Resource for wire::ImageGrant {
    const KIND: &'static str = "ImageGrant";
    const FIELD: &'static str = "image_grant";
    const COLLECTION: &'static str = GrantName::COLLECTION;
    const FIELDS: &'static [Field<Self>] = fields!(project, subject, role, clusters);

    fn name_of(id: &str) -> Result<String, name::Error> {
        GrantName::from_id(id).map(|name| name.to_string())
    }

    fn checked(&self, name: &str) -> Result<Self, convert::Error> {
        let name = GrantName::parse(name).map_err(|problem| convert::Error::new("name", problem))?;
        Ok(convert::grant_message(&name, &convert::grant(self)?))
    }

    stamping!();
}

impl Resource for wire::Cluster {
    const KIND: &'static str = "Cluster";
    const FIELD: &'static str = "cluster";
    const COLLECTION: &'static str = ClusterName::COLLECTION;
    const FIELDS: &'static [Field<Self>] = fields!(applier_identity);

    fn name_of(id: &str) -> Result<String, name::Error> {
        ClusterName::from_id(id).map(|name| name.to_string())
    }

    fn checked(&self, name: &str) -> Result<Self, convert::Error> {
        let identity = self.applier_identity.parse::<SpiffeId>();
        let identity = identity.map_err(|problem| convert::Error::new("applier_identity", problem))?;
        Ok(Self { name: name.to_owned(), applier_identity: identity.to_string(), ..Self::default() })
    }

    stamping!();
}
