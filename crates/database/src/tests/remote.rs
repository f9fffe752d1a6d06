//! A `PostgreSQL` server on the network: it has to prove itself, and the password is nowhere to be seen.

use std::{
    error::Error as _,
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use super::{migrations, try_open};
use crate::{DatabaseConfig, Error};
use pullpass_test_database::Server;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

const PASSWORD: &str = "fake-password / with ? signs";

/// A server on an address of the loopback that is not named as such, so that it counts as remote.
struct Remote {
    _server: Server,
    address: SocketAddr,
    folder: TempDir,
}

impl Remote {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let address = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
        let ca = authority(&folder, "ca.crt");
        authority(&folder, "foreign.crt");
        let key = KeyPair::generate().unwrap();
        let names = [address.ip().to_string()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        let server = Server::start_listening(address, &certificate.pem(), &key.serialize_pem());
        server.create("store");
        server.ask("store", &format!("CREATE ROLE store LOGIN PASSWORD '{PASSWORD}'"));
        server.ask("store", "GRANT ALL ON SCHEMA public TO store");
        Self { _server: server, address, folder }
    }

    /// The configuration, with this at the end of the URL and this password in a file of this mode.
    fn config(&self, query: &str, password: &str, mode: u32) -> DatabaseConfig {
        let file = self.folder.path().join("password");
        let _ = fs::remove_file(&file);
        fs::write(&file, format!("{password}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        DatabaseConfig::new(&format!("postgres://store@{}/store?{query}", self.address), Some(file)).unwrap()
    }

    fn trusting(&self, authority: &str) -> String {
        format!("sslrootcert={}", self.path(authority).display())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn authority(folder: &TempDir, file: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(folder.path().join(file), params.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(params, key)
}

async fn refusal(config: &DatabaseConfig) -> String {
    let error = try_open(config, &migrations()).await.unwrap_err();
    let mut told = format!("{error:?} {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        told = format!("{told}: {cause}");
        source = cause.source();
    }
    for hidden in [PASSWORD, "wrong-password"] {
        assert!(!told.contains(hidden), "{told}");
    }
    told
}

#[tokio::test]
async fn a_server_proves_itself_before_it_is_given_a_password_that_nothing_shows() {
    let remote = Remote::start();
    let ours = remote.trusting("ca.crt");
    let database = try_open(&remote.config(&ours, PASSWORD, 0o600), &migrations()).await.unwrap();
    let mut read = database.read().await.unwrap();
    let encrypted = sqlx::query_scalar("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
    let version: String = encrypted.fetch_one(read.connection()).await.unwrap();
    assert_eq!(version, "TLSv1.3");
    let shown = format!("{database:?} {read:?}");
    assert!(!shown.contains("fake-password"), "{shown}");

    let foreign = refusal(&remote.config(&remote.trusting("foreign.crt"), PASSWORD, 0o600)).await;
    assert!(foreign.contains("invalid peer certificate"), "{foreign}");
    let wrong = refusal(&remote.config(&ours, "wrong-password", 0o600)).await;
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    let plain = refusal(&remote.config("sslmode=disable", PASSWORD, 0o600)).await;
    assert!(plain.contains("no encryption"), "{plain}");
}

#[tokio::test]
async fn a_password_file_that_others_can_read_is_refused() {
    let remote = Remote::start();
    let config = remote.config(&remote.trusting("ca.crt"), PASSWORD, 0o644);
    let error = try_open(&config, &migrations()).await.unwrap_err();
    assert!(matches!(error, Error::Password(_)), "{error:?}");
    let told = refusal(&config).await;
    assert!(told.contains("0600") && told.contains("0644"), "{told}");
}
