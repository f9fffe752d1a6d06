//! How proposals are shown: what is there, and what would be declared, as commands where these need no secret.

use pullpass_api::convert;
use pullpass_domain::{
    docker_config::SecretType,
    name::{ClusterName, CredentialName},
};
use serde_json::{Value, json};

use super::propose::{Access, LeftOut, Object, PlannedGrant, PlannedLink, Proposals, Pull, options, word};
use crate::{
    json,
    output::{self, Format},
};

/// How many namespaces a table names.
const SHOWN: usize = 4;

pub(super) fn render(format: Format, proposals: &Proposals) -> anyhow::Result<String> {
    if format != Format::Table {
        return output::structured(format, &value(proposals)?);
    }
    let rows =
        proposals.pulls.iter().flat_map(pull_rows).chain(proposals.accesses.iter().flat_map(access_rows));
    let mut text = output::table(&["NAME", "STANDS FOR", "DECLARES"], rows);
    if !proposals.left_out.is_empty() {
        let row = |left: &LeftOut| {
            vec![left.kind.to_owned(), left.namespace.clone(), left.name.clone(), left.why.clone()]
        };
        text.push('\n');
        text += &output::table(&["LEFT OUT", "NAMESPACE", "NAME", "WHY"], proposals.left_out.iter().map(row));
    }
    Ok(text)
}

fn pull_rows(pull: &Pull) -> Vec<Vec<String>> {
    let taken = pull.links.iter().filter(|link| !link.secrets.is_empty());
    let places = taken.map(|link| format!("Secret {} in {}", pull.secret_name, places(&link.secrets)));
    let declared = [format!("credential {}: {}", pull.credential.id(), registries(pull))];
    rows(
        &pull.name,
        places.collect(),
        declared.into_iter().chain(pull.links.iter().filter_map(link_command)).collect(),
    )
}

fn access_rows(access: &Access) -> Vec<Vec<String>> {
    let place = format!("RoleBinding {} in {}", access.old.name, access.old.namespace);
    rows(&access.name, vec![place], access.grants.iter().filter_map(grant_command).collect())
}

/// The name stands in the first row only.
fn rows(name: &str, left: Vec<String>, right: Vec<String>) -> Vec<Vec<String>> {
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    let mut rows = Vec::new();
    loop {
        let (a, b) = (left.next(), right.next());
        if a.is_none() && b.is_none() {
            return rows;
        }
        let name = if rows.is_empty() { name } else { "" };
        rows.push(vec![name.to_owned(), a.unwrap_or_default(), b.unwrap_or_default()]);
    }
}

fn places(objects: &[Object]) -> String {
    let names: Vec<_> = objects.iter().take(SHOWN).map(|object| object.namespace.as_str()).collect();
    match objects.len().saturating_sub(SHOWN) {
        0 => names.join(","),
        more => format!("{} and {more} more", names.join(",")),
    }
}

/// As `credential get` shows them.
fn registries(pull: &Pull) -> String {
    let entries: Vec<_> =
        pull.config.summaries().map(|(registry, user)| format!("{registry} ({user})")).collect();
    entries.join(", ")
}

/// None if it is declared already.
fn link_command(planned: &PlannedLink) -> Option<String> {
    let link = &planned.link;
    let credentials: Vec<_> = link.credentials().iter().map(CredentialName::id).collect();
    let usages: Vec<_> = link.usages().iter().copied().map(word).collect();
    let mut words = vec![
        format!("pullpass link create {}", planned.name.id()),
        format!("--credential {}", credentials.join(",")),
        format!("--cluster {}", clusters(link.clusters())),
        format!("--namespace {}", joined(link.namespaces().by().names())),
        format!("--service-account {}", joined(link.service_accounts().by().names())),
        format!("--for {}", usages.join(",")),
    ];
    if link.secret_name().as_str() != planned.name.id() {
        words.push(format!("--secret-name {}", link.secret_name()));
    }
    if link.secret_type() == SecretType::Dockercfg {
        words.push("--secret-type dockercfg".to_owned());
    }
    (!planned.declared).then(|| words.join(" "))
}

fn grant_command(planned: &PlannedGrant) -> Option<String> {
    let (name, grant) = (planned.name.id(), &planned.grant);
    let words = [name, &options(grant), "--cluster", &clusters(grant.clusters())].join(" ");
    (!planned.declared).then(|| format!("pullpass grant create {words}"))
}

fn clusters<'a>(names: impl IntoIterator<Item = &'a ClusterName>) -> String {
    joined(names.into_iter().map(ClusterName::id))
}

fn joined<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| name.to_string()).collect();
    names.join(",")
}

/// Links and grants are the API's messages; `commands` say the same to a shell.
fn value(proposals: &Proposals) -> anyhow::Result<Value> {
    let pulls = proposals.pulls.iter().map(pull_value);
    let accesses = proposals.accesses.iter().map(access_value);
    let all: Vec<_> = pulls.chain(accesses).collect::<Result<_, _>>()?;
    let left = |left: &LeftOut| json!({"kind": left.kind, "namespace": left.namespace, "name": left.name, "why": left.why});
    let left: Vec<_> = proposals.left_out.iter().map(left).collect();
    Ok(json!({"proposals": all, "leftOut": left}))
}

fn pull_value(pull: &Pull) -> anyhow::Result<Value> {
    let objects: Vec<_> =
        pull.links.iter().flat_map(|link| &link.secrets).map(|at| object("Secret", at)).collect();
    let message = |planned: &PlannedLink| {
        json::value("pullpass.grant.v1.SecretLink", &convert::link_message(&planned.name, &planned.link))
    };
    let links: Vec<_> = pull.links.iter().map(message).collect::<Result<_, _>>()?;
    let entries = pull
        .config
        .summaries()
        .map(|(registry, username)| json!({"registry": registry, "username": username}));
    Ok(json!({
        "name": pull.name,
        "objects": objects,
        "credential": {"name": pull.credential.to_string(), "entries": entries.collect::<Vec<_>>()},
        "secretLinks": links,
        "imageGrants": [],
        "commands": pull.links.iter().filter_map(link_command).collect::<Vec<_>>(),
        "notes": pull.notes,
    }))
}

fn access_value(access: &Access) -> anyhow::Result<Value> {
    let message = |planned: &PlannedGrant| {
        json::value("pullpass.grant.v1.ImageGrant", &convert::grant_message(&planned.name, &planned.grant))
    };
    let grants: Vec<_> = access.grants.iter().map(message).collect::<Result<_, _>>()?;
    Ok(json!({
        "name": access.name,
        "objects": [object("RoleBinding", &access.old)],
        "secretLinks": [],
        "imageGrants": grants,
        "commands": access.grants.iter().filter_map(grant_command).collect::<Vec<_>>(),
        "notes": [],
    }))
}

fn object(kind: &str, object: &Object) -> Value {
    json!({"kind": kind, "namespace": object.namespace, "name": object.name})
}
