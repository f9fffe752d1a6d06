//! What each principal holds at one time, so that nobody can take all. Who has no certificate is nobody yet when the
//! connection is made: all that comes from one place counts as one principal then.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    config::LimitsConfig,
    identity::{PeerIdentity, SpiffeId},
};

/// Who holds something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// By a certificate.
    Certified(SpiffeId),
    /// Without one, and from where.
    From(IpAddr),
}

/// Everybody who has a connection.
#[derive(Debug)]
pub(super) struct Principals {
    connections: usize,
    calls: usize,
    known: Mutex<HashMap<Holder, Weak<Principal>>>,
}

/// One of them: the room that is left for connections and calls.
#[derive(Debug)]
pub(super) struct Principal {
    connections: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

impl Holder {
    /// By the certificate's id, or else by the address. Of IPv6 the network counts: a host has all of its addresses.
    pub(super) fn of(peer: Option<&PeerIdentity>, address: IpAddr) -> Self {
        match (peer, address.to_canonical()) {
            (Some(peer), _) => Self::Certified(peer.spiffe_id.clone()),
            (None, IpAddr::V6(v6)) => {
                let network = v6.to_bits() & (u128::MAX << 64);
                Self::From(Ipv6Addr::from_bits(network).into())
            }
            (None, v4) => Self::From(v4),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certified(id) => id.fmt(f),
            Self::From(IpAddr::V4(address)) => write!(f, "who has no certificate at {address}"),
            Self::From(IpAddr::V6(network)) => write!(f, "who has no certificate at {network}/64"),
        }
    }
}

impl Principals {
    pub(super) fn new(limits: &LimitsConfig) -> Self {
        let (connections, calls) = (limits.max_connections_per_principal, limits.max_streams_per_principal);
        Self { connections, calls, known: Mutex::default() }
    }

    /// The same for everybody who comes as `holder`, whatever the certificate.
    pub(super) fn get(&self, holder: &Holder) -> Arc<Principal> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(principal) = known.get(holder).and_then(Weak::upgrade) {
            return principal;
        }
        known.retain(|_, principal| principal.strong_count() > 0);
        let principal = Arc::new(Principal {
            connections: Arc::new(Semaphore::new(self.connections)),
            calls: Arc::new(Semaphore::new(self.calls)),
        });
        known.insert(holder.clone(), Arc::downgrade(&principal));
        principal
    }
}

impl Principal {
    /// Room for one connection while it lives; none if there is none.
    pub(super) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// Room for one call until its answer has ended; none if there is none.
    pub(super) fn call(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.calls).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certified(id: &str) -> Holder {
        Holder::Certified(id.parse().expect("an id"))
    }

    #[test]
    fn who_has_no_certificate_is_known_by_the_place_and_ipv6_by_its_network() {
        let holder = |text: &str| Holder::of(None, text.parse().expect("an address"));
        assert_eq!(holder("10.0.0.1"), holder("::ffff:10.0.0.1"));
        assert_ne!(holder("10.0.0.1"), holder("10.0.0.2"));
        assert_eq!(holder("2001:db8::1"), holder("2001:db8::ffff:0:0:2"));
        assert_ne!(holder("2001:db8::1"), holder("2001:db8:0:1::1"));
        assert_eq!(holder("10.0.0.1").to_string(), "who has no certificate at 10.0.0.1");
        assert_eq!(holder("2001:db8::1").to_string(), "who has no certificate at 2001:db8::/64");
        let spiffe_id = "spiffe://d/east".parse().expect("an id");
        let peer = PeerIdentity { spiffe_id, certificate_sha256: Some([0; 32]) };
        let somewhere = "10.0.0.1".parse().expect("an address");
        assert_eq!(Holder::of(Some(&peer), somewhere), certified("spiffe://d/east"));
    }

    #[test]
    fn room_is_each_principals_own_and_is_given_back() {
        let limits = LimitsConfig { max_connections_per_principal: 1, ..LimitsConfig::default() };
        let principals = Principals::new(&limits);
        let (east, west) = (certified("spiffe://d/east"), certified("spiffe://d/west"));
        let first = principals.get(&east);
        let held = first.connection().expect("room");
        assert!(principals.get(&east).connection().is_none(), "one connection a principal");
        assert!(principals.get(&west).connection().is_some(), "of which others know nothing");
        drop(held);
        assert!(principals.get(&east).connection().is_some(), "given back");
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let principals = Principals::new(&LimitsConfig::default());
        for number in 0..100 {
            principals.get(&certified(&format!("spiffe://d/{number}")));
        }
        assert_eq!(principals.known.lock().expect("unpoisoned").len(), 1);
    }
}
