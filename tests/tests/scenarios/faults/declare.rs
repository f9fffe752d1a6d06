//! Carries a change out: declarations over gRPC, everything else as the cluster's administrator.

use e2e::Scenario;
use k8s_openapi::api::{core::v1::Secret, rbac::v1::RoleBinding};
use prost_types::FieldMask;
use pullpass_api::{
    credential::v1::{
        AddCredentialVersionRequest, CreateCredentialRequest, Material, RegistryLogin, material::Source,
    },
    grant::v1::{
        CreateImageGrantRequest, CreateSecretLinkRequest, DeleteImageGrantRequest, DeleteSecretLinkRequest,
        ImageGrant, NamespaceSelection, Role, SecretLink, SecretType, ServiceAccountSelection,
        ServiceAccountSubject, UpdateImageGrantRequest, UpdateSecretLinkRequest, Usage, image_grant::Subject,
    },
};
use serde_json::json;

use super::{
    change::{Change, Hand},
    model::{Accounts, Grant, Link, Model, Reach, binding_name, password},
};

/// Makes a credential with its first version.
pub(super) async fn credential(s: &Scenario, name: &str) {
    let request = CreateCredentialRequest {
        credential_id: name.to_owned(),
        material: Some(material(name, 1)),
        ..CreateCredentialRequest::default()
    };
    let mut store = s.pullpass.credential_store(&s.pullpass.admin());
    store.create_credential(request).await.expect("the credential can be created");
}

/// Does it; `before` and `after` are the models without and with it.
pub(super) async fn carry_out(s: &Scenario, change: &Change, before: &Model, after: &Model) {
    match change {
        Change::Link(name, link) => declare_link(s, name, link, before.links.contains_key(name)).await,
        Change::Grant(name, grant) => declare_grant(s, name, *grant, before.grants.contains_key(name)).await,
        Change::Unlink(name) => {
            let request =
                DeleteSecretLinkRequest { name: format!("secretLinks/{name}"), ..Default::default() };
            let mut grants = s.pullpass.grant_manager(&s.pullpass.admin());
            grants.delete_secret_link(request).await.expect("the link can be deleted");
        }
        Change::Revoke(name) => {
            let request =
                DeleteImageGrantRequest { name: format!("imageGrants/{name}"), ..Default::default() };
            let mut grants = s.pullpass.grant_manager(&s.pullpass.admin());
            grants.delete_image_grant(request).await.expect("the grant can be deleted");
        }
        Change::Rotate(name) => {
            let request = AddCredentialVersionRequest {
                name: format!("credentials/{name}"),
                material: Some(material(name, after.versions[name])),
                ..AddCredentialVersionRequest::default()
            };
            let mut store = s.pullpass.credential_store(&s.pullpass.admin());
            store.add_credential_version(request).await.expect("the credential can be rotated");
        }
        Change::Label(namespace, served) => {
            s.cluster.label_namespace(namespace, "served", served.then_some("yes")).await;
        }
        Change::Secret(namespace, name, hand) => on_secret(s, namespace, name, *hand).await,
        Change::Binding(namespace, name, Hand::Deletes) => {
            s.cluster.delete::<RoleBinding>(namespace, &binding_name(name)).await;
        }
        Change::Binding(namespace, name, _) => {
            let mallory = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"});
            let edit = json!({"subjects": [mallory]});
            s.cluster.merge::<RoleBinding>(namespace, &binding_name(name), edit).await;
        }
    }
}

async fn on_secret(s: &Scenario, namespace: &str, name: &str, hand: Hand) {
    match hand {
        Hand::Deletes => s.cluster.delete::<Secret>(namespace, name).await,
        Hand::Edits => {
            s.cluster.merge::<Secret>(namespace, name, json!({"stringData": {"surplus": "x"}})).await;
        }
        Hand::TakesOurLabel => {
            let edit = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
            s.cluster.merge::<Secret>(namespace, name, edit).await;
        }
    }
}

