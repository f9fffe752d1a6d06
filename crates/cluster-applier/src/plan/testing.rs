//! Fixtures that read as English, for the tests of this crate.

use std::{collections::BTreeMap, sync::Arc};

use pullpass_api::{
    convert,
    grant::v1::{
        ImageGrant, NamespaceSelection, SecretLink, SecretType as WireType, ServiceAccountSelection, Usage,
    },
};
use pullpass_domain::{
    docker_config::SecretType,
    link::Link,
    name::{GrantName, LinkName, Namespace, ServiceAccount},
    secret::SecretBytes,
};

use super::{Content, View};
use crate::{
    cluster::{
        index::NamespaceState,
        object::{Account, Identity, Marks, NamespaceFacts, SecretFacts, digest_of},
        pod::StuckPod,
    },
    desired::{Desired, Wanted},
    material::{Material, Materials, Order, Rendered},
};

pub(crate) fn link_name(id: &str) -> LinkName {
    LinkName::from_id(id).expect("a name")
}

pub(crate) fn account_name(name: &str) -> ServiceAccount {
    ServiceAccount::new(name).expect("a name")
}

/// A link of credential `quay` to service account `default` of every namespace, for pulling.
pub(crate) fn link_message(id: &str) -> SecretLink {
    SecretLink {
        name: format!("secretLinks/{id}"),
        credentials: vec!["credentials/quay".into()],
        clusters: vec!["clusters/dev".into()],
        namespaces: Some(NamespaceSelection { all: true, ..Default::default() }),
        service_accounts: Some(ServiceAccountSelection {
            names: vec!["default".into()],
            ..Default::default()
        }),
        usages: vec![Usage::Pull.into()],
        revision: 1,
        ..Default::default()
    }
}

pub(crate) fn wanted_link(message: &SecretLink) -> Arc<Wanted<Link>> {
    let name = LinkName::parse(&message.name).expect("a name");
    let created = message.create_time.as_ref().map(|t| (t.seconds, t.nanos)).unwrap_or_default();
    Arc::new(Wanted {
        what: convert::link(&name, message).expect("a link"),
        revision: message.revision,
        created,
    })
}

pub(crate) fn link(id: &str) -> Link {
    wanted_link(&link_message(id)).what.clone()
}

pub(crate) fn dockercfg_link(id: &str) -> Link {
    let message = SecretLink { secret_type: WireType::Dockercfg.into(), ..link_message(id) };
    wanted_link(&message).what.clone()
}

pub(crate) fn desired_link(id: &str) -> Desired {
    let mut desired = Desired::default();
    desired.set_link(&link_message(id));
    desired
}

pub(crate) fn rendered(text: &str) -> Arc<Rendered> {
    let versions = vec![("credentials/quay".to_owned(), 1)].into();
    Arc::new(Rendered::new(
        &SecretBytes::new(text.as_bytes().to_vec()),
        SecretType::DockerConfigJson,
        versions,
    ))
}

pub(crate) fn content(link: &str) -> Content {
    Content {
        link: link_name(link),
        secret_type: SecretType::DockerConfigJson,
        rendered: Some(rendered("{}")),
    }
}

pub(crate) fn order(link: &str) -> Order {
    let mut materials = Materials::default();
    materials.set_link(&link_name(link), Some(&self::link(link)), "");
    materials.due(std::time::Instant::now()).remove(0)
}

pub(crate) fn identity(uid: &str) -> Identity {
    Identity { uid: uid.into(), version: "7".into() }
}

/// A Secret with this content and both marks of the link.
pub(crate) fn secret_of(link: &str, text: &str) -> SecretFacts {
    SecretFacts {
        identity: identity("secret"),
        marks: Marks { labelled: true, cause: Some(link.into()) },
        secret_type: SecretType::DockerConfigJson.kubernetes_type().into(),
        data: [(SecretType::DockerConfigJson.data_key().to_owned(), Some(digest_of(text.as_bytes())))]
            .into_iter()
            .collect(),
        ..Default::default()
    }
}

/// A pod of `default` that cannot pull, with this list of its own.
pub(crate) fn stuck_pod(pull: &[&str]) -> StuckPod {
    StuckPod {
        identity: identity("pod"),
        account: account_name("default"),
        pull: pull.iter().map(ToString::to_string).collect(),
        image: "quay.io/acme/app:1".into(),
    }
}

/// Namespace `a` with a service account `default` whose lists are these.
pub(crate) fn view(pull: &[&str], mount: &[&str]) -> View {
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    let account = Account {
        identity: identity("account"),
        pull: texts(pull),
        mount: texts(mount),
        ..Default::default()
    };
    View {
        name: Namespace::new("a").expect("a name"),
        state: NamespaceState {
            facts: Some(NamespaceFacts::default()),
            accounts: [(account_name("default"), account)].into_iter().collect(),
            ..Default::default()
        },
        links: BTreeMap::new(),
        grants: BTreeMap::new(),
        materials: BTreeMap::new(),
        roles: pullpass_domain::grant::Role::ALL.into(),
        unreadable: std::collections::BTreeSet::new(),
        lost: std::collections::BTreeSet::new(),
        hold: None,
        confirmed: std::collections::BTreeSet::new(),
        leave: None,
    }
}

impl View {
    /// With this link, whose content is `{}`.
    pub(crate) fn with_link(mut self, message: &SecretLink) -> Self {
        let name = LinkName::parse(&message.name).expect("a name");
        let material = Material { rendered: Some(rendered("{}")), ..Default::default() };
        self.materials.insert(name.clone(), material);
        self.links.insert(name, wanted_link(message));
        self
    }

    pub(crate) fn with_secret(mut self, name: &str, secret: SecretFacts) -> Self {
        self.state.secrets.insert(name.into(), secret);
        self
    }

    pub(crate) fn with_pod(mut self, name: &str, pod: StuckPod) -> Self {
        self.state.pods.insert(name.into(), pod);
        self
    }

    pub(crate) fn with_grant(mut self, message: &ImageGrant) -> Self {
        let name = GrantName::parse(&message.name).expect("a name");
        let what = convert::grant(message).expect("a grant");
        self.grants.insert(name, Arc::new(Wanted { what, revision: 1, created: (0, 0) }));
        self
    }
}
