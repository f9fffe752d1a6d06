//! How a link is shown.

use std::collections::HashMap;

use pullpass_api::grant::v1::{NamespaceSelection, SecretLink, SecretType, ServiceAccountSelection, Usage};

use crate::{
    output::{self, Resource},
    values,
};

impl Resource for SecretLink {
    const NAME: &'static str = "pullpass.grant.v1.SecretLink";
    const HEADERS: &'static [&'static str] =
        &["NAME", "CREDENTIALS", "CLUSTERS", "NAMESPACES", "SERVICE ACCOUNTS", "FOR", "SECRET", "STATE"];

    fn cells(&self) -> Vec<String> {
        vec![
            values::short(&self.name),
            values::shorts(&self.credentials),
            values::shorts(&self.clusters),
            self.namespaces.as_ref().map(namespaces).unwrap_or_default(),
            self.service_accounts.as_ref().map(accounts).unwrap_or_default(),
            usages(&self.usages),
            self.secret_name.clone(),
            output::life(self.delete_time.as_ref()),
        ]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let secret_type = match self.secret_type() {
            SecretType::Dockercfg => "kubernetes.io/dockercfg",
            SecretType::Dockerconfigjson | SecretType::Unspecified => "kubernetes.io/dockerconfigjson",
        };
        vec![
            ("Name", self.name.clone()),
            ("UID", self.uid.clone()),
            ("Credentials", values::shorts(&self.credentials)),
            ("Clusters", values::shorts(&self.clusters)),
            ("Namespaces", self.namespaces.as_ref().map(namespaces).unwrap_or_default()),
            ("Service accounts", self.service_accounts.as_ref().map(accounts).unwrap_or_default()),
            ("For", usages(&self.usages)),
            ("Secret", format!("{} ({secret_type})", self.secret_name)),
            ("Created", output::time(self.create_time.as_ref())),
            ("Updated", output::time(self.update_time.as_ref())),
            ("Deleted", output::time(self.delete_time.as_ref())),
            ("Revision", self.revision.to_string()),
        ]
    }
}

fn namespaces(selection: &NamespaceSelection) -> String {
    let chosen = chosen(&selection.names, &selection.match_labels);
    if selection.exclude_names.is_empty() {
        chosen
    } else {
        format!("{chosen} not {}", selection.exclude_names.join(","))
    }
}

fn accounts(selection: &ServiceAccountSelection) -> String {
    chosen(&selection.names, &selection.match_labels)
}

fn chosen(names: &[String], labels: &HashMap<String, String>) -> String {
    let mut labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    match (names, &labels[..]) {
        ([], []) => "all".to_owned(),
        ([], labels) => labels.join(","),
        (names, _) => names.join(","),
    }
}

fn usages(numbers: &[i32]) -> String {
    let words: Vec<_> = numbers
        .iter()
        .map(|number| match Usage::try_from(*number) {
            Ok(Usage::Pull) => "pull",
            Ok(Usage::Mount) => "mount",
            Ok(Usage::Unspecified) | Err(_) => "?",
        })
        .collect();
    words.join(",")
}
