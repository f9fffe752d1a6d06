//! Registry keys as the kubelet understands them: where a credential is filed, and which images it serves.
//!
//! A key is parsed as a URL, reduced to host and path (its *place*, by which credentials are sorted and collected), and
//! that text is parsed as a URL **again** whenever it is matched, so percent-encoding is undone twice. This follows
//! Go's `net/url`, less what could never match an image anyway: a host outside `[A-Za-z0-9._*-]` or an IPv6 literal.

use std::net::Ipv6Addr;

use crate::image::ImageRef;

/// The place that serves Docker Hub images when nothing else matches.
pub(crate) const DOCKER_HUB: &[u8] = b"index.docker.io";

/// A registry key that the kubelet can parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    place: Vec<u8>,
    pattern: Option<Pattern>,
}

/// What a place matches: equal ports, as many labels, each by wildcard, and a path by its first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    labels: Vec<String>,
    port: String,
    path: Vec<u8>,
}

impl Location {
    /// Reads a registry key; nothing if the kubelet ignores it or it has a host that no image can have.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let after_scheme =
            key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = parse_url(after_scheme.as_bytes())?;
        let version = path.starts_with(b"/v1/") || path.starts_with(b"/v2/");
        let path = if version { &path[3..] } else { &path[..] };
        let mut place = host.into_bytes();
        if path != b"/" {
            place.extend_from_slice(path);
        }
        let pattern = parse_url(&place).map(|(host, path)| Pattern::new(&host, path));
        Some(Self { place, pattern })
    }

    /// Host and path: keys with the same place are one to the kubelet.
    pub(crate) fn place(&self) -> &[u8] {
        &self.place
    }

    /// Whether the key itself matches, the Docker Hub fallback aside.
    pub(crate) fn matches(&self, image: &ImageRef) -> bool {
        self.pattern.as_ref().is_some_and(|pattern| pattern.matches(image))
    }

    /// Whether there is any image that this key serves.
    pub(crate) fn can_match(&self) -> bool {
        self.place == DOCKER_HUB || self.pattern.as_ref().is_some_and(Pattern::has_an_example)
    }
}

impl Pattern {
    fn new(host: &str, path: Vec<u8>) -> Self {
        let (name, port) = split_port(host);
        Self { labels: name.split('.').map(str::to_owned).collect(), port: port.to_owned(), path }
    }

    fn matches(&self, image: &ImageRef) -> bool {
        let (name, port) = split_port(image.host());
        let labels: Vec<&str> = name.split('.').collect();
        self.port == port
            && self.labels.len() == labels.len()
            && format!("/{}", image.path()).as_bytes().starts_with(&self.path)
            && self.labels.iter().zip(labels).all(|(glob, label)| label_matches(glob, label))
    }

    /// Builds likely images from the key itself and tries them: an upper-case letter makes a single label a host, a lower-case
    /// one suits a host with an underscore, and a path may end within a component.
    fn has_an_example(&self) -> bool {
        let name = self.labels.join(".");
        let port = if self.port.is_empty() { String::new() } else { format!(":{}", self.port) };
        let hosts = [name.replace('*', "x"), name.replace('*', "X"), format!("[{name}]")];
        let Ok(path) = str::from_utf8(&self.path) else {
            return false;
        };
        hosts.iter().any(|host| {
            ["x", "/x", "x/x"].iter().any(|rest| {
                ImageRef::parse(&format!("{host}{port}{path}{rest}")).is_ok_and(|image| self.matches(&image))
            })
        })
    }
}

/// Host and path of a URL without its scheme, or nothing where Go's parser fails or the host is unfit for an image.
fn parse_url(text: &[u8]) -> Option<(String, Vec<u8>)> {
    let (text, fragment) = cut(text, b'#');
    percent_decode(fragment)?;
    if text.iter().any(u8::is_ascii_control) {
        return None;
    }
    let (text, _query) = cut(text, b'?');
    let slash = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
    let (authority, path) = text.split_at(slash);
    let host = match authority.iter().rposition(|byte| *byte == b'@') {
        Some(at) => {
            is_userinfo(&authority[..at]).then_some(())?;
            &authority[at + 1..]
        }
        None => authority,
    };
    Some((checked_host(host)?, percent_decode(path)?))
}

fn cut(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == separator) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

fn is_userinfo(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte))
        && percent_decode(text).is_some()
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text);
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let mut digits = after.get(..2)?.iter().map(|digit| char::from(*digit).to_digit(16));
            let value = digits.try_fold(0, |value, digit| digit.map(|digit| value * 16 + digit))?;
            decoded.push(u8::try_from(value).ok()?);
            rest = &after[2..];
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    Some(decoded)
}