async fn declare_link(s: &Scenario, name: &str, link: &Link, exists: bool) {
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let labelled = |key: &str| [(key.to_owned(), "yes".to_owned())].into();
    let namespaces = match &link.reach {
        Reach::Named(names) => {
            NamespaceSelection { names: owned(names.iter().copied().collect()), ..Default::default() }
        }
        Reach::Served => NamespaceSelection { match_labels: labelled("served"), ..Default::default() },
    };
    let service_accounts = match link.accounts {
        Accounts::Default => ServiceAccountSelection { names: owned(vec!["default"]), ..Default::default() },
        Accounts::Labelled => {
            ServiceAccountSelection { match_labels: labelled("pulls"), ..Default::default() }
        }
        Accounts::All => ServiceAccountSelection { all: true, ..Default::default() },
    };
    let usages = [(link.lists.0, Usage::Pull), (link.lists.1, Usage::Mount)];
    let secret_type = if link.dockercfg { SecretType::Dockercfg } else { SecretType::Dockerconfigjson };
    let message = SecretLink {
        name: format!("secretLinks/{name}"),
        credentials: vec![format!("credentials/{}", link.credential)],
        clusters: vec![s.pullpass.state().cluster().to_string()],
        namespaces: Some(namespaces),
        service_accounts: Some(service_accounts),
        usages: usages.into_iter().filter(|(wanted, _)| *wanted).map(|(_, usage)| usage.into()).collect(),
        secret_type: secret_type.into(),
        ..SecretLink::default()
    };
    let mut grants = s.pullpass.grant_manager(&s.pullpass.admin());
    if exists {
        let paths = ["namespaces", "service_accounts", "usages", "secret_type"].map(str::to_owned);
        let request = UpdateSecretLinkRequest {
            secret_link: Some(message),
            update_mask: Some(FieldMask { paths: paths.into() }),
            validate_only: false,
        };
        grants.update_secret_link(request).await.expect("the link can be changed");
    } else {
        let request = CreateSecretLinkRequest {
            secret_link_id: name.to_owned(),
            secret_link: Some(SecretLink { name: String::new(), ..message }),
            ..CreateSecretLinkRequest::default()
        };
        grants.create_secret_link(request).await.expect("the link can be created");
    }
}

async fn declare_grant(s: &Scenario, name: &str, grant: Grant, exists: bool) {
    let own = ServiceAccountSubject { namespace: grant.project.to_owned(), name: "default".to_owned() };
    let subject = if grant.own { Subject::ServiceAccount(own) } else { Subject::User(name.to_owned()) };
    let message = ImageGrant {
        name: format!("imageGrants/{name}"),
        project: grant.project.to_owned(),
        subject: Some(subject),
        role: if grant.push { Role::Push } else { Role::Pull }.into(),
        clusters: vec![s.pullpass.state().cluster().to_string()],
        ..ImageGrant::default()
    };
    let mut grants = s.pullpass.grant_manager(&s.pullpass.admin());
    if exists {
        let request = UpdateImageGrantRequest {
            image_grant: Some(message),
            update_mask: Some(FieldMask { paths: vec!["role".to_owned()] }),
            validate_only: false,
        };
        grants.update_image_grant(request).await.expect("the grant can be changed");
    } else {
        let request = CreateImageGrantRequest {
            image_grant_id: name.to_owned(),
            image_grant: Some(ImageGrant { name: String::new(), ..message }),
            ..CreateImageGrantRequest::default()
        };
        grants.create_image_grant(request).await.expect("the grant can be created");
    }
}

fn material(credential: &str, version: i64) -> Material {
    let login = RegistryLogin {
        server: "quay.io".to_owned(),
        username: "robot".to_owned(),
        password: password(credential, version),
        ..RegistryLogin::default()
    };
    Material { source: Some(Source::Login(login)) }
}
