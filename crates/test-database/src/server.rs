//! A `PostgreSQL` server of the test process's own, from Debian's package.

use std::{
    fs,
    net::SocketAddr,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

const PORT: u16 = 5432;
const PATIENCE: Duration = Duration::from_mins(1);

/// Names sort by the rules of English here, and bytewise only where we ask for that.
const INITDB: [&str; 9] = [
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--locale-provider=icu",
    "--icu-locale=en-US",
    "--no-sync",
    "--no-instructions",
    "--pgdata",
];

/// So many connections: a test may have some dozens, and others run at the same time. Our tests kill processes, which loses
/// nothing that the kernel was given; waiting for the disk would only tell of the power supply.
const SETTINGS: [&str; 4] = ["listen_addresses=", "max_connections=400", "shared_buffers=32MB", "fsync=off"];

/// Runs the server until the pipe that is its stdin ends, as it does when we do, and leaves no file behind.
const KEEPER: &str = r#"
folder=$1
shift
"$@" </dev/null &
cat >/dev/null
kill -QUIT $!
wait
rm -rf "$folder"
"#;

/// A running server. Dropped, it ends.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    /// It is part of the socket's name.
    port: u16,
    /// Its stdin is ours.
    _keeper: Child,
}

impl Server {
    /// The one of this process; started when it is first asked for.
    pub fn of_this_process() -> &'static Self {
        static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
        &SERVER
    }

    /// Starts another one.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further settings, as in `log_statement=all`.
    pub fn start_with(settings: &[&str]) -> Self {
        Self::run(PORT, |_| settings.iter().map(ToString::to_string).collect())
    }

    /// Starts one that listens on `address`, too, for TLS and passwords only.
    pub fn start_listening(address: SocketAddr, certificate: &str, key: &str) -> Self {
        Self::run(address.port(), |data| {
            let file = |name: &str, content: &str, mode| {
                let file = data.join(name);
                fs::write(&file, content).expect("it can be written");
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("its mode can be set");
                give_away(&[&file]);
            };
            file("server.crt", certificate, 0o644);
            file("server.key", key, 0o600);
            file("pg_hba.conf", "local all all trust\nhostssl all all all scram-sha-256\n", 0o600);
            vec![format!("listen_addresses={}", address.ip()), "ssl=on".to_owned()]
        })
    }

    /// `settings` are made of the folder of the data, once that is there.
    fn run(port: u16, settings: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("pullpass-postgres-").tempdir();
        let folder = folder.expect("a temporary folder can be made").keep();
        let data = folder.join("data");
        fs::create_dir(&data).expect("a folder can be made in it");
        give_away(&[&folder, &data]);
        let mut initdb = as_somebody(&program("initdb"));
        must(initdb.args(INITDB).arg(&data).current_dir(&folder));
        let mut keeper = Command::new("sh");
        let log = fs::File::create(folder.join("log")).expect("a log can be written");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&folder);
        let server = as_somebody(&program("postgres"));
        keeper.arg(server.get_program()).args(server.get_args());
        keeper.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-p", &port.to_string()]);
        let settings = SETTINGS.map(str::to_owned).into_iter().chain(settings(&data));
        keeper.args(settings.flat_map(|setting| ["-c".to_owned(), setting]));
        keeper.stdin(Stdio::piped()).stdout(log.try_clone().expect("it can be shared")).stderr(log);
        // Of a group of its own: what interrupts us must not keep it from clearing up.
        let keeper = keeper.current_dir(&folder).process_group(0).spawn().expect("sh can be started");
        let server = Self { folder, port, _keeper: keeper };
        server.wait();
        server
    }

    /// Makes an empty database, and gives its URL.
    pub fn create(&self, name: &str) -> String {
        must(self.client("createdb").arg(name));
        let folder = self.folder.display();
        format!("postgres:///{name}?host={folder}&user=postgres")
    }

    /// What `psql` says to a statement.
    pub fn ask(&self, database: &str, sql: &str) -> String {
        let mut psql = self.client("psql");
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--dbname"]);
        must(psql.arg(database).arg("--command").arg(sql)).trim_end().to_owned()
    }

    /// Writes a copy of a database to a file, as `pg_dump` makes one.
    pub fn dump(&self, database: &str, file: &Path) {
        must(self.client("pg_dump").args(["--format=custom", "--file"]).arg(file).arg(database));
    }

    /// Puts such a copy in the place of the database, which nobody may use.
    pub fn restore(&self, database: &str, file: &Path) {
        must(self.client("dropdb").arg(database));
        must(self.client("createdb").arg(database));
        must(self.client("pg_restore").args(["--exit-on-error", "--dbname", database]).arg(file));
    }

    /// Its files and its log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn wait(&self) {
        let began = Instant::now();
        while !self.client("pg_isready").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "PostgreSQL does not start: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command.arg("--host").arg(&self.folder).args([
            "--username",
            "postgres",
            "--port",
            &self.port.to_string(),
        ]);
        command
    }
}

/// Where Debian's package has it, or wherever the `PATH` leads.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut programs: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin").join(name)))
        })
        .filter(|(_, program)| program.exists())
        .collect();
    programs.sort();
    programs.pop().map_or_else(|| name.into(), |(_, program)| program)
}

/// PostgreSQL refuses to run as root.
fn as_somebody(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("this is Linux").uid() == 0
}

fn give_away(folders: &[&Path]) {
    if is_root() {
        must(Command::new("chown").arg("postgres:").args(folders));
    }
}

/// Its stdout.
fn must(command: &mut Command) -> String {
    let name = command.get_program().display().to_string();
    let output = command.output().unwrap_or_else(|error| {
        panic!("failed to start {name} ({error}): is the package postgresql there? deploy/dev/install installs it")
    });
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {:?} failed: {told}", command.get_args().collect::<Vec<_>>());
    String::from_utf8_lossy(&output.stdout).into_owned()
}
