//! Image references, read as the kubelet reads them before it looks for a credential.
//!
//! The kubelet normalises a reference (`nginx:1.27` becomes `docker.io/library/nginx`), drops tag and digest, and
//! matches registry keys against what is left: the repository. The grammar is the one of `distribution/reference`
//! with IPv6 hosts, which Kubernetes 1.20 did not take yet.

use std::fmt;
use std::str::FromStr;

/// Longest repository path, without the host; with the `library/` that Docker Hub's own images are given.
const MAX_PATH: usize = 255;
/// Longest tag.
const MAX_TAG: usize = 128;

/// Why a text is no image reference. The kubelet fails such a Pod before it looks at any Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The part before tag and digest does not follow the grammar.
    #[error("{0:?} has no valid image name")]
    Name(String),
    /// The part after the colon is no tag.
    #[error("{0:?} has no valid tag")]
    Tag(String),
    /// The part after the `@` is no digest.
    #[error("{0:?} has no valid digest")]
    Digest(String),
}

/// A repository in its full spelling, `docker.io/library/nginx`: what registry keys are matched against.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    host: String,
    path: String,
}

impl ImageRef {
    /// Reads a reference with or without host, tag and digest.
    pub fn parse(reference: &str) -> Result<Self, Error> {
        let invalid = || Error::Name(reference.into());
        if reference.len() == 64 && reference.bytes().all(is_lower_hex) {
            return Err(invalid());
        }
        let (rest, digest) = split_optional(reference.split_once('@'), reference);
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let colon = rest[name_start..].find(':').map(|colon| name_start + colon);
        let (name, tag) = split_optional(colon.map(|at| (&rest[..at], &rest[at + 1..])), rest);
        if !tag.is_none_or(is_tag) {
            return Err(Error::Tag(reference.into()));
        }
        if !digest.is_none_or(is_digest) {
            return Err(Error::Digest(reference.into()));
        }
        let (host, path) = split_host(name);
        // A host with an underscore passes the grammar as a first path component.
        let host_is_valid = is_host(host) || is_path_component(host);
        if !host_is_valid || !path.split('/').all(is_path_component) {
            return Err(invalid());
        }
        let image = Self::normalised(host, path);
        if image.path.len() > MAX_PATH { Err(invalid()) } else { Ok(image) }
    }

    fn normalised(host: &str, path: &str) -> Self {
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        let official = host == "docker.io" && !path.contains('/');
        let path = if official { format!("library/{path}") } else { path.to_owned() };
        Self { host: host.to_owned(), path }
    }

    /// Registry host, with port where one is given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Path below the host, without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl FromStr for ImageRef {
    type Err = Error;

    fn from_str(reference: &str) -> Result<Self, Error> {
        Self::parse(reference)
    }
}

fn split_optional<'a>(parts: Option<(&'a str, &'a str)>, whole: &'a str) -> (&'a str, Option<&'a str>) {
    parts.map_or((whole, None), |(before, after)| (before, Some(after)))
}

/// A first component is a host if it has a dot, a colon or an upper-case letter, or is `localhost`.
fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, path))
            if host == "localhost" || host.contains(['.', ':']) || host.chars().any(char::is_uppercase) =>
        {
            (host, path)
        }
        _ => ("docker.io", name),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split_once(']').is_some_and(|(address, port)| {
            !address.is_empty()
                && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    let (name, port) = split_optional(host.split_once(':'), host);
    port.is_none_or(is_port) && name.split('.').all(is_host_label)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Lower-case words and numbers, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    bytes.first().copied().is_some_and(is_word)
        && bytes.last().copied().is_some_and(is_word)
        && component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_TAG).contains(&tag.len())
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        let length = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return false,
        };
        hex.len() == length && hex.bytes().all(is_lower_hex)
    })
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(reference: &str) -> Option<String> {
        ImageRef::parse(reference).ok().map(|image| image.to_string())
    }

    #[test]
    fn images_are_normalised_to_host_and_repository() {
        for (reference, expected) in [
            ("nginx", "docker.io/library/nginx"),
            ("acme/app", "docker.io/acme/app"),
            ("docker.io/nginx", "docker.io/library/nginx"),
            ("index.docker.io/nginx", "docker.io/library/nginx"),
            ("index.docker.io/acme/app", "docker.io/acme/app"),
            ("index.docker.io:443/acme", "index.docker.io:443/acme"),
            ("registry-1.docker.io/library/x", "registry-1.docker.io/library/x"),
            ("quay.io/acme/app", "quay.io/acme/app"),
            ("localhost/x", "localhost/x"),
            ("localhost:5000/x", "localhost:5000/x"),
            ("[::1]:5000/x", "[::1]:5000/x"),
            ("[::1]/x", "[::1]/x"),
            ("LOCALHOST/x", "LOCALHOST/x"),
            ("Foo/x", "Foo/x"),
            ("Quay.io/x", "Quay.io/x"),
            ("my_registry.local/x", "my_registry.local/x"),
            ("a__b/c-----d/e.f", "docker.io/a__b/c-----d/e.f"),
        ] {
            assert_eq!(repository(reference).as_deref(), Some(expected), "{reference}");
        }
    }

    #[test]
    fn tags_and_digests_are_dropped() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for reference in [
            "quay.io:443/a/b:v1",
            &format!("quay.io:443/a/b@{digest}"),
            &format!("quay.io:443/a/b:v1@{digest}"),
        ] {
            assert_eq!(repository(reference).as_deref(), Some("quay.io:443/a/b"), "{reference}");
        }
    }

    #[test]
    fn the_library_that_is_added_counts_for_the_longest_path() {
        let just = "a".repeat(MAX_PATH - "library/".len());
        assert_eq!(repository(&just), Some(format!("docker.io/library/{just}")));
        for too_long in [format!("{just}a"), format!("docker.io/{just}a")] {
            assert_eq!(repository(&too_long), None, "what is shown must be a reference itself");
        }
        assert!(repository(&"a".repeat(MAX_PATH)).is_none());
        assert!(repository(&format!("quay.io/{}", "a".repeat(MAX_PATH))).is_some());
    }

    #[test]
    fn an_invalid_image_name_is_refused() {
        let id = "0123456789abcdef".repeat(4);
        let long = format!("quay.io/{}", "a".repeat(256));
        for reference in [
            "",
            "/x",
            "x/",
            "quay.io/",
            "quay.io//x",
            "quay.io/X",
            "acme/App",
            "Nginx",
            "quay.io/x:",
            "quay.io/x:-a",
            "quay.io/x@",
            "quay.io/x@sha256:abc",
            "quay.io/x@md5:d41d8cd98f00b204e9800998ecf8427e",
            "quay.io:/x",
            "quay.io:https/x",
            "a:1:2/x",
            "-a.io/x",
            "a..io/x",
            "quay.io/a___b",
            "quay.io/a..b",
            "quay.io/-a",
            "[]/x",
            "[::1/x",
            "[::1]5000/x",
            "[::1%25eth0]/x",
            "https://quay.io/x",
            "quay.io/x y",
            "quay.io/é",
            "my_registry:5000/x",
            id.as_str(),
            long.as_str(),
        ] {
            assert_eq!(repository(reference), None, "{reference}");
        }
    }
}
