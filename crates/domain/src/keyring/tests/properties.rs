//! Rendered Secrets against the files they were made of, through the keyring.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value};

use super::*;
use crate::docker_config::DockerConfig;

const HOSTS: [&str; 19] = [
    "quay.io",
    "*.io",
    "q*y.io",
    "*",
    "*.*",
    "docker.io",
    "index.docker.io",
    "docker.*",
    "registry-1.docker.io",
    "localhost",
    "localhost:5000",
    "quay.io:443",
    "quay.io:",
    "*:5000",
    "[::1]:5000",
    "Quay.io",
    "Foo",
    "*_reg.local",
    "a.b.io",
];
const PATHS: [&str; 19] = [
    "",
    "",
    "",
    "/",
    "/v1/",
    "/v2/",
    "/acme",
    "/ac",
    "/acme/",
    "/acme/app",
    "/v1/acme",
    "/v2/v1/acme",
    "/%61cme",
    "/acme%2Fapp",
    "/acme%3Fx",
    "/library",
    "?x",
    "/acme#x",
    "/v1/access-token",
];
const IMAGES: [&str; 18] = [
    "nginx",
    "acme/app",
    "docker.io/acme/app:1",
    "quay.io/acme/app",
    "quay.io/acme",
    "quay.io/acmeother",
    "quay.io/v1/acme",
    "quay.io:443/acme/app",
    "localhost/x",
    "localhost:5000/acme",
    "[::1]:5000/acme/x",
    "Quay.io/acme",
    "Foo/acme/x",
    "my_reg.local/acme",
    "a.b.io/acme/app",
    "registry-1.docker.io/library/nginx",
    "x.docker.io/acme",
    "ghcr.io/acme",
];

/// One of the above, or one that is like the keys.
fn reference() -> impl Strategy<Value = String> {
    let host = select(vec![
        "quay.io/",
        "a.b.io/",
        "xy.io/",
        "quay.io:443/",
        "localhost/",
        "localhost:5000/",
        "x:5000/",
        "[::1]:5000/",
        "Quay.io/",
        "Foo/",
        "my_reg.local/",
        "index.docker.io/",
        "docker.io/",
        "",
    ]);
    let component =
        select(vec!["acme", "ac", "acmeother", "app", "library", "nginx", "v1", "v2", "access-token"]);
    let path = proptest::collection::vec(component, 1..4).prop_map(|path| path.join("/"));
    let generated =
        (host, path, select(vec!["", ":1"])).prop_map(|(host, path, tag)| format!("{host}{path}{tag}"));
    prop_oneof![select(&IMAGES[..]).prop_map(str::to_owned), generated]
}

fn references() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(reference(), 12)
}

fn key() -> impl Strategy<Value = String> {
    let scheme = select(vec!["", "", "https://", "http://"]);
    (scheme, select(&HOSTS[..]), select(&PATHS[..]))
        .prop_map(|(scheme, host, path)| format!("{scheme}{host}{path}"))
}

fn name(field: &'static str) -> impl Strategy<Value = String> {
    let long_s = field.replace('s', "\u{17f}");
    select(vec![field.to_owned(), field.to_uppercase(), long_s])
}

fn user() -> impl Strategy<Value = String> {
    "[a-zé<&>+\"\\\\\u{2028}😀]{1,6}"
}

fn secret() -> impl Strategy<Value = String> {
    "[a-zé<&>:\"\\\\\n\t\u{0}\u{8}\u{7f}\u{2029}\u{fffd}😀]{1,9}"
}

/// The members of an entry, with or without `auth`, repeated and in odd letter case.
fn entry() -> impl Strategy<Value = Value> {
    let fields = (name("username"), user(), name("password"), secret(), name("email"), "[a-z<@]{0,5}");
    let auth = proptest::option::of((name("auth"), user(), secret(), select(vec![true, false])));
    (fields, auth).prop_map(|((username, user, password, secret, email, mail), auth)| {
        let mut members =
            Map::from_iter([(username, user.into()), (password, secret.into()), (email, mail.into())]);
        if let Some((name, user, secret, is_padded)) = auth {
            use base64::Engine;
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
            let text = if is_padded { encoded.as_str() } else { encoded.trim_end_matches('=') };
            members.insert(name, text.into());
        }
        Value::Object(members)
    })
}

