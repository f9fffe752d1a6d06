//! A new link, a rotation and their end in many namespaces: the raw loop and the applier by turns.

use std::{collections::BTreeMap, time::Instant};

use e2e::measure::Sample;

use crate::{
    bench::{Bench, SELECTED},
    raw,
};

/// The name of the applier's Secrets.
const NAME: &str = "ours";

/// Times of one side, in seconds.
#[derive(Default)]
struct Times {
    link: Sample,
    rotation: Sample,
    unlink: Sample,
}

/// Runs and prints both sides for these namespaces.
pub(crate) async fn run(bench: &Bench, namespaces: &[String], rounds: u32) -> anyhow::Result<()> {
    let (mut raw, mut ours) = (Times::default(), Times::default());
    let (mut requests, mut cpu) = (BTreeMap::new(), Sample::default());
    for round in 1..=rounds {
        // Who comes first has the fresher API server: by turns.
        if round % 2 == 1 {
            raw_turn(bench, namespaces, round, &mut raw).await?;
        }
        let (log, before) = (bench.world.plane.audit_log().from_now(), bench.applier_usage()?);
        applier_turn(bench, namespaces, &mut ours).await?;
        cpu.add(bench.applier_usage()?.cpu_seconds - before.cpu_seconds);
        for request in log.requests_of(&bench.world.applier_user()) {
            let (path, _) = request.uri.split_once('?').unwrap_or((&request.uri, ""));
            let kind = KINDS.into_iter().find(|kind| path.split('/').any(|part| part == *kind));
            let kind = kind.unwrap_or("others");
            *requests.entry(format!("{} {kind} {}", request.verb, request.code)).or_insert(0_u64) += 1;
        }
        if round % 2 == 0 {
            raw_turn(bench, namespaces, round, &mut raw).await?;
        }
    }
    print(namespaces.len(), rounds, &raw, &ours);
    println!("  CPU time of the applier for the three: {cpu} s");
    println!("  its requests, all {rounds} rounds together:");
    for (what, count) in requests {
        println!("    {count:>8} {what}");
    }
    Ok(())
}

const KINDS: [&str; 4] = ["secrets", "serviceaccounts", "rolebindings", "namespaces"];

async fn raw_turn(bench: &Bench, namespaces: &[String], round: u32, times: &mut Times) -> anyhow::Result<()> {
    let (raw, seen) = (&bench.raw, &bench.observer);
    let (done, began) = (seen.all_name(raw::NAME, namespaces), Instant::now());
    raw.each(namespaces, async |_, namespace| raw.link(namespace).await).await?;
    times.link.add_time(done.await? - began);
    let (done, began) = (seen.all_written(raw::NAME, namespaces), Instant::now());
    raw.each(namespaces, async |_, namespace| raw.rotate(namespace, round).await).await?;
    times.rotation.add_time(done.await? - began);
    // The Secrets go last, and only the loop knows when.
    times.unlink.add_time(raw.each(namespaces, async |_, namespace| raw.unlink(namespace).await).await?);
    Ok(())
}

async fn applier_turn(bench: &Bench, namespaces: &[String], times: &mut Times) -> anyhow::Result<()> {
    let all = namespaces.len() == bench.namespaces.len();
    let label = if all { ("bench-all", "yes") } else { (SELECTED, "half") };
    let (done, began) = (bench.observer.all_name(NAME, namespaces), Instant::now());
    bench.link(NAME, label).await?;
    times.link.add_time(done.await? - began);
    let (done, began) = (bench.observer.all_written(NAME, namespaces), Instant::now());
    bench.rotate().await?;
    times.rotation.add_time(done.await? - began);
    let done = bench.observer.none_names(NAME, namespaces);
    bench.unlink(NAME).await?;
    let began = Instant::now();
    bench.confirm().await?;
    done.await?;
    bench.gone(NAME).await?;
    times.unlink.add_time(began.elapsed());
    Ok(())
}

fn print(count: usize, rounds: u32, raw: &Times, ours: &Times) {
    println!("\n{count} namespaces, {rounds} rounds by turns; median (least to most)");
    println!("  {:<22} {:>26} {:>26} {:>8}", "", "raw loop", "applier", "ratio");
    let lines = [
        ("new link, s", 2, &raw.link, &ours.link),
        ("rotation, s", 1, &raw.rotation, &ours.rotation),
        ("taken back, s", 2, &raw.unlink, &ours.unlink),
    ];
    for (what, writes, raw, ours) in lines {
        println!("  {what:<22} {:>26} {:>26}", raw.to_string(), ours.to_string());
        #[expect(clippy::cast_precision_loss, reason = "a number of namespaces")]
        let rate = |sample: &Sample| (count * writes) as f64 / sample.median();
        let (raw_rate, our_rate) = (rate(raw), rate(ours));
        let ratio = our_rate / raw_rate;
        println!("  {:<22} {raw_rate:>26.0} {our_rate:>26.0} {ratio:>8.2}", "   objects a second");
    }
}

/// Prints what the API server makes of each kind of request that could do the same.
pub(crate) async fn kinds(bench: &Bench, namespaces: &[String], rounds: u32) -> anyhow::Result<()> {
    let raw = &bench.raw;
    let mut samples = [const { ("", Sample::new()) }; 4];
    let names = ["merge patch", "JSON Patch", "replace", "server-side apply"];
    samples.iter_mut().zip(names).for_each(|((name, _), given)| *name = given);
    raw.each(namespaces, async |_, namespace| raw.create_secret(namespace).await).await?;
    for round in 1..=rounds {
        for (n, (_, sample)) in samples.iter_mut().enumerate() {
            let content = round * 10 + u32::try_from(n)?;
            let time = match n {
                0 => raw.each(namespaces, async |_, ns| raw.rotate(ns, content).await).await?,
                1 => raw.each(namespaces, async |_, ns| raw.rotate_by_json_patch(ns, content).await).await?,
                2 => raw.each(namespaces, async |_, ns| raw.rotate_by_replace(ns, content).await).await?,
                _ => raw.each(namespaces, async |_, ns| raw.rotate_by_apply(ns, content).await).await?,
            };
            sample.add_time(time);
        }
    }
    raw.each(namespaces, async |_, namespace| raw.delete_secret(namespace).await).await?;
    println!("\nnew content of {} Secrets by the raw loop, s; median (least to most)", namespaces.len());
    for (name, sample) in &samples {
        println!("  {name:<22} {sample}");
    }
    Ok(())
}
