//! What the demo plays on: the cluster, the registry and `pullpass dev`, and how commands and checks are shown.

use std::{
    io::{IsTerminal as _, Write as _, stderr, stdout},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use e2e::{
    Cluster, ControlPlane, Registry, WorkFolder, applier_access, binaries,
    cluster::{IMAGE_ROLES, Subject},
    command::{Output, Run},
    process::Process,
    wait::within,
};
use indicatif::ProgressBar;

const PATIENCE: Duration = Duration::from_mins(1);
/// The registry's user.
pub(crate) const USER: &str = "robot";

/// Everything that runs, and the checks so far. It all ends when this is dropped.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) registry: Registry,
    control_plane: ControlPlane,
    client_config: PathBuf,
    checks: Vec<(bool, String)>,
    _pullpass: Process,
    folder: WorkFolder,
}

impl Stage {
    /// Starts everything, showing progress.
    pub(crate) async fn set() -> anyhow::Result<Self> {
        let folder = WorkFolder::new("demo")?;
        let place = folder.folder("kubernetes")?;
        let control_plane = step(
            "control control_plane: etcd, kube-apiserver, controller-manager",
            ControlPlane::start(&place),
        )
        .await?;
        let cluster = control_plane.cluster().await?;
        for role in IMAGE_ROLES {
            cluster.create_image_role(role).await;
        }
        let applier = applier_access::grant(&control_plane).await?;
        let place = folder.folder("registry")?;
        let registry =
            step("registry with a private image", Registry::start(&place, USER, "fake-first")).await?;
        let state = folder.path().join("pullpass");
        let mut dev = Command::new(binaries::own("pullpass")?);
        dev.args(["dev", "--cluster", "demo", "--state-dir"]).arg(&state).arg("--kubeconfig").arg(applier);
        let log = folder.path().join("pullpass-dev.log");
        let mut pullpass = Process::start("pullpass dev", &dev, &log)?;
        step("pullpass dev: credential-store, grant-manager, cluster-applier", ready(&mut pullpass)).await?;
        let client_config = state.join("client.toml");
        Ok(Self {
            cluster,
            registry,
            control_plane,
            client_config,
            checks: Vec::new(),
            _pullpass: pullpass,
            folder,
        })
    }

    /// Begins a procedure.
    pub(crate) fn title(title: &str) {
        say(&format!("\n{}", bold(title)));
    }

    /// Shows and runs a `pullpass` command.
    pub(crate) async fn pullpass(&self, arguments: &str) -> anyhow::Result<Output> {
        say(&format!("  $ pullpass {arguments}"));
        self.run_pullpass(Vec::new(), arguments).await
    }

    /// The same with something on standard input, which is shown as `source`, never as it is.
    pub(crate) async fn pullpass_with(
        &self,
        source: &str,
        input: &str,
        arguments: &str,
    ) -> anyhow::Result<Output> {
        say(&format!("  $ {source} | pullpass {arguments}"));
        self.run_pullpass(input.into(), arguments).await
    }

    async fn run_pullpass(&self, input: Vec<u8>, arguments: &str) -> anyhow::Result<Output> {
        let program = binaries::own("pullpass")?;
        let run =
            Run::new(&program, arguments.split_whitespace()).env("PULLPASS_CONFIG", &self.client_config);
        let output = run.input(input).output().await?;
        indented(&output.stdout);
        indented(&output.stderr);
        Ok(output)
    }

    /// Shows and runs a kubectl command, and gives what it printed.
    pub(crate) async fn kubectl(&self, arguments: &str) -> String {
        say(&format!("  $ kubectl {arguments}"));
        let output = self.cluster.kubectl(&arguments.split_whitespace().collect::<Vec<_>>()).await;
        indented(&output.stdout);
        output.stdout.trim().to_owned()
    }

    /// Whether the integrated registry would let a service account pull a project's images: the API server is asked as the
    /// registry asks it, by a SubjectAccessReview. (`kubectl auth can-i` asks about resources that the server has, only.)
    pub(crate) async fn can_pull_images_of(&self, project: &str, namespace: &str, account: &str) -> bool {
        let who = Subject::ServiceAccount(namespace.into(), account.into());
        let may = self.cluster.ability(&who, project).await.pull;
        say(&format!("  ? SubjectAccessReview: {namespace}/{account}, get imagestreams/layers in {project}"));
        indented(if may { "allowed" } else { "not allowed" });
        may
    }

