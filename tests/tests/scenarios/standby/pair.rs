//! Two appliers that take turns, each with a certificate and a service account of its own.

use std::time::{Duration, Instant};

use e2e::{
    Applier, Differences, Scenario, applier_access, audit_log::AuditLog, audit_log::Request, eventually,
    pullpass::Service, wait::seen,
};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use pullpass::pki::Authority;
use pullpass_api::applier::v1::PlanSyncRequest;

pub(super) const NAMES: [&str; 2] = ["one", "two"];
/// The Lease of `deploy/`.
const LEASE: &str = "pullpass-cluster-applier";
const POLL: Duration = Duration::from_millis(10);

/// Both appliers, and the scenario in which they are the only ones.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    s: &'a Scenario,
    appliers: [Applier; 2],
}

impl<'a> Pair<'a> {
    /// In the place of the usual applier.
    pub(super) async fn start(s: &'a Scenario, seconds: u16, in_flight: Option<u16>) -> Self {
        s.pullpass.kill9(Service::ClusterApplier);
        let usual = s.pullpass.applier();
        let authority = Authority::open(&s.pullpass.state().dir().join("pki")).expect("the authority");
        let id = s.pullpass.state().identity(Service::ClusterApplier).expect("an identity");
        let second =
            authority.issue(&id, &s.pullpass.state().dir().join("pki/second")).expect("a certificate");
        let mut appliers = Vec::new();
        for (name, tls) in NAMES.into_iter().zip([usual, second]) {
            let kubeconfig = applier_access::grant_another(&s.plane, name).await.expect("a service account");
            let name = name.to_owned();
            let differences = Differences { name, kubeconfig, tls, lease_seconds: Some(seconds), in_flight };
            appliers.push(Applier::start(&s.pullpass, &differences).expect("the applier starts"));
        }
        let pair = Self { s, appliers: appliers.try_into().expect("two of them") };
        for number in 0..NAMES.len() {
            pair.is_warm(number).await;
        }
        pair
    }

    pub(super) fn applier(&self, number: usize) -> &Applier {
        &self.appliers[number]
    }

    /// What the Lease says.
    pub(super) async fn lease(&self) -> LeaseSpec {
        let leases = self.s.cluster.api::<Lease>("pullpass");
        let lease = leases.get_opt(LEASE).await.expect("a Lease or none");
        lease.and_then(|lease| lease.spec).unwrap_or_default()
    }

    /// Who is active by the Lease.
    pub(super) async fn holder(&self) -> Option<usize> {
        let holder = self.lease().await.holder_identity?;
        NAMES.iter().position(|name| holder.starts_with(&format!("{name}_")))
    }

    /// Waits until somebody is active.
    pub(super) async fn active(&self) -> usize {
        eventually("one of the appliers is active", async || {
            self.holder().await.ok_or_else(|| "nobody is".to_owned())
        })
        .await
    }

    /// How long it takes until this one is active by the Lease.
    pub(super) async fn becomes_active(&self, number: usize, since: Instant) -> Duration {
        let waiting = async {
            while self.holder().await != Some(number) {
                tokio::time::sleep(POLL).await;
            }
        };
        let name = NAMES[number];
        tokio::time::timeout(Duration::from_mins(1), waiting)
            .await
            .unwrap_or_else(|_| panic!("{name} does not become active:\n{}", self.appliers[number].log()));
        since.elapsed()
    }

    /// Waits until an applier knows everything and could take over.
    pub(super) async fn is_warm(&self, number: usize) {
        let admin = self.s.pullpass.admin();
        eventually(format!("{} can plan", NAMES[number]), async || {
            let plan = self.appliers[number].client(&admin).plan_sync(PlanSyncRequest::default()).await;
            seen(plan.is_ok(), plan.err())
        })
        .await;
    }
}

/// Which writes to the cluster an applier asked for, those of its turn aside.
pub(super) fn writes(log: &AuditLog, number: usize) -> Vec<Request> {
    let requests = log.requests_of(&applier_access::user(NAMES[number])).into_iter();
    requests.filter(|request| request.is_write() && !request.uri.contains("/leases")).collect()
}
