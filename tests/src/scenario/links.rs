//! Links over gRPC, for the tests that need many of them fast.

use pullpass_api::grant::v1::{
    CreateSecretLinkRequest, DeleteSecretLinkRequest, GetSecretLinkRequest, NamespaceSelection, SecretLink,
    ServiceAccountSelection, Usage,
};
use tonic::Code;

use super::World;
use crate::wait::eventually;

impl World {
    /// Links `credential` as the Secret `name` to `default` in one namespace, and returns the link's resource name.
    pub async fn link(&self, name: &str, credential: &str, namespace: &str, usage: &str) -> String {
        let usages = usage.split(',').map(|usage| match usage {
            "pull" => Usage::Pull.into(),
            "mount" => Usage::Mount.into(),
            other => panic!("{other} is no usage"),
        });
        let link = SecretLink {
            credentials: vec![format!("credentials/{credential}")],
            clusters: vec![self.pullpass.state().cluster().to_string()],
            namespaces: Some(NamespaceSelection { names: vec![namespace.to_owned()], ..Default::default() }),
            service_accounts: Some(ServiceAccountSelection {
                names: vec!["default".to_owned()],
                ..Default::default()
            }),
            usages: usages.collect(),
            ..Default::default()
        };
        let request = CreateSecretLinkRequest {
            secret_link_id: name.to_owned(),
            secret_link: Some(link),
            ..Default::default()
        };
        let mut grants = self.pullpass.grant_manager(&self.pullpass.admin());
        let created = grants.create_secret_link(request).await.expect("the link can be created").into_inner();
        created.secret_link.expect("a link").name
    }

    /// Deletes a link and waits until it is gone everywhere.
    pub async fn unlink(&self, name: &str) {
        let name = format!("secretLinks/{name}");
        let mut grants = self.pullpass.grant_manager(&self.pullpass.admin());
        let request = DeleteSecretLinkRequest { name: name.clone(), ..Default::default() };
        grants.delete_secret_link(request).await.expect("the link can be deleted");
        eventually(format!("{name} is gone"), async || {
            let request = GetSecretLinkRequest { name: name.clone() };
            match grants.clone().get_secret_link(request).await {
                Err(status) if status.code() == Code::NotFound => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}
