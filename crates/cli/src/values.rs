//! Values on the command line, checked where they are read, so that a mistake is one of usage (exit code 2).

use std::{collections::BTreeMap, fmt, time::Duration};

use clap::ValueEnum;
use prost_types::Timestamp;
use pullpass_domain::name::{
    ClusterName, CredentialName, Error as NameError, GrantName, LinkName, Namespace, SecretName,
    ServiceAccount, SubjectName,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

macro_rules! resource {
    ($(#[$doc:meta])* $function:ident, $name:ident) => {
        $(#[$doc])*
        pub(crate) fn $function(text: &str) -> Result<$name, NameError> {
            if text.contains('/') { $name::parse(text) } else { $name::from_id(text) }
        }
    };
}

resource!(
    /// `quay` or `credentials/quay`.
    credential, CredentialName
);
resource!(
    /// `web` or `secretLinks/web`.
    link, LinkName
);
resource!(
    /// `pull-b` or `imageGrants/pull-b`.
    grant, GrantName
);
resource!(
    /// `prod` or `clusters/prod`.
    cluster, ClusterName
);

pub(crate) fn namespace(text: &str) -> Result<Namespace, NameError> {
    Namespace::new(text)
}

pub(crate) fn service_account(text: &str) -> Result<ServiceAccount, NameError> {
    ServiceAccount::new(text)
}

pub(crate) fn secret_name(text: &str) -> Result<SecretName, NameError> {
    SecretName::new(text)
}

pub(crate) fn subject(text: &str) -> Result<SubjectName, NameError> {
    SubjectName::new(text)
}

/// A resource name as tables show it, where its kind is clear: `credentials/quay` is `quay`.
pub(crate) fn short(name: &str) -> String {
    name.split_once('/').map_or(name, |(_, id)| id).to_owned()
}

/// Several of them in one cell.
pub(crate) fn shorts(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| short(name)).collect();
    names.join(",")
}

/// `namespace/name`.
pub(crate) fn service_account_in(text: &str) -> Result<(Namespace, ServiceAccount), String> {
    let (namespace, name) = text
        .split_once('/')
        .ok_or_else(|| format!("`{text}` is not of the form NAMESPACE/SERVICEACCOUNT"))?;
    let namespace = Namespace::new(namespace).map_err(|e| e.to_string())?;
    Ok((namespace, ServiceAccount::new(name).map_err(|e| e.to_string())?))
}

/// `key=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let wrong =
        || format!("`{text}` is not of the form key=value; other selectors than equality are not supported");
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    if key.is_empty() || key.ends_with('!') || value.starts_with('=') {
        return Err(wrong());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Labels as a map; one key with two values can match nothing.
pub(crate) fn labels(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for (key, value) in pairs {
        if let Some(before) = labels.insert(key.clone(), value.clone())
            && before != value
        {
            return Err(format!(
                "the selector asks for {key}={before} and for {key}={value}: nothing carries both"
            ));
        }
    }
    Ok(labels)
}

/// `120s`, `2m`, `500ms`, `1h`, or plain seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => 0,
    };
    let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match millis {
        Some(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(format!("`{text}` is not a duration such as 120s, 2m or 500ms")),
    }
}

/// A time in RFC 3339, or the beginning of a day in UTC.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    let parse = |text: &str| OffsetDateTime::parse(text, &Rfc3339);
    let time = parse(text).or_else(|_| parse(&format!("{text}T00:00:00Z")));
    let wrong = |_| format!("`{text}` is not a time such as 2026-11-24T08:00:00Z or 2026-11-24");
    time.map(pullpass_api::convert::timestamp).map_err(wrong)
}

/// A service that keeps an audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keeper {
    CredentialStore,
    GrantManager,
}

impl Keeper {
    pub(crate) const ALL: [Self; 2] = [Self::CredentialStore, Self::GrantManager];
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CredentialStore => "credential-store",
            Self::GrantManager => "grant-manager",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_carry_its_collection() {
        assert_eq!(credential("quay"), credential("credentials/quay"));
        assert!(credential("secretLinks/quay").is_err());
        assert!(cluster("Prod").is_err());
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("120s", 120_000), ("2m", 120_000), ("500ms", 500), ("7", 7000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5s", "0", "3d", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_time_may_be_a_day() {
        let day = time("2026-11-24").unwrap();
        assert_eq!(time("2026-11-24T00:00:00Z"), Ok(day));
        assert_eq!(time("2026-11-24T01:00:00.5+01:00"), Ok(Timestamp { nanos: 500_000_000, ..day }));
        for text in ["", "now", "2026-13-01", "24.11.2026", "2026-11-24T08:00"] {
            assert!(time(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn only_equality_selects() {
        assert_eq!(label("team=a"), Ok(("team".into(), "a".into())));
        assert_eq!(label("team="), Ok(("team".into(), String::new())));
        for text in ["team", "=a", "team==a", "team!=a"] {
            assert!(label(text).is_err(), "{text:?} was accepted");
        }
        let pair = |v: &str| ("team".to_owned(), v.to_owned());
        assert!(labels(vec![pair("a"), pair("a")]).is_ok());
        assert!(labels(vec![pair("a"), pair("b")]).is_err());
    }

    #[test]
    fn a_service_account_has_a_namespace() {
        assert!(service_account_in("a/default").is_ok());
        for text in ["default", "a/", "/default", "a/b/c", "system:serviceaccount:a:default"] {
            assert!(service_account_in(text).is_err(), "{text:?} was accepted");
        }
    }
}
