//! The real parts: a control plane, two registries, and Pullpass as `pullpass dev` runs it.

use std::path::{Path, PathBuf};

use e2e::{
    Cluster, ControlPlane, PullpassDev, Registry, WorkFolder, applier_access, binaries, cluster::IMAGE_ROLES,
};
use k8s_openapi::api::{core::v1::ServiceAccount, rbac::v1::RoleBinding};
use serde_json::json;

use crate::{screen::Screen, shell::Shell};

/// The registries' user.
pub(crate) const USER: &str = "robot";
/// The password, and what it is changed to. Both are good for nothing but registries that end with the demo.
pub(crate) const PASSWORD: &str = "demo-first-password";
/// See there.
pub(crate) const NEW_PASSWORD: &str = "demo-second-password";

const CLUSTER: &str = "demo";

/// All of it. It ends, in this order, when dropped.
#[derive(Debug)]
pub(crate) struct World {
    dev: PullpassDev,
    pub(crate) registry: Registry,
    pub(crate) delegated: Registry,
    plane: ControlPlane,
    folder: WorkFolder,
}

impl World {
    /// Starts it.
    pub(crate) async fn start(screen: &Screen) -> anyhow::Result<Self> {
        let folder = WorkFolder::new("demo")?;
        screen.line("Starting the real parts");
        let plane = async { ControlPlane::start(&folder.folder("kubernetes")?).await };
        let plane = screen.step("etcd, kube-apiserver, kube-controller-manager", plane).await?;
        let registry = async { Registry::start(&folder.folder("registry")?, USER, PASSWORD).await };
        let registry = screen.step("docker-registry with a private image", registry).await?;
        let delegated =
            async { Registry::start_delegated(&folder.folder("delegated")?, USER, PASSWORD).await };
        let delegated =
            screen.step("docker-registry that delegates authentication, with one", delegated).await?;
        let kubeconfig = screen.step("what OpenShift would have: roles, projects", furnish(&plane)).await?;
        let dev = PullpassDev::start(folder.path(), CLUSTER, &kubeconfig);
        let dev = screen.step("pullpass dev: the three services, over mTLS", dev).await?;
        screen.note(&format!("OpenShift's ClusterRoles were made first: {}", IMAGE_ROLES.join(", ")));
        screen.note("as there, every project has system:image-pullers for its own service accounts");
        screen.note(
            "the applier is the service account pullpass/cluster-applier, with the narrow role of deploy/",
        );
        Ok(Self { dev, registry, delegated, plane, folder })
    }

    /// A terminal that is set up to talk to it.
    pub(crate) fn shell(&self) -> anyhow::Result<Shell> {
        let mut shell = Shell::new(&self.folder.folder("terminal")?)?;
        for (name, value) in self.settings() {
            shell.export(name, value);
        }
        shell.export("PASSWORD", PASSWORD);
        shell.export("NEW_PASSWORD", NEW_PASSWORD);
        Ok(shell)
    }

    fn settings(&self) -> [(&'static str, PathBuf); 2] {
        let kubeconfig = self.plane.admin_kubeconfig().to_owned();
        [("PULLPASS_CONFIG", self.dev.client_file()), ("KUBECONFIG", kubeconfig)]
    }

    /// For `--keep`.
    pub(crate) fn say_how_to_talk_to_it(&self, screen: &Screen) -> anyhow::Result<()> {
        let folder = |program: PathBuf| program.parent().unwrap_or(Path::new("/")).display().to_string();
        let programs = [folder(binaries::own("pullpass")?), folder(binaries::kubernetes("kubectl")?)];
        screen.line("\nAll of it keeps running until Ctrl-C. In another terminal:\n");
        for (name, value) in self.settings() {
            screen.line(&format!("  export {name}={}", value.display()));
        }
        screen.line(&format!("  export PATH={}:$PATH", programs.join(":")));
        screen.line("  pullpass status");
        screen.line("  kubectl get serviceaccounts,secrets,rolebindings -A\n");
        screen.line(&format!("The registries:  {}", self.registry.image()));
        screen.line(&format!("                 {}   (delegated)", self.delegated.image()));
        screen.line(&format!("State and logs:  {}", self.folder.path().display()));
        Ok(())
    }

    /// Ends it. What it wrote stays for a look only if something went wrong.
    pub(crate) async fn stop(mut self, screen: &Screen, all_is_well: bool) -> bool {
        let stopped = self.dev.stop().await;
        let cleanly = stopped.is_some_and(|status| status.success());
        let folder = self.folder.path().to_owned();
        drop(self);
        if all_is_well && cleanly {
            // What cannot be removed now is removed by the next run.
            let _ = tokio::fs::remove_dir_all(folder).await;
        } else {
            screen.line(&format!("State and logs are left in {}", folder.display()));
        }
        if !cleanly {
            screen.line("pullpass dev did not stop cleanly");
        }
        cleanly
    }
}

/// What an OpenShift cluster has before anybody installs Pullpass, and the applier's access.
async fn furnish(plane: &ControlPlane) -> anyhow::Result<PathBuf> {
    let cluster = plane.cluster().await?;
    for role in IMAGE_ROLES {
        cluster.create_image_role(role).await;
    }
    for project in ["project-a", "project-b", "shop"] {
        cluster.create_namespace(project, &[]).await;
        own_pullers(&cluster, project).await;
    }
    cluster.create_service_account("project-a", "builder", &[]).await;
    // Somebody's entries from before; the API server asks for no such Secrets.
    let theirs = json!({"imagePullSecrets": [{"name": "nexus"}, {"name": "artifactory"}]});
    for account in ["default", "builder"] {
        cluster.merge::<ServiceAccount>("project-a", account, theirs.clone()).await;
    }
    applier_access::grant(plane).await
}

async fn own_pullers(cluster: &Cluster, project: &str) {
    let (group, role) = ("rbac.authorization.k8s.io", "system:image-puller");
    let members = format!("system:serviceaccounts:{project}");
    let binding = json!({
        "metadata": {"name": "system:image-pullers"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": members}],
    });
    cluster.create::<RoleBinding>(project, binding).await;
}
