//! Secrets: one credential for all of one name, type and content, and a link for each set of accounts that name them.

use std::collections::{BTreeMap, BTreeSet};

use pullpass_domain::{
    docker_config::{DockerConfig, SecretType},
    keyring::Keyring,
    link::{Link, Usage},
    name::{ClusterName, CredentialName, LinkName, Namespace, SecretName, ServiceAccount},
    selector::{By, Labels, Namespaces as Chosen, ServiceAccounts},
};

use super::{
    Declared, LeftOut, Namespaces, Object, PlannedLink, Proposals, Pull, Storing,
    names::{self, claim},
    others,
};
use crate::adopt::survey::{Found, Secret};

/// What proposals are made from.
pub(super) struct Scene<'a> {
    pub(super) cluster: &'a ClusterName,
    pub(super) namespaces: &'a Namespaces,
    pub(super) found: &'a Found,
    pub(super) declared: &'a Declared,
}

/// Which service accounts name a Secret, in which of their lists.
type Uses = BTreeMap<ServiceAccount, BTreeSet<Usage>>;

/// A Secret of which there is nothing to object to.
#[derive(Debug)]
struct Member {
    namespace: Namespace,
    uses: Uses,
    is_ours: bool,
    is_applied: bool,
    object: Object,
}

/// Those of one name that are the same.
#[derive(Debug)]
struct Group {
    name: SecretName,
    secret_type: SecretType,
    config: DockerConfig,
    members: Vec<Member>,
}

pub(super) fn propose(scene: &Scene<'_>, taken: &mut BTreeSet<String>, proposals: &mut Proposals) {
    let uses = uses(scene);
    let mut by_name = BTreeMap::<&str, Vec<Group>>::new();
    let mut secrets: Vec<_> = scene.found.secrets.iter().collect();
    secrets.sort_by_key(|secret| (&secret.metadata.namespace, &secret.metadata.name));
    for secret in secrets {
        let meta = &secret.metadata;
        match look(scene, &uses, secret) {
            Some(Ok(group)) => add(by_name.entry(&meta.name).or_default(), group),
            Some(Err(why)) if !meta.is_ours() => {
                proposals.left_out.push(LeftOut::new("Secret", meta, why));
            }
            Some(Err(_)) | None => {}
        }
    }
    for groups in by_name.into_values() {
        let shared = groups.len() > 1;
        for group in groups {
            let foreign = group.members.iter().any(|member| !member.is_ours);
            let pull = if foreign { continued(scene, &group, taken) } else { continue };
            let pull = pull.or_else(|| fresh(scene, &group, shared, taken, &mut proposals.left_out));
            proposals.pulls.extend(pull);
        }
    }
}

fn add(groups: &mut Vec<Group>, new: Group) {
    let same = |group: &&mut Group| (group.secret_type, &group.config) == (new.secret_type, &new.config);
    match groups.iter_mut().find(same) {
        Some(group) => group.members.extend(new.members),
        None => groups.push(new),
    }
}

fn uses<'a>(scene: &Scene<'a>) -> BTreeMap<(&'a str, &'a str), Uses> {
    let mut uses = BTreeMap::<_, Uses>::new();
    for account in &scene.found.accounts {
        let Ok(name) = ServiceAccount::new(&*account.metadata.name) else { continue };
        for (list, usage) in [(&account.image_pull_secrets, Usage::Pull), (&account.secrets, Usage::Mount)] {
            for entry in list {
                let secret = (account.metadata.namespace.as_str(), entry.name.as_str());
                uses.entry(secret).or_default().entry(name.clone()).or_default().insert(usage);
            }
        }
    }
    uses
}

/// A group of one, or why a person should look at it; none if it is not to be looked at.
fn look(
    scene: &Scene<'_>,
    uses: &BTreeMap<(&str, &str), Uses>,
    secret: &Secret,
) -> Option<Result<Group, String>> {
    let meta = &secret.metadata;
    let namespace = Namespace::new(&*meta.namespace).ok()?;
    if !scene.namespaces.contains_key(&namespace) || meta.is_openshifts() {
        return None;
    }
    if let Some(why) = others(meta).filter(|_| !meta.is_ours()) {
        return Some(Err(why));
    }
    let uses = uses.get(&(meta.namespace.as_str(), meta.name.as_str())).cloned().unwrap_or_default();
    let group = usable(secret).and_then(|(secret_type, config)| {
        if uses.is_empty() {
            return Err("no service account names it; pods may still do so themselves".to_owned());
        }
        let member = Member {
            namespace,
            uses,
            is_ours: meta.is_ours(),
            is_applied: meta.is_applied_from_a_file(),
            object: Object::of(meta, meta.annotations.link.as_ref()),
        };
        let name = SecretName::new(&*meta.name).map_err(|error| error.to_string())?;
        Ok(Group { name, secret_type, config, members: vec![member] })
    });
    Some(group)
}

