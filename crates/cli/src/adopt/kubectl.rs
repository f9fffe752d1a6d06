//! `kubectl` (or `oc`) as a child process: the way to the cluster with the user's own rights. What it prints may hold
//! secrets: it is read into memory that is wiped, and shown to nobody.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};
use zeroize::Zeroizing;

use crate::output;

/// Room for the first answer; it is doubled as needed.
const ROOM: usize = 64 * 1024;

/// The program, and how it finds the cluster.
#[derive(Debug)]
pub(super) struct Kubectl {
    program: PathBuf,
    access: Vec<OsString>,
}

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// In one namespace.
    In(&'a str),
    /// In all of them, or at what is in none.
    All,
}

impl Scope<'_> {
    fn arguments(self) -> Vec<String> {
        match self {
            Self::In(namespace) => vec!["--namespace".into(), namespace.into()],
            Self::All => vec!["--all-namespaces".into()],
        }
    }
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

impl Kubectl {
    /// Finds `kubectl`, or else `oc`, on PATH.
    pub(super) fn find(kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<_> = std::env::split_paths(&path).collect();
        let program = ["kubectl", "oc"]
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|program| program.is_file())
            .context("neither kubectl nor oc is on PATH: install one of them, or add its folder to PATH")?;
        let option = |name: &str, value: OsString| [OsString::from(name), value];
        let kubeconfig = kubeconfig.map(|file| option("--kubeconfig", file.into()));
        let context = context.map(|context| option("--context", context.into()));
        Ok(Self { program, access: kubeconfig.into_iter().chain(context).flatten().collect() })
    }

    /// All objects of a kind that `selector` (further options of `get`) chooses.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        resource: &str,
        scope: Scope<'_>,
        selector: &[&str],
    ) -> anyhow::Result<Vec<T>> {
        let scope = scope.arguments();
        let scope: Vec<_> = scope.iter().map(String::as_str).collect();
        let answer =
            self.run(&[&["get", resource, "--output=json"], &scope[..], selector].concat(), "").await?;
        Ok(parsed::<List<T>>(&answer, resource)?.items)
    }

    /// One object, if it is there.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Option<T>> {
        let get = ["get", resource, name, "--namespace", namespace, "--output=json", "--ignore-not-found"];
        let answer = self.run(&get, "").await?;
        if answer.trim_ascii().is_empty() { Ok(None) } else { parsed(&answer, resource).map(Some) }
    }

    /// Runs it to its end with `input` on stdin, and gives what it printed. Neither may hold a secret but the answer.
    pub(super) async fn run(&self, arguments: &[&str], input: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let attempted = || format!("failed to run {} {}", self.program.display(), arguments.join(" "));
        let mut child = Command::new(&self.program)
            .args(arguments)
            .args(&self.access)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(attempted)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // If it reads no input, its exit code says why.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let ((), answer, complaint, status) = tokio::join!(feed, read(stdout), read(stderr), child.wait());
        if !status.with_context(attempted)?.success() {
            let complaint = complaint.with_context(attempted)?;
            bail!("{}\n{}", attempted(), output::plain(String::from_utf8_lossy(&complaint).trim()));
        }
        answer.with_context(attempted)
    }
}

/// The parser's own words may quote what it read.
fn parsed<T: DeserializeOwned>(answer: &[u8], resource: &str) -> anyhow::Result<T> {
    serde_json::from_slice(answer).map_err(|error| {
        anyhow::anyhow!(
            "kubectl answered with no list of {resource}: line {} is not as expected",
            error.line()
        )
    })
}

/// Reads to the end. A buffer that has become too small is wiped when it is replaced.
async fn read(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let Some(mut from) = from else { return Ok(Zeroizing::default()) };
    let mut bytes = Zeroizing::new(vec![0; ROOM]);
    let mut length = 0;
    loop {
        if length == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; 2 * length]);
            larger[..length].copy_from_slice(&bytes);
            bytes = larger;
        }
        match from.read(&mut bytes[length..]).await? {
            0 => break,
            more => length += more,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_of_any_length_is_read_whole() {
        for length in [0, 1, ROOM - 1, ROOM, ROOM + 1, 5 * ROOM] {
            let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            assert_eq!(read(Some(&bytes[..])).await.unwrap().as_slice(), bytes, "{length}");
        }
    }

    #[test]
    fn an_answer_that_is_not_understood_is_not_quoted() {
        let error = parsed::<List<String>>(br#"{"items": [{"hunter2": 1}]}"#, "secrets").err().unwrap();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
