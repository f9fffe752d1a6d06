//! Authorization as data: roles, each of which lets some principals call some methods.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::identity::{Pattern, SpiffeId};

/// Without a number of its own. The busiest caller that means well is an applier that starts: it asks each of the two
/// services once for every link, so 5,000 links take 3 s longer than unhindered; and one core serves several times as much.
const REQUESTS_PER_SECOND: u32 = 1000;
/// The role of those who have none; a role cannot be called so.
pub(crate) const NO_ROLE: &str = "(none)";

/// Lets every one of `principals` call every one of `methods`. Whoever has several roles may call what any of them allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// What metrics and messages call the role: lower-case letters, digits and '-'.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Who has the role: SPIFFE ids, in which `*` stands for one path segment.
    pub principals: Vec<Pattern>,
    /// gRPC methods: `pullpass.credential.v1.CredentialStore/FetchPullSecret`, or `…CredentialStore/*` for all of one
    /// service.
    #[serde(deserialize_with = "methods")]
    pub methods: Vec<String>,
    /// How many requests per second each principal of this role may make. Whoever has several roles has the largest of
    /// their numbers, here and below. Without it: 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<NonZeroU32>,
    /// How many of them it may make at once, after a pause. Without it: as many as in two seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
    /// Bytes of one request message; `limits.max_message_bytes` holds above it. Without it: that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<NonZeroU32>,
}

/// What one principal may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowance<'a> {
    /// The role that says so, or [`NO_ROLE`].
    pub(crate) role: &'a str,
    pub(crate) requests_per_second: u32,
    pub(crate) burst: u32,
    pub(crate) max_message_bytes: usize,
}

impl Role {
    /// A role that says nothing but what everyone has to.
    pub fn new(name: &str, principals: Vec<Pattern>, methods: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            principals,
            methods,
            requests_per_second: None,
            burst: None,
            max_message_bytes: None,
        }
    }

    /// Whether `principal` has this role.
    pub(crate) fn includes(&self, principal: &SpiffeId) -> bool {
        self.principals.iter().any(|pattern| pattern.matches(principal))
    }

    fn allowance(&self, max_message_bytes: usize) -> Allowance<'_> {
        let requests_per_second = self.requests_per_second.map_or(REQUESTS_PER_SECOND, NonZeroU32::get);
        let own = self.max_message_bytes.and_then(|bytes| usize::try_from(bytes.get()).ok());
        Allowance {
            role: &self.name,
            requests_per_second,
            burst: self.burst.map_or(requests_per_second.saturating_mul(2), NonZeroU32::get),
            max_message_bytes: own.map_or(max_message_bytes, |own| own.min(max_message_bytes)),
        }
    }

    pub(crate) fn allows(&self, principal: &SpiffeId, method: &str) -> bool {
        self.methods.iter().any(|allowed| covers(allowed, method)) && self.includes(principal)
    }
}

/// What `principal` may ask for by its roles: of each number the largest. `max_message_bytes` is the service's own.
pub(crate) fn allowance<'a>(
    roles: &'a [Role],
    principal: &SpiffeId,
    max_message_bytes: usize,
) -> Allowance<'a> {
    let allowances = roles.iter().filter(|role| role.includes(principal));
    let largest = |a: Allowance<'a>, b: Allowance<'a>| Allowance {
        role: if b.requests_per_second > a.requests_per_second { b.role } else { a.role },
        requests_per_second: a.requests_per_second.max(b.requests_per_second),
        burst: a.burst.max(b.burst),
        max_message_bytes: a.max_message_bytes.max(b.max_message_bytes),
    };
    allowances.map(|role| role.allowance(max_message_bytes)).reduce(largest).unwrap_or(Allowance {
        role: NO_ROLE,
        requests_per_second: REQUESTS_PER_SECOND,
        burst: 2 * REQUESTS_PER_SECOND,
        max_message_bytes,
    })
}

