//! A real registry with passwords and a private image in it, and `skopeo` as the client that pulls.

mod authorization_server;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    binaries,
    command::{Output, Run},
    image, ports,
    process::Process,
    wait::within,
};
use authorization_server::AuthorizationServer;

const PATIENCE: Duration = Duration::from_mins(1);

/// A registry on loopback with one user and one private image.
#[derive(Debug)]
pub struct Registry {
    folder: PathBuf,
    host: String,
    user: String,
    passwords: Passwords,
    pulls: AtomicU32,
    _process: Process,
}

/// Who checks the password.
#[derive(Debug)]
enum Passwords {
    /// The registry, by an htpasswd file.
    Own(PathBuf),
    /// A server of its own, which hands out tokens for the registry: delegated authentication.
    Delegated(AuthorizationServer),
}

impl Registry {
    /// Starts one that checks passwords itself, and pushes the private image.
    pub async fn start(folder: &Path, user: &str, password: &str) -> anyhow::Result<Self> {
        let file = folder.join("htpasswd");
        write_htpasswd(&file, user, password).await?;
        let auth = json!({"htpasswd": {"realm": "e2e", "path": file}});
        Self::serve(folder, user, password, Passwords::Own(file), auth).await
    }

    /// Starts one that sends its clients to an authorization server for a token.
    pub async fn start_delegated(folder: &Path, user: &str, password: &str) -> anyhow::Result<Self> {
        let server = AuthorizationServer::start(folder, user, password).await?;
        let auth = json!({"token": server.registry_settings()});
        Self::serve(folder, user, password, Passwords::Delegated(server), auth).await
    }

    async fn serve(
        folder: &Path,
        user: &str,
        password: &str,
        passwords: Passwords,
        auth: Value,
    ) -> anyhow::Result<Self> {
        let host = format!("127.0.0.1:{}", ports::free());
        let config = folder.join("registry.json");
        let content = json!({
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": folder.join("storage")}},
            "http": {"addr": host},
            "auth": auth,
        });
        fs::write(&config, content.to_string()).context("failed to write the registry's configuration")?;
        let program = binaries::installed("docker-registry", "docker-registry")?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&config);
        let process = Process::start("docker-registry", &command, &folder.join("docker-registry.log"))?;
        let registry = Self {
            folder: folder.to_owned(),
            host,
            user: user.to_owned(),
            passwords,
            pulls: AtomicU32::new(0),
            _process: process,
        };
        registry.wait_until_it_listens().await?;
        registry.push_image(password).await?;
        Ok(registry)
    }

    /// The registry key of its credential: `127.0.0.1:12345`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its user's name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The private image.
    pub fn image(&self) -> String {
        format!("{}/acme/app:1", self.host)
    }

    /// With delegated authentication: the URL that hands out tokens.
    pub fn realm(&self) -> Option<String> {
        match &self.passwords {
            Passwords::Own(_) => None,
            Passwords::Delegated(server) => Some(server.realm()),
        }
    }

    /// From now on, only this password.
    pub async fn change_password(&self, password: &str) -> anyhow::Result<()> {
        match &self.passwords {
            Passwords::Own(file) => write_htpasswd(file, &self.user, password).await,
            Passwords::Delegated(server) => {
                server.change_password(password);
                Ok(())
            }
        }
    }

    /// Pulls the private image with exactly the bytes of a Secret, if any: those of `.dockerconfigjson`, or (which skopeo
    /// reads inside `auths` only) of `.dockercfg`.
    pub async fn pull(&self, secret: Option<&[u8]>) -> anyhow::Result<Output> {
        let number = self.pulls.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(format!("auth-{number}.json"));
        let content = secret.map_or_else(|| b"{}".to_vec(), auth_file);
        fs::write(&file, content).context("failed to write the auth file")?;
        let (source, target) = (format!("docker://{}", self.image()), format!("dir:{}", self.copy(number)));
        let authfile = file.to_string_lossy();
        skopeo(&["copy", "--src-tls-verify=false", "--authfile", &authfile, &source, &target]).await
    }

    /// Whether the pull works with these bytes.
    pub async fn can_pull(&self, secret: Option<&[u8]>) -> bool {
        self.pull(secret).await.is_ok_and(|output| output.code == 0)
    }

    fn copy(&self, number: u32) -> String {
        self.folder.join(format!("copy-{number}")).to_string_lossy().into_owned()
    }

    async fn push_image(&self, password: &str) -> anyhow::Result<()> {
        let archive = image::empty(&self.folder).await?;
        self.push(&archive, &self.image(), password).await
    }

    /// Pushes the image of a docker archive.
    pub async fn push(&self, archive: &Path, image: &str, password: &str) -> anyhow::Result<()> {
        let source = format!("docker-archive:{}", archive.display());
        let target = format!("docker://{image}");
        let login = format!("{}:{password}", self.user);
        let arguments = ["copy", "--dest-tls-verify=false", "--dest-creds", &login, &source, &target];
        skopeo(&arguments).await?.into_result().with_context(|| format!("failed to push {image}"))?;
        Ok(())
    }

    async fn wait_until_it_listens(&self) -> anyhow::Result<()> {
        let listens = within(PATIENCE, async || {
            TcpStream::connect(&self.host).await.map(drop).map_err(|e| e.to_string())
        });
        listens.await.map_err(|last| anyhow!("docker-registry does not listen on {}: {last}", self.host))
    }
}

/// The bytes as they are, or a `.dockercfg` wrapped.
fn auth_file(secret: &[u8]) -> Vec<u8> {
    let is_config_json =
        serde_json::from_slice::<Value>(secret).is_ok_and(|json| json.get("auths").is_some());
    if is_config_json { secret.to_vec() } else { [b"{\"auths\":", secret, b"}"].concat() }
}

async fn skopeo(arguments: &[&str]) -> anyhow::Result<Output> {
    let skopeo = binaries::installed("skopeo", "skopeo")?;
    Run::new(&skopeo, ["--insecure-policy"].iter().chain(arguments)).output().await
}

async fn write_htpasswd(file: &Path, user: &str, password: &str) -> anyhow::Result<()> {
    let htpasswd = binaries::installed("htpasswd", "apache2-utils")?;
    let run = Run::new(&htpasswd, ["-niB", "-C", "4", user]).input(password);
    let line = run.output().await?.into_result().context("failed to hash the password")?;
    fs::write(file, line).with_context(|| format!("failed to write {}", file.display()))
}
