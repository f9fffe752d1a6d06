//! What the kubelet chooses from a Pod's pull secrets, before and after they went through us.
//!
//! The first part of an input is an image; each other one a Secret, whose first byte tells its type: `0` for a dockercfg,
//! anything else for a dockerconfigjson.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullpass_domain::{
    docker_config::{DockerConfig, SecretType},
    image::ImageRef,
    keyring::{Error, Keyring},
};
use pullpass_fuzz::{assert_untold, bounded, parts};

const TYPES: [SecretType; 2] = [SecretType::Dockercfg, SecretType::DockerConfigJson];

type Secret<'a> = (SecretType, &'a [u8]);

fuzz_target!(|input: &[u8]| bounded(input, || {
    let mut parts = parts(input);
    let image = parts.next().and_then(|image| ImageRef::parse(str::from_utf8(image).ok()?).ok());
    let secrets: Vec<Secret> = parts.filter_map(secret).collect();
    if let Err(error) = Keyring::from_secrets(&secrets) {
        tells_its_secret(&error, secrets.len());
    }
    let imported: Vec<_> = secrets.iter().filter_map(|secret| Some((*secret, import(*secret)?))).collect();
    let images: Vec<_> = imported.iter().flat_map(|(_, config)| likely_images(config)).chain(image).collect();
    for (original, config) in &imported {
        chooses_the_same(*original, config, &images);
    }
    merged_chooses_the_same(&imported, &images);
}));

fn secret(part: &[u8]) -> Option<Secret<'_>> {
    let (first, data) = part.split_first()?;
    Some((TYPES[usize::from(*first != b'0')], data))
}

fn tells_its_secret(error: &Error, secrets: usize) {
    let (Error::NotJson { index } | Error::WrongType { index, .. } | Error::Auth { index }) = error;
    assert!(*index < secrets);
    assert_untold(&format!("{error} {error:?}"), []);
}

/// What is made of a Secret; none where it is refused, or of use only as the other type.
fn import(secret: Secret) -> Option<DockerConfig> {
    let config = DockerConfig::parse(secret.1).ok()?;
    let keyring = Keyring::from_secrets(&[secret]).ok()?;
    config.entries().iter().all(|entry| keyring.offers(entry)).then_some(config)
}

/// An image below each registry key.
fn likely_images(config: &DockerConfig) -> impl Iterator<Item = ImageRef> {
    config.entries().iter().filter_map(|entry| {
        let key = entry.registry().split(['?', '#']).next()?.replace('*', "x");
        let place = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(&key);
        ImageRef::parse(&format!("{}/x", place.trim_end_matches('/'))).ok()
    })
}

/// User name and password of every credential that is tried, in order.
fn tried(secrets: &[Secret], image: &ImageRef) -> Vec<(String, Vec<u8>)> {
    let keyring = Keyring::from_secrets(secrets).expect("each was read alone");
    let found = keyring.lookup(image).into_iter();
    found.map(|found| (found.username().to_owned(), found.password().expose().to_vec())).collect()
}

fn chooses_the_same(original: Secret, config: &DockerConfig, images: &[ImageRef]) {
    for secret_type in TYPES {
        let rendered = config.render(secret_type).expect("what was accepted can be rendered");
        for image in images {
            assert_eq!(
                tried(&[(secret_type, rendered.expose())], image),
                tried(&[original], image),
                "{image}"
            );
        }
    }
}

/// One Secret from several: what is tried first is what would be tried first with all of them.
fn merged_chooses_the_same(imported: &[(Secret, DockerConfig)], images: &[ImageRef]) {
    let (originals, configs): (Vec<_>, Vec<_>) = imported.iter().cloned().unzip();
    for secret_type in TYPES {
        let Ok(merged) = DockerConfig::merge(&configs).render(secret_type) else { return };
        for image in images {
            let before = tried(&originals, image);
            assert_eq!(tried(&[(secret_type, merged.expose())], image).first(), before.first(), "{image}");
        }
    }
}