/// One request more that was refused to a principal of `role`.
pub(crate) fn count_refused(role: &str, reason: &'static str) {
    let labels = [("role", role.to_owned()), ("reason", reason.to_owned())];
    metrics::counter!("grpc_refused_total", &labels).increment(1);
}

fn covers(allowed: &str, method: &str) -> bool {
    match allowed.strip_suffix('*') {
        Some(service) => method.starts_with(service),
        None => method == allowed,
    }
}

/// Whether it can name a role or an issuer.
pub(crate) fn is_name(name: &str) -> bool {
    let of_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(of_name)
}

/// A name becomes the label of a metric.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if is_name(&name) {
        return Ok(name);
    }
    Err(D::Error::custom(format!("{name:?} in roles.name is not 1 to 63 of a-z, 0-9 and '-'")))
}

/// Refuses methods that could never match, which would deny in silence.
fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let methods = Vec::<String>::deserialize(deserializer)?;
    let well_formed = |method: &str| {
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        method
            .split_once('/')
            .is_some_and(|(service, name)| service.split('.').all(word) && (name == "*" || word(name)))
    };
    match methods.iter().find(|method| !well_formed(method)) {
        None => Ok(methods),
        Some(bad) => Err(D::Error::custom(format!(
            "{bad:?} in roles.methods is not of the form package.Service/Method or package.Service/*"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Role, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn a_method_that_could_never_match_is_refused() {
        for method in
            ["", "*", "Service", "/a.Service/Get", "a.Service/", "a.Service/Get*", "a..b/Get", "a/b/c"]
        {
            let refused = parse(&format!("name = 'a'\nprincipals = []\nmethods = [{method:?}]")).unwrap_err();
            assert!(refused.contains("roles.methods"), "{method:?}: {refused}");
        }
    }

    #[test]
    fn of_several_roles_the_largest_numbers_hold() {
        let role = |name: &str, principal: &str, numbers: &str| {
            parse(&format!("name = '{name}'\nprincipals = ['{principal}']\nmethods = []\n{numbers}")).unwrap()
        };
        let roles = [
            role("slow", "spiffe://d/platform/ci", "requests_per_second = 5\nmax_message_bytes = 100"),
            role(
                "bursts",
                "spiffe://d/platform/ci",
                "requests_per_second = 2\nburst = 50\nmax_message_bytes = 10",
            ),
            role("usual", "spiffe://d/platform/*", "max_message_bytes = 9999"),
            role("fast", "spiffe://d/applier/*", "requests_per_second = 3000\nburst = 1"),
        ];
        let of = |id: &str, roles| {
            let Allowance { role, requests_per_second, burst, max_message_bytes } =
                allowance(roles, &id.parse().unwrap(), 1000);
            (role.to_owned(), requests_per_second, burst, max_message_bytes)
        };
        let expected = |role: &str, a, b, c| (role.to_owned(), a, b, c);
        assert_eq!(of("spiffe://d/platform/ci", &roles[..2]), expected("slow", 5, 50, 100));
        assert_eq!(of("spiffe://d/platform/ci", &roles), expected("usual", 1000, 2000, 1000));
        assert_eq!(of("spiffe://d/applier/east", &roles), expected("fast", 3000, 1, 1000));
        assert_eq!(of("spiffe://d/nobody", &roles), expected(NO_ROLE, 1000, 2000, 1000));
    }

    #[test]
    fn a_number_that_would_allow_nothing_is_refused() {
        for field in ["requests_per_second", "burst", "max_message_bytes"] {
            let refused = parse(&format!("name = 'a'\nprincipals = []\nmethods = []\n{field} = 0"));
            assert!(refused.unwrap_err().contains(field));
        }
    }

    #[test]
    fn a_name_that_is_no_label_is_refused() {
        for name in ["", "Platform", "a b", "ä", &"a".repeat(64)] {
            let refused = parse(&format!("name = {name:?}\nprincipals = []\nmethods = []")).unwrap_err();
            assert!(refused.contains("roles.name"), "{name:?}: {refused}");
        }
    }
}
