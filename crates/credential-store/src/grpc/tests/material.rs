//! What becomes of material: Some(refused) at the door, sealed at rest, shredded when destroyed.

use base64::{Engine, prelude::*};
use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::testing::docker_config;

const CANARY: &str = "fake-canary-7f3a9b";

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

/// Whether any file of the service holds `needle`, as it is, in base64 at any offset, or in hex.
pub(super) fn is_on_disk(fixture: &Fixture, needle: &[u8]) -> bool {
    let hex = hex(needle);
    let mut forms = vec![needle.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for offset in 0..3 {
        let shifted = [&[0; 3][..offset], needle].concat();
        let (standard, url_safe) =
            (BASE64_STANDARD_NO_PAD.encode(&shifted), BASE64_URL_SAFE_NO_PAD.encode(&shifted));
        // Without the characters at both ends that depend on what stands beside it.
        forms.extend(
            [standard, url_safe].map(|text| text.as_bytes()[offset * 8 / 6 + 1..text.len() - 1].to_vec()),
        );
    }
    std::fs::read_dir(fixture.folder.path()).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
    })
}

#[tokio::test]
async fn no_file_holds_a_password_in_any_form() {
    let fixture = Fixture::on_file().await;
    fixture.create("quay", CANARY).await;
    fixture.rotate("quay", CANARY).await;
    let auth = BASE64_STANDARD.encode(format!("robot:{CANARY}"));
    let material = Some(docker_config(&format!(r#"{{"auths":{{"ghcr.io":{{"auth":"{auth}"}}}}}}"#)));
    fixture.try_create(wire::CreateCredentialRequest { material, ..creation("ghcr", "") }).await.unwrap();
    let answer = fixture.fetch(fixture.sign(&fixture.claims(&["quay", "ghcr"]))).await.unwrap();
    assert!(String::from_utf8_lossy(&answer.data).contains(CANARY));
    fixture.fetch(fixture.sign(&fixture.claims(&["quay", "gone"]))).await.unwrap_err();
    let refused = docker_config(&format!(r#"{{"auths":{{"ghcr.io":{{"auth":"{CANARY}"}}}}}}"#));
    fixture
        .try_create(wire::CreateCredentialRequest { material: Some(refused), ..creation("x", "") })
        .await
        .unwrap_err();
    assert!(!is_on_disk(&fixture, CANARY.as_bytes()));
    assert!(is_on_disk(&fixture, b"quay.io"), "the search does read the database");

    let control = fixture.folder.path().join("control");
    let hex = hex(CANARY.as_bytes());
    for leak in [CANARY.to_owned(), auth, BASE64_STANDARD.encode(format!("r:{CANARY}")), hex] {
        std::fs::write(&control, &leak).unwrap();
        assert!(is_on_disk(&fixture, CANARY.as_bytes()), "the search finds {leak}");
    }
}

/// The ciphertexts and wrapped data keys of a credential's versions, newest first.
pub(super) async fn sealed(fixture: &Fixture) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = sqlx::query_as("SELECT data_key, ciphertext FROM credential_versions ORDER BY version DESC");
    let mut read = fixture.grpc.credentials.database.read().await.unwrap();
    rows.fetch_all(read.connection()).await.unwrap()
}

#[tokio::test]
async fn of_a_destroyed_version_not_even_the_ciphertext_is_left() {
    let fixture = Fixture::on_file().await;
    fixture.create("quay", "one").await;
    fixture.rotate("quay", "two").await;
    let before = sealed(&fixture).await;
    for (data_key, ciphertext) in &before {
        assert!(is_on_disk(&fixture, data_key) && is_on_disk(&fixture, ciphertext));
    }
    destroy(&fixture, "quay", 1).await.unwrap();
    let [(new_key, new), (old_key, old)] = &before[..] else { panic!("two versions") };
    assert!(!is_on_disk(&fixture, old_key) && !is_on_disk(&fixture, old));
    assert!(is_on_disk(&fixture, new_key) && is_on_disk(&fixture, new));
    delete(&fixture, "quay", "").await.unwrap();
    assert!(!is_on_disk(&fixture, new_key) && !is_on_disk(&fixture, new));
}

#[tokio::test]
async fn refused_material_names_field_entry_and_remedy_and_stores_nothing() {
    let fixture = Fixture::on_file().await;
    let existing = fixture.create("quay", "pw").await;
    let login = |spoil: fn(&mut wire::RegistryLogin)| {
        let mut login = wire::RegistryLogin {
            server: "quay.io".into(),
            username: "robot".into(),
            password: CANARY.into(),
            email: String::new(),
        };
        spoil(&mut login);
        Some(wire::Material { source: Some(wire::material::Source::Login(login)) })
    };
    let cases = [
        ("material", None, ""),
        ("material", Some(wire::Material { source: None }), ""),
        ("material.docker_config", Some(docker_config("")), "empty"),
        ("material.docker_config", Some(docker_config("{")), "JSON"),
        (
            "material.docker_config",
            Some(docker_config(r#"{"auths":{"quay.io":{"auth":"YWI="}}}"#)),
            "quay.io",
        ),
        ("material.docker_config", Some(docker_config(r#"{"auths":{},"credsStore":"x"}"#)), "credsStore"),
        ("material.docker_config", Some(docker_config(&" ".repeat(1_048_577))), "1048576"),
        ("material.login.server", login(|l| l.server.clear()), "registry"),
        ("material.login.server", login(|l| l.server = "ftp://quay.io".into()), "scheme"),
        ("material.login.username", login(|l| l.username = "a:b".into()), "colon"),
        ("material.login.username", login(|l| l.username.clear()), "username"),
        ("material.login.password", login(|l| l.password.clear()), "password"),
    ];
    for (field, material, text) in cases {
        let create = wire::CreateCredentialRequest { material: material.clone(), ..creation("new", "") };
        let rotate = wire::AddCredentialVersionRequest { material, ..rotation("quay", "") };
        for refused in [fixture.try_create(create).await, fixture.try_rotate(rotate).await] {
            let status = refused.unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, field));
            let violation = &status.get_details_bad_request().unwrap().field_violations[0];
            assert!(violation.description.contains(text), "{}", violation.description);
            assert!(!format!("{status:?}").contains(CANARY));
        }
    }
    assert_refused(fixture.get("new").await, Code::NotFound, "CREDENTIAL_NOT_FOUND");
    assert_eq!(fixture.get("quay").await.unwrap(), existing);
    assert_eq!(fixture.audit().await.len(), 1);
    assert!(!is_on_disk(&fixture, CANARY.as_bytes()));
}
