//! How soon a new namespace can pull: from its creation until its `default` names the Secret, at rest and while a link is
//! made in all the others.

use std::time::{Duration, Instant};

use e2e::measure::Sample;

use crate::bench::{Bench, create_namespace};

/// The link that serves them.
const LINK: &str = "newcomers";
const LABEL: (&str, &str) = ("newcomer", "yes");
/// The link that is made in all the others meanwhile.
const FANOUT: &str = "meanwhile";
/// So many at rest.
const SAMPLES: usize = 200;
/// They are so far apart during the fan-out.
const PAUSE: Duration = Duration::from_millis(20);

/// Measures and prints it.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<()> {
    bench.link(LINK, LABEL).await?;
    let (mut at_rest, mut own) = (Sample::default(), Sample::default());
    for number in 0..SAMPLES {
        let newcomer = come(bench, format!("newcomer-{number}")).await?;
        let (account, linked) = newcomer.await?;
        at_rest.add_time(linked);
        own.add_time(linked.saturating_sub(account));
    }
    let fanout = bench.observer.all_name(FANOUT, &bench.namespaces);
    bench.link(FANOUT, ("bench-all", "yes")).await?;
    let mut fanout = std::pin::pin!(fanout);
    let mut newcomers = Vec::new();
    loop {
        newcomers.push(tokio::spawn(come(bench, format!("newcomer-meanwhile-{}", newcomers.len())).await?));
        tokio::select! {
            ended = &mut fanout => {
                ended?;
                break;
            }
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
    let mut busy = Sample::default();
    for newcomer in newcomers {
        busy.add_time(newcomer.await??.1);
    }
    println!("\nfrom the creation of a namespace until its service account is linked");
    println!("  at rest: {}", at_rest.milliseconds());
    println!("    of which after the controller manager has made the account: {}", own.milliseconds());
    println!("  during a fan-out over {} others: {}", bench.namespaces.len(), busy.milliseconds());
    Ok(())
}

/// Makes one. What follows gives how long it took until there was an account, and until that was linked.
async fn come(
    bench: &Bench,
    name: String,
) -> anyhow::Result<impl Future<Output = anyhow::Result<(Duration, Duration)>> + use<>> {
    let began = Instant::now();
    let names = std::slice::from_ref(&name);
    let (account, linked) = (bench.observer.all_have_accounts(names), bench.observer.all_name(LINK, names));
    create_namespace(bench.cluster.client(), &name, &[LABEL]).await?;
    Ok(async move { Ok((account.await? - began, linked.await? - began)) })
}
