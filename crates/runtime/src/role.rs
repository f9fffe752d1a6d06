//! Authorization as data: roles, each of which lets some principals call some methods.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::identity::{Pattern, SpiffeId};

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
}

impl Role {
    /// A role that says nothing but what everyone has to.
    pub fn new(name: &str, principals: Vec<Pattern>, methods: Vec<String>) -> Self {
        Self { name: name.to_owned(), principals, methods }
    }

    /// Whether `principal` has this role.
    pub(crate) fn includes(&self, principal: &SpiffeId) -> bool {
        self.principals.iter().any(|pattern| pattern.matches(principal))
    }

    pub(crate) fn allows(&self, principal: &SpiffeId, method: &str) -> bool {
        self.methods.iter().any(|allowed| covers(allowed, method)) && self.includes(principal)
    }
}

fn covers(allowed: &str, method: &str) -> bool {
    match allowed.strip_suffix('*') {
        Some(service) => method.starts_with(service),
        None => method == allowed,
    }
}

/// A name becomes the label of a metric.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let of_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=63).contains(&name.len()) && name.bytes().all(of_name) {
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
    fn a_name_that_is_no_label_is_refused() {
        for name in ["", "Platform", "a b", "ä", &"a".repeat(64)] {
            let refused = parse(&format!("name = {name:?}\nprincipals = []\nmethods = []")).unwrap_err();
            assert!(refused.contains("roles.name"), "{name:?}: {refused}");
        }
    }
}
