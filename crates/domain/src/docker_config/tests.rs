//! What is accepted, and what is made of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use SecretType::{DockerConfigJson, Dockercfg};

mod refusals;

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

fn parse(data: &str) -> DockerConfig {
    DockerConfig::parse(data.as_bytes()).expect(data)
}

fn login(server: &str, username: &str, password: &str) -> DockerConfig {
    DockerConfig::from_login(server, username, Password::new(password.into()), "").unwrap()
}

fn rendered(config: &DockerConfig, secret_type: SecretType) -> String {
    String::from_utf8(config.render(secret_type).unwrap().expose().to_vec()).unwrap()
}

/// `registry username password email` of every entry.
fn entries(config: &DockerConfig) -> Vec<[&str; 4]> {
    config
        .entries()
        .iter()
        .map(|entry| [entry.registry(), entry.username(), entry.password().expose(), entry.email()])
        .collect()
}

#[test]
fn a_dockercfg_and_a_config_json_are_told_apart_by_content() {
    let expected = [["quay.io", "a", "b", "e"]];
    let hosts = r#"{"quay.io":{"auth":"YTpi","email":"e"}}"#;
    assert_eq!(entries(&parse(hosts)), expected);
    assert_eq!(entries(&parse(&format!(r#"{{"auths":{hosts}}}"#))), expected);
    assert_eq!(
        entries(&parse(&format!(
            r#"{{"detachKeys":"x","AUTHS":{hosts},"credsStore":"","credHelpers":{{}}}}"#
        ))),
        expected
    );
    assert_eq!(entries(&parse(&format!("\r\n{hosts}\t\n"))), expected);
}

#[test]
fn fields_are_read_as_go_reads_them() {
    let all = r#"{"Quay.io":{"USERNAME":"u","pa\u017f\u017fword":"p","Email":"e","extra":[1]}}"#;
    assert_eq!(entries(&parse(all)), [["Quay.io", "u", "p", "e"]]);
    let last = r#"{"quay.io":{"auth":"YTpi","AUTH":"Yzpk","Auth":null}}"#;
    assert_eq!(entries(&parse(last)), [["quay.io", "c", "d", ""]]);
    let merged = r#"{"auths":{"quay.io":{"auth":"YTpi"},"ghcr.io":{"auth":"YTpi"}},"auth\u017f":{"quay.io":{"auth":"Yzpk"}}}"#;
    assert_eq!(entries(&parse(merged)), [["ghcr.io", "a", "b", ""], ["quay.io", "c", "d", ""]]);
    let emptied = r#"{"auths":{"quay.io":{"auth":"YTpi"}},"auths":null,"auths":{"ghcr.io":{"auth":"YTpi"}}}"#;
    assert_eq!(entries(&parse(emptied)), [["ghcr.io", "a", "b", ""]]);
}

#[test]
fn unpadded_auth_and_passwords_with_colons_and_line_breaks_are_accepted() {
    assert_eq!(entries(&parse(r#"{"gcr.io":{"auth":"dTpwOnc"}}"#)), [["gcr.io", "u", "p:w", ""]]);
    let key_file = login("gcr.io", "_json_key", "{\n  \"type\": \"x\"\n}\n");
    assert_eq!(parse(&rendered(&key_file, Dockercfg)), key_file);
}

#[test]
fn the_rendered_bytes_are_those_of_oc_create_secret_docker_registry() {
    let config =
        DockerConfig::from_login("https://index.docker.io/v1/", "u", Password::new("p".into()), "e@x")
            .unwrap();
    let inner =
        r#"{"https://index.docker.io/v1/":{"username":"u","password":"p","email":"e@x","auth":"dTpw"}}"#;
    assert_eq!(rendered(&config, DockerConfigJson), format!(r#"{{"auths":{inner}}}"#));
    assert_eq!(rendered(&config, Dockercfg), inner);
    let without_email = r#"{"auths":{"quay.io":{"username":"u","password":"p","auth":"dTpw"}}}"#;
    assert_eq!(rendered(&login("quay.io", "u", "p"), DockerConfigJson), without_email);
}

#[test]
fn rendering_escapes_as_go_does_and_auth_is_padded_standard_base64() {
    let password = "<>&\u{2028}\u{2029}\"\\/\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}é\u{fffd}😀";
    let data = rendered(&login("quay.io", "u", password), Dockercfg);
    let escaped =
        "\\u003c\\u003e\\u0026\\u2028\\u2029\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}é\u{fffd}😀";
    let auth = base64(&format!("u:{password}"));
    assert_eq!(data, format!(r#"{{"quay.io":{{"username":"u","password":"{escaped}","auth":"{auth}"}}}}"#));
    assert!(rendered(&login("quay.io", "u", ">>>???~"), Dockercfg).contains(r#""auth":"dTo+Pj4/Pz9+""#));
}

#[test]
fn rendering_orders_registries_by_their_bytes() {
    let data = r#"{"quay.io":{"auth":"YTpi"},"*.io":{"auth":"YTpi"},"Quay.io":{"auth":"YTpi"},"docker.io":{"auth":"YTpi"}}"#;
    let config = parse(data);
    let summaries: Vec<_> = config.summaries().collect();
    assert_eq!(summaries, [("*.io", "a"), ("Quay.io", "a"), ("docker.io", "a"), ("quay.io", "a")]);
}

#[test]
fn in_a_merge_the_first_config_with_a_place_wins() {
    let first = parse(r#"{"quay.io":{"auth":"YTpi"},"http://quay.io/":{"auth":"YTpi"}}"#);
    let second = parse(
        r#"{"https://quay.io/v1/":{"auth":"Yzpk"},"quay.io/acme":{"auth":"Yzpk"},"quay.io":{"auth":"Yzpk"}}"#,
    );
    let merged = DockerConfig::merge(&[first.clone(), second.clone()]);
    let both = [["http://quay.io/", "a", "b", ""], ["quay.io", "a", "b", ""], ["quay.io/acme", "c", "d", ""]];
    assert_eq!(entries(&merged), both);
    assert_eq!(DockerConfig::merge(&[second.clone(), first]), second);
    assert!(DockerConfig::merge(&[]).entries().is_empty());
}

#[test]
fn a_merge_that_is_too_large_is_refused_when_rendered() {
    let large = |server: &str| login(server, "u", &"p".repeat(300_000));
    let merged = DockerConfig::merge(&[large("quay.io"), large("ghcr.io")]);
    assert!(
        matches!(merged.render(DockerConfigJson), Err(Error::RenderedTooLarge(size)) if size > MAX_BYTES)
    );
}

#[test]
fn the_browser_login_tokens_of_docker_hub_are_left_out_with_a_warning() {
    let data = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},
        "https://index.docker.io/v1/access-token":{"auth":"YTpj"},"https://index.docker.io/v1/refresh-token":{"auth":"YTpk"}}}"#;
    let config = parse(data);
    assert_eq!(entries(&config), [["https://index.docker.io/v1/", "a", "b", ""]]);
    let left_out: Vec<_> = config.warnings().iter().map(Warning::entry).collect();
    assert_eq!(
        left_out,
        ["https://index.docker.io/v1/access-token", "https://index.docker.io/v1/refresh-token"]
    );
}

#[test]
fn an_auth_that_differs_from_the_fields_and_a_wrong_docker_hub_host_are_warned_of() {
    let differs =
        |fields: &str| parse(&format!(r#"{{"quay.io":{{"auth":"YTpi",{fields}}}}}"#)).warnings().to_vec();
    assert_eq!(differs(r#""username":"a","password":"hunter2""#), [Warning::AuthWins("quay.io".into())]);
    assert_eq!(differs(r#""username":"a","password":"b""#), []);
    let replaced = r#"{"quay.io":{"auth":"YTpi","username":"x"},"quay.io":{"auth":"YTpi"}}"#;
    assert_eq!(parse(replaced).warnings(), []);
    let hub = login("https://registry-1.docker.io/v2/", "u", "p");
    assert_eq!(hub.warnings(), [Warning::NotDockerHub("https://registry-1.docker.io/v2/".into())]);
    assert!(hub.warnings()[0].to_string().contains("https://index.docker.io/v1/"));
}

#[test]
fn a_config_does_not_print_its_passwords() {
    let printed = format!("{:?}", login("quay.io", "robot", "hunter2"));
    assert!(
        printed.contains("robot") && printed.contains("[redacted]") && !printed.contains("hunter2"),
        "{printed}"
    );
}

#[test]
fn the_secret_types_are_spelled_as_kubernetes_does() {
    let spelled = [DockerConfigJson, Dockercfg].map(|it| (it.kubernetes_type(), it.data_key()));
    let expected =
        [("kubernetes.io/dockerconfigjson", ".dockerconfigjson"), ("kubernetes.io/dockercfg", ".dockercfg")];
    assert_eq!(spelled, expected);
}
