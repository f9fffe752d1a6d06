//! Runs what is typed: the very line that is shown, by bash, with our programs on its PATH.

use std::{
    cell::Cell,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use e2e::{binaries, process::Process};

/// Longer than any command takes that works.
const PATIENCE: Duration = Duration::from_secs(150);
const POLL: Duration = Duration::from_millis(10);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// What it printed, on both outputs, in order.
    pub(crate) text: String,
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
}

impl Ran {
    /// Whether it worked.
    pub(crate) fn worked(&self) -> bool {
        self.code == Some(0)
    }

    /// Whether this is all it printed.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.text.trim() == text
    }

    /// Whether one of its lines has all these words.
    pub(crate) fn has_line_with(&self, words: &[&str]) -> bool {
        self.text.lines().any(|line| words.iter().all(|word| line.contains(word)))
    }
}

/// The user's terminal.
#[derive(Debug)]
pub(crate) struct Shell {
    folder: PathBuf,
    environment: Vec<(String, OsString)>,
    number: Cell<u32>,
}

impl Shell {
    /// In `folder`, with `pullpass` and `kubectl` at hand.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        let mut programs = Vec::new();
        for program in [binaries::own("pullpass")?, binaries::kubernetes("kubectl")?] {
            programs.push(program.parent().context("a program in no folder")?.to_owned());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        programs.extend(std::env::split_paths(&path));
        let path = std::env::join_paths(programs).context("the PATH cannot be extended")?;
        Ok(Self {
            folder: folder.to_owned(),
            environment: vec![("PATH".to_owned(), path)],
            number: Cell::new(0),
        })
    }

    /// As `export` does.
    pub(crate) fn export(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Writes a file where the commands run.
    pub(crate) fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        fs::write(self.folder.join(name), content).with_context(|| format!("failed to write {name}"))
    }

    /// Runs a line to its end. All its processes end with it, also when we do not wait for it any longer.
    pub(crate) async fn run(&self, line: &str) -> anyhow::Result<Ran> {
        let number = self.number.replace(self.number.get() + 1);
        let log = self.folder.join(format!("output-{number}"));
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &format!("umask 077\n{line}")]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.folder);
        let mut process = Process::start("bash", &command, &log)?;
        let status = tokio::time::timeout(PATIENCE, async {
            loop {
                match process.ended() {
                    Some(status) => break status,
                    None => tokio::time::sleep(POLL).await,
                }
            }
        });
        let Ok(status) = status.await else { bail!("`{line}` did not end within {PATIENCE:?}") };
        let bytes = fs::read(&log).with_context(|| format!("failed to read {}", log.display()))?;
        Ok(Ran { text: String::from_utf8_lossy(&bytes).into_owned(), code: status.code() })
    }
}
