//! Processes that never outlive us: each has a group of its own, which is killed when the [`Process`] is dropped and,
//! whatever becomes of us, when we end.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, mpsc},
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// A running process and its log file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, whose stdout and stderr are appended to `log`.
    pub fn start(name: &str, command: &Command, log: &Path) -> anyhow::Result<Self> {
        let file = append(log).with_context(|| format!("failed to open {}", log.display()))?;
        let child = spawn(bound_to_us(command), file).with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id, which is its group's, too.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGKILL to the whole group.
    pub fn kill9(&mut self) {
        self.signal("KILL");
        // It cannot be caught, so this does not wait for long.
        let _ = self.child.wait();
    }

    /// SIGTERM to the process, and how it ends; none if it does not within `patience`.
    pub async fn terminate(&mut self, patience: Duration) -> Option<ExitStatus> {
        let id = self.child.id().to_string();
        let _ = Command::new("sh").args(["-c", "kill -s TERM -- \"$0\"", &id]).status();
        let began = Instant::now();
        loop {
            match self.ended() {
                None if began.elapsed() < patience => tokio::time::sleep(POLL).await,
                ended => return ended,
            }
        }
    }

    /// The last `lines` lines of the log.
    pub fn tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_else(|e| e.to_string());
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Sends the group a signal, as in `STOP`.
    pub fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        let _ =
            Command::new("sh").args(["-c", "kill -s \"$0\" -- \"$1\" 2>/dev/null", signal, &group]).status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn append(file: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(file)
}

/// The same command under `setpriv`, which asks the kernel to kill it when its parent thread ends.
fn bound_to_us(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(key, value),
            None => bound.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound
}

type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

/// The one thread that starts processes: it lives as long as we do, which a test's thread does not.
static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, reply) in inbox {
            let _ = reply.send(command.spawn());
        }
    });
    orders
});

fn spawn(mut command: Command, log: File) -> io::Result<Child> {
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let (reply, answer) = mpsc::sync_channel(1);
    SPAWNER.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}
