//! Tickets: nobody but the issuer can make one, and of those that the issuer signed only the ones that hold here and now
//! allow anything.
//!
//! The first byte of an input tells what the rest is: `0` for a ticket as it comes over the wire, anything else for claims
//! that the issuer signs.

#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use libfuzzer_sys::fuzz_target;
use pullpass_api::ticket::{AUDIENCE, Claims, ISSUER, LIFETIME_SECONDS};
use pullpass_credential_store::fuzzing::Tickets;
use pullpass_domain::name::CredentialName;
use pullpass_fuzz::{CANARY, bounded};
use pullpass_runtime::PeerIdentity;
use time::OffsetDateTime;

/// The moment at which all of it happens: that of the tickets in the corpus.
const NOW: i64 = 1_728_000_000;
const APPLIER: &str = "spiffe://d/applier/dev";
/// What a DER public key of Ed25519 begins with.
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const HEADER: &str = r#"{"typ":"JWT","alg":"EdDSA"}"#;
/// What the one ticket in the corpus says that the issuer signed.
const CLAIMS: &str = r#"{"iss":"grant-manager","aud":"credential-store","sub":"spiffe://d/applier/dev","iat":1728000000,"exp":1728000060,"jti":"fake-canary","cnf":{"x5t#S256":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"},"cluster":"clusters/dev","link":"secretLinks/web","revision":3,"credentials":["credentials/quay"],"secret_type":"kubernetes.io/dockerconfigjson"}"#;

static ISSUER_KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key"));

static TICKETS: LazyLock<Tickets> = LazyLock::new(|| {
    let der = [&ED25519[..], ISSUER_KEY.public_key().as_ref()].concat();
    let pem =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(der));
    let file = std::env::temp_dir().join(format!("pullpass-fuzz-ticket-{}.pub", std::process::id()));
    std::fs::write(&file, pem).expect("a file");
    let tickets = Tickets::load(&file).expect("a verifier");
    let _ = std::fs::remove_file(&file);
    tickets
});

fuzz_target!(|input: &[u8]| {
    LazyLock::force(&TICKETS);
    bounded(input, || match input.split_first() {
        Some((b'0', ticket)) => from_the_wire(&String::from_utf8_lossy(ticket)),
        Some((_, claims)) => signed(claims),
        None => {}
    });
});

fn from_the_wire(ticket: &str) {
    match TICKETS.read(ticket) {
        Ok(_) => {
            let (what, _) = ticket.rsplit_once('.').expect("a JWT");
            assert_eq!(what, to_be_signed(CLAIMS.as_bytes()), "nothing else was ever signed");
        }
        Err(refusal) => assert!(!refusal.contains(CANARY), "{refusal}"),
    }
}

fn to_be_signed(claims: &[u8]) -> String {
    format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(HEADER), BASE64_URL_SAFE_NO_PAD.encode(claims))
}

fn signed(claims: &[u8]) {
    let what = to_be_signed(claims);
    let signature = BASE64_URL_SAFE_NO_PAD.encode(ISSUER_KEY.sign(what.as_bytes()));
    let Ok(read) = TICKETS.read(&format!("{what}.{signature}")) else { return };
    assert_eq!((read.iss.as_str(), read.aud.as_str()), (ISSUER, AUDIENCE));
    let peer = PeerIdentity { spiffe_id: APPLIER.parse().expect("an id"), certificate_sha256: Some([1; 32]) };
    let now = OffsetDateTime::from_unix_timestamp(NOW).expect("a time");
    match Tickets::check(&read, &peer, now) {
        Ok(credentials) => holds(&read, &credentials),
        Err(refusal) => assert!(!refusal.contains(CANARY), "{refusal}"),
    }
}

fn holds(claims: &Claims, credentials: &[String]) {
    assert_eq!(claims.sub, APPLIER);
    assert_eq!(claims.cnf.certificate_sha256, BASE64_URL_SAFE_NO_PAD.encode([1; 32]));
    assert!(claims.exp > NOW && claims.iat <= NOW + 5 && claims.exp - claims.iat <= LIFETIME_SECONDS);
    assert_eq!(claims.credentials, credentials);
    assert!(!credentials.is_empty());
    assert!(credentials.iter().all(|name| CredentialName::parse(name).is_ok()));
}
