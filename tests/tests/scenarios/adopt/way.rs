//! The ways to the cluster that the command is given: kubectl as it is, and a kubectl to which something happens first.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use e2e::{Scenario, binaries, command::Output};

/// `pullpass adopt` in some namespaces, with a kubectl.
pub(super) struct Way<'a> {
    scenario: &'a Scenario,
    namespaces: Vec<String>,
    folder: PathBuf,
}

impl<'a> Way<'a> {
    /// With kubectl itself.
    pub(super) fn new(scenario: &'a Scenario, namespaces: &[&str]) -> Self {
        let kubectl = binaries::kubernetes("kubectl").expect("kubectl");
        let folder = kubectl.parent().expect("a folder").to_owned();
        let namespaces = namespaces.iter().map(|namespace| (*namespace).to_owned()).collect();
        Self { scenario, namespaces, folder }
    }

    /// With one that does `what` (a line of shell, where `kubectl` is the real one) before it is called with arguments that
    /// match `pattern`.
    pub(super) fn but(&self, pattern: &str, what: &str) -> Self {
        let folder = self.scenario.pullpass.state().dir().with_file_name(self.scenario.name("kubectl"));
        fs::create_dir_all(&folder).expect("a folder");
        let real = format!("'{}/kubectl'", self.folder.display());
        let kubeconfig = self.scenario.cluster.kubeconfig().display();
        let script = format!(
            "#!/bin/sh\nkubectl() {{ {real} --kubeconfig '{kubeconfig}' \"$@\" >&2; }}\n\
             case \"$*\" in {pattern}) {what} ;; esac\nexec {real} \"$@\"\n"
        );
        let program = folder.join("kubectl");
        fs::write(&program, script).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("an executable");
        Self { scenario: self.scenario, namespaces: self.namespaces.clone(), folder }
    }

    /// With none.
    pub(super) fn without(&self) -> Self {
        let folder = self.scenario.pullpass.state().dir().to_owned();
        Self { scenario: self.scenario, namespaces: self.namespaces.clone(), folder }
    }

    /// Runs `pullpass adopt` with further arguments.
    pub(super) async fn adopt(&self, arguments: &[&str]) -> Output {
        let kubeconfig = self.scenario.cluster.kubeconfig().to_str().expect("a path");
        let namespaces = self.namespaces.iter().flat_map(|namespace| ["-n", namespace]);
        let all: Vec<_> = ["adopt", "--kubeconfig", kubeconfig].into_iter().chain(namespaces).collect();
        let command = self.scenario.pullpass.command(&[&all[..], arguments].concat());
        command.env("PATH", &self.folder).output().await.expect("it runs")
    }

    /// Takes over what goes by these names.
    pub(super) async fn take(&self, names: &[&str]) -> Output {
        let names: Vec<_> = names.iter().flat_map(|name| ["--take-ownership", name]).collect();
        self.adopt(&names).await
    }
}
