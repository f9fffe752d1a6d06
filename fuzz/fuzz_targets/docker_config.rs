//! Files handed in as docker configs, or four parts of a login: what is accepted comes back as it was, merges keep what they
//! promise, and nothing that is said of a file tells a password.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullpass_domain::{
    docker_config::{DockerConfig, Entry, Error, MAX_BYTES, SecretType},
    keyring::Keyring,
    secret::Password,
};
use pullpass_fuzz::{assert_untold, bounded, parts};

/// Two keys of 120 characters, each shown twice and escaped, and the text around them.
const LONGEST_MESSAGE: usize = 6_000;

fuzz_target!(|input: &[u8]| bounded(input, || {
    let configs: Vec<_> = parts(input).filter_map(accepted).collect();
    configs.iter().for_each(comes_back);
    merge(&configs);
    let texts: Option<Vec<&str>> = parts(input).map(|part| str::from_utf8(part).ok()).collect();
    if let Some([server, username, password, email]) = texts.as_deref() {
        login(server, username, password, email);
    }
}));

fn accepted(file: &[u8]) -> Option<DockerConfig> {
    match DockerConfig::parse(file) {
        Ok(config) => Some(config),
        Err(error) => {
            let second = match &error {
                Error::Ambiguous(_, second) => Some(second.as_str()),
                _ => None,
            };
            let text = format!("{error} {error:?} {}", error.remedy());
            assert!(text.len() < LONGEST_MESSAGE, "{text}");
            assert_untold(&text, error.entry().into_iter().chain(second));
            None
        }
    }
}

fn render(config: &DockerConfig, secret_type: SecretType) -> Vec<u8> {
    config.render(secret_type).expect("what was accepted can be rendered").expose().to_vec()
}

fn comes_back(config: &DockerConfig) {
    let stored = render(config, SecretType::DockerConfigJson);
    assert!(stored.len() <= MAX_BYTES);
    let again = DockerConfig::parse(&stored).expect("what was rendered is accepted");
    assert_eq!(&again, config);
    assert_eq!(render(&again, SecretType::DockerConfigJson), stored);
    for secret_type in [SecretType::DockerConfigJson, SecretType::Dockercfg] {
        let data = render(config, secret_type);
        let keyring = Keyring::from_secrets(&[(secret_type, &data)]).expect("the kubelet reads it");
        assert!(config.entries().iter().all(|entry| keyring.offers(entry)));
    }
    config.entries().iter().for_each(is_printed_without_password);
}

/// The same, whatever the password is.
fn is_printed_without_password(entry: &Entry) {
    let password = Password::new("another".to_owned());
    let other = DockerConfig::from_login(entry.registry(), entry.username(), password, entry.email())
        .expect("the password does not matter");
    assert_eq!(format!("{entry:?}"), format!("{:?}", other.entries()[0]));
}

fn merge(configs: &[DockerConfig]) {
    let merged = DockerConfig::merge(configs);
    assert_eq!(DockerConfig::merge(std::slice::from_ref(&merged)), merged);
    assert_eq!(DockerConfig::merge(&[merged.clone(), merged.clone()]), merged);
    assert_eq!(DockerConfig::merge(&[configs, configs].concat()), merged);
    let known = |entry: &Entry| configs.iter().any(|config| config.entries().contains(entry));
    assert!(merged.entries().iter().all(known));
    if let Some(first) = configs.first() {
        assert!(first.entries().iter().all(|entry| merged.entries().contains(entry)), "the first one wins");
    }
}

fn login(server: &str, username: &str, password: &str, email: &str) {
    let with = |password: &str| DockerConfig::from_login(server, username, password.to_owned().into(), email);
    match with(password) {
        Ok(config) => comes_back(&config),
        Err(Error::RenderedTooLarge(_)) => {}
        Err(error) if password.is_empty() => assert_ne!(error.remedy(), ""),
        Err(error) => assert_eq!(Some(error), with("another").err(), "the password does not matter"),
    }
}
