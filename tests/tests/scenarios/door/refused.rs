//! Files that are refused, and what the refusal must say: the entry, where there is one, and what is wrong.

/// Content, and parts of the message.
pub(super) const REFUSED: [(&str, &[&str]); 21] = [
    ("", &["empty"]),
    (" \n", &["empty"]),
    ("quay.io robot", &["not JSON"]),
    (r#"{"auths":{"quay.io":{"auth":"cm9ib3Q6eA=="}}} x"#, &["follows the JSON"]),
    (r#"{"auths":{"quay.io":{"auth":"cm9ib3Q6eA=="}}"#, &["not JSON"]),
    ("[]", &["not an object"]),
    (r#"{"auths":["quay.io"]}"#, &["auths", "not an object"]),
    (r#"{"auths":"quay.io"}"#, &["auths", "not an object"]),
    (r#"{"auths":{}}"#, &["no registry entries"]),
    (r#"{"auths":{"quay.io":"cm9ib3Q6eA=="}}"#, &["quay.io", "not an object"]),
    (r#"{"auths":{"quay.io":{"auth":7}}}"#, &["quay.io", "auth"]),
    (r#"{"auths":{"quay.io":{"auth":"cm9ib3Q6"}}}"#, &["quay.io", "password"]),
    (r#"{"auths":{"quay.io":{"auth":"not base64!"}}}"#, &["quay.io", "base64"]),
    (r#"{"auths":{"quay.io":{"auth":"cjpfLV8_Pz4-"}}}"#, &["quay.io", "URL-safe"]),
    (r#"{"auths":{"quay.io":{"auth":"cm9ib3Q="}}}"#, &["quay.io", "colon"]),
    (r#"{"auths":{"quay.io":{"username":"a:b","password":"x"}}}"#, &["quay.io", "colon"]),
    (r#"{"auths":{"quay.io":{"identitytoken":"x"}}}"#, &["quay.io", "identitytoken", "kubelet ignores"]),
    (r#"{"auths":{"quay.io":{}},"credsStore":"desktop"}"#, &["credsStore", "kubelet ignores"]),
    (r#"{"auths":{},"credHelpers":{"gcr.io":"gcloud"}}"#, &["gcr.io", "credHelpers", "kubelet ignores"]),
    (r#"{"quay.io":{"auth":"cm9ib3Q="}}"#, &["quay.io", "colon"]),
    (r#"{"auths":{"good.io":{"auth":"cm9ib3Q6eA=="},"bad.io":{"auth":"cm9ib3Q="}}}"#, &["bad.io", "colon"]),
];

/// One byte more than a Secret holds, of which all is well otherwise.
pub(super) fn large() -> [(Vec<u8>, &'static [&'static str]); 1] {
    let (head, tail) = (r#"{"auths":{"quay.io":{"username":"robot","password":""#, r#""}}}"#);
    let password = "x".repeat(1024 * 1024 + 1 - head.len() - tail.len());
    [(format!("{head}{password}{tail}").into_bytes(), &["1048576 bytes"])]
}
