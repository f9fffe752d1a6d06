//! Commands that run to their end, with their output.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
};

/// Longer than any command takes that works.
const TOO_LONG: Duration = Duration::from_mins(2);

/// What a command printed, and its exit code.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
}

impl Output {
    /// The output of a command that was meant to work.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "often the check is all that is wanted")]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "the command failed: {self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON on stdout ({e}): {self:#?}"))
    }

    /// Standard output, or what went wrong.
    pub fn into_result(self) -> anyhow::Result<String> {
        anyhow::ensure!(self.code == 0, "exit code {}: {}", self.code, self.stderr.trim());
        Ok(self.stdout)
    }
}

/// A command to be run.
#[derive(Debug)]
pub struct Run {
    program: OsString,
    command: Command,
    input: Vec<u8>,
}

impl Run {
    /// `program` with `arguments`.
    pub fn new(program: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).kill_on_drop(true);
        Self { program: program.into(), command, input: Vec::new() }
    }

    /// With this in its environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// With this on its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Runs it to its end. An error only if it cannot be run or does not end.
    pub async fn output(mut self) -> anyhow::Result<Output> {
        let input = std::mem::take(&mut self.input);
        let mut running = self.start()?;
        let stdin = running.child.stdin.take();
        let end = async { drop(feed(stdin, input).await) };
        tokio::join!(end, running.finish()).1
    }

    /// Starts it and leaves its standard input open, after what it was given to begin with: less than a pipe holds.
    pub async fn held(mut self) -> anyhow::Result<Running> {
        let input = std::mem::take(&mut self.input);
        let mut running = self.start()?;
        let stdin = running.child.stdin.take();
        running.child.stdin = feed(stdin, input).await;
        Ok(running)
    }

    fn start(mut self) -> anyhow::Result<Running> {
        let name = self.program.to_string_lossy().into_owned();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().with_context(|| format!("failed to run {name}"))?;
        Ok(Running { name, child })
    }
}

/// Gives it back open.
async fn feed(mut stdin: Option<ChildStdin>, input: Vec<u8>) -> Option<ChildStdin> {
    if let Some(stdin) = &mut stdin {
        // A command that does not read all of it has its reasons, and its exit code.
        let _ = stdin.write_all(&input).await;
    }
    stdin
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Its process id, until it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Ends its standard input and waits for its end.
    pub async fn finish(self) -> anyhow::Result<Output> {
        let Self { name, child } = self;
        let output = tokio::time::timeout(TOO_LONG, child.wait_with_output()).await;
        let output = output.with_context(|| format!("{name} did not end within {TOO_LONG:?}"))?;
        let output = output.with_context(|| format!("failed to read the output of {name}"))?;
        Ok(Output {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        })
    }
}
