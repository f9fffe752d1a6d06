//! Links: which Secrets shall be there, and which service accounts shall name them.

use std::collections::{BTreeMap, BTreeSet};

use pullpass_domain::{
    link::{Link, Usage},
    name::{LinkName, ServiceAccount},
};

use super::{
    Action, Change, Content, Edit, Entry, List, Outcome, Plan, Reason, Standing, Step, View,
    ownership::{Ownership, managed_for, seen_by},
    pods, unwanted,
};
use crate::{
    cluster::object::{Account, Digest, Identity, SecretFacts},
    desired::{Name, Wanted},
};

pub(super) fn plan(view: &View, plan: &mut Plan) {
    let holders = holders(view, plan);
    let mut entries = BTreeSet::new();
    let mut writes = Vec::new();
    for (secret, (name, link)) in &holders {
        let mut outcome = Outcome::new(Standing::Synced);
        let found = find(view, name, &link.what, &mut outcome);
        if !matches!(found, Found::Blocked) {
            entries.extend(wanted_entries(view, &link.what, secret, &mut outcome));
            pods::tell(view, &link.what, secret, &mut outcome);
        }
        if let Found::Wrong(change, reason) = found {
            writes.push(action(name, *change, reason));
        }
        plan.outcomes.insert(Name::Link((*name).clone()), outcome);
    }
    let owners: BTreeMap<_, _> = holders.iter().map(|(secret, (name, _))| (*secret, *name)).collect();
    let mut deletions = Vec::new();
    for (secret, link, facts) in leavings(view, &owners) {
        let was = &facts.identity;
        match view.holds(was).filter(|_| !unwanted::is_spent(facts, &view.state.secrets)) {
            Some(hold) => {
                entries.extend(entries_naming(view, secret));
                entries.extend(facts.stands_for.iter().flat_map(|away| entries_naming(view, away)));
                plan.keep(&Name::Link(link), "Secret", secret, hold);
            }
            None => deletions.push(deletion(secret, &link, was)),
        }
    }
    writes.extend(account_edits(view, &owners, &entries));
    writes.extend(deletions);
    for action in &writes {
        mark_unfinished(plan, action);
    }
    plan.actions.extend(writes);
}

fn action(name: &LinkName, change: Change, reason: String) -> Action {
    Action { cause: Name::Link(name.clone()), change, reason }
}

/// Whoever still has something to be done is not synced; what has nothing else here is leaving.
fn mark_unfinished(plan: &mut Plan, action: &Action) {
    let mut unfinished = |name: &Name| {
        let outcome = plan.outcomes.entry(name.clone()).or_insert_with(|| Outcome::new(Standing::Leaving));
        if outcome.standing == Standing::Synced {
            outcome.standing = Standing::Pending;
        }
    };
    unfinished(&action.cause);
    if let Change::EditAccount { edits, .. } = &action.change {
        for edit in edits {
            unfinished(&edit.cause);
        }
    }
}

/// Of the links that want a Secret of one name, the one whose mark it carries has it, otherwise the oldest.
fn holders<'a>(view: &'a View, plan: &mut Plan) -> BTreeMap<&'a str, (&'a LinkName, &'a Wanted<Link>)> {
    let mut claims = BTreeMap::<&str, Vec<(&LinkName, &Wanted<Link>)>>::new();
    for (name, link) in &view.links {
        claims.entry(link.what.secret_name().as_str()).or_default().push((name, &**link));
    }
    let mut holders = BTreeMap::new();
    for (secret, mut claimants) in claims {
        let marked = view.state.secrets.get(secret).and_then(|facts| managed_for(&facts.marks));
        claimants.sort_by_key(|(name, link)| (marked != Some(name.id()), link.created, *name));
        let held = marked.and_then(|id| LinkName::from_id(id).ok()).map(Name::Link);
        let held = held.filter(|name| keeps_without_wanting(view, name));
        let mut claimants = claimants.into_iter();
        let holder = match held {
            Some(name) => name.to_string(),
            None => match claimants.next() {
                Some((name, link)) => {
                    holders.insert(secret, (name, link));
                    name.to_string()
                }
                None => continue,
            },
        };
        for (name, _) in claimants {
            let mut outcome = Outcome::new(Standing::Failed);
            outcome.because(taken(view, secret, &holder));
            plan.outcomes.insert(Name::Link(name.clone()), outcome);
        }
    }
    holders
}

/// Whether it has a Secret here that stays although nothing here says how it shall be.
fn keeps_without_wanting(view: &View, name: &Name) -> bool {
    let wants = matches!(name, Name::Link(link) if view.links.contains_key(link));
    view.unreadable.contains(name) || (view.lost.contains(name) && !wants)
}

fn taken(view: &View, secret: &str, holder: &str) -> Reason {
    let message = format!(
        "Secret {secret} in namespace {} belongs to {holder}; give one of the two links another secret_name",
        view.name
    );
    Reason::failed("SECRET_NAME_TAKEN", "Secret", secret, message)
}

