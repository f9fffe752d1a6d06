//! `pullpass keys`: which keys wrap what credential-store keeps, and the way from one to the next.

use clap::Subcommand;
use pullpass_api::credential::v1::{
    GetKeyStatusRequest, GetKeyStatusResponse, KeyEncryptionKey, KeyProvider, RewrapDataKeysRequest,
    RewrapDataKeysResponse,
};

use crate::{
    client::{Session, Store},
    failure::CallError,
    output::{self, Format, Resource, note},
    progress::Progress,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass keys status
  pullpass keys rotate

To change a key file: make a new one (`head -c 32 /dev/urandom | base64`, mode 600), name it in `key_encryption.file` of
credential-store and the former one in `others`, restart it, and rotate. With a KMS plugin: change the plugin's key, and rotate.";

const ROTATE: &str = "\
Examples:
  pullpass keys rotate

It can be stopped and begun again at any moment, and everything is served meanwhile. Once it is done nothing hangs on a former
key. Make a backup before you destroy that key: earlier ones open only with it.";

const DESTROY: &str = "everything hangs on the current key: former ones may be destroyed; make a backup first, earlier ones open only with them";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the key provider, how it is, and how many versions hang on each key
    #[command(after_help = "Examples:\n  pullpass keys status\n  pullpass keys status -o json")]
    Status,
    /// Re-wraps all data keys with the current key; material is not touched
    #[command(after_help = ROTATE)]
    Rotate,
}

impl Command {
    /// What a trace calls it.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Status => "pullpass keys status",
            Self::Rotate => "pullpass keys rotate",
        }
    }

    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let store = session.store();
        match self {
            Self::Status => show(&status(&store).await?, session.format),
            Self::Rotate => {
                let rotated = rotate(&store).await?;
                output::emit(&output::line(session.format, &rotated)?)
            }
        }
    }
}

async fn status(store: &Store) -> Result<GetKeyStatusResponse, CallError> {
    store.call("read the keys", async |mut c| c.get_key_status(GetKeyStatusRequest {}).await).await
}

fn show(status: &GetKeyStatusResponse, format: Format) -> anyhow::Result<()> {
    for line in advice(status) {
        note(&line);
    }
    match format {
        Format::Table => output::emit(&output::list(format, &status.keys)?),
        _ => output::emit(&output::details(format, status)?),
    }
}

/// How the provider is, and what there is to do.
fn advice(status: &GetKeyStatusResponse) -> Vec<String> {
    let (provider, well) = (provider(status.provider()), status.problem.is_empty());
    let mut lines = vec![match output::time(status.well_time.as_ref()) {
        _ if well => format!("provider: {provider}, well"),
        time if time.is_empty() => {
            format!("provider: {provider}, not well since the service started: {}", status.problem)
        }
        time => format!("provider: {provider}, not well, last well {time}: {}", status.problem),
    }];
    let former = on_former_keys(status);
    if former > 0 {
        lines.push(format!("{former} versions hang on former keys: run `pullpass keys rotate`"));
    } else if well {
        // Without the provider there is no telling whether its key is still the same.
        lines.push(DESTROY.to_owned());
    }
    lines
}

fn on_former_keys(status: &GetKeyStatusResponse) -> i64 {
    status.keys.iter().filter(|key| !key.current).map(|key| key.versions).sum()
}

/// Batch by batch until it is done; what was done stays done whatever happens.
async fn rotate(store: &Store) -> Result<RewrapDataKeysResponse, CallError> {
    let before = status(store).await?;
    let total = on_former_keys(&before);
    let progress = Progress::new();
    let mut rotated = RewrapDataKeysResponse::default();
    while !rotated.done {
        progress.tell(&format!("{} of {total} data keys are re-wrapped", rotated.rewrapped));
        let call =
            store.call("re-wrap data keys", async |mut c| c.rewrap_data_keys(RewrapDataKeysRequest {}).await);
        let step = call.await.inspect_err(|_| {
            note(&format!(
                "{} data keys were re-wrapped: run `pullpass keys rotate` again to go on",
                rotated.rewrapped
            ));
        })?;
        rotated.removed_provider_key_ids.extend(step.removed_provider_key_ids);
        rotated = RewrapDataKeysResponse {
            rewrapped: rotated.rewrapped + step.rewrapped,
            key_encryption_key: step.key_encryption_key,
            done: step.done,
            removed_provider_key_ids: rotated.removed_provider_key_ids,
        };
    }
    drop(progress);
    for id in &rotated.removed_provider_key_ids {
        note(&format!("nothing hangs on the KMS key {id} any more"));
    }
    note(DESTROY);
    Ok(rotated)
}