    /// The bytes of a Secret's one key, as they are in the cluster.
    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> Vec<u8> {
        self.cluster.pull_secret(namespace, name).await.unwrap_or_default()
    }

    /// Shows a pull of the private image with exactly these bytes as the docker config, or with none.
    pub(crate) async fn pull(&self, with: Option<&[u8]>, told: &str) -> anyhow::Result<bool> {
        let image = self.registry.image();
        let file = if with.is_some() { " --authfile <the Secret's bytes>" } else { "" };
        say(&format!("  $ skopeo copy{file} {image} …   # {told}"));
        let output = self.registry.pull(with).await?;
        indented(if output.code == 0 { "pulled" } else { "refused by the registry" });
        Ok(output.code == 0)
    }

    /// Notes whether something is as it should be.
    pub(crate) fn check(&mut self, holds: bool, what: &str) {
        say(&format!("  {} {what}", mark(holds)));
        self.checks.push((holds, what.to_owned()));
    }

    /// One line a check, and the count. Whether all passed.
    pub(crate) fn summary(&self) -> bool {
        say(&format!("\n{}", bold("The checks")));
        for (holds, what) in &self.checks {
            say(&format!("{} {what}", mark(*holds)));
        }
        let failed = self.checks.iter().filter(|(holds, _)| !holds).count();
        say(&format!("\n{} passed, {failed} failed", self.checks.len() - failed));
        failed == 0
    }

    /// How to talk to what is left running.
    pub(crate) fn explain(&self) {
        let commands = binaries::own("pullpass").unwrap_or_default();
        let commands = commands.parent().unwrap_or(self.folder.path()).display();
        say(&format!("\n{}", bold("Still running, until Ctrl-C. In another terminal:")));
        say(&format!("  export PATH={commands}:$PATH"));
        say(&format!("  export PULLPASS_CONFIG={}", self.client_config.display()));
        say(&format!("  export KUBECONFIG={}", self.control_plane.admin_kubeconfig().display()));
        say(
            "  pullpass status; kubectl get secrets,rolebindings -A -l app.kubernetes.io/managed-by=pullpass",
        );
        say(&format!("  logs: {}", self.folder.path().display()));
    }
}

async fn ready(pullpass: &mut Process) -> anyhow::Result<()> {
    let started = within(PATIENCE, async || {
        let log = std::fs::read_to_string(pullpass.log()).unwrap_or_default();
        match pullpass.ended() {
            Some(status) => Err(format!("it ended with {status}: {}", pullpass.tail(10))),
            None if log.lines().any(|line| line.starts_with("ready:")) => Ok(()),
            None => Err(pullpass.tail(10)),
        }
    });
    started.await.map_err(|last| anyhow!(last)).context("pullpass dev did not become ready")
}

/// A long step: a spinner on a terminal, a line elsewhere.
async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let began = Instant::now();
    let spinner = if stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    spinner.set_message(format!("starting {what}"));
    spinner.enable_steady_tick(Duration::from_millis(100));
    if spinner.is_hidden() {
        note(&format!("starting {what} …"));
    }
    let done = work.await.with_context(|| format!("failed to start the {what}"));
    spinner.finish_and_clear();
    if done.is_ok() {
        note(&format!("started  {what} ({:.1} s)", began.elapsed().as_secs_f32()));
    }
    done
}

fn indented(text: &str) {
    for line in text.lines() {
        say(&format!("      {line}"));
    }
}

fn mark(holds: bool) -> String {
    match (holds, stdout().is_terminal()) {
        (true, true) => "\x1b[32m✓\x1b[0m".into(),
        (false, true) => "\x1b[31m✗\x1b[0m".into(),
        (true, false) => "✓".into(),
        (false, false) => "✗".into(),
    }
}

fn bold(text: &str) -> String {
    if stdout().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// To stdout. If nobody listens any more there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// To stderr.
pub(crate) fn note(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}