/// What was found in the place of a link's Secret.
enum Found {
    /// Something that is not ours, or nothing while nothing can be put there: nobody is to be linked to it.
    Blocked,
    /// The Secret, and nothing can or need be done to it.
    Fine,
    /// Nothing, or the Secret in a wrong state; what to do, and why.
    Wrong(Box<Change>, String),
}

fn find(view: &View, name: &LinkName, link: &Link, outcome: &mut Outcome) -> Found {
    let secret = link.secret_name().as_str();
    let facts = view.state.secrets.get(secret);
    if facts.is_some_and(|facts| seen_by(&facts.marks, name.id()) == Ownership::Foreign) {
        outcome.because(not_ours(view, secret));
        return Found::Blocked;
    }
    if facts.is_some_and(|facts| facts.terminating) {
        outcome.because(going(view, secret));
        return Found::Fine;
    }
    let material = view.materials.get(name).cloned().unwrap_or_default();
    let known = material.rendered.filter(|rendered| rendered.secret_type == link.secret_type());
    match material.problem {
        Some(problem) => outcome.because(problem),
        None if known.is_none() && !material.unfetched => outcome.because(waiting(view, secret)),
        None => {}
    }
    let content = Content { link: name.clone(), secret_type: link.secret_type(), rendered: known.clone() };
    match (facts, known) {
        (None, None) if !material.unfetched => Found::Blocked,
        (None, _) => Found::Wrong(create(secret, content), format!("{name} wants it here")),
        (Some(_), None) => Found::Fine,
        (Some(facts), Some(rendered)) => {
            outcome.versions = rendered.versions.clone();
            difference(facts, secret, content, &rendered.digest)
        }
    }
}

fn create(secret: &str, content: Content) -> Box<Change> {
    Box::new(Change::CreateSecret { name: secret.into(), content })
}

fn waiting(view: &View, secret: &str) -> Reason {
    let message = format!("the content of Secret {secret} for namespace {} is being fetched", view.name);
    Reason::pending("WAITING_FOR_MATERIAL", "Secret", secret, message)
}

fn going(view: &View, secret: &str) -> Reason {
    let message = format!("Secret {secret} in namespace {} is being deleted, and comes back then", view.name);
    Reason::pending("SECRET_TERMINATING", "Secret", secret, message)
}

fn not_ours(view: &View, secret: &str) -> Reason {
    let message = format!(
        "Secret {secret} in namespace {} exists and is not ours: delete it, or give the link another secret_name",
        view.name
    );
    Reason::failed("NOT_OURS", "Secret", secret, message)
}

/// How a Secret of ours is brought to the right content, type and marks.
fn difference(facts: &SecretFacts, name: &str, content: Content, digest: &Digest) -> Found {
    let (key, link) = (content.secret_type.data_key(), content.link.clone());
    let (name, was) = (name.to_owned(), facts.identity.clone());
    let same_type = facts.secret_type == content.secret_type.kubernetes_type();
    let same_data = facts.data.len() == 1 && facts.data.get(key) == Some(&Some(*digest));
    let same_marks = managed_for(&facts.marks) == Some(link.id());
    let change = match (same_type, same_data, same_marks) {
        (true, true, true) => return Found::Fine,
        (false, ..) => Change::RecreateSecret { name, was, content },
        (true, false, _) if facts.immutable => Change::RecreateSecret { name, was, content },
        (true, ..) => {
            let surplus = facts.data.keys().filter(|other| *other != key).cloned().collect();
            Change::UpdateSecret { name, was, content, surplus }
        }
    };
    let what = match (same_type, same_data) {
        (false, _) => "its type is not the link's, and a type cannot be changed",
        (true, false) => "its content is not the current version's",
        (true, true) => "its label or annotation is not ours",
    };
    Found::Wrong(Box::new(change), what.to_owned())
}

/// The entries that a link wants; named service accounts that do not exist are waited for.
fn wanted_entries(view: &View, link: &Link, secret: &str, outcome: &mut Outcome) -> Vec<Entry> {
    let accounts = view.state.accounts.iter();
    let matching = accounts.filter(|(name, account)| link.service_accounts().matches(name, &account.labels));
    for absent in link.service_accounts().by().names().filter(|name| !view.state.accounts.contains_key(*name))
    {
        let message = format!(
            "service account {absent} does not exist in namespace {}; it is linked as soon as it does",
            view.name
        );
        outcome.because(Reason::pending(
            "SERVICE_ACCOUNT_NOT_FOUND",
            "ServiceAccount",
            absent.as_str(),
            message,
        ));
    }
    let lists = || link.usages().iter().map(|usage| list_of(*usage));
    matching.flat_map(|(name, _)| lists().map(|list| (name.clone(), list, secret.to_owned()))).collect()
}

fn list_of(usage: Usage) -> List {
    match usage {
        Usage::Pull => List::Pull,
        Usage::Mount => List::Mount,
    }
}

