//! Which keys serve which images.

use super::*;

#[test]
fn a_key_is_reduced_to_host_and_path() {
    for key in [
        "quay.io",
        "https://quay.io",
        "http://quay.io",
        "quay.io/",
        "https://quay.io/v1/",
        "https://quay.io/v2/",
        "user:pw@quay.io",
        "user@pw@quay.io",
        "https://user@quay.io",
        "quay.io?x=y",
        "quay.io/?x",
        "quay.io#x",
        "quay.io:",
        "quay.io/v1/acme",
        "quay.io/v2/acme",
        "quay.io/%76%31/acme",
        "quay.io/v1%2Facme",
    ] {
        assert_serves(key, "quay.io/acme", true);
    }
}

#[test]
fn v1_without_the_last_slash_is_a_path() {
    assert_serves("https://quay.io/v1", "quay.io/acme", false);
    assert_serves("https://quay.io/v1", "quay.io/v1/acme", true);
    assert_serves("https://index.docker.io/v1", "nginx", false);
    assert_serves("https://index.docker.io/v1/", "nginx", true);
}

#[test]
fn v2_is_also_stripped_where_it_is_a_real_namespace_but_only_once() {
    assert_serves("quay.io/v2/app", "quay.io/app", true);
    assert_serves("quay.io/v2/app", "quay.io/v2/app", false);
    assert_serves("quay.io/v2/v1/app", "quay.io/v1/app", true);
}

#[test]
fn the_scheme_test_is_case_sensitive_and_odd_keys_never_match() {
    for key in [
        "HTTPS://quay.io",
        "ftp://quay.io",
        "//quay.io",
        "quay.io ",
        " quay.io",
        "quay.io//",
        "quay.io/%25zz",
        "quay.io/%zz",
        "quay.io#%zz",
        "u%zz@quay.io",
        "u\\\\@quay.io",
        "quay.io\\\\",
        "[quay].io",
        "[q]uay.io",
        "quay.io:https",
        "qu%61y.io",
        "quay.io/\\u000a",
        "quay.io?\\u0001",
        "QUAY.IO",
        "quay.io/%0a",
    ] {
        assert_serves(key, "quay.io/acme", false);
    }
}

#[test]
fn paths_are_percent_decoded_and_parsed_again() {
    assert_serves("quay.io/%61cme", "quay.io/acme", true);
    assert_serves("quay.io/%2561cme", "quay.io/acme", true);
    assert_serves("quay.io/acme%2Fapp", "quay.io/acme/app", true);
    assert_serves("quay.io/acme%2Fapp", "quay.io/acme", false);
    assert_serves("quay.io/acme%3Fx", "quay.io/acme", true);
    assert_serves("quay.io/acme%23x", "quay.io/acme", true);
    assert_serves("quay.io/acme?x", "quay.io/acme", true);
    assert_serves("quay.io/acme#x", "quay.io/acme", true);
}

#[test]
fn ports_are_identical_strings_and_no_default_port_is_folded() {
    assert_serves("quay.io", "quay.io:443/x", false);
    assert_serves("quay.io:443", "quay.io/x", false);
    assert_serves("quay.io:443", "quay.io:443/x", true);
    assert_serves("quay.io:0443", "quay.io:443/x", false);
    assert_serves("*:443", "localhost:443/x", true);
}

#[test]
fn labels_match_one_by_one_with_a_star() {
    assert_serves("*.io", "quay.io/x", true);
    assert_serves("*.io", "a.b.io/x", false);
    assert_serves("*.b.io", "a.b.io/x", true);
    assert_serves("q*y.io", "quay.io/x", true);
    assert_serves("quay*.io", "quay.io/x", true);
    assert_serves("*.*", "quay.io/x", true);
    assert_serves("*", "quay.io/x", false);
    assert_serves("*", "localhost/x", true);
    assert_serves("qua?.io", "quay.io/x", false);
    assert_serves("quay.io/ac*", "quay.io/acme", false);
}

#[test]
fn a_key_path_is_a_raw_prefix() {
    assert_serves("quay.io/foo", "quay.io/foobar", true);
    assert_serves("quay.io/foo", "quay.io/foo", true);
    assert_serves("quay.io/foo/", "quay.io/foo", false);
    assert_serves("quay.io/foo/", "quay.io/foo/bar", true);
    assert_serves("quay.io/foo", "quay.io/fo", false);
    assert_serves("quay.io/acm?", "quay.io/acme", true);
}

#[test]
fn upper_case_hosts_match_only_an_identical_key() {
    assert_serves("Quay.io", "Quay.io/x", true);
    assert_serves("quay.io", "Quay.io/x", false);
    assert_serves("Quay.io", "quay.io/x", false);
}

#[test]
fn an_ipv6_key_needs_a_port_while_a_star_matches_without() {
    assert_serves("[::1]:5000", "[::1]:5000/x", true);
    assert_serves("[abc]:5000", "[abc]:5000/x", false);
    assert_serves("[::1]", "[::1]/x", false);
    assert_serves("[::1]:", "[::1]/x", false);
    assert_serves("*", "[::1]/x", true);
    assert_serves("[0:0::1]:5000", "[::1]:5000/x", false);
}

#[test]
fn docker_hub_images_are_served_by_docker_io_and_by_index_docker_io_alone() {
    for (key, expected) in [
        ("index.docker.io", true),
        ("https://index.docker.io/v1/", true),
        ("https://index.docker.io/v2/", true),
        ("http://index.docker.io/", true),
        ("docker.io", true),
        ("docker.io/library", true),
        ("*.io", true),
        ("docker.*", true),
        ("*.*", true),
        ("docker.io/acme", false),
        ("*.docker.io", false),
        ("registry-1.docker.io", false),
        ("index.docker.io/library", false),
        ("index.docker.io:443", false),
    ] {
        for spelling in ["nginx", "docker.io/nginx", "index.docker.io/nginx", "docker.io/library/nginx:1"] {
            assert_serves(key, spelling, expected);
        }
    }
}

#[test]
fn docker_hub_falls_back_only_if_nothing_else_matched() {
    assert_eq!(serving(&["index.docker.io", "docker.*"], "nginx"), ["docker.*"]);
    assert_eq!(serving(&["index.docker.io", "docker.io/acme"], "nginx"), ["index.docker.io"]);
}

#[test]
fn the_fallback_applies_to_every_host_without_dot_and_port() {
    for reference in ["localhost/x", "LOCALHOST/x", "Foo/x"] {
        assert_serves("index.docker.io", reference, true);
        assert_eq!(serving(&["index.docker.io", "*"], reference), ["*"]);
    }
    for reference in ["localhost:5000/x", "quay.io/x", "[::1]/x"] {
        assert_serves("index.docker.io", reference, false);
    }
}