fn provider(provider: KeyProvider) -> &'static str {
    match provider {
        KeyProvider::Unspecified => "unknown",
        KeyProvider::File => "file",
        KeyProvider::Kms => "kms",
    }
}

impl Resource for KeyEncryptionKey {
    const NAME: &'static str = "pullpass.credential.v1.KeyEncryptionKey";
    const HEADERS: &'static [&'static str] =
        &["KEY", "PROVIDER", "PROVIDER KEY", "STATE", "VERSIONS", "CREATED"];

    fn cells(&self) -> Vec<String> {
        let state = match (self.current, self.loaded) {
            (true, _) => "current",
            (false, true) => "former",
            (false, false) => "missing",
        };
        vec![
            self.id.clone(),
            provider(self.provider()).to_owned(),
            if self.provider_key_id == self.id { "-".to_owned() } else { self.provider_key_id.clone() },
            state.to_owned(),
            self.versions.to_string(),
            output::time(self.create_time.as_ref()),
        ]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let labels = ["Key", "Provider", "Provider key", "State", "Versions", "Created"];
        labels.into_iter().zip(self.cells()).collect()
    }
}

impl Resource for GetKeyStatusResponse {
    const NAME: &'static str = "pullpass.credential.v1.GetKeyStatusResponse";
    const HEADERS: &'static [&'static str] = &["PROVIDER", "PROBLEM", "KEYS"];

    fn cells(&self) -> Vec<String> {
        vec![provider(self.provider()).to_owned(), self.problem.clone(), self.keys.len().to_string()]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        ["Provider", "Problem", "Keys"].into_iter().zip(self.cells()).collect()
    }
}

impl Resource for RewrapDataKeysResponse {
    const NAME: &'static str = "pullpass.credential.v1.RewrapDataKeysResponse";
    const HEADERS: &'static [&'static str] = &["REWRAPPED", "KEY"];

    fn cells(&self) -> Vec<String> {
        vec![self.rewrapped.to_string(), self.key_encryption_key.clone()]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        ["Re-wrapped", "Key"].into_iter().zip(self.cells()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, current: bool, versions: i64) -> KeyEncryptionKey {
        KeyEncryptionKey { id: id.into(), current, versions, loaded: true, ..Default::default() }
    }

    fn status(keys: &[KeyEncryptionKey], problem: &str) -> GetKeyStatusResponse {
        GetKeyStatusResponse {
            provider: KeyProvider::Kms.into(),
            problem: problem.into(),
            keys: keys.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn the_advice_is_to_rotate_as_long_as_something_hangs_on_a_former_key_and_then_to_destroy_it() {
        let told = advice(&status(&[key("a", false, 2), key("b", false, 3), key("c", true, 7)], ""));
        assert_eq!(
            told,
            ["provider: kms, well", "5 versions hang on former keys: run `pullpass keys rotate`"]
        );
        let told = advice(&status(&[key("a", false, 0), key("c", true, 7)], ""));
        assert!(told[1].contains("may be destroyed"), "{told:?}");
        let gone = status(&[key("c", true, 7)], "gone");
        assert_eq!(advice(&gone), ["provider: kms, not well since the service started: gone"]);
        let seen = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let told = advice(&GetKeyStatusResponse { well_time: seen, ..gone });
        assert_eq!(told, ["provider: kms, not well, last well 2023-11-14T22:13:20Z: gone"]);
    }

    #[test]
    fn a_key_that_cannot_be_had_is_missing() {
        assert_eq!(key("a", true, 1).cells()[3], "current");
        assert_eq!(KeyEncryptionKey { loaded: false, ..key("a", false, 1) }.cells()[3], "missing");
    }
}
