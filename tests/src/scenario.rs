//! A world with everything in it, and one test's view of it.

mod links;
mod sync_status;

use std::{
    ops::Deref,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use pullpass::dev::{Options, Service};
pub use sync_status::has_reason;
use tokio::sync::OnceCell;

use crate::{
    Cluster, ControlPlane, FaultProxy, Node, Pullpass, Registry, WorkFolder, applier_access, binaries,
};

/// How many lines of each log a failed test shows.
const TAIL: usize = 25;

/// One cluster, served by one Pullpass.
#[derive(Debug)]
pub struct World {
    /// The system under test.
    pub pullpass: Pullpass,
    /// The cluster's processes.
    pub plane: ControlPlane,
    applier_kubeconfig: PathBuf,
    registry: OnceCell<Registry>,
    delegated: OnceCell<Registry>,
    node: OnceCell<Node>,
    folder: WorkFolder,
}

impl World {
    /// Starts one, with the options of its state folder changed as one likes.
    pub async fn start(name: &str, change: impl FnOnce(&mut Options)) -> anyhow::Result<Self> {
        let folder = WorkFolder::new(name)?;
        let plane = ControlPlane::start(&folder.folder("kubernetes")?).await?;
        let applier_kubeconfig = applier_access::grant(&plane).await?;
        let mut options = Options::new(folder.path().join("pullpass"));
        options.kubeconfig = Some(applier_kubeconfig.clone());
        change(&mut options);
        let pullpass = Pullpass::start(&options).await?;
        Ok(Self {
            pullpass,
            plane,
            applier_kubeconfig,
            registry: OnceCell::new(),
            delegated: OnceCell::new(),
            node: OnceCell::new(),
            folder,
        })
    }

    /// The cluster as the applier sees it.
    pub async fn cluster_as_applier(&self) -> Cluster {
        Cluster::connect(&self.applier_kubeconfig).await.expect("the cluster is there")
    }

    /// The name by which the API server knows the applier.
    pub fn applier_user(&self) -> String {
        applier_access::user(applier_access::ACCOUNT)
    }

    /// A registry whose user is `robot` with the password `first`. Shared: do not change it.
    pub async fn registry(&self) -> &Registry {
        let start = async || Registry::start(&self.folder.folder("registry")?, "robot", "first").await;
        self.registry.get_or_try_init(start).await.expect("the registry starts")
    }

    /// The same with delegated authentication.
    pub async fn delegated_registry(&self) -> &Registry {
        let start =
            async || Registry::start_delegated(&self.folder.folder("delegated")?, "robot", "first").await;
        self.delegated.get_or_try_init(start).await.expect("the registry starts")
    }

    /// A node on which pods run, and the image for them in a registry for one test alone. None where no node can run.
    pub async fn node(&self, name: &str) -> Option<(&Node, Registry, String)> {
        if !Node::can_run() {
            return None;
        }
        let start = async || Node::start(&self.folder.folder("node")?, &self.plane.cluster().await?).await;
        let node = self.node.get_or_try_init(start).await.expect("the node starts");
        let registry = self.own_registry(name).await;
        let image = format!("{}/acme/server:1", registry.host());
        registry.push(node.image(), &image, "first").await.expect("the image can be pushed");
        Some((node, registry, image))
    }

    /// A registry for one test alone.
    pub async fn own_registry(&self, name: &str) -> Registry {
        let folder = self.folder.folder(name).expect("a folder");
        Registry::start(&folder, "robot", "first").await.expect("the registry starts")
    }
}

/// A test's view of a world; it shows the state of the world if the test fails.
#[derive(Debug)]
pub struct Scenario {
    world: Arc<World>,
    /// The cluster as its administrator sees it.
    pub cluster: Cluster,
    number: u32,
}

impl Deref for Scenario {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Scenario {
    /// In the world that the tests of one binary share. It has the image roles, except `system:image-builder`.
    pub async fn shared() -> Self {
        static SHARED: OnceCell<Arc<World>> = OnceCell::const_new();
        let start = async || {
            let world = World::start("shared", |_| {}).await?;
            let cluster = world.plane.cluster().await?;
            for role in ["system:image-puller", "system:image-pusher"] {
                cluster.create_image_role(role).await;
            }
            anyhow::Ok(Arc::new(world))
        };
        let world = SHARED.get_or_try_init(start).await;
        Self::in_world(Arc::clone(world.expect("the shared world starts"))).await
    }

    /// In a world of its own.
    pub async fn own(name: &str, change: impl FnOnce(&mut Options)) -> Self {
        let world = World::start(name, change).await.expect("the world starts");
        Self::in_world(Arc::new(world)).await
    }

    /// In a world of its own whose applier reaches the API server by way of a fault proxy.
    pub async fn own_with_faults(name: &str) -> (Self, FaultProxy) {
        let mut proxy = None;
        let own = Self::own(name, |options| {
            let direct = options.kubeconfig.take().expect("the applier's kubeconfig");
            let (started, through) = FaultProxy::start(&direct).expect("the fault proxy starts");
            (proxy, options.kubeconfig) = (Some(started), Some(through));
        });
        (own.await, proxy.expect("the fault proxy was started"))
    }

    async fn in_world(world: Arc<World>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let cluster = world.plane.cluster().await.expect("the cluster is there");
        Self { world, cluster, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }

    /// `name` made the test's own: `web` becomes `web-7`.
    pub fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.number)
    }

    /// A new namespace of the test's own, and its name.
    pub async fn namespace(&self, name: &str) -> String {
        let name = self.name(name);
        self.cluster.create_namespace(&name, &[]).await;
        name
    }

    /// A new credential of the test's own for `server`, and its name.
    pub async fn credential(&self, name: &str, server: &str, username: &str, password: &str) -> String {
        let name = self.name(name);
        let create =
            ["credential", "create", &name, "--server", server, "--username", username, "--password-stdin"];
        self.pullpass.cli_with(password, &create).await.ok();
        name
    }

    fn dump(&self) {
        eprintln!("── the state of the world, in {}", self.folder.path().display());
        for service in Service::ALL {
            eprintln!("── {} ends with\n{}", service.binary_name(), self.pullpass.tail(service, TAIL));
        }
        if let Some(node) = self.world.node.get() {
            eprintln!("── the node ends with\n{}", node.tail(TAIL));
        }
        let Ok(kubectl) = binaries::kubernetes("kubectl") else { return };
        let queries: [&[&str]; 3] = [
            &["get", "secrets,rolebindings", "-A", "-l", "app.kubernetes.io/managed-by=pullpass"],
            &["get", "serviceaccounts", "-A", "-o", ACCOUNT_COLUMNS],
            &["get", "namespaces", "--show-labels"],
        ];
        for query in queries {
            let mut command = Command::new(&kubectl);
            command
                .args(query)
                .arg("--request-timeout=5s")
                .arg("--kubeconfig")
                .arg(self.plane.admin_kubeconfig());
            if let Ok(output) = command.output() {
                let (out, err) =
                    (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                eprintln!("── kubectl {}\n{out}{err}", query[..2].join(" "));
            }
        }
    }
}

const ACCOUNT_COLUMNS: &str = "custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name,\
     PULL:.imagePullSecrets[*].name,MOUNT:.secrets[*].name";

impl Drop for Scenario {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dump();
        }
    }
}
