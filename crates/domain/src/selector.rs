//! Which namespaces and which service accounts a link reaches: by names, by labels, or all.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::name::{Namespace, ServiceAccount};

/// Labels of an object, or the labels that a selector asks for.
pub type Labels = BTreeMap<String, String>;

/// Why a selection is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither names nor labels nor all.
    #[error("selects nothing: give `names`, `match_labels` or `all`")]
    Nothing,
    /// More than one of names, labels and all.
    #[error("selects in more than one way: give exactly one of `names`, `match_labels` and `all`")]
    Ambiguous,
    /// Kubernetes would never store such a label.
    #[error(
        "`{0}` is not a label that an object can carry: `[prefix/]name=value`, name and value 63 characters at most"
    )]
    BadLabel(String),
    /// A name both selected and excluded.
    #[error("`{0}` stands both in `names` and in `exclude_names`")]
    Contradiction(Namespace),
}

/// How objects of one kind are chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum By<N: Ord> {
    /// These, in order of name.
    Names(BTreeSet<N>),
    /// Those that carry all of these labels.
    Labels(Labels),
    /// Every one.
    All,
}

impl<N: Ord> By<N> {
    /// Exactly one way must be given.
    pub fn new(names: BTreeSet<N>, labels: Labels, all: bool) -> Result<Self, Error> {
        match (names.is_empty(), labels.is_empty(), all) {
            (true, true, false) => Err(Error::Nothing),
            (false, true, false) => Ok(Self::Names(names)),
            (true, false, false) => {
                labels.iter().try_for_each(|(key, value)| check_label(key, value))?;
                Ok(Self::Labels(labels))
            }
            (true, true, true) => Ok(Self::All),
            _ => Err(Error::Ambiguous),
        }
    }

    /// The names, if chosen by name.
    pub fn names(&self) -> impl Iterator<Item = &N> {
        match self {
            Self::Names(names) => Some(names),
            Self::Labels(_) | Self::All => None,
        }
        .into_iter()
        .flatten()
    }

    fn matches(&self, name: &N, labels: &Labels) -> bool {
        match self {
            Self::Names(names) => names.contains(name),
            Self::Labels(wanted) => wanted.iter().all(|(key, value)| labels.get(key) == Some(value)),
            Self::All => true,
        }
    }
}

/// The namespaces of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    by: By<Namespace>,
    excluded: BTreeSet<Namespace>,
}

impl Namespaces {
    /// Names that are both chosen and excluded are a mistake.
    pub fn new(by: By<Namespace>, excluded: BTreeSet<Namespace>) -> Result<Self, Error> {
        if let Some(name) = by.names().find(|name| excluded.contains(name)) {
            return Err(Error::Contradiction(name.clone()));
        }
        Ok(Self { by, excluded })
    }

    /// How they are chosen.
    pub fn by(&self) -> &By<Namespace> {
        &self.by
    }

    /// Never these.
    pub fn excluded(&self) -> &BTreeSet<Namespace> {
        &self.excluded
    }

    /// Whether the link reaches this namespace. The platform's own are reached by name only.
    pub fn matches(&self, name: &Namespace, labels: &Labels) -> bool {
        let by_name = matches!(self.by, By::Names(_));
        !self.excluded.contains(name) && (by_name || !name.is_platform()) && self.by.matches(name, labels)
    }
}

/// The service accounts of a link, in each of its namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccounts(By<ServiceAccount>);

impl ServiceAccounts {
    /// The service accounts so chosen.
    pub fn new(by: By<ServiceAccount>) -> Self {
        Self(by)
    }

    /// How they are chosen.
    pub fn by(&self) -> &By<ServiceAccount> {
        &self.0
    }

    /// Whether the link reaches this service account.
    pub fn matches(&self, name: &ServiceAccount, labels: &Labels) -> bool {
        self.0.matches(name, labels)
    }
}

/// Kubernetes' rule for label keys and values (apimachinery `validation.IsQualifiedName`, `IsValidLabelValue`).
fn check_label(key: &str, value: &str) -> Result<(), Error> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_is_good = prefix.is_none_or(|p| crate::name::SecretName::new(p).is_ok());
    if prefix_is_good && is_label_text(name) && (value.is_empty() || is_label_text(value)) {
        Ok(())
    } else {
        Err(Error::BadLabel(format!("{key}={value}")))
    }
}

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        && bytes[0].is_ascii_alphanumeric()
        && bytes[bytes.len() - 1].is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).expect("a namespace")
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn exactly_one_way_to_select() {
        let names = || BTreeSet::from([namespace("a")]);
        let team = || labels(&[("team", "a")]);
        assert_eq!(By::<Namespace>::new(BTreeSet::new(), Labels::new(), false), Err(Error::Nothing));
        assert_eq!(By::new(names(), team(), false), Err(Error::Ambiguous));
        assert_eq!(By::new(names(), Labels::new(), true), Err(Error::Ambiguous));
        assert!(By::new(names(), Labels::new(), false).is_ok());
        assert!(matches!(
            By::<Namespace>::new(BTreeSet::new(), labels(&[("a b", "c")]), false),
            Err(Error::BadLabel(_))
        ));
    }

    #[test]
    fn selectors_do_not_reach_the_platform_but_names_do() {
        let all = Namespaces::new(By::All, BTreeSet::new()).expect("valid");
        assert!(all.matches(&namespace("team-a"), &Labels::new()));
        assert!(!all.matches(&namespace("kube-system"), &Labels::new()));
        let named = Namespaces::new(By::Names(BTreeSet::from([namespace("kube-system")])), BTreeSet::new())
            .expect("valid");
        assert!(named.matches(&namespace("kube-system"), &Labels::new()));
    }

    #[test]
    fn exclusions_win_and_all_labels_must_match() {
        let by = By::Labels(labels(&[("team", "a"), ("tier", "prod")]));
        let selection = Namespaces::new(by, BTreeSet::from([namespace("sandbox")])).expect("valid");
        let both = labels(&[("team", "a"), ("tier", "prod"), ("other", "x")]);
        assert!(selection.matches(&namespace("web"), &both));
        assert!(!selection.matches(&namespace("web"), &labels(&[("team", "a")])));
        assert!(!selection.matches(&namespace("sandbox"), &both));
    }
}
