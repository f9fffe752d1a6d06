//! Starts the services, says when they are ready, starts again what dies, and stops them.

use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, stream::FuturesUnordered};
use pullpass_runtime::config::PeerConfig;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Service, StateDir, child::Running};
use crate::{
    client::{Grants, Session},
    cluster,
    output::{self, Format, note},
    progress::Progress,
};

/// How long a service may take to become healthy at the first start.
const START: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(100);
/// The first pause before a service is started again; it doubles up to the last.
const PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// Who ran so long is given the first pause again.
const STABLE: Duration = Duration::from_mins(1);

/// The parent of the three services.
#[derive(Debug)]
pub(super) struct Supervisor {
    state: StateDir,
    session: Session,
    patience: Duration,
}

impl Supervisor {
    pub(super) fn new(state: StateDir, shutdown_seconds: u64) -> anyhow::Result<Self> {
        let session = Session::new(state.client_config()?, Format::Table, None)?;
        Ok(Self { state, session, patience: Duration::from_secs(shutdown_seconds + 2) })
    }

    /// Until a signal, or until a service does not start.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        for service in Service::ALL {
            note(&format!("{} logs to {}", service.binary_name(), self.state.log_file(service).display()));
        }
        let mut running = Vec::new();
        let started = tokio::select! {
            started = self.start(&mut running) => started.map(|()| true),
            () = signals.next() => Ok(false),
        };
        match started {
            Ok(true) => self.supervise(running, &mut signals).await,
            outcome => {
                let stopped = self.stop(running, &mut signals).await;
                outcome.map(drop).and(stopped)
            }
        }
    }

    /// The two services that keep something come first; the applier can act when its cluster is registered.
    async fn start(&self, running: &mut Vec<Running>) -> anyhow::Result<()> {
        for service in [Service::CredentialStore, Service::GrantManager] {
            running.push(Running::start(&self.state, service)?);
        }
        for started in running.iter_mut() {
            self.healthy(started).await?;
        }
        self.register().await?;
        running.push(Running::start(&self.state, Service::ClusterApplier)?);
        if let Some(applier) = running.last_mut() {
            self.healthy(applier).await?;
        }
        output::emit(&format!("ready: pullpass --config {} status\n", self.state.client_file().display()))
    }

    async fn healthy(&self, running: &mut Running) -> anyhow::Result<()> {
        let service = running.service;
        let progress = Progress::new();
        progress.tell(&format!("waiting for {}", service.binary_name()));
        let peer = self.state.peer(service)?;
        let healthy = tokio::time::timeout(START, self.until_healthy(service, &peer));
        let outcome = tokio::select! {
            healthy = healthy => healthy.map_err(|_| format!("was not healthy after {} s", START.as_secs())),
            ended = running.ended() => Err(ended.map_or_else(|e| e.to_string(), |status| format!("ended with {status}"))),
        };
        drop(progress);
        outcome.map_err(|what| anyhow::anyhow!("{} {what}; {}", service.binary_name(), running.last_words()))
    }

    async fn until_healthy(&self, service: Service, peer: &PeerConfig) {
        let mut health = HealthClient::new(self.session.connection(peer));
        let mut told = false;
        loop {
            let request = HealthCheckRequest { service: service.grpc_name().to_owned() };
            match health.check(request).await.map(|answer| answer.get_ref().status()) {
                Ok(ServingStatus::Serving) => return,
                Ok(ServingStatus::NotServing) if !told => {
                    let (name, log) = (service.binary_name(), self.state.log_file(service));
                    note(&format!(
                        "{name} runs and does not serve; {} says why and what to do",
                        log.display()
                    ));
                    told = true;
                }
                _ => {}
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Registers the cluster with the identity of our applier; once is enough.
    async fn register(&self) -> anyhow::Result<()> {
        let (grants, name) = (self.session.grants(), self.state.cluster());
        let applier = self.state.identity(Service::ClusterApplier)?;
        match cluster::create(&grants, name, &applier).await {
            Ok(_) => {
                note(&format!("registered the cluster {}", name.id()));
                Ok(())
            }
            Err(error) if error.code() == Code::AlreadyExists => self.check_registration(&grants).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn check_registration(&self, grants: &Grants) -> anyhow::Result<()> {
        let name = self.state.cluster();
        let registered = cluster::get(grants, name).await?.applier_identity;
        let own = self.state.identity(Service::ClusterApplier)?;
        anyhow::ensure!(
            registered == own.as_str(),
            "cluster {} is registered for the applier {registered}, not for {own}: choose another --cluster",
            name.id()
        );
        Ok(())
    }

    async fn supervise(&self, running: Vec<Running>, signals: &mut Signals) -> anyhow::Result<()> {
        let (stop, stopping) = tokio::sync::watch::channel(());
        let kept: FuturesUnordered<_> =
            running.into_iter().map(|running| self.keep(running, stopping.clone())).collect();
        drop(stopping);
        let kept = kept.collect::<Vec<_>>();
        tokio::pin!(kept);
        let running = tokio::select! {
            running = &mut kept => running,
            () = signals.next() => {
                let _ = stop.send(());
                kept.await
            }
        };
        let mut running: Vec<_> = running.into_iter().flatten().collect();
        running.sort_by_key(|running| running.service);
        self.stop(running, signals).await
    }

    /// Keeps one service running until it shall stop, and gives it back if it runs then.
    async fn keep(
        &self,
        mut running: Running,
        mut stopping: tokio::sync::watch::Receiver<()>,
    ) -> Option<Running> {
        let service = running.service;
        let mut pause = PAUSE;
        loop {
            let since = Instant::now();
            let status = tokio::select! {
                biased;
                _ = stopping.changed() => return Some(running),
                status = running.ended() => status,
            };
            if since.elapsed() >= STABLE {
                pause = PAUSE;
            }
            let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
            note(&format!(
                "{} ended ({status}) and is started again in {:.1} s",
                service.binary_name(),
                pause.as_secs_f32()
            ));
            running = loop {
                tokio::select! {
                    _ = stopping.changed() => return None,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LAST_PAUSE);
                match Running::start(&self.state, service) {
                    Ok(running) => break running,
                    Err(error) => note(&format!("{error:#}; tried again in {:.1} s", pause.as_secs_f32())),
                }
            };
        }
    }

    /// Stops in the order opposite to the start. A second signal leaves no time.
    async fn stop(&self, mut running: Vec<Running>, signals: &mut Signals) -> anyhow::Result<()> {
        note("stopping");
        let mut outcome = Ok(());
        let mut patience = self.patience;
        while let Some(mut last) = running.pop() {
            let stopped = tokio::select! {
                stopped = last.stop(patience) => stopped,
                () = signals.next() => {
                    patience = Duration::ZERO;
                    last.stop(patience).await
                }
            };
            outcome = outcome.and(stopped);
        }
        outcome.context("not everything stopped cleanly")
    }
}

/// SIGINT and SIGTERM.
#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
