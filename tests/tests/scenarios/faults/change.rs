//! What somebody does to the declarations or to the cluster in a round, chosen by the dice.

use std::collections::BTreeSet;

use super::model::{Accounts, CREDENTIALS, GRANTS, Grant, LINKS, Link, Model, NAMESPACES, Reach};
use crate::dice::Dice;

#[derive(Debug, Clone)]
pub(super) enum Change {
    /// Declares it, or declares it anew.
    Link(&'static str, Link),
    Unlink(&'static str),
    Rotate(&'static str),
    Grant(&'static str, Grant),
    Revoke(&'static str),
    /// Sets or takes away the label by which links choose namespaces.
    Label(&'static str, bool),
    /// By hand, to our Secret of a link in a namespace.
    Secret(&'static str, &'static str, Hand),
    /// By hand, to our binding of a grant in a project.
    Binding(&'static str, &'static str, Hand),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    Edits,
    Deletes,
    TakesOurLabel,
}

/// Which change is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Link,
    Retype,
    Unlink,
    Rotate,
    Grant,
    ChangeRole,
    Revoke,
    EditBinding,
}

/// Chooses changes, and keeps the model of what they lead to.
#[derive(Debug)]
pub(super) struct Chooser {
    pub(super) model: Model,
    pub(super) dice: Dice,
    /// Links and grants that have had their change in this round: one each, so that what comes of it does not depend on
    /// the order in which it is noticed.
    pub(super) touched: BTreeSet<&'static str>,
}

impl Chooser {
    pub(super) fn new(dice: Dice) -> Self {
        let versions = CREDENTIALS.map(|name| (name, 1)).into();
        Self { model: Model { versions, ..Model::default() }, dice, touched: BTreeSet::new() }
    }

    /// A change of this kind, or any other if that is not possible; the model has it.
    pub(super) fn next(&mut self, kind: Kind) -> Change {
        loop {
            if let Some(change) = self.of_kind(kind).or_else(|| self.any()) {
                self.note(&change);
                return change;
            }
        }
    }

    fn of_kind(&mut self, kind: Kind) -> Option<Change> {
        match kind {
            Kind::Any => self.any(),
            Kind::Link => self.link(),
            Kind::Retype => {
                let (name, mut link) = self.linked()?;
                link.dockercfg = !link.dockercfg;
                Some(Change::Link(name, link))
            }
            Kind::Unlink => Some(Change::Unlink(self.linked()?.0)),
            Kind::Rotate => self.dice.pick(CREDENTIALS.into_iter()).map(Change::Rotate),
            Kind::Grant => self.grant(),
            Kind::ChangeRole => {
                let (name, grant) = self.granted()?;
                Some(Change::Grant(name, Grant { push: !grant.push, ..grant }))
            }
            Kind::Revoke => Some(Change::Revoke(self.granted()?.0)),
            Kind::EditBinding => self.hand_on_binding(Hand::Edits),
        }
    }

    fn any(&mut self) -> Option<Change> {
        match self.dice.below(14) {
            0..4 => self.link(),
            4 => self.of_kind(Kind::Retype),
            5 => self.of_kind(Kind::Unlink),
            6 => self.of_kind(Kind::Rotate),
            7 => self.grant(),
            8 => self.of_kind(Kind::ChangeRole),
            9 => self.of_kind(Kind::Revoke),
            10 | 11 => self.label(),
            12 => {
                let hand = self.dice.pick([Hand::Edits, Hand::Deletes].into_iter())?;
                self.hand_on_binding(hand)
            }
            _ => self.hand_on_secret(),
        }
    }

    /// A new link, or another reach, other accounts or other lists for one that is there.
    fn link(&mut self) -> Option<Change> {
        let name = self.untouched(&LINKS)?;
        let reach =
            if self.dice.below(3) == 0 { Reach::Served } else { Reach::Named(self.some_namespaces()) };
        let accounts = [Accounts::Default, Accounts::Labelled, Accounts::All];
        let lists = [(true, false), (false, true), (true, true)];
        let old = self.model.links.get(name);
        let (old_credential, dockercfg) =
            old.map_or((None, None), |l| (Some(l.credential), Some(l.dockercfg)));
        let credential = self.dice.pick(CREDENTIALS.into_iter())?;
        let link = Link {
            credential: old_credential.unwrap_or(credential),
            dockercfg: dockercfg.unwrap_or(self.dice.below(3) == 0),
            reach,
            accounts: self.dice.pick(accounts.into_iter())?,
            lists: self.dice.pick(lists.into_iter())?,
        };
        Some(Change::Link(name, link))
    }

    fn grant(&mut self) -> Option<Change> {
        let absent: Vec<_> =
            GRANTS.into_iter().filter(|name| !self.model.grants.contains_key(name)).collect();
        let name = self.untouched(&absent)?;
        let project = self.dice.pick(NAMESPACES.into_iter())?;
        let (push, own) = (self.dice.below(2) == 0, self.dice.below(2) == 0);
        Some(Change::Grant(name, Grant { project, push, own }))
    }

    fn label(&mut self) -> Option<Change> {
        let served: Vec<_> = self.served_links().collect();
        let namespace = self.dice.pick(NAMESPACES.into_iter())?;
        let free = served.iter().all(|name| !self.touched.contains(name));
        free.then(|| Change::Label(namespace, !self.model.served.contains(namespace)))
    }

    fn hand_on_secret(&mut self) -> Option<Change> {
        let (name, _) = self.linked()?;
        let there: Vec<_> =
            NAMESPACES.into_iter().filter(|ns| self.model.ours(ns).secrets.contains_key(name)).collect();
        let namespace = self.dice.pick(there.into_iter())?;
        let hand = self.dice.pick([Hand::Edits, Hand::Deletes, Hand::TakesOurLabel].into_iter())?;
        Some(Change::Secret(namespace, name, hand))
    }

    fn hand_on_binding(&mut self, hand: Hand) -> Option<Change> {
        let (name, grant) = self.granted()?;
        let free = self.model.failing(&format!("imageGrants/{name}")) == 0;
        free.then_some(Change::Binding(grant.project, name, hand))
    }

    fn linked(&mut self) -> Option<(&'static str, Link)> {
        let all: Vec<_> = self.model.links.keys().copied().collect();
        let name = self.untouched(&all)?;
        Some((name, self.model.links[name].clone()))
    }

    fn granted(&mut self) -> Option<(&'static str, Grant)> {
        let all: Vec<_> = self.model.grants.keys().copied().collect();
        let name = self.untouched(&all)?;
        Some((name, self.model.grants[name]))
    }

    fn untouched(&mut self, all: &[&'static str]) -> Option<&'static str> {
        let free: Vec<_> = all.iter().copied().filter(|name| !self.touched.contains(name)).collect();
        self.dice.pick(free.into_iter())
    }

    fn served_links(&self) -> impl Iterator<Item = &'static str> {
        self.model.links.iter().filter(|(_, link)| link.reach == Reach::Served).map(|(name, _)| *name)
    }

    fn some_namespaces(&mut self) -> BTreeSet<&'static str> {
        let some = NAMESPACES.into_iter().filter(|_| self.dice.below(2) == 0).collect::<BTreeSet<_>>();
        if some.is_empty() { [NAMESPACES[0]].into() } else { some }
    }

    fn note(&mut self, change: &Change) {
        let model = &mut self.model;
        match change {
            Change::Link(name, link) => drop(model.links.insert(name, link.clone())),
            Change::Unlink(name) => drop(model.links.remove(name)),
            Change::Rotate(name) => *model.versions.entry(name).or_default() += 1,
            Change::Grant(name, grant) => drop(model.grants.insert(name, *grant)),
            Change::Revoke(name) => drop(model.grants.remove(name)),
            Change::Label(namespace, true) => drop(model.served.insert(namespace)),
            Change::Label(namespace, false) => drop(model.served.remove(namespace)),
            Change::Secret(..) | Change::Binding(..) => {}
        }
        match change {
            Change::Link(name, _)
            | Change::Unlink(name)
            | Change::Secret(_, name, _)
            | Change::Grant(name, _)
            | Change::Revoke(name)
            | Change::Binding(_, name, _) => drop(self.touched.insert(name)),
            Change::Label(..) => self.touched.extend(self.served_links().collect::<Vec<_>>()),
            Change::Rotate(_) => {}
        }
    }
}