/// What can become a credential without a pod noticing: the Secret that the applier writes must be the same to the kubelet.
fn usable(secret: &Secret) -> Result<(SecretType, DockerConfig), String> {
    let types = [SecretType::DockerConfigJson, SecretType::Dockercfg];
    let secret_type = types.into_iter().find(|known| known.kubernetes_type() == secret.kind);
    let secret_type = secret_type.ok_or_else(|| format!("is of type {}", secret.kind))?;
    let key = secret_type.data_key();
    let content = secret.data.get(key).ok_or_else(|| format!("has no value under {key}"))?;
    let unusable = |problem: String| format!("no credential can be made of its content: {problem}");
    let config = DockerConfig::parse(content.0.expose()).map_err(|error| unusable(error.to_string()))?;
    let keyring = Keyring::from_secrets(&[(secret_type, content.0.expose())]);
    let keyring = keyring.map_err(|error| unusable(error.to_string()))?;
    if !config.entries().iter().all(|entry| keyring.offers(entry)) {
        return Err(format!("the kubelet finds no credential in it: that is not the form of {key}"));
    }
    if secret.data.len() > 1 {
        return Err(format!(
            "has other values beside {key}, which would be lost: move them to a Secret of their own"
        ));
    }
    if secret.immutable {
        return Err(
            "is immutable: a rotation would have to delete it, and pods could not pull meanwhile".to_owned()
        );
    }
    Ok((secret_type, config))
}

/// How the description of a credential begins that was made from a Secret.
pub(super) const ADOPTED: &str = "adopted from Secret ";

/// By this a credential is known again that an earlier run stored.
fn description(cluster: &ClusterName, object: &Object) -> String {
    format!("{ADOPTED}{}/{} of cluster {}", object.namespace, object.name, cluster.id())
}

/// What an earlier run began and did not finish: it stored the credential, and what links it declared are those that
/// would be declared now.
fn continued(scene: &Scene<'_>, group: &Group, taken: &mut BTreeSet<String>) -> Option<Pull> {
    let entries: Vec<_> = group.config.summaries().collect();
    scene.declared.credentials.iter().find_map(|(credential, stored)| {
        let known = stored.entries.iter().map(|(registry, user)| (registry.as_str(), user.as_str()));
        let described = |member: &Member| description(scene.cluster, &member.object) == stored.description;
        if !known.eq(entries.iter().copied()) || !group.members.iter().any(described) {
            return None;
        }
        let names = |link: &Link| link.credentials().contains(credential);
        let its_own = |member: &&Member| {
            let link = member.object.marked.as_ref().and_then(|id| LinkName::from_id(id.as_str()).ok());
            !member.is_ours || link.and_then(|link| scene.declared.links.get(&link)).is_some_and(names)
        };
        let members: Vec<_> = group.members.iter().filter(its_own).collect();
        let links = links(scene, group, credential, &members);
        let known = scene.declared.links.iter().filter(|(_, link)| names(link));
        let as_planned = |(name, _): (&LinkName, &Link)| {
            links.iter().any(|planned| planned.declared && planned.name == *name)
        };
        let others_claim = |member: &&Member| {
            claims(scene, group, member).any(|link| !links.iter().any(|own| own.name == *link))
        };
        let goes_on = known.into_iter().all(as_planned) && !members.iter().any(others_claim);
        let held = members.iter().any(|member| member.is_ours);
        let storing = if held { Storing::Held } else { Storing::Again(stored.etag.clone()) };
        let name = claim(taken, goes_on.then(|| credential.id().to_owned()))?;
        Some(pull(group, name, credential.clone(), stored.description.clone(), storing, links, &members))
    })
}

/// New names for those that no link wants already.
fn fresh(
    scene: &Scene<'_>,
    group: &Group,
    shared: bool,
    taken: &mut BTreeSet<String>,
    left_out: &mut Vec<LeftOut>,
) -> Option<Pull> {
    let (mut members, mut claimed) = (Vec::new(), Vec::new());
    for member in group.members.iter().filter(|member| !member.is_ours) {
        match claims(scene, group, member).next() {
            None => members.push(member),
            Some(link) => claimed.push(already_wanted(&member.object, link)),
        }
    }
    left_out.extend(claimed);
    let first = &members.first()?.object;
    let free = |id: &String| {
        let credential = CredentialName::from_id(id.as_str()).ok();
        credential.filter(|name| !scene.declared.credentials.contains_key(name)).is_some_and(|credential| {
            let links = links(scene, group, &credential, &members);
            links.iter().all(|planned| !scene.declared.links.contains_key(&planned.name))
        })
    };
    let name = claim(taken, ids(scene, first, shared).into_iter().filter(free))?;
    let credential = CredentialName::from_id(name.as_str()).ok()?;
    let links = links(scene, group, &credential, &members);
    let description = description(scene.cluster, first);
    Some(pull(group, name, credential, description, Storing::New, links, &members))
}

/// The Secret's own name if every Secret of that name is the same, or else more and more of where it is.
fn ids(scene: &Scene<'_>, first: &Object, shared: bool) -> Vec<String> {
    let (name, namespace, cluster) = (&first.name, &first.namespace, scene.cluster.id());
    let whole = format!("{name}-{namespace}-{cluster}");
    let ids = [
        names::id(name),
        names::id(&format!("{name}-{namespace}")),
        names::id(&whole),
        names::hashed(&names::id(&whole), &whole),
    ];
    ids.into_iter().skip(usize::from(shared)).collect()
}

