//! The Secret in the cluster makes the kubelet choose what the input would.

use e2e::Scenario;
use pullpass_domain::{
    docker_config::SecretType,
    image::ImageRef,
    keyring::{Keyring, Match},
};

const CONFIG_JSON: &str = r#"{"auths":{
    "quay.io":{"auth":"cXVheTpxdWF5"},
    "quay.io/acme":{"username":"acme","password":"p\u00e4ss<&>word","email":"a@b.c"},
    "https://index.docker.io/v1/":{"auth":"aHViOmh1Yg==","username":"ignored","password":"ignored"},
    "*.example.org":{"auth":"d2lsZDp3aWxk"},
    "registry.example.org:5000":{"auth":"cG9ydDpwb3J0"},
    "https://registry.example.org/v2/team":{"auth":"dGVhbTp0ZWFt"}
},"HttpHeaders":{"User-Agent":"docker"}}"#;

const DOCKERCFG: &str = r#"{
    "quay.io/acme/app":{"username":"app","password":"app"},
    "https://index.docker.io/v1/":{"username":"hub","password":"other","email":"a@b.c"}
}"#;

const IMAGES: [&str; 14] = [
    "quay.io/acme/app:1",
    "quay.io/acme-corp/app",
    "quay.io/other/app@sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    "busybox",
    "docker.io/library/busybox:latest",
    "acme/app",
    "index.docker.io/acme/app",
    "localhost/acme/app",
    "registry.example.org/team/app",
    "registry.example.org/other/app",
    "registry.example.org:5000/team/app",
    "a.b.example.org/app",
    "other.example.org/app",
    "ghcr.io/nobody/app",
];

fn choice(secrets: &[(SecretType, &[u8])], image: &str) -> Vec<(String, Vec<u8>)> {
    let keyring = Keyring::from_secrets(secrets).expect("the kubelet can read it");
    let found = keyring.lookup(&ImageRef::parse(image).expect("an image"));
    found.iter().map(|m: &&Match| (m.username().to_owned(), m.password().expose().to_vec())).collect()
}

#[tokio::test]
async fn the_secret_makes_the_kubelet_choose_as_the_input_files_would() {
    let s = Scenario::shared().await;
    let namespace = s.namespace("keyring").await;
    let inputs = [(CONFIG_JSON, SecretType::DockerConfigJson), (DOCKERCFG, SecretType::Dockercfg)];
    for (content, given_as) in inputs {
        for (written_as, option) in
            [(SecretType::DockerConfigJson, "dockerconfigjson"), (SecretType::Dockercfg, "dockercfg")]
        {
            let name = s.name(&format!("{given_as:?}-{option}").to_lowercase());
            s.pullpass.cli_with(content, &["credential", "import", &name, "--from-file", "-"]).await.ok();
            let create = [
                "link",
                "create",
                &name,
                "--credential",
                &name,
                "--namespace",
                &namespace,
                "--service-account",
                "default",
                "--secret-type",
                option,
                "--for",
                "pull",
                "--wait",
            ];
            s.pullpass.cli(&create).await.ok();
            let secret = s.cluster.pull_secret(&namespace, &name).await.expect("the Secret");
            for image in IMAGES {
                let (wanted, found) = (
                    choice(&[(given_as, content.as_bytes())], image),
                    choice(&[(written_as, &secret)], image),
                );
                assert_eq!(found, wanted, "{image} with {name}");
            }
        }
    }
}

#[tokio::test]
async fn of_two_credentials_in_a_link_the_kubelet_chooses_as_of_two_secrets_in_that_order() {
    let s = Scenario::shared().await;
    let (first, second, link) = (s.name("first"), s.name("second"), s.name("merged"));
    let namespace = s.namespace("merged").await;
    s.pullpass.cli_with(DOCKERCFG, &["credential", "import", &first, "--from-file", "-"]).await.ok();
    s.pullpass.cli_with(CONFIG_JSON, &["credential", "import", &second, "--from-file", "-"]).await.ok();
    let create = [
        "link",
        "create",
        &link,
        "--credential",
        &first,
        "--credential",
        &second,
        "--namespace",
        &namespace,
        "--service-account",
        "default",
        "--for",
        "pull",
        "--wait",
    ];
    s.pullpass.cli(&create).await.ok();
    let secret = s.cluster.pull_secret(&namespace, &link).await.expect("the Secret");
    let inputs = [
        (SecretType::Dockercfg, DOCKERCFG.as_bytes()),
        (SecretType::DockerConfigJson, CONFIG_JSON.as_bytes()),
    ];
    for image in IMAGES {
        let (wanted, found) =
            (choice(&inputs, image), choice(&[(SecretType::DockerConfigJson, &secret)], image));
        // One file has one entry for a registry: of several for the same key, the first secret's is kept.
        assert_eq!(found.first(), wanted.first(), "{image}");
    }
}
