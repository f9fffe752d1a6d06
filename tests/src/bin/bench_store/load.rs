//! Many calls of one kind, and what each of them costs.

use std::{fmt, future::Future, time::Instant};

use e2e::measure::Sample;
use tokio::task::JoinSet;

use crate::store::Store;

/// What calls of one kind cost, all rounds together.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    /// CPU time of the service for a call, in microseconds; one value a round.
    pub(crate) cpu: Sample,
    /// From the call to its answer, in seconds; one value a call.
    pub(crate) latency: Sample,
    /// Calls a second; one value a round.
    pub(crate) rate: Sample,
}

impl Cost {
    /// A round: each of `clients` makes `calls` calls, one after the other.
    pub(crate) async fn round<C, F>(
        &mut self,
        store: &Store,
        clients: &[C],
        calls: usize,
        call: impl Fn(C, usize) -> F + Clone + Send + 'static,
    ) -> anyhow::Result<()>
    where
        C: Clone + Send + 'static,
        F: Future<Output = anyhow::Result<()>> + Send,
    {
        let (before, began) = (store.usage()?, Instant::now());
        let mut running = JoinSet::new();
        for (number, client) in clients.iter().cloned().enumerate() {
            let call = call.clone();
            running.spawn(async move {
                let mut latency = Sample::new();
                for n in 0..calls {
                    let began = Instant::now();
                    call(client.clone(), number * calls + n).await?;
                    latency.add_time(began.elapsed());
                }
                anyhow::Ok(latency)
            });
        }
        while let Some(latency) = running.join_next().await {
            self.latency.extend(latency??);
        }
        let elapsed = began.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
        let made = (clients.len() * calls) as f64;
        self.cpu.add((store.usage()?.cpu_seconds - before.cpu_seconds) * 1e6 / made);
        self.rate.add(made / elapsed);
        Ok(())
    }
}

impl Cost {
    /// The rounds of another one as well.
    pub(crate) fn add(&mut self, other: Self) {
        self.cpu.extend(other.cpu);
        self.latency.extend(other.latency);
        self.rate.extend(other.rate);
    }
}

/// Three cells of a table: CPU, and the latency's percentiles.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.latency.percentile(50.0) * 1e3, self.latency.percentile(99.0) * 1e3);
        write!(f, "{} | {p50:.2} | {p99:.2}", self.cpu)
    }
}
