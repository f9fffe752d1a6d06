//! `pullpass pki`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Authority, Keys, Step};
use crate::output::{self, Format, note};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass pki init --dir ./pki --trust-domain example.org
  pullpass pki issue --dir ./pki --identity /platform/portal --out ./portal
  pullpass pki issue --dir ./pki --identity spiffe://example.org/applier/prod --out ./applier
  pullpass pki rotate-authority begin --dir ./pki
  pullpass pki keys --dir ./keys

For development and tests: in production, cert-manager or SPIRE issue the certificates. Nothing is overwritten without being told to.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes an authority: ca.pem and ca.key
    #[command(after_help = "Examples:\n  pullpass pki init --dir ./pki --trust-domain example.org")]
    Init(Init),
    /// Issues a certificate with one SPIFFE id, for client and server: PREFIX.pem and PREFIX.key
    #[command(
        after_help = "Examples:\n  pullpass pki issue --dir ./pki --identity /platform/portal --out ./portal"
    )]
    Issue(Issue),
    /// Goes over to a new authority in three steps, so that nobody is refused in between
    #[command(
        after_help = "Examples:\n  pullpass pki rotate-authority begin --dir ./pki\n  pullpass pki rotate-authority switch --dir ./pki\n  pullpass pki rotate-authority finish --dir ./pki"
    )]
    RotateAuthority {
        /// Which step
        step: Step,
        /// The folder of the authority
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Makes the key that seals credentials, the pair that signs and checks tickets, and those that chain the audit trails
    #[command(after_help = "Examples:\n  pullpass pki keys --dir ./keys")]
    Keys {
        /// The folder
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The SPIFFE trust domain, as in example.org
    #[arg(long, value_name = "T")]
    trust_domain: String,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// The folder of the authority
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Who it is for: a SPIFFE id, or its path, as in /platform/portal or /applier/prod
    #[arg(long, value_name = "ID")]
    identity: String,
    /// Where to write PREFIX.pem and PREFIX.key
    #[arg(long, value_name = "PREFIX")]
    out: PathBuf,
    /// Renew: put them in the place of those that are there
    #[arg(long)]
    replace: bool,
}

/// Data is the paths of the files that were made.
pub(crate) fn run(command: Command, format: Format) -> anyhow::Result<()> {
    let made = match command {
        Command::Init(Init { dir, trust_domain }) => {
            Authority::create(&dir, &trust_domain)?;
            note(&format!("made an authority for the trust domain {trust_domain}"));
            vec![("authority", dir.join("ca.pem")), ("authorityKey", dir.join("ca.key"))]
        }
        Command::Issue(Issue { dir, identity, out, replace }) => {
            let authority = Authority::open(&dir)?;
            let id = authority.identity(&identity)?;
            let files = if replace { authority.renew(&id, &out) } else { authority.issue(&id, &out) }?;
            note(&format!("issued a certificate for {id}"));
            vec![("certificate", files.certificate), ("key", files.key), ("authorities", files.authorities)]
        }
        Command::RotateAuthority { step, dir } => {
            note(step.take(&dir)?);
            vec![("authority", dir.join("ca.pem")), ("authorityKey", dir.join("ca.key"))]
        }
        Command::Keys { dir } => {
            let keys = Keys::create(&dir)?;
            note(
                "made the services' keys; keep a copy of the key-encryption key: what it sealed is lost without it; and of the \
                 audit keys: without them no trail can be verified",
            );
            vec![
                ("keyEncryptionKey", keys.key_encryption_key),
                ("ticketSigningKey", keys.ticket_signing_key),
                ("ticketPublicKey", keys.ticket_public_key),
                ("credentialStoreAuditKey", keys.credential_store_audit_key),
                ("grantManagerAuditKey", keys.grant_manager_audit_key),
            ]
        }
    };
    output::emit(&render(format, &made)?)
}

fn render(format: Format, made: &[(&str, PathBuf)]) -> anyhow::Result<String> {
    let text = |path: &Path| path.display().to_string();
    if format == Format::Table {
        let lines: Vec<_> = made.iter().map(|(_, path)| text(path)).collect();
        return Ok(format!("{}\n", lines.join("\n")));
    }
    let fields = made.iter().map(|(name, path)| ((*name).to_owned(), json!(text(path)))).collect();
    output::structured(format, &serde_json::Value::Object(fields))
}
