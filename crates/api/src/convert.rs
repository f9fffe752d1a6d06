//! Wire ↔ domain. Inwards every conversion can fail and names the field; outwards none can.
//!
//! Bookkeeping (uid, times, revision, etag) belongs to the wire alone and is added by the services.

use std::{collections::BTreeSet, fmt::Display};

use pullpass_domain::{
    docker_config::SecretType,
    grant::{Grant, Role, Subject},
    link::{Link, Usage},
    name::{
        ClusterName, CredentialName, GrantName, LinkName, Namespace, SecretName, ServiceAccount, SubjectName,
    },
    selector::{By, Namespaces, ServiceAccounts},
};
use time::OffsetDateTime;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::grant::v1 as wire;

/// A field of a request that cannot be accepted; becomes `INVALID_ARGUMENT` with `google.rpc.BadRequest`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Error {
    /// Path of the field, e.g. `secret_link.namespaces.names[2]`.
    pub field: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl Error {
    /// A problem with a field.
    pub fn new(field: impl Into<String>, problem: impl Display) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }

    /// The same, seen from the message that holds this one as `outer`.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), ..self }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let details = ErrorDetails::with_bad_request_violation(&error.field, &error.problem);
        Self::with_error_details(tonic::Code::InvalidArgument, error.to_string(), details)
    }
}

fn field<T, E: Display>(name: &str, parsed: Result<T, E>) -> Result<T, Error> {
    parsed.map_err(|problem| Error::new(name, problem))
}

fn each<T, E: Display, C: FromIterator<T>>(
    name: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<C, Error> {
    texts.iter().enumerate().map(|(i, text)| field(&format!("{name}[{i}]"), parse(text))).collect()
}

/// Where a list of audit events begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstEvents {
    /// Whether it goes back from the newest.
    pub newest_first: bool,
    /// It begins after this one, or before it if it goes back.
    pub sequence: i64,
}

/// What `order_by` and `after_sequence` of a `ListAuditEventsRequest` ask for.
pub fn first_events(order_by: &str, after_sequence: i64) -> Result<FirstEvents, Error> {
    let order: Vec<&str> = order_by.split_whitespace().collect();
    let newest_first = match order[..] {
        [] | ["sequence"] => false,
        ["sequence", "desc"] => true,
        _ => return Err(Error::new("order_by", "must be `sequence`, `sequence desc` or empty")),
    };
    if after_sequence < 0 || newest_first && after_sequence > 0 {
        let problem = "must not be negative, and be given only with the oldest events first";
        return Err(Error::new("after_sequence", problem));
    }
    let sequence = if newest_first { i64::MAX } else { after_sequence };
    Ok(FirstEvents { newest_first, sequence })
}

/// A point in time as the wire has it.
pub fn timestamp(time: OffsetDateTime) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.unix_timestamp(),
        nanos: i32::try_from(time.nanosecond()).unwrap_or_default(),
    }
}

/// A point in time from the wire; `None` outside the years 0001 to 9999.
pub fn time(stamp: &prost_types::Timestamp) -> Option<OffsetDateTime> {
    let whole = OffsetDateTime::from_unix_timestamp(stamp.seconds).ok()?;
    whole.replace_nanosecond(u32::try_from(stamp.nanos).ok()?).ok()
}

/// What a link says, its id supplying the default name of the Secret.
pub fn link(name: &LinkName, message: &wire::SecretLink) -> Result<Link, Error> {
    let secret_name = match message.secret_name.as_str() {
        "" => name.id(),
        given => given,
    };
    let link = Link::new(
        each("credentials", &message.credentials, CredentialName::parse)?,
        each("clusters", &message.clusters, ClusterName::parse)?,
        namespaces(message.namespaces.as_ref())?,
        service_accounts(message.service_accounts.as_ref())?,
        usages(&message.usages)?,
        field("secret_name", SecretName::new(secret_name))?,
        secret_type(message.secret_type)?,
    );
    link.map_err(|problem| Error::new(link_field(&problem), problem))
}

fn link_field(problem: &pullpass_domain::link::Error) -> &'static str {
    use pullpass_domain::link::Error as E;
    match problem {
        E::NoCredential | E::RepeatedCredential(_) => "credentials",
        E::NoCluster => "clusters",
        E::NoUsage => "usages",
    }
}

fn namespaces(message: Option<&wire::NamespaceSelection>) -> Result<Namespaces, Error> {
    let message = message.ok_or_else(|| Error::new("namespaces", "is missing: say in which namespaces"))?;
    let names = each("namespaces.names", &message.names, |n| Namespace::new(n))?;
    let excluded = each("namespaces.exclude_names", &message.exclude_names, |n| Namespace::new(n))?;
    let labels = message.match_labels.clone().into_iter().collect();
    let by = field("namespaces", By::new(names, labels, message.all))?;
    field("namespaces", Namespaces::new(by, excluded))
}

