//! RoleBindings to OpenShift's image roles: a grant for each subject.

use std::collections::BTreeSet;

use pullpass_domain::{
    grant::{Grant, Role, Subject},
    name::{ClusterName, GrantName, Namespace, ServiceAccount, SubjectName},
};

use super::{
    Access, Declared, LeftOut, Namespaces, Object, PlannedGrant, Proposals,
    names::{self, claim},
    others,
};
use crate::adopt::survey::{Binding, Found, Reference};

/// The bindings that OpenShift makes in each project and makes again when they are deleted
/// (openshift-controller-manager `pkg/authorization/defaultrolebindings`).
const DEFAULTS: [&str; 3] = ["system:image-pullers", "system:image-builders", "system:deployers"];
/// The group of all service accounts of a project, and the user name of one.
const PROJECT: &str = "system:serviceaccounts:";
const ACCOUNT: &str = "system:serviceaccount:";

pub(super) fn propose(
    cluster: &ClusterName,
    namespaces: &Namespaces,
    found: &Found,
    declared: &Declared,
    taken: &mut BTreeSet<String>,
    proposals: &mut Proposals,
) {
    let mut bindings: Vec<_> = found.bindings.iter().collect();
    bindings.sort_by_key(|binding| (&binding.metadata.namespace, &binding.metadata.name));
    let mut planned = Vec::new();
    for binding in bindings {
        let meta = &binding.metadata;
        let Some((project, role)) = looked_at(namespaces, binding) else { continue };
        let grants = granted(cluster, &project, role, binding).and_then(|grants| {
            grants.into_iter().map(|grant| plan(cluster, declared, &mut planned, grant)).collect()
        });
        match grants {
            Err(why) => proposals.left_out.push(LeftOut::new("RoleBinding", meta, why)),
            Ok(grants) => {
                let text = format!("{project}-{}", meta.name.trim_start_matches("system:"));
                let id = names::id(&text);
                let ids = [id.clone(), names::hashed(&id, &format!("{project}/{}", meta.name))];
                let old = Object::of(meta, meta.annotations.grant.as_ref());
                proposals.accesses.extend(claim(taken, ids).map(|name| Access { name, old, grants }));
            }
        }
    }
}

/// The project and the role, if the binding is one of those that are looked at.
fn looked_at(namespaces: &Namespaces, binding: &Binding) -> Option<(Namespace, Role)> {
    let meta = &binding.metadata;
    let project = Namespace::new(&*meta.namespace).ok()?;
    let role = Role::ALL.into_iter().find(|role| role.cluster_role() == binding.role_ref.name)?;
    let looked_at = namespaces.contains_key(&project) && !meta.is_ours() && !is_default(&project, binding);
    looked_at.then_some((project, role))
}

/// As OpenShift makes it.
fn is_default(project: &Namespace, binding: &Binding) -> bool {
    let subject = |kind: &str, namespace: &str, name: String| Reference {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name,
    };
    let expected = match binding.metadata.name.as_str() {
        "system:image-pullers" => subject("Group", "", format!("{PROJECT}{project}")),
        "system:image-builders" => subject("ServiceAccount", project.as_str(), "builder".to_owned()),
        _ => return false,
    };
    binding.subjects.is_empty() || binding.subjects == [expected]
}

/// What the binding grants, or why that cannot be said as grants.
fn granted(
    cluster: &ClusterName,
    project: &Namespace,
    role: Role,
    binding: &Binding,
) -> Result<Vec<Grant>, String> {
    let meta = &binding.metadata;
    if let Some(why) = others(meta) {
        return Err(why);
    }
    if binding.role_ref.kind != "ClusterRole" {
        return Err(format!(
            "is to a {} of the project itself; grants are of OpenShift's ClusterRoles",
            binding.role_ref.kind
        ));
    }
    if DEFAULTS.contains(&meta.name.as_str()) {
        return Err(
            "is OpenShift's own with other subjects, and comes back when deleted: grant to them by hand"
                .to_owned(),
        );
    }
    if binding.subjects.is_empty() {
        return Err("grants nobody anything: delete it".to_owned());
    }
    let grant = |reference: &Reference| {
        let subject = subject(project, reference)?;
        let grant = Grant::new(project.clone(), subject, role, BTreeSet::from([cluster.clone()]));
        grant.map_err(|error| error.to_string())
    };
    binding.subjects.iter().map(grant).collect()
}