/// A host as text, if an image can have it: a name of the usual characters or an IPv6 address, and digits as port.
fn checked_host(host: &[u8]) -> Option<String> {
    let host = str::from_utf8(host).ok()?;
    let (name, port) = if let Some(bracketed) = host.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        if after.is_empty() { ("", "") } else { ("", after.strip_prefix(':')?) }
    } else {
        host.split_once(':').unwrap_or((host, ""))
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._*-".contains(&byte);
    (name.bytes().all(fits) && port.bytes().all(|byte| byte.is_ascii_digit())).then(|| host.to_owned())
}

/// Splits at the port, taking the brackets off an IPv6 address **only if there is one**, as Go's `SplitHostPort`.
fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, _)) if name.starts_with('[') && !name.ends_with(']') => (host, ""),
        Some((name, port)) => {
            (name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name), port)
        }
        None => (host, ""),
    }
}

/// `*` stands for any characters, also for none; brackets, which a key `[::1]` without port leaves in its label, are a
/// pattern class that matches no address.
fn label_matches(glob: &str, label: &str) -> bool {
    if glob.starts_with('[') {
        return false;
    }
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else {
        return glob == label;
    };
    let inner = label.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    inner.is_some_and(|inner| {
        parts.try_fold(inner, |rest, part| rest.find(part).map(|at| &rest[at + part.len()..])).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_of_one_label() {
        for (glob, label, expected) in [
            ("*", "quay", true),
            ("*", "", true),
            ("q*y", "quay", true),
            ("quay*", "quay", true),
            ("*quay", "quay", true),
            ("q*a*y", "quay", true),
            ("q*a*a*y", "quay", false),
            ("qu*uay", "quay", false),
            ("**", "quay", true),
            ("quay", "quay", true),
            ("quay", "Quay", false),
            ("[::1]", "[::1]", false),
        ] {
            assert_eq!(label_matches(glob, label), expected, "{glob} {label}");
        }
    }

    #[test]
    fn keys_that_can_never_match_an_image_are_known() {
        let never = [
            "",
            "/",
            "/x",
            "myregistry",
            "myregistry/app",
            "HTTPS://quay.io",
            "ftp://quay.io",
            "//quay.io",
            "quay.io//",
            "quay.io ",
            " quay.io",
            "quay.io/Acme",
            "quay.io/a b",
            "quay.io/%25zz",
            "quay.io/%zz",
            "quay.io/*",
            "quay.io/é",
            "quay.io/a..b",
            "quay.io/-",
            "quäy.io",
            "quay.io\\x",
            "[::1]",
            "[::1",
            "[q]uay.io",
            "quay.io:https",
            "a:1:2",
            "-.io",
            "*..io",
            "index.docker.io/v1",
            "index.docker.io/acme",
            "https://index.docker.io/v1/access-token",
            "quay.io/a@b",
            "quay.io/a:b",
        ];
        for key in never {
            assert!(!Location::parse(key).is_some_and(|location| location.can_match()), "{key}");
        }
    }

    #[test]
    fn keys_that_can_match_an_image_are_known() {
        let can = [
            "quay.io",
            "https://quay.io",
            "http://quay.io/",
            "quay.io/",
            "quay.io/v1/",
            "https://index.docker.io/v1/",
            "index.docker.io",
            "docker.io",
            "docker.io/acme",
            "docker.io/library/nginx",
            "docker.io/li",
            "docker.io/acme_",
            "registry-1.docker.io",
            "localhost",
            "localhost:5000",
            "myregistry:5000",
            "Myregistry",
            "*",
            "*.*",
            "l*",
            "f*",
            "*t",
            "*.io",
            "-*.io",
            "*-.io",
            "docker.*",
            "quay.io:",
            "[::1]:5000",
            "127.0.0.1:5000",
            "quay.io/acme/",
            "quay.io/a-",
            "quay.io/a__",
            "quay.io/v1",
            "quay.io/%61cme",
            "quay.io/acme%2Fapp",
            "quay.io/acme%3Fx",
            "quay.io?x",
            "quay.io/acme#x",
            "https://user:pw@quay.io",
            "my_registry.local",
            "quay.io/a.",
        ];
        for key in can {
            let expected = key != "-*.io" && key != "*-.io";
            assert_eq!(Location::parse(key).is_some_and(|location| location.can_match()), expected, "{key}");
        }
    }
}
