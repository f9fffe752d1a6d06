//! How the data of a Secret is decoded.

use super::*;

#[test]
fn field_names_match_in_any_letter_case_and_unknown_fields_are_ignored() {
    assert_eq!(decoded(r#"{"USERNAME":"u","pa\u017f\u017fword":"p"}"#).as_deref(), Some("u:p"));
    assert_eq!(
        decoded(r#"{"username":"u","password":"p","identitytoken":1,"registrytoken":[]}"#).as_deref(),
        Some("u:p")
    );
    assert_eq!(decoded(r#"{"username":"u","password":"p","user":{}}"#).as_deref(), Some("u:p"));
    let auths =
        r#"{"credsStore":1,"credHelpers":[],"auth\u017f":{"quay.io":{"username":"u","password":"p"}}}"#;
    assert_eq!(matches(&[(DockerConfigJson, auths)], "quay.io/x"), ["u:p"]);
}

#[test]
fn a_non_empty_auth_wins_over_username_and_password() {
    assert_eq!(decoded(r#"{"username":"u","password":"p","auth":"YTpi"}"#).as_deref(), Some("a:b"));
    assert_eq!(decoded(r#"{"username":"u","password":"p","auth":""}"#).as_deref(), Some("u:p"));
}

#[test]
fn a_bad_auth_fails_the_whole_keyring_even_for_other_registries_and_unparsable_keys() {
    for auth in ["YTpi=", "YTpi ", "YT-_", "YWI=", "\\n", "*"] {
        assert_eq!(decoded(&format!(r#"{{"auth":"{auth}"}}"#)), None, "{auth}");
        let elsewhere = format!(r#"{{"quay.io":{{"auth":"YTpi"}},"a b\\c":{{"auth":"{auth}"}}}}"#);
        assert!(fails(Dockercfg, &elsewhere), "{auth}");
    }
}

#[test]
fn a_wrong_field_type_fails_the_whole_keyring() {
    for value in ["1", "true", "[]", "{}", "1.5"] {
        for field in ["username", "password", "email", "auth"] {
            assert_eq!(decoded(&format!(r#"{{"{field}":{value}}}"#)), None, "{field} {value}");
        }
        assert_eq!(decoded(value).is_none(), value != "{}", "entry {value}");
    }
    for top in ["[]", "1", "\"x\"", "true", "{", "", " "] {
        assert_eq!(fails(DockerConfigJson, top), !top.is_empty(), "{top}");
        assert_eq!(fails(Dockercfg, top), !top.is_empty(), "{top}");
    }
    for auths in ["[]", "1", "\"x\""] {
        assert!(fails(DockerConfigJson, &format!(r#"{{"auths":{auths}}}"#)), "{auths}");
    }
}

#[test]
fn blank_entries_become_matching_blank_credentials_and_half_ones_are_used_as_they_are() {
    for (entry, expected) in [
        ("{}", ":"),
        ("null", ":"),
        (r#"{"email":"e"}"#, ":"),
        (r#"{"identitytoken":"t"}"#, ":"),
        (r#"{"username":"u"}"#, "u:"),
        (r#"{"password":"p"}"#, ":p"),
        (r#"{"auth":"Og=="}"#, ":"),
    ] {
        assert_eq!(decoded(entry).as_deref(), Some(expected), "{entry}");
    }
}

#[test]
fn empty_data_and_null_hold_nothing() {
    for data in ["", "{}", "null", r#"{"auths":null}"#, r#"{"auths":{}}"#] {
        assert!(matches(&[(DockerConfigJson, data)], "quay.io/x").is_empty(), "{data}");
    }
}

#[test]
fn http_headers_must_be_null_or_strings_in_a_config_json_and_are_a_host_in_a_dockercfg() {
    for headers in ["null", "{}", r#"{"a":"b","c":null}"#] {
        assert!(!fails(DockerConfigJson, &format!(r#"{{"httpHEADERS":{headers}}}"#)), "{headers}");
    }
    for headers in ["[]", "1", r#"{"a":1}"#, r#""x""#] {
        assert!(fails(DockerConfigJson, &format!(r#"{{"HttpHeaders":{headers}}}"#)), "{headers}");
    }
    assert!(!fails(Dockercfg, r#"{"HttpHeaders":{"a":1}}"#));
}

#[test]
fn of_a_repeated_host_the_last_wins_whole_but_a_bad_earlier_one_still_fails() {
    let twice = r#"{"quay.io":{"username":"a","password":"b"},"quay.io":{"username":"c"}}"#;
    assert_eq!(matches(&[(Dockercfg, twice)], "quay.io/x"), ["c:"]);
    assert!(fails(Dockercfg, r#"{"quay.io":{"auth":"*"},"quay.io":{"auth":"YTpi"}}"#));
}

#[test]
fn repeated_auths_merge_and_a_later_null_empties_them() {
    let first = r#""auths":{"quay.io":{"auth":"YTpi"}}"#;
    for (later, expected) in [
        (r#""Auths":{"docker.io":{"auth":"YTpi"}}"#, vec!["a:b"]),
        (r#""auths":{"quay.io":{"auth":"Yzpk"}}"#, vec!["c:d"]),
        (r#""auths":{}"#, vec!["a:b"]),
        (r#""auths":null"#, vec![]),
    ] {
        let data = format!("{{{first},{later}}}");
        assert_eq!(matches(&[(DockerConfigJson, &data)], "quay.io/x"), expected, "{data}");
    }
}

#[test]
fn within_an_entry_the_last_spelling_wins_empty_overrides_and_null_does_not() {
    for (entry, expected) in [
        (r#"{"username":"a","Username":"b"}"#, "b:"),
        (r#"{"username":"a","Username":""}"#, ":"),
        (r#"{"username":"a","Username":null}"#, "a:"),
        (r#"{"auth":"YTpi","AUTH":"Yzpk"}"#, "c:d"),
        (r#"{"auth":"YTpi","AUTH":""}"#, ":"),
    ] {
        assert_eq!(decoded(entry).as_deref(), Some(expected), "{entry}");
    }
}

#[test]
fn text_that_is_not_unicode_reads_as_replacement_characters_and_auth_keeps_its_bytes() {
    assert_eq!(decoded(r#"{"username":"\ud83d"}"#).as_deref(), Some("\u{fffd}:"));
    assert_eq!(decoded(r#"{"auth":"dTr/AA=="}"#).as_deref(), Some("u:\\xff\\x00"));
}

#[test]
fn an_entry_is_offered_only_by_a_file_of_the_secrets_own_form() {
    let flat = r#"{"quay.io":{"username":"robot","password":"fake"}}"#;
    let nested = format!(r#"{{"auths":{flat}}}"#);
    let config = crate::docker_config::DockerConfig::parse(flat.as_bytes()).unwrap();
    for (secret_type, data, offered) in [
        (Dockercfg, flat, true),
        (DockerConfigJson, &*nested, true),
        (Dockercfg, &*nested, false),
        (DockerConfigJson, flat, false),
        (Dockercfg, r#"{"quay.io":{"username":"robot","password":"other"}}"#, false),
    ] {
        let keyring = Keyring::from_secrets(&[(secret_type, data.as_bytes())]).unwrap();
        assert_eq!(keyring.offers(&config.entries()[0]), offered, "{secret_type:?} {data}");
    }
}
