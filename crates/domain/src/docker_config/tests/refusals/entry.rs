//! Refusals of one entry.

use super::*;

#[test]
fn an_entry_of_the_wrong_shape_is_refused() {
    for (entry, found) in
        [("4711", "a number"), (r#""hunter2canary""#, "a string"), ("[]", "an array"), ("true", "a boolean")]
    {
        assert_eq!(entry_refusal(entry), Error::EntryShape(quay(), found));
    }
}

#[test]
fn a_field_of_the_wrong_type_is_refused() {
    for field in ["username", "password", "email", "auth"] {
        for (value, found) in
            [("4711", "a number"), ("{}", "an object"), ("[]", "an array"), ("true", "a boolean")]
        {
            let error = entry_refusal(&format!(r#"{{"{field}":{value}}}"#));
            assert_eq!(error, Error::FieldType { entry: quay(), field, found });
        }
    }
}

#[test]
fn bad_base64_in_auth_is_refused() {
    let encoded = base64(&format!("us:{CANARY}"));
    for auth in
        [format!("{encoded}="), format!("{encoded} "), format!("*{encoded}"), CANARY.into(), "=".into()]
    {
        assert_eq!(entry_refusal(&format!(r#"{{"auth":"{auth}"}}"#)), Error::AuthNotBase64(quay()), "{auth}");
    }
}

#[test]
fn url_safe_base64_in_auth_is_refused_as_that() {
    let auth = base64(&format!("u>>>???:{CANARY}")).replace('+', "-").replace('/', "_");
    let error = entry_refusal(&format!(r#"{{"auth":"{auth}"}}"#));
    assert_eq!(error, Error::AuthUrlSafe(quay()));
    assert!(error.to_string().contains("URL-safe"));
}

#[test]
fn an_auth_without_a_colon_is_refused() {
    for auth in [base64(CANARY), "\\n".into()] {
        assert_eq!(entry_refusal(&format!(r#"{{"auth":"{auth}"}}"#)), Error::AuthNoColon(quay()));
    }
}

#[test]
fn an_auth_that_is_not_unicode_is_refused() {
    for auth in ["dTr/", "/zpw"] {
        assert_eq!(entry_refusal(&format!(r#"{{"auth":"{auth}"}}"#)), Error::AuthNotUnicode(quay()));
    }
}

#[test]
fn a_username_with_a_colon_or_a_control_character_is_refused() {
    let entry = |username: &str| format!(r#"{{"username":"{username}","password":"{CANARY}"}}"#);
    assert_eq!(entry_refusal(&entry("org:4711")), Error::UsernameColon(quay()));
    assert_eq!(entry_refusal(&entry("4711\\n")), Error::UsernameControl(quay()));
}

#[test]
fn an_entry_with_only_a_token_is_refused_also_as_az_acr_login_writes_it() {
    let acr = base64("00000000-0000-0000-0000-000000000000:");
    for (fields, token) in [
        (r#""identitytoken":"hunter2canary""#.into(), "identitytoken"),
        (r#""IdentityToken":4711"#.into(), "identitytoken"),
        (r#""registrytoken":"hunter2canary""#.into(), "registrytoken"),
        (format!(r#""auth":"{acr}","identitytoken":"{CANARY}""#), "identitytoken"),
    ] {
        let error = entry_refusal(&format!("{{{fields}}}"));
        assert_eq!(error, Error::TokenOnly(quay(), token));
        assert!(error.to_string().contains("the kubelet ignores"));
    }
    let both = format!(r#"{{"quay.io":{{"auth":"YTpi","identitytoken":"{CANARY}"}}}}"#);
    assert!(DockerConfig::parse(both.as_bytes()).is_ok());
}

#[test]
fn blank_and_half_entries_are_refused() {
    for entry in ["{}", "null", r#"{"email":"4711"}"#, r#"{"auth":"Og=="}"#, r#"{"auth":"","username":null}"#]
    {
        assert_eq!(entry_refusal(entry), Error::Blank(quay()), "{entry}");
    }
    assert_eq!(entry_refusal(r#"{"password":"hunter2canary"}"#), Error::NoUsername(quay()));
    assert_eq!(entry_refusal(r#"{"username":"4711"}"#), Error::NoPassword(quay()));
}

#[test]
fn a_login_token_that_is_left_out_must_still_decode() {
    let token = "https://index.docker.io/v1/access-token";
    let data = format!(r#"{{"auths":{{"quay.io":{{"auth":"YTpi"}},"{token}":{{"auth":"*"}}}}}}"#);
    assert_eq!(refusal(data), Error::AuthNotBase64(token.into()));
}

#[test]
fn a_bad_entry_is_refused_even_if_a_later_one_replaces_it() {
    let data = r#"{"quay.io":{"auth":"*"},"quay.io":{"auth":"YTpi"}}"#;
    assert_eq!(refusal(data), Error::AuthNotBase64(quay()));
}
