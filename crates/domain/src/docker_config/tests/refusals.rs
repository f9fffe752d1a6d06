//! Every refusal names its entry, offers a remedy, and says nothing of the contents.

use super::*;

mod entry;

/// Stands where a secret would in all files of these tests, and must not come out.
const CANARY: &str = "hunter2canary";

/// The refusal of a file, checked for leaks.
#[track_caller]
fn refusal(data: impl AsRef<[u8]>) -> Error {
    let data = data.as_ref();
    let error = DockerConfig::parse(data).expect_err(&data.escape_ascii().to_string());
    assert_discreet(&error);
    error
}

#[track_caller]
fn assert_discreet(error: &Error) {
    let said = format!("{error} {error:?} {} {:?}", error.remedy(), error.entry());
    let encoded = base64(CANARY);
    for leak in ["hunter2", &encoded[..8], "4711"] {
        assert!(!said.contains(leak), "{leak} in {said}");
    }
    assert!(!error.remedy().is_empty());
    assert!(error.entry().is_none_or(|entry| error.to_string().contains(&format!("{entry:?}"))));
}

/// The refusal of `quay.io` with these fields, in both file shapes.
#[track_caller]
fn entry_refusal(entry: &str) -> Error {
    let other = format!(r#""ghcr.io":{{"auth":"{}"}}"#, base64(&format!("u:{CANARY}")));
    let dockercfg = refusal(format!(r#"{{{other},"quay.io":{entry}}}"#));
    assert_eq!(dockercfg, refusal(format!(r#"{{"auths":{{{other},"quay.io":{entry}}}}}"#)));
    assert_eq!(dockercfg.entry(), Some("quay.io"), "{entry}");
    dockercfg
}

fn quay() -> String {
    "quay.io".into()
}

#[test]
fn an_empty_file_is_refused() {
    for data in ["", " \n\t\r"] {
        assert_eq!(refusal(data), Error::Empty);
    }
}

#[test]
fn a_file_over_one_mebibyte_is_refused_and_one_of_exactly_that_size_is_not() {
    let entry = r#"{"quay.io":{"auth":"YTpi"}}"#;
    let file = |size: usize| format!("{entry}{}", " ".repeat(size - entry.len()));
    assert!(DockerConfig::parse(file(MAX_BYTES).as_bytes()).is_ok());
    assert_eq!(refusal(file(MAX_BYTES + 1)), Error::TooLarge(MAX_BYTES + 1));
}

#[test]
fn a_file_that_renders_to_more_than_one_mebibyte_is_refused() {
    let file = format!(r#"{{"quay.io":{{"username":"u","password":"{}"}}}}"#, "<".repeat(200_000));
    assert!(matches!(refusal(file), Error::RenderedTooLarge(size) if size > MAX_BYTES));
}

#[test]
fn what_is_not_json_is_refused_by_its_place() {
    for data in [
        format!("{{\n\"quay.io\": {CANARY}"),
        format!("{{\n\"quay.io\": 4711{CANARY}}}"),
        format!("{{\n\"{CANARY}"),
        format!("{{\n'{CANARY}'"),
        "{\n\"quay.io\": {\"x\": 4711e99999}}".into(),
        "{\n\"a\": \"\u{1}\"}".into(),
    ] {
        assert!(matches!(refusal(&data), Error::NotJson { line: 2, .. }), "{data}");
    }
}

#[test]
fn trailing_bytes_are_refused() {
    for trailing in ["x", "{}", "\0", CANARY] {
        let error = refusal(format!(r#"{{"quay.io":{{"auth":"YTpi"}}}}{trailing}"#));
        assert_eq!(error, Error::TrailingBytes { line: 1, column: 28 }, "{trailing:?}");
    }
}

#[test]
fn a_byte_order_mark_is_refused() {
    assert_eq!(refusal("\u{feff}{\"quay.io\":{\"auth\":\"YTpi\"}}"), Error::ByteOrderMark);
}

#[test]
fn text_that_the_kubelet_would_alter_is_refused() {
    for data in [
        &b"{\"quay.io\":{\"username\":\"u\",\"password\":\"p\xff\"}}"[..],
        br#"{"quay.io":{"password":"\ud83d"}}"#,
    ] {
        assert_eq!(refusal(data), Error::NotUnicode);
    }
}

#[test]
fn deep_nesting_is_refused() {
    let nested = format!("{}{}", "[".repeat(9_999), "]".repeat(9_999));
    assert_eq!(refusal(format!(r#"{{"auths":{{}},"x":{nested}}}"#)), Error::TooDeep);
}

#[test]
fn anything_but_an_object_at_the_top_is_refused() {
    for (data, found) in [
        ("null", "null"),
        ("true", "a boolean"),
        ("false", "a boolean"),
        ("4711", "a number"),
        ("[]", "an array"),
        (r#""hunter2canary""#, "a string"),
    ] {
        assert_eq!(refusal(data), Error::NotAnObject(found));
    }
}

#[test]
fn a_config_json_without_auths_is_refused_as_that() {
    for data in
        [r#"{"detachKeys":"ctrl-e"}"#, r#"{"HttpHeaders":{"a":"hunter2canary"}}"#, r#"{"auths":null}"#]
    {
        assert_eq!(refusal(data), Error::NoAuths, "{data}");
    }
}

#[test]
fn a_file_without_entries_is_refused() {
    let emptied = r#"{"auths":{"quay.io":{"auth":"YTpi"}},"auths":null,"auths":{}}"#;
    for data in ["{}", r#"{"auths":{}}"#, emptied] {
        assert_eq!(refusal(data), Error::NoEntries, "{data}");
    }
}

#[test]
fn auths_of_the_wrong_shape_is_refused() {
    for (auths, found) in
        [("[]", "an array"), ("4711", "a number"), (r#""hunter2canary""#, "a string"), ("true", "a boolean")]
    {
        assert_eq!(refusal(format!(r#"{{"Auths":{auths}}}"#)), Error::AuthsShape(found));
    }
}

#[test]
fn http_headers_of_the_wrong_shape_are_refused() {
    let auths = r#""auths":{"quay.io":{"auth":"YTpi"}}"#;
    for (headers, found) in
        [(r#"{"a":4711}"#, "a number"), ("[]", "an array"), (r#""hunter2canary""#, "a string")]
    {
        assert_eq!(
            refusal(format!(r#"{{{auths},"httpheaders":{headers}}}"#)),
            Error::HttpHeadersShape(found)
        );
    }
    let fine = format!(r#"{{{auths},"HttpHeaders":{{"a":"b","c":null}}}}"#);
    assert!(DockerConfig::parse(fine.as_bytes()).is_ok());
}

#[test]
fn credential_helpers_are_refused_before_the_blank_entries_they_leave() {
    for name in ["credsStore", "CREDSSTORE", "cred\u{17f}Store"] {
        let error = refusal(format!(r#"{{"auths":{{"quay.io":{{}}}},"{name}":"desktop"}}"#));
        assert_eq!(error, Error::CredsStore);
        assert!(error.to_string().contains("the kubelet ignores"));
    }
    let error = refusal(r#"{"auths":{"quay.io":{"auth":"YTpi"}},"credHelpers":{"gcr.io":"gcloud"}}"#);
    assert_eq!(error, Error::CredHelpers("gcr.io".into()));
    assert!(error.to_string().contains("the kubelet ignores"));
    assert_eq!(refusal(r#"{"credsStore":"desktop"}"#), Error::CredsStore);
}

#[test]
fn an_entry_beside_auths_is_refused() {
    let data = format!(r#"{{"auths":{{"ghcr.io":{{"auth":"YTpi"}}}},"quay.io":{{"password":"{CANARY}"}}}}"#);
    assert_eq!(refusal(data), Error::BesideAuths(quay()));
}

#[test]
fn a_registry_key_with_user_information_is_refused_without_showing_it() {
    for key in
        ["https://user:hunter2canary@quay.io", "hunter2canary@quay.io", "https://a:hunter2canary@b@quay.io"]
    {
        let error = refusal(format!(r#"{{"{key}":{{"auth":"YTpi"}}}}"#));
        assert_eq!(error, Error::KeyUserinfo("[redacted]@quay.io".into()));
        // Also where the entry is refused for another reason first.
        let error = refusal(format!(r#"{{"{key}":{{"auth":"*"}}}}"#));
        assert_eq!(error.entry(), Some("[redacted]@quay.io"));
        assert_discreet(&DockerConfig::from_login(key, "u", "p".to_owned().into(), "").unwrap_err());
    }
}

#[test]
fn a_registry_key_with_another_scheme_is_refused() {
    for key in ["HTTPS://quay.io", "ftp://quay.io", "docker://quay.io"] {
        assert_eq!(refusal(format!(r#"{{"{key}":{{"auth":"YTpi"}}}}"#)), Error::KeyScheme(key.into()));
    }
}

#[test]
fn a_registry_key_that_can_never_match_an_image_is_refused() {
    for key in [
        "",
        "quay.io ",
        "quay.io//",
        "myregistry",
        "quay.io/Acme",
        "https://index.docker.io/v1",
        "index.docker.io/acme",
        "[::1]",
    ] {
        assert_eq!(
            refusal(format!(r#"{{"{key}":{{"auth":"YTpi"}}}}"#)),
            Error::KeyMatchesNothing(key.into())
        );
    }
}

#[test]
fn a_long_registry_key_is_cut_short_in_the_message() {
    let error = refusal(format!(r#"{{"{}":{{"auth":"YTpi"}}}}"#, "é".repeat(10_000)));
    assert_eq!(error.entry().map(|entry| entry.chars().count()), Some(121));
}

#[test]
fn two_keys_that_are_one_to_the_kubelet_with_different_credentials_are_refused_naming_both() {
    let data = |second: &str| {
        format!(r#"{{"quay.io":{{"auth":"YTpi"}},"https://quay.io/v1/":{{"auth":"{second}"}}}}"#)
    };
    let error = refusal(data(&base64(&format!("a:{CANARY}"))));
    assert_eq!(error, Error::Ambiguous("https://quay.io/v1/".into(), quay()));
    assert_eq!(DockerConfig::parse(data("YTpi").as_bytes()).unwrap().entries().len(), 2);
}

#[test]
fn a_login_is_held_to_the_same_rules() {
    let refused = |server: &str, username: &str, password: &str| {
        let error =
            DockerConfig::from_login(server, username, Password::new(password.into()), "").unwrap_err();
        assert_discreet(&error);
        error
    };
    assert_eq!(refused("", "u", CANARY), Error::NoServer);
    assert_eq!(refused("quay.io", "", CANARY), Error::NoUsername(quay()));
    assert_eq!(refused("quay.io", "u", ""), Error::NoPassword(quay()));
    assert_eq!(refused("quay.io", "", ""), Error::Blank(quay()));
    assert_eq!(refused("quay.io", "a:b", CANARY), Error::UsernameColon(quay()));
    assert_eq!(refused("quay.io", "a\r", CANARY), Error::UsernameControl(quay()));
    assert_eq!(refused(" quay.io", "a", CANARY), Error::KeyMatchesNothing(" quay.io".into()));
    assert!(matches!(refused("quay.io", "u", &CANARY.repeat(50_000)), Error::RenderedTooLarge(_)));
}