/// Appends what is wanted and missing, and removes what is ours and not wanted. Nothing else is touched.
fn account_edits(view: &View, owners: &BTreeMap<&str, &LinkName>, wanted: &BTreeSet<Entry>) -> Vec<Action> {
    let edit = |(name, account): (&ServiceAccount, &Account)| {
        let mut edits = Vec::new();
        for list in List::ALL {
            edits.extend(removals(view, owners, wanted, name, (list, entries(account, list))));
            edits.extend(appends(owners, wanted, name, (list, entries(account, list))));
        }
        let cause = edits.first()?.cause.clone();
        let change = Change::EditAccount { account: name.clone(), was: account.identity.clone(), edits };
        Some(Action {
            cause,
            change,
            reason: "service accounts name the Secrets of their links, and no others of ours".into(),
        })
    };
    view.state.accounts.iter().filter_map(edit).collect()
}

pub(crate) fn entries(account: &Account, list: List) -> &[String] {
    match list {
        List::Pull => &account.pull,
        List::Mount => &account.mount,
    }
}

fn appends(
    owners: &BTreeMap<&str, &LinkName>,
    wanted: &BTreeSet<Entry>,
    account: &ServiceAccount,
    (list, present): (List, &[String]),
) -> Vec<Edit> {
    let missing =
        wanted.iter().filter(|(a, l, secret)| a == account && *l == list && !present.contains(secret));
    let edit = |(position, (_, _, secret)): (usize, &Entry)| {
        let cause = Name::Link((*owners.get(secret.as_str())?).clone());
        let step = Step::Append { first: present.is_empty() && position == 0 };
        Some(Edit { list, secret: secret.clone(), step, cause })
    };
    missing.enumerate().filter_map(edit).collect()
}

/// From the end to the beginning, so that positions hold while entries go.
fn removals(
    view: &View,
    owners: &BTreeMap<&str, &LinkName>,
    wanted: &BTreeSet<Entry>,
    account: &ServiceAccount,
    (list, present): (List, &[String]),
) -> Vec<Edit> {
    let edit = |(position, secret): (usize, &String)| {
        let entry = (account.clone(), list, secret.clone());
        let cause = if wanted.contains(&entry) { None } else { ours(view, owners, &entry) }?;
        Some(Edit { list, secret: secret.clone(), step: Step::Remove(position), cause })
    };
    present.iter().enumerate().rev().filter_map(edit).collect()
}

/// For whom an entry is there, if it is ours: it names a Secret that we manage here (whoever added it: an entry dangles
/// until the Secret is there, and follows it from then on), or that we did until somebody took it away.
fn ours(view: &View, owners: &BTreeMap<&str, &LinkName>, entry: &Entry) -> Option<Name> {
    let secret = entry.2.as_str();
    let managed = view.state.secrets.get(secret).and_then(|facts| managed_for(&facts.marks));
    let link = match managed {
        Some(id) => owners.get(secret).map(|name| (*name).clone()).or_else(|| LinkName::from_id(id).ok()),
        None => view.state.departed.get(secret).cloned().or_else(|| stood_in_for(view, secret)),
    };
    link.map(Name::Link).filter(|name| !view.unreadable.contains(name))
}

/// The link of a Secret that is away because it was being made anew.
fn stood_in_for(view: &View, secret: &str) -> Option<LinkName> {
    let stand_in = view.state.secrets.values().find(|facts| facts.stands_for.as_deref() == Some(secret))?;
    LinkName::from_id(managed_for(&stand_in.marks)?).ok()
}

/// The Secrets that nobody wants any more, with their links.
fn leavings<'a>(
    view: &'a View,
    owners: &BTreeMap<&str, &LinkName>,
) -> Vec<(&'a str, LinkName, &'a SecretFacts)> {
    let leaving = |(secret, facts): (&'a String, &'a SecretFacts)| {
        let link = LinkName::from_id(managed_for(&facts.marks)?).ok()?;
        let place = unwanted::place(secret, facts, &view.state.secrets);
        let stays = owners.contains_key(place) || view.unreadable.contains(&Name::Link(link.clone()));
        (!stays && !facts.terminating).then_some((secret.as_str(), link, facts))
    };
    view.state.secrets.iter().filter_map(leaving).collect()
}

fn deletion(secret: &str, link: &LinkName, was: &Identity) -> Action {
    let change = Change::DeleteSecret { name: secret.to_owned(), was: was.clone() };
    action(link, change, format!("{link} does not want it here any more"))
}

/// The entries that name a Secret, as they are.
fn entries_naming(view: &View, secret: &str) -> Vec<Entry> {
    let lists = view.state.accounts.iter().flat_map(|account| List::ALL.map(|list| (account, list)));
    let naming =
        lists.filter(|((_, account), list)| entries(account, *list).iter().any(|name| name == secret));
    naming.map(|((name, _), list)| (name.clone(), list, secret.to_owned())).collect()
}
