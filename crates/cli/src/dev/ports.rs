//! Ports on 127.0.0.1, chosen once and kept in the state folder, so that a restart is found where it was.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::Service;
use crate::files::{self, PUBLIC};

/// Below the kernel's range for outgoing connections (from 32768), so that none of those takes a port of ours while
/// its service is restarted.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// The ports of one state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// credential-store, gRPC.
    pub credential_store: u16,
    /// credential-store, Prometheus metrics.
    pub credential_store_metrics: u16,
    /// grant-manager, gRPC.
    pub grant_manager: u16,
    /// grant-manager, Prometheus metrics.
    pub grant_manager_metrics: u16,
    /// cluster-applier, gRPC.
    pub cluster_applier: u16,
    /// cluster-applier, Prometheus metrics.
    pub cluster_applier_metrics: u16,
}

impl Ports {
    /// Those that `file` holds, or else free ones, which are written there.
    pub(crate) fn load_or_choose(file: &Path) -> anyhow::Result<Self> {
        if file.exists() {
            let text =
                fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
            return toml::from_str(&text)
                .with_context(|| format!("{} does not name the ports", file.display()));
        }
        let ports = Self::choose()?;
        let text = toml::to_string(&ports).context("failed to write down the ports")?;
        files::replace(file, PUBLIC, text.as_bytes())?;
        Ok(ports)
    }

    fn choose() -> anyhow::Result<Self> {
        let mut free = free_ports(6)?.into_iter();
        let mut next = || free.next().context("no free port was found on 127.0.0.1");
        Ok(Self {
            credential_store: next()?,
            credential_store_metrics: next()?,
            grant_manager: next()?,
            grant_manager_metrics: next()?,
            cluster_applier: next()?,
            cluster_applier_metrics: next()?,
        })
    }

    /// Where a service listens for gRPC.
    pub fn address(&self, service: Service) -> SocketAddr {
        local(match service {
            Service::CredentialStore => self.credential_store,
            Service::GrantManager => self.grant_manager,
            Service::ClusterApplier => self.cluster_applier,
        })
    }

    /// Where a service serves its metrics.
    pub fn metrics_address(&self, service: Service) -> SocketAddr {
        local(match service {
            Service::CredentialStore => self.credential_store_metrics,
            Service::GrantManager => self.grant_manager_metrics,
            Service::ClusterApplier => self.cluster_applier_metrics,
        })
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn free_ports(how_many: usize) -> anyhow::Result<BTreeSet<u16>> {
    let mut found = BTreeSet::new();
    for _ in 0..COUNT {
        let mut random = [0_u8; 2];
        aws_lc_rs::rand::fill(&mut random).context("failed to choose a port")?;
        let port = FIRST + u16::from_le_bytes(random) % COUNT;
        if found.len() < how_many && TcpListener::bind(local(port)).is_ok() {
            found.insert(port);
        }
        if found.len() == how_many {
            break;
        }
    }
    Ok(found)
}