/// The declared links that want a Secret of this name there.
fn claims<'a>(scene: &Scene<'a>, group: &Group, member: &Member) -> impl Iterator<Item = &'a LinkName> {
    let labels: Labels = scene.namespaces.get(&member.namespace).cloned().unwrap_or_default();
    let (namespace, secret, cluster) = (member.namespace.clone(), group.name.clone(), scene.cluster);
    let wanting = scene.declared.links.iter().filter(move |(_, link)| {
        link.clusters().contains(cluster)
            && *link.secret_name() == secret
            && link.namespaces().matches(&namespace, &labels)
    });
    wanting.map(|(name, _)| name)
}

fn already_wanted(object: &Object, link: &LinkName) -> LeftOut {
    let why = format!(
        "link {} is declared for it already: if an adopt was cut off, run it again with the same -n; otherwise delete \
         the Secret, and the link's own takes its place",
        link.id()
    );
    LeftOut { kind: "Secret", namespace: object.namespace.clone(), name: object.name.clone(), why }
}

/// The accounts and usages that a link must have to want every entry that is there.
fn cover(uses: &Uses) -> (BTreeSet<ServiceAccount>, BTreeSet<Usage>) {
    (uses.keys().cloned().collect(), uses.values().flatten().copied().collect())
}

/// One link for each set of accounts and usages. An entry that no link wants would be taken out of its service account.
fn links(
    scene: &Scene<'_>,
    group: &Group,
    credential: &CredentialName,
    members: &[&Member],
) -> Vec<PlannedLink> {
    let mut by_cover = BTreeMap::<_, Vec<&Member>>::new();
    for member in members {
        by_cover.entry(cover(&member.uses)).or_default().push(member);
    }
    let (several, mut taken) = (by_cover.len() > 1, BTreeSet::new());
    let plan = |((accounts, usages), members): (_, Vec<&Member>)| {
        let text =
            if several { told_apart(credential, &accounts, &usages) } else { credential.id().to_owned() };
        let id = claim(&mut taken, [names::id(&text), names::hashed(&names::id(&text), &text)])?;
        let name = LinkName::from_id(id).ok()?;
        let chosen = members.iter().map(|member| member.namespace.clone()).collect();
        let link = Link::new(
            vec![credential.clone()],
            BTreeSet::from([scene.cluster.clone()]),
            Chosen::new(By::Names(chosen), BTreeSet::new()).ok()?,
            ServiceAccounts::new(By::Names(accounts)),
            usages,
            group.name.clone(),
            group.secret_type,
        );
        let link = link.ok()?;
        let declared = scene.declared.links.get(&name) == Some(&link);
        let foreign = members.iter().filter(|member| !member.is_ours);
        Some(PlannedLink {
            name,
            link,
            declared,
            secrets: foreign.map(|member| member.object.clone()).collect(),
        })
    };
    by_cover.into_iter().filter_map(plan).collect()
}

fn told_apart(
    credential: &CredentialName,
    accounts: &BTreeSet<ServiceAccount>,
    usages: &BTreeSet<Usage>,
) -> String {
    let accounts: Vec<_> = accounts.iter().map(ServiceAccount::as_str).collect();
    let usages: Vec<_> = usages.iter().copied().map(word).collect();
    format!("{}-{}-{}", credential.id(), accounts.join("-"), usages.join("-"))
}

/// As `--for` has it.
pub(in crate::adopt) fn word(usage: Usage) -> &'static str {
    match usage {
        Usage::Pull => "pull",
        Usage::Mount => "mount",
    }
}

fn pull(
    group: &Group,
    name: String,
    credential: CredentialName,
    description: String,
    storing: Storing,
    links: Vec<PlannedLink>,
    members: &[&Member],
) -> Pull {
    let mut notes: Vec<_> = group.config.warnings().iter().map(ToString::to_string).collect();
    notes.extend(members.iter().filter(|member| !member.is_ours).flat_map(|member| remarks(member)));
    let (secret_name, config) = (group.name.clone(), group.config.clone());
    Pull { name, credential, description, config, storing, secret_name, links, notes }
}

fn remarks(member: &Member) -> Vec<String> {
    let place = format!("{}/{}", member.object.namespace, member.object.name);
    let mut remarks = Vec::new();
    if member.is_applied {
        remarks.push(format!("{place} comes from a file by `kubectl apply`: take it out of there, or each apply undoes rotations"));
    }
    let (accounts, usages) = cover(&member.uses);
    for account in &accounts {
        let missing =
            usages.iter().filter(|usage| !member.uses.get(account).is_some_and(|has| has.contains(usage)));
        let missing: Vec<_> = missing.copied().map(word).collect();
        if !missing.is_empty() {
            let missing = missing.join(",");
            remarks.push(format!(
                "{place} would be linked to {account} for {missing} too: a link treats its accounts alike"
            ));
        }
    }
    remarks
}