fn service_accounts(message: Option<&wire::ServiceAccountSelection>) -> Result<ServiceAccounts, Error> {
    let message =
        message.ok_or_else(|| Error::new("service_accounts", "is missing: say which service accounts"))?;
    let names = each("service_accounts.names", &message.names, |n| ServiceAccount::new(n))?;
    let labels = message.match_labels.clone().into_iter().collect();
    field("service_accounts", By::new(names, labels, message.all)).map(ServiceAccounts::new)
}

fn usages(numbers: &[i32]) -> Result<BTreeSet<Usage>, Error> {
    let one = |number: &i32| match wire::Usage::try_from(*number) {
        Ok(wire::Usage::Pull) => Ok(Usage::Pull),
        Ok(wire::Usage::Mount) => Ok(Usage::Mount),
        Ok(wire::Usage::Unspecified) | Err(_) => {
            Err(Error::new("usages", "each must be USAGE_PULL or USAGE_MOUNT"))
        }
    };
    numbers.iter().map(one).collect()
}

fn secret_type(number: i32) -> Result<SecretType, Error> {
    match wire::SecretType::try_from(number) {
        Ok(wire::SecretType::Unspecified | wire::SecretType::Dockerconfigjson) => {
            Ok(SecretType::DockerConfigJson)
        }
        Ok(wire::SecretType::Dockercfg) => Ok(SecretType::Dockercfg),
        Err(_) => {
            Err(Error::new("secret_type", "must be SECRET_TYPE_DOCKERCONFIGJSON or SECRET_TYPE_DOCKERCFG"))
        }
    }
}

/// A link as the wire has it, without bookkeeping.
pub fn link_message(name: &LinkName, link: &Link) -> wire::SecretLink {
    wire::SecretLink {
        name: name.to_string(),
        credentials: strings(link.credentials()),
        clusters: strings(link.clusters()),
        namespaces: Some(namespaces_message(link.namespaces())),
        service_accounts: Some(service_accounts_message(link.service_accounts())),
        usages: link.usages().iter().map(|usage| usage_message(*usage).into()).collect(),
        secret_name: link.secret_name().to_string(),
        secret_type: secret_type_message(link.secret_type()).into(),
        ..Default::default()
    }
}

fn strings<'a, T: ToString + 'a>(names: impl IntoIterator<Item = &'a T>) -> Vec<String> {
    names.into_iter().map(ToString::to_string).collect()
}

fn namespaces_message(selection: &Namespaces) -> wire::NamespaceSelection {
    let mut message =
        wire::NamespaceSelection { exclude_names: strings(selection.excluded()), ..Default::default() };
    match selection.by() {
        By::Names(names) => message.names = strings(names),
        By::Labels(labels) => message.match_labels = labels.clone().into_iter().collect(),
        By::All => message.all = true,
    }
    message
}

fn service_accounts_message(selection: &ServiceAccounts) -> wire::ServiceAccountSelection {
    let mut message = wire::ServiceAccountSelection::default();
    match selection.by() {
        By::Names(names) => message.names = strings(names),
        By::Labels(labels) => message.match_labels = labels.clone().into_iter().collect(),
        By::All => message.all = true,
    }
    message
}

fn usage_message(usage: Usage) -> wire::Usage {
    match usage {
        Usage::Pull => wire::Usage::Pull,
        Usage::Mount => wire::Usage::Mount,
    }
}

fn secret_type_message(secret_type: SecretType) -> wire::SecretType {
    match secret_type {
        SecretType::DockerConfigJson => wire::SecretType::Dockerconfigjson,
        SecretType::Dockercfg => wire::SecretType::Dockercfg,
    }
}

/// What a grant says.
pub fn grant(message: &wire::ImageGrant) -> Result<Grant, Error> {
    let grant = Grant::new(
        field("project", Namespace::new(&*message.project))?,
        subject(message.subject.as_ref())?,
        role(message.role)?,
        each("clusters", &message.clusters, ClusterName::parse)?,
    );
    grant.map_err(|problem| Error::new(grant_field(&problem), problem))
}

fn grant_field(problem: &pullpass_domain::grant::Error) -> &'static str {
    use pullpass_domain::grant::Error as E;
    match problem {
        E::NoCluster => "clusters",
        E::ServiceAccountAsUser(_) => "user",
    }
}

fn subject(message: Option<&wire::image_grant::Subject>) -> Result<Subject, Error> {
    use wire::image_grant::Subject as S;
    match message {
        None => Err(Error::new("subject", "is missing: say who is granted it")),
        Some(S::ServiceAccount(account)) => Ok(Subject::ServiceAccount(
            field("service_account.namespace", Namespace::new(&*account.namespace))?,
            field("service_account.name", ServiceAccount::new(&*account.name))?,
        )),
        Some(S::ProjectServiceAccounts(project)) => {
            field("project_service_accounts", Namespace::new(&**project)).map(Subject::ProjectServiceAccounts)
        }
        Some(S::Group(group)) => field("group", SubjectName::new(&**group)).map(Subject::Group),
        Some(S::User(user)) => field("user", SubjectName::new(&**user)).map(Subject::User),
    }
}

