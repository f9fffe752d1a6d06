//! What a process has used, and on what machine, from /proc.

use std::{fmt, fs};

use anyhow::Context as _;

/// Clock ticks a second in /proc/PID/stat: `getconf CLK_TCK` says 100 on every Linux in use.
const TICKS: f64 = 100.0;

/// CPU time and memory of a process until now.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// In user mode and in the kernel.
    pub cpu_seconds: f64,
    /// Resident now.
    pub megabytes: f64,
    /// Resident at most.
    pub peak_megabytes: f64,
}

impl Usage {
    /// Of the process with this id.
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let file = format!("/proc/{process}/{name}");
            fs::read_to_string(&file).with_context(|| format!("failed to read {file}"))
        };
        let stat = read("stat")?;
        // After the name, which stands in brackets and may hold anything; utime and stime are fields 14 and 15 of all.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        let ticks: f64 = ticks.sum::<Result<_, _>>().context("failed to read the CPU time")?;
        let status = read("status")?;
        let megabytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            kilobytes.map(|n| n * 1024.0 / 1e6).context("failed to read the memory")
        };
        Ok(Self {
            cpu_seconds: ticks / TICKS,
            megabytes: megabytes("VmRSS:")?,
            peak_megabytes: megabytes("VmHWM:")?,
        })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the applier, all in all: {:.1} s of CPU time, {:.0} MB peak resident memory",
            self.cpu_seconds, self.peak_megabytes
        )
    }
}

/// Processors and load.
pub fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or_default().to_owned();
    format!(
        "machine: {count} × {}, load {load} before the measurements",
        model.unwrap_or("unknown processor")
    )
}
