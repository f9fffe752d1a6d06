//! `pullpass audit verify`.

use std::{
    fs::File,
    io::{BufReader, Read, stdin},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use pullpass_domain::audit::AuditKey;
use serde_json::json;
use zeroize::Zeroizing;

use super::verify::{Chain, Known, Place, verify};
use crate::output::{self, Format, note};

pub(super) const EXAMPLES: &str = "\
Examples:
  pullpass audit verify audit.jsonl --key credential-store-audit.key --key grant-manager-audit.key
  pullpass audit verify audit.jsonl --key credential-store-audit.key --head 1200:5f0c…
  pullpass audit verify newer.jsonl --key credential-store-audit.key --from 1200:5f0c…

Any event that was altered, removed, added, repeated or moved is found. That events were cut off at the end shows by a head
that was noted elsewhere: `pullpass audit head`, an export's last line on stderr, and the services' logs (`audit head`) tell
them. It needs no service and no configuration. Exit code 1: not whole.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The export; `-` is stdin
    #[arg(value_name = "FILE")]
    export: PathBuf,
    /// File with the key of a service's chain; can be repeated
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
    /// An event that must be there; can be repeated
    #[arg(long = "head", value_name = "SEQUENCE:MAC")]
    heads: Vec<Place>,
    /// The last event of what was exported before, if the export goes on from there; can be repeated
    #[arg(long, value_name = "SEQUENCE:MAC")]
    from: Vec<Place>,
}

impl Arguments {
    pub(super) fn run(self, format: Format) -> anyhow::Result<()> {
        let keys = self.keys.iter().map(|file| key(file)).collect::<anyhow::Result<_>>()?;
        let known = Known { keys, heads: self.heads, from: self.from };
        let name = self.export.display();
        let export: Box<dyn Read> = if self.export == Path::new("-") {
            Box::new(stdin())
        } else {
            Box::new(File::open(&self.export).with_context(|| format!("failed to open {name}"))?)
        };
        let chains =
            verify(BufReader::new(export), &known).with_context(|| format!("{name} is not whole"))?;
        for chain in chains.iter().filter(|chain| chain.chained_later > 0) {
            note(&format!(
                "events 1 to {} of {} were there before the service chained its trail: that they were altered before does \
                 not show",
                chain.chained_later, chain.service
            ));
        }
        output::emit(&render(format, &chains)?)
    }
}

fn key(file: &Path) -> anyhow::Result<AuditKey> {
    let text = std::fs::read(file).map(Zeroizing::new);
    let text = text.with_context(|| format!("failed to read the key {}", file.display()))?;
    AuditKey::from_base64(&text)
        .with_context(|| format!("the key {} is not 32 bytes in base64", file.display()))
}

fn render(format: Format, chains: &[Chain]) -> anyhow::Result<String> {
    if format == Format::Table {
        let headers = ["SERVICE", "EVENTS", "EPOCHS", "LAST"];
        let row = |chain: &Chain| {
            let Chain { service, first, last, epochs, .. } = chain;
            let events = format!("{first}-{}", last.sequence);
            vec![service.clone(), events, epochs.len().to_string(), last.to_string()]
        };
        return Ok(output::table(&headers, chains.iter().map(row)));
    }
    let value = |chain: &Chain| {
        json!({
            "service": chain.service,
            "first": chain.first,
            "last": chain.last.sequence,
            "mac": chain.last.mac.to_string(),
            "epochs": chain.epochs,
            "chainedLater": chain.chained_later,
        })
    };
    output::structured(format, &chains.iter().map(value).collect())
}