fn role(number: i32) -> Result<Role, Error> {
    match wire::Role::try_from(number) {
        Ok(wire::Role::Unspecified | wire::Role::Pull) => Ok(Role::Pull),
        Ok(wire::Role::Push) => Ok(Role::Push),
        Ok(wire::Role::Build) => Ok(Role::Build),
        Err(_) => Err(Error::new("role", "must be ROLE_PULL, ROLE_PUSH or ROLE_BUILD")),
    }
}

/// A grant as the wire has it, without bookkeeping.
pub fn grant_message(name: &GrantName, grant: &Grant) -> wire::ImageGrant {
    use wire::image_grant::Subject as S;
    let subject = match grant.subject() {
        Subject::ServiceAccount(namespace, name) => S::ServiceAccount(wire::ServiceAccountSubject {
            namespace: namespace.to_string(),
            name: name.to_string(),
        }),
        Subject::ProjectServiceAccounts(project) => S::ProjectServiceAccounts(project.to_string()),
        Subject::Group(group) => S::Group(group.to_string()),
        Subject::User(user) => S::User(user.to_string()),
    };
    let role = match grant.role() {
        Role::Pull => wire::Role::Pull,
        Role::Push => wire::Role::Push,
        Role::Build => wire::Role::Build,
    };
    wire::ImageGrant {
        name: name.to_string(),
        project: grant.project().to_string(),
        subject: Some(subject),
        role: role.into(),
        clusters: strings(grant.clusters()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_link() -> wire::SecretLink {
        wire::SecretLink {
            credentials: vec!["credentials/quay".into()],
            clusters: vec!["clusters/dev".into()],
            namespaces: Some(wire::NamespaceSelection {
                match_labels: [("team".into(), "a".into())].into(),
                exclude_names: vec!["sandbox".into()],
                ..Default::default()
            }),
            service_accounts: Some(wire::ServiceAccountSelection {
                names: vec!["default".into()],
                ..Default::default()
            }),
            usages: vec![wire::Usage::Pull.into()],
            ..Default::default()
        }
    }

    #[test]
    fn a_link_comes_back_with_its_defaults_filled_in() {
        let name = LinkName::from_id("web").expect("a name");
        let back = link_message(&name, &link(&name, &a_link()).expect("a link"));
        let expected = wire::SecretLink {
            name: "secretLinks/web".into(),
            secret_name: "web".into(),
            secret_type: wire::SecretType::Dockerconfigjson.into(),
            ..a_link()
        };
        assert_eq!(back, expected);
        assert_eq!(link(&name, &back), link(&name, &a_link()));
    }

    type Spoil = fn(&mut wire::SecretLink);

    #[test]
    fn every_mistake_in_a_link_names_its_field() {
        let name = LinkName::from_id("web").expect("a name");
        let mistakes: [(&str, Spoil); 10] = [
            ("credentials", |l| l.credentials.clear()),
            ("credentials[0]", |l| l.credentials = vec!["quay".into()]),
            ("credentials", |l| l.credentials.push("credentials/quay".into())),
            ("clusters", |l| l.clusters.clear()),
            ("namespaces", |l| l.namespaces = None),
            ("namespaces.exclude_names[0]", |l| {
                l.namespaces.get_or_insert_default().exclude_names = vec!["A".into()];
            }),
            ("service_accounts", |l| {
                l.service_accounts = Some(wire::ServiceAccountSelection::default());
            }),
            ("usages", |l| l.usages = vec![9]),
            ("secret_name", |l| l.secret_name = "A".into()),
            ("secret_type", |l| l.secret_type = 7),
        ];
        for (field, spoil) in mistakes {
            let mut message = a_link();
            spoil(&mut message);
            let error = link(&name, &message).expect_err(field);
            assert_eq!(error.field, field);
            let status = tonic::Status::from(error);
            assert_eq!(
                status.get_error_details().bad_request().map(|b| b.field_violations[0].field.clone()),
                Some(field.into())
            );
        }
    }

    #[test]
    fn a_grant_comes_back_whoever_the_subject_is() {
        use wire::image_grant::Subject as S;
        let name = GrantName::from_id("g").expect("a name");
        let subjects = [
            S::ServiceAccount(wire::ServiceAccountSubject { namespace: "a".into(), name: "default".into() }),
            S::ProjectServiceAccounts("a".into()),
            S::Group("developers".into()),
            S::User("alice".into()),
        ];
        for subject in subjects {
            let message = wire::ImageGrant {
                name: name.to_string(),
                project: "b".into(),
                subject: Some(subject),
                role: wire::Role::Push.into(),
                clusters: vec!["clusters/dev".into()],
                ..Default::default()
            };
            assert_eq!(grant_message(&name, &grant(&message).expect("a grant")), message);
        }
    }

    #[test]
    fn a_service_account_is_not_granted_to_as_a_user() {
        let message = wire::ImageGrant {
            project: "b".into(),
            subject: Some(wire::image_grant::Subject::User("system:serviceaccount:a:default".into())),
            clusters: vec!["clusters/dev".into()],
            ..Default::default()
        };
        assert_eq!(grant(&message).expect_err("refused").field, "user");
    }
}
