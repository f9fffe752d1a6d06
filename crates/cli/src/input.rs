//! Secrets that come in: by stdin or by file, never as an argument, and wiped from memory when they are used.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use zeroize::Zeroizing;

use crate::{failure::Usage, output};

/// As large as the services take.
const MAX_CONFIG: usize = 1024 * 1024;
/// No registry gives longer tokens.
const MAX_PASSWORD: usize = 64 * 1024;

/// Where a password comes from.
#[derive(Debug, Args)]
pub(crate) struct PasswordSource {
    /// Read the password or token from stdin; one newline at its end is taken off
    #[arg(long)]
    password_stdin: bool,
    /// Read the password or token from this file; one newline at its end is taken off
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    pub(crate) fn read(&self) -> anyhow::Result<Zeroizing<String>> {
        match &self.password_file {
            Some(file) => password(open(file)?, &file.display().to_string()),
            None if self.password_stdin => {
                hint_at_terminal("the password");
                password(io::stdin().lock(), "stdin")
            }
            None => {
                Err(Usage("no password is given: use --password-stdin or --password-file FILE".into()).into())
            }
        }
    }
}

/// A whole `.dockercfg` or `config.json` from `file`, or from stdin if that is `-`.
pub(crate) fn docker_config(file: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let name = file.display().to_string();
    if file == Path::new("-") {
        hint_at_terminal("a .dockercfg or config.json");
        return limited(io::stdin().lock(), "stdin", MAX_CONFIG);
    }
    limited(open(file)?, &name, MAX_CONFIG)
}

fn password(from: impl Read, name: &str) -> anyhow::Result<Zeroizing<String>> {
    let bytes = limited(from, name, MAX_PASSWORD)?;
    let text =
        bytes.strip_suffix(b"\n").map_or(bytes.as_slice(), |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    let text =
        std::str::from_utf8(text).ok().with_context(|| format!("the password from {name} is not UTF-8"))?;
    anyhow::ensure!(!text.is_empty(), "the password from {name} is empty");
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads without ever growing the buffer, because growing leaves copies behind.
fn limited(from: impl Read, name: &str, most: usize) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; most + 1]);
    let mut from = from;
    let mut length = 0;
    while length < bytes.len() {
        match from.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).with_context(|| format!("failed to read {name}")),
        }
    }
    anyhow::ensure!(length <= most, "{name} is larger than {most} bytes");
    bytes.truncate(length);
    Ok(bytes)
}

fn open(file: &Path) -> anyhow::Result<File> {
    File::open(file).with_context(|| format!("failed to read {}", file.display()))
}

fn hint_at_terminal(what: &str) {
    if io::stdin().is_terminal() {
        output::note(&format!("reading {what} from the terminal, visibly; end with Ctrl-D"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_is_taken_off_a_password() {
        for (given, taken) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret\n\n", "secret\n"),
            (" secret \n", " secret "),
            ("a\nb\n", "a\nb"),
        ] {
            assert_eq!(password(given.as_bytes(), "test").unwrap().as_str(), taken, "{given:?}");
        }
    }

    #[test]
    fn no_password_is_an_error() {
        for given in [&b""[..], b"\n", b"\r\n", b"\xff"] {
            assert!(password(given, "test").is_err(), "{given:?} was accepted");
        }
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        assert_eq!(limited(&[7; 10][..], "test", 10).unwrap().len(), 10);
        let error = limited(&[7; 11][..], "test", 10).unwrap_err();
        assert_eq!(error.to_string(), "test is larger than 10 bytes");
    }
}