fn hosts() -> impl Strategy<Value = String> {
    proptest::collection::vec((key(), entry()), 1..5).prop_map(|hosts| {
        let members: Vec<_> = hosts.iter().map(|(key, entry)| format!("{key:?}:{entry}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// A file that is accepted, as the Secret it stands for, and what was made of it.
fn accepted() -> impl Strategy<Value = (SecretType, String, DockerConfig)> {
    let dockercfg = hosts().prop_map(|hosts| (Dockercfg, hosts));
    let config_json = (hosts(), name("auths"), hosts()).prop_map(|(first, again, second)| {
        (DockerConfigJson, format!(r#"{{"auths":{first},"{again}":{second}}}"#))
    });
    prop_oneof![dockercfg, config_json].prop_filter_map("refused", |(secret_type, data)| {
        let config = DockerConfig::parse(data.as_bytes()).ok()?;
        Some((secret_type, data, config))
    })
}

fn rendered(config: &DockerConfig, secret_type: SecretType) -> (SecretType, String) {
    let bytes = config.render(secret_type).unwrap();
    (secret_type, String::from_utf8(bytes.expose().to_vec()).unwrap())
}

proptest! {
    #[test]
    fn the_rendered_secret_chooses_what_the_file_would(
        (secret_type, data, config) in accepted(),
        references in references(),
    ) {
        let outputs = [rendered(&config, DockerConfigJson), rendered(&config, Dockercfg)];
        for reference in &references {
            let expected = matches(&[(secret_type, &data)], reference);
            for (output_type, output) in &outputs {
                prop_assert_eq!(&matches(&[(*output_type, output)], reference), &expected, "{}", reference);
            }
        }
    }

    #[test]
    fn a_rendered_config_parses_back_to_itself((_, _, config) in accepted()) {
        for secret_type in [DockerConfigJson, Dockercfg] {
            let (_, data) = rendered(&config, secret_type);
            let again = DockerConfig::parse(data.as_bytes()).unwrap();
            prop_assert_eq!(&again, &config);
            prop_assert_eq!(rendered(&again, secret_type).1, data);
        }
    }

    #[test]
    fn a_merge_chooses_what_the_files_in_that_order_would_try_first(
        files in proptest::collection::vec(accepted(), 1..4),
        references in references(),
    ) {
        let apart: Vec<_> = files.iter().map(|(secret_type, data, _)| (*secret_type, data.as_str())).collect();
        let configs: Vec<DockerConfig> = files.iter().map(|(_, _, config)| config.clone()).collect();
        let merged = DockerConfig::merge(&configs);
        let outputs = [rendered(&merged, DockerConfigJson), rendered(&merged, Dockercfg)];
        for reference in &references {
            let expected = matches(&apart, reference);
            for (output_type, output) in &outputs {
                let merged = matches(&[(*output_type, output)], reference);
                prop_assert_eq!(merged.first(), expected.first(), "{}", reference);
            }
        }
    }

    #[test]
    fn a_merge_of_merges_is_the_merge_of_all(files in proptest::collection::vec(accepted(), 1..5), at in 0_usize..5) {
        let configs: Vec<DockerConfig> = files.into_iter().map(|(_, _, config)| config).collect();
        let (first, rest) = configs.split_at(at.min(configs.len()));
        let merged = DockerConfig::merge(&configs);
        prop_assert_eq!(&DockerConfig::merge(&[DockerConfig::merge(first), DockerConfig::merge(rest)]), &merged);
        let stored = rendered(&merged, DockerConfigJson).1;
        prop_assert_eq!(DockerConfig::parse(stored.as_bytes()), Ok(merged));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        _ = DockerConfig::parse(&bytes);
        _ = Keyring::from_secrets(&[(Dockercfg, &bytes), (DockerConfigJson, &bytes)]);
    }

    #[test]
    fn arbitrary_tokens_never_panic(
        tokens in proptest::collection::vec(
            select(vec!["{", "}", "[", "]", ":", ",", "\"", "\"auths\"", "\"auth\"", "\"quay.io\"", "null", "1", "\\u", "d83d", "é", "@", "%", "\"YTpi\""]),
            0..24,
        ),
        key in "\\PC{0,12}",
    ) {
        let text = tokens.concat();
        _ = DockerConfig::parse(text.as_bytes());
        _ = Keyring::from_secrets(&[(Dockercfg, text.as_bytes()), (DockerConfigJson, text.as_bytes())]);
        _ = ImageRef::parse(&text);
        _ = DockerConfig::from_login(&format!("{key}{text}"), &text, text.clone().into(), "");
    }
}
