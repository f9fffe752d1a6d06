//! The world that everything is measured in.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use e2e::{Cluster, World, measure::Usage, pullpass::Service};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::PostParams};
use pullpass_api::{
    applier::v1::{GetSyncStatusRequest, SyncRequest},
    credential::v1::{
        AddCredentialVersionRequest, CreateCredentialRequest, Material, RegistryLogin, material::Source,
    },
    grant::v1::{
        CreateSecretLinkRequest, DeleteSecretLinkRequest, GetSecretLinkRequest, NamespaceSelection,
        SecretLink, ServiceAccountSelection, Usage as LinkUsage,
    },
};
use serde_json::json;

use crate::{observer::Observer, raw::Raw};

/// The credential of every link.
const CREDENTIAL: &str = "bench";
/// The label by which links select.
pub(crate) const SELECTED: &str = "bench";
const POLL: Duration = Duration::from_millis(20);

/// A control plane, Pullpass, and the namespaces `bench-0`, `bench-1` …
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) cluster: Cluster,
    pub(crate) observer: Observer,
    pub(crate) raw: Raw,
    pub(crate) namespaces: Vec<String>,
}

impl Bench {
    /// Starts it. The first half of the namespaces carries the label `bench: half` beside `bench-all: yes`.
    pub(crate) async fn start(namespaces: u32, foreign_secrets: u32) -> anyhow::Result<Self> {
        println!("starting a control plane and the services");
        let world = World::start("bench-fanout", |_| {}).await?;
        let cluster = world.plane.cluster().await?;
        let raw = Raw::new(cluster.client());
        let observer = Observer::start(cluster.client());
        let names: Vec<_> = (0..namespaces).map(|n| format!("bench-{n}")).collect();
        println!("making {namespaces} namespaces");
        let there = observer.all_have_accounts(&names);
        let (half, client) = (names.len() / 2, cluster.client());
        raw.each(&names, async |n, name| {
            let part = if n < half { "half" } else { "rest" };
            create_namespace(client.clone(), name, &[(SELECTED, part), ("bench-all", "yes")]).await
        })
        .await?;
        there.await?;
        if foreign_secrets > 0 {
            println!("making {foreign_secrets} Secrets that are none of ours");
            let numbers: Vec<_> = (0..foreign_secrets).map(|n| n.to_string()).collect();
            raw.each(&numbers, async |n, number| {
                raw.create_foreign_secret(&names[n % names.len()], &format!("foreign-{number}")).await
            })
            .await?;
        }
        let bench = Self { world, cluster, observer, raw, namespaces: names };
        bench.create_credential().await?;
        Ok(bench)
    }

    async fn create_credential(&self) -> anyhow::Result<()> {
        let mut store = self.world.pullpass.credential_store(&self.world.pullpass.admin());
        let request = CreateCredentialRequest {
            credential_id: CREDENTIAL.into(),
            material: Some(material("fake-first-password")),
            ..Default::default()
        };
        store.create_credential(request).await.context("failed to create the credential")?;
        Ok(())
    }

    /// Gives the credential another version, with content that it never had: the same once more would need no write.
    pub(crate) async fn rotate(&self) -> anyhow::Result<()> {
        static VERSION: AtomicU32 = AtomicU32::new(2);
        let password = format!("fake-password-{}", VERSION.fetch_add(1, Ordering::Relaxed));
        let mut store = self.world.pullpass.credential_store(&self.world.pullpass.admin());
        let request = AddCredentialVersionRequest {
            name: format!("credentials/{CREDENTIAL}"),
            material: Some(material(&password)),
            ..Default::default()
        };
        store.add_credential_version(request).await.context("failed to rotate the credential")?;
        Ok(())
    }

    /// Links the Secret `name` to `default` in the namespaces with this label.
    pub(crate) async fn link(&self, name: &str, (label, value): (&str, &str)) -> anyhow::Result<()> {
        let link = SecretLink {
            credentials: vec![format!("credentials/{CREDENTIAL}")],
            clusters: vec![self.world.pullpass.state().cluster().to_string()],
            namespaces: Some(NamespaceSelection {
                match_labels: [(label.to_owned(), value.to_owned())].into(),
                ..Default::default()
            }),
            service_accounts: Some(ServiceAccountSelection {
                names: vec!["default".into()],
                ..Default::default()
            }),
            usages: vec![LinkUsage::Pull.into()],
            ..Default::default()
        };
        let request = CreateSecretLinkRequest {
            secret_link_id: name.into(),
            secret_link: Some(link),
            ..Default::default()
        };
        let mut grants = self.world.pullpass.grant_manager(&self.world.pullpass.admin());
        grants.create_secret_link(request).await.context("failed to create the link")?;
        Ok(())
    }

    /// Takes a link back, and waits until the applier holds the many deletions, as it must.
    pub(crate) async fn unlink(&self, name: &str) -> anyhow::Result<()> {
        let mut grants = self.world.pullpass.grant_manager(&self.world.pullpass.admin());
        let name = format!("secretLinks/{name}");
        let request = DeleteSecretLinkRequest { name, ..Default::default() };
        grants.delete_secret_link(request).await.context("failed to delete the link")?;
        let mut applier = self.world.pullpass.cluster_applier(&self.world.pullpass.admin());
        loop {
            let status = applier.get_sync_status(GetSyncStatusRequest {}).await?.into_inner();
            let mut reasons = status.statuses.iter().flat_map(|status| &status.reasons);
            if reasons.any(|reason| reason.code == "DELETIONS_HELD") {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Lets the deletions go.
    pub(crate) async fn confirm(&self) -> anyhow::Result<()> {
        let mut applier = self.world.pullpass.cluster_applier(&self.world.pullpass.admin());
        let request = SyncRequest { confirm_deletions: true };
        let answer = applier.sync(request).await.context("failed to confirm the deletions")?.into_inner();
        anyhow::ensure!(answer.confirmed_deletions > 0, "nothing was confirmed");
        Ok(())
    }

    /// Waits until every trace of a link is gone.
    pub(crate) async fn gone(&self, name: &str) -> anyhow::Result<()> {
        let mut grants = self.world.pullpass.grant_manager(&self.world.pullpass.admin());
        let request = GetSecretLinkRequest { name: format!("secretLinks/{name}") };
        loop {
            match grants.get_secret_link(request.clone()).await {
                Err(status) if status.code() == tonic::Code::NotFound => return Ok(()),
                Err(status) => return Err(status).context("failed to look at the link"),
                Ok(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// What the applier has used so far.
    pub(crate) fn applier_usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.world.pullpass.process_id(Service::ClusterApplier))
    }
}

fn material(password: &str) -> Material {
    let login = RegistryLogin {
        server: "registry.example".into(),
        username: "robot".into(),
        password: password.into(),
        email: String::new(),
    };
    Material { source: Some(Source::Login(login)) }
}

/// Makes a namespace with labels, and waits for nothing.
pub(crate) async fn create_namespace(
    client: kube::Client,
    name: &str,
    labels: &[(&str, &str)],
) -> anyhow::Result<()> {
    let labels: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
    Api::all(client).create(&PostParams::default(), &namespace).await?;
    Ok(())
}
