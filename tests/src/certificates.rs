//! Certificates that `pullpass pki` would not make: with any validity.

use std::fs;

use pullpass::dev::StateDir;
use pullpass_runtime::config::TlsConfig;
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use time::{Duration, OffsetDateTime};

/// A certificate of the state folder's own authority for `path` (`/platform/portal`), valid from and to so long from now.
pub fn issue(state: &StateDir, path: &str, from: Duration, to: Duration) -> TlsConfig {
    let pki = state.dir().join("pki");
    let file = |name: String| pki.join(name);
    let name = format!("made{}-{}", path.replace('/', "-"), to.whole_seconds());
    let files = TlsConfig {
        certificate: file(format!("{name}.pem")),
        key: file(format!("{name}.key")),
        ..state.admin().clone()
    };
    write(state, path, &files, from, to);
    files
}

/// The same into files that there are.
pub fn write(state: &StateDir, path: &str, files: &TlsConfig, from: Duration, to: Duration) {
    let read = |name| fs::read_to_string(state.dir().join("pki").join(name)).expect("an authority");
    let authority = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let authority = Issuer::from_ca_cert_pem(&read("ca.pem"), authority).expect("an authority");
    let pair = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now + from, now + to);
    let id = format!("spiffe://{}{path}", files.trust_domain);
    params.subject_alt_names = vec![SanType::URI(id.try_into().expect("a URI"))];
    let certificate = params.signed_by(&pair, &authority).expect("a certificate");
    fs::write(&files.key, pair.serialize_pem()).expect("a key file");
    fs::write(&files.certificate, certificate.pem()).expect("a certificate file");
}