/// RBAC knows service accounts by their user names and groups too.
fn subject(project: &Namespace, reference: &Reference) -> Result<Subject, String> {
    let Reference { kind, namespace, name } = reference;
    let wrong = |problem: pullpass_domain::name::Error| {
        format!("its subject {kind} {name} cannot be granted to: {problem}")
    };
    let account = |namespace: &str, name: &str| {
        let namespace = Namespace::new(namespace).map_err(wrong)?;
        Ok(Subject::ServiceAccount(namespace, ServiceAccount::new(name).map_err(wrong)?))
    };
    match kind.as_str() {
        "ServiceAccount" if namespace.is_empty() => account(project.as_str(), name),
        "ServiceAccount" => account(namespace, name),
        "User" => match name.strip_prefix(ACCOUNT).and_then(|rest| rest.split_once(':')) {
            Some((namespace, name)) => account(namespace, name),
            None => SubjectName::new(&**name).map(Subject::User).map_err(wrong),
        },
        "Group" => match name.strip_prefix(PROJECT) {
            Some(project) => Namespace::new(project).map(Subject::ProjectServiceAccounts).map_err(wrong),
            None => SubjectName::new(&**name).map(Subject::Group).map_err(wrong),
        },
        other => Err(format!(
            "its subject {name} is of the kind {other}; grants are to service accounts, users and groups"
        )),
    }
}

/// The grant under the name it has already, or under one that no other grant has.
fn plan(
    cluster: &ClusterName,
    declared: &Declared,
    planned: &mut Vec<(GrantName, Grant)>,
    grant: Grant,
) -> Result<PlannedGrant, String> {
    let says = |other: &Grant| {
        (other.project(), other.subject(), other.role()) == (grant.project(), grant.subject(), grant.role())
            && other.clusters().contains(cluster)
    };
    if let Some((name, _)) = declared.grants.iter().find(|(_, other)| says(other)) {
        return Ok(PlannedGrant { name: name.clone(), grant, declared: true });
    }
    if let Some((name, _)) = planned.iter().find(|(_, other)| says(other)) {
        return Ok(PlannedGrant { name: name.clone(), grant, declared: false });
    }
    let (id, exactly) = (names::id(&text(&grant)), options(&grant));
    let free = |name: &GrantName| {
        !declared.grants.contains_key(name) && !planned.iter().any(|(other, _)| other == name)
    };
    let ids = [id.clone(), names::hashed(&id, &exactly)];
    let name = ids.into_iter().filter_map(|id| GrantName::from_id(id).ok()).find(free);
    let name = name.ok_or_else(|| format!("no name is free for its grant, not even {id}"))?;
    planned.push((name.clone(), grant.clone()));
    Ok(PlannedGrant { name, grant, declared: false })
}

/// The options of `pullpass grant create` that say the same.
pub(in crate::adopt) fn options(grant: &Grant) -> String {
    let subject = match grant.subject() {
        Subject::ServiceAccount(namespace, name) => format!("--to-service-account {namespace}/{name}"),
        Subject::ProjectServiceAccounts(project) => format!("--to-project {project}"),
        Subject::Group(name) => format!("--to-group {}", quoted(name.as_str())),
        Subject::User(name) => format!("--to-user {}", quoted(name.as_str())),
    };
    let role = match grant.role() {
        Role::Pull => "",
        Role::Push => " --role push",
        Role::Build => " --role build",
    };
    format!("--project {} {subject}{role}", grant.project())
}

/// For a shell, where it needs that.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@+".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn text(grant: &Grant) -> String {
    let subject = match grant.subject() {
        Subject::ServiceAccount(namespace, name) => format!("{namespace}-{name}"),
        Subject::ProjectServiceAccounts(project) => project.to_string(),
        Subject::Group(name) => format!("group-{name}"),
        Subject::User(name) => format!("user-{name}"),
    };
    let verb = match grant.role() {
        Role::Pull => "pulls",
        Role::Push => "pushes",
        Role::Build => "builds",
    };
    format!("{subject}-{verb}-{}", grant.project())
}
