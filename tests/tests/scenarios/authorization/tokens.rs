//! A service account token of the real API server, in the hands of the `pullpass` command.

use e2e::{Cluster, Scenario, binaries, command::Run, issuer::AUDIENCE, pullpass::Service, variant::Variant};
use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::api::PostParams;
use serde_json::json;

/// What makes an API server's keys readable for those who have no account there, as deploy/README.md tells its users to.
const READABLE: [&str; 5] = [
    "create",
    "clusterrolebinding",
    "pullpass-reads-issuer",
    "--clusterrole=system:service-account-issuer-discovery",
    "--group=system:unauthenticated",
];

async fn token(cluster: &Cluster, namespace: &str, account: &str, audience: &str) -> String {
    let request: TokenRequest = serde_json::from_value(json!({
        "metadata": {}, "spec": {"audiences": [audience], "expirationSeconds": 600},
    }))
    .expect("a request");
    let accounts = cluster.api::<ServiceAccount>(namespace);
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
    answer.expect("a token").status.and_then(|status| status.token).expect("a token")
}

/// credential-store, with the API server of the cluster as an issuer whose service accounts in `namespace` may rotate.
async fn start(s: &Scenario, namespace: &str) -> Variant {
    s.cluster.kubectl(&READABLE).await.ok();
    let discovery =
        s.cluster.kubectl(&["get", "--raw", "/.well-known/openid-configuration"]).await.ok().json();
    let kubeconfig =
        s.cluster.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"]).await.ok().json();
    let authority =
        kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"].as_str().expect("an authority");
    let pem = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, authority).expect("base64");
    let authorities = s.pullpass.state().dir().join("cluster-a-ca.pem");
    std::fs::write(&authorities, pem).expect("written");
    let section = format!(
        "name = 'cluster-a'\nissuer = {}\njwks_uri = {}\naudience = '{AUDIENCE}'\nauthorities = '{}'",
        discovery["issuer"],
        discovery["jwks_uri"],
        authorities.display()
    );
    let role = format!(
        "name = 'pipelines'\nprincipals = ['spiffe://pullpass.local/jwt/cluster-a/system/serviceaccount/{namespace}/*']\n\
         methods = ['pullpass.credential.v1.CredentialStore/ListCredentials',\
         'pullpass.credential.v1.CredentialStore/CreateCredential']"
    );
    let table = |text: &str| toml::Value::from(text.parse::<toml::Table>().expect(text));
    let variant = Variant::start(&s.pullpass, "issued", &[Service::CredentialStore], |_, config| {
        let server = config["server"].as_table_mut().expect("a table");
        server.insert("issuers".into(), vec![table(&section)].into());
        server["roles"].as_array_mut().expect("roles").push(table(&role));
    });
    variant.await.expect("credential-store starts")
}

#[tokio::test]
async fn a_pipeline_uses_its_service_account_token() {
    let s = Scenario::shared().await;
    let (ci, web) = (s.namespace("ci").await, s.namespace("web").await);
    let variant = start(&s, &ci).await;
    let file = s.pullpass.state().dir().join(s.name("token"));
    let mut config = s.pullpass.state().client_config().expect("a configuration");
    (config.tls.certificate, config.tls.key) = (None, None);
    config.credential_store = variant.peer(Service::CredentialStore).clone();
    let client = s.pullpass.state().dir().join(s.name("client.toml"));
    std::fs::write(&client, toml::to_string(&config).expect("TOML")).expect("written");
    let run = async |token: &str, arguments: &[&str]| {
        std::fs::write(&file, token).expect("written");
        let program = binaries::own("pullpass").expect("the command");
        let run =
            Run::new(&program, arguments).env("PULLPASS_CONFIG", &client).env("PULLPASS_TOKEN_FILE", &file);
        run.input("first").output().await.expect("it runs")
    };
    let good = token(&s.cluster, &ci, "default", AUDIENCE).await;
    let create =
        ["credential", "create", "piped", "--server", "quay.io", "--username", "r", "--password-stdin"];
    run(&good, &create).await.ok();
    let listed = run(&good, &["credential", "list", "-o", "json"]).await.ok();
    let creator = format!("spiffe://pullpass.local/jwt/cluster-a/system/serviceaccount/{ci}/default");
    assert!(listed.stdout.contains(&creator), "{}", listed.stdout);
    let as_it_is = run(&good, &["credential", "get", "piped"]).await;
    assert!(as_it_is.code == 1 && as_it_is.stderr.contains("METHOD_NOT_ALLOWED"), "{as_it_is:?}");

    let elsewhere = token(&s.cluster, &web, "default", AUDIENCE).await;
    let other_audience = token(&s.cluster, &ci, "default", "somebody-else").await;
    let (head, rest) = good.split_at(good.len() - 8);
    let damaged = format!("{head}{}", rest.chars().rev().collect::<String>());
    for (token, reason) in [
        (elsewhere, "METHOD_NOT_ALLOWED"),
        (other_audience, "TOKEN_OTHER_AUDIENCE"),
        (damaged, "TOKEN_INVALID"),
    ] {
        let refused = run(&token, &["credential", "list"]).await;
        assert!(refused.code == 1 && refused.stderr.contains(reason), "{reason}: {refused:?}");
        assert!(!format!("{refused:?}").contains(&token), "a token was told");
    }
    let nothing = run("", &["credential", "list"]).await;
    assert!(nothing.code == 1 && nothing.stderr.contains("holds no token"), "{nothing:?}");
}
