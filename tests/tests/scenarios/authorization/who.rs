//! The callers of the table, and services that run with the roles that `deploy/` ships.

use std::{collections::HashMap, path::Path, time::Duration};

use e2e::variant::Variant;
use e2e::{
    Scenario, bare_tls,
    issuer::Issuer,
    pullpass::{Service, connection},
    scenario::World,
};
use pullpass::{
    dev::{Options, StateDir},
    pki::Authority,
};
use pullpass_runtime::config::TlsConfig;
use tempfile::TempDir;
use tonic::Status;

use super::{call_empty, table::Who};

/// What the role of the pipelines allows, which the test adds to the shipped ones.
const PIPELINES: &str = r#"
    name = "pipelines"
    principals = ["spiffe://pullpass.local/jwt/cluster-a/system/serviceaccount/ci/*"]
    methods = [
      "pullpass.credential.v1.CredentialStore/AddCredentialVersion",
      "pullpass.credential.v1.CredentialStore/ListCredentials",
      "pullpass.grant.v1.GrantManager/ListSecretLinks",
    ]
"#;

/// The three services with the roles of `deploy/`, reflection switched on, and one issuer of tokens.
pub(super) struct Shipped {
    scenario: Scenario,
    variant: Variant,
    issuer: Issuer,
    folder: TempDir,
}

impl Shipped {
    pub(super) async fn start() -> Self {
        let scenario = Scenario::shared().await;
        let folder = tempfile::tempdir().expect("a folder");
        let issuer = Issuer::new(folder.path(), "issuer").expect("an issuer");
        let variant = Variant::start(&scenario.pullpass, "shipped", &Service::ALL, |service, config| {
            let server = config["server"].as_table_mut().expect("a table");
            let mut roles = shipped_roles(service);
            if service != Service::ClusterApplier {
                roles.push(PIPELINES.parse::<toml::Table>().expect("a role").into());
            }
            server.insert("roles".into(), roles.into());
            server.insert("issuers".into(), vec![issuer.section("cluster-a")].into());
            server.insert("reflection".into(), true.into());
        });
        let variant = variant.await.expect("the services start with the shipped roles");
        Self { scenario, variant, issuer, folder }
    }

    fn world(&self) -> &World {
        &self.scenario
    }
}

fn shipped_roles(service: Service) -> Vec<toml::Value> {
    let file = format!("../deploy/{}/config.toml", service.binary_name());
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("it is shipped");
    let config: toml::Table = text.parse().expect("it is TOML");
    config["server"]["roles"].as_array().expect("it has roles").clone()
}

/// The certificates and tokens of all callers.
pub(super) struct Callers {
    certificates: HashMap<Who, TlsConfig>,
    tokens: HashMap<Who, String>,
}

impl Callers {
    pub(super) fn new(shipped: &Shipped) -> Self {
        let state = shipped.world().pullpass.state();
        let issue = |path: &str| state.issue(path).expect("a certificate");
        let foreign =
            StateDir::prepare(&Options::new(shipped.folder.path().join("foreign"))).expect("a folder");
        let foreign = foreign.issue("/platform/admin").expect("a certificate");
        let authorities = state.tls(Service::GrantManager).authorities.clone();
        let certificates = HashMap::from([
            (Who::Platform, issue("/platform/portal")),
            (Who::Applier, state.tls(Service::ClusterApplier).clone()),
            (Who::OtherApplier, issue("/applier/unregistered")),
            (Who::GrantManager, state.tls(Service::GrantManager).clone()),
            (Who::CredentialStore, state.tls(Service::CredentialStore).clone()),
            (Who::Recovery, issue("/recovery/on-call")),
            (Who::Stranger, issue("/stranger")),
            (Who::AlmostPlatform, issue("/platform/portal/more")),
            (Who::OtherTrustDomain, of_another_trust_domain(state, shipped.folder.path())),
            (Who::OtherAuthority, TlsConfig { authorities, ..foreign }),
        ]);
        let account = |namespace: &str| format!("system:serviceaccount:{namespace}:deployer");
        let other = Issuer::new(shipped.folder.path(), "other").expect("an issuer");
        let tokens = HashMap::from([
            (Who::Pipeline, shipped.issuer.token(&account("ci"), 3600)),
            (Who::OtherAccount, shipped.issuer.token(&account("web"), 3600)),
            (Who::Impostor, shipped.issuer.token("platform:admin", 3600)),
            (Who::ExpiredToken, shipped.issuer.token(&account("ci"), -40)),
            (Who::ForeignToken, other.token(&account("ci"), 3600)),
        ]);
        Self { certificates, tokens }
    }

    /// Calls as `who`; a stream that says nothing was let through.
    pub(super) async fn call(
        &self,
        shipped: &Shipped,
        service: Service,
        who: Who,
        method: &str,
    ) -> Result<(), Status> {
        let peer = shipped.variant.peer(service);
        let answer = async {
            if let Some(tls) = self.certificates.get(&who) {
                return call_empty(connection(tls, peer), method, None).await;
            }
            let channel = bare_tls::channel(peer.endpoint.parse().expect("an address"));
            call_empty(channel, method, self.tokens.get(&who).map(String::as_str)).await
        };
        tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap_or(Ok(()))
    }
}

fn of_another_trust_domain(state: &StateDir, folder: &Path) -> TlsConfig {
    let authority = Authority::open(&state.dir().join("pki")).expect("the authority");
    let id = "spiffe://elsewhere.example.org/platform/admin".parse().expect("an id");
    let files = authority.issue(&id, &folder.join("elsewhere")).expect("a certificate");
    TlsConfig { trust_domain: "elsewhere.example.org".to_owned(), ..files }
}
