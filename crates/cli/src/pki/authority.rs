//! A development authority: one ECDSA P-256 key that signs leaf certificates, each with one SPIFFE id.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use pullpass_runtime::{Clock, SpiffeId, config::TlsConfig};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use time::Duration;
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};
use zeroize::Zeroizing;

use crate::files::{self, PRIVATE, PUBLIC};

const AUTHORITY_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 365;
/// A certificate that ends sooner than this is not taken into use again.
const RENEW_DAYS: i64 = 30;

/// An authority in a folder: `ca.pem`, `ca.key` (0600) and its trust domain.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    trust_domain: String,
    issuer: Issuer<'static, KeyPair>,
    key_id: Vec<u8>,
    clock: Clock,
}

impl Authority {
    /// Makes a new authority in `folder`. Fails if there is one already.
    pub fn create(folder: &Path, trust_domain: &str) -> anyhow::Result<Self> {
        let probe: Result<SpiffeId, _> = format!("spiffe://{trust_domain}/ca").parse();
        probe.with_context(|| format!("{trust_domain:?} cannot be a trust domain"))?;
        files::private_folder(folder)?;
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        files::none_exists([certificate.as_path(), key.as_path()])?;
        make(&certificate, &key, trust_domain)?;
        Self::open(folder)
    }

    /// Opens the authority that is in `folder`.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        let remedy = "make an authority with `pullpass pki init`";
        let pem = fs::read_to_string(&certificate)
            .with_context(|| format!("failed to read {}: {remedy}", certificate.display()))?;
        let pair = fs::read_to_string(&key)
            .with_context(|| format!("failed to read {}: {remedy}", key.display()))?;
        let pair =
            KeyPair::from_pem(&pair).with_context(|| format!("{} is no private key", key.display()))?;
        anyhow::ensure!(
            public_key(&pem).is_some_and(|public| public == pair.subject_public_key_info()),
            "{} is not the key of the first certificate in {}: if the authority is being changed, repeat `pullpass pki rotate-authority switch`",
            key.display(),
            certificate.display()
        );
        let issuer = Issuer::from_ca_cert_pem(&pem, pair)
            .with_context(|| format!("{} is no authority's certificate", certificate.display()))?;
        let trust_domain = trust_domain(&pem)
            .with_context(|| format!("{} was not made by `pullpass pki init`", certificate.display()))?;
        let key_id = subject_key_id(&pem)
            .with_context(|| format!("{} was not made by `pullpass pki init`", certificate.display()))?;
        Ok(Self { folder: folder.to_owned(), trust_domain, issuer, key_id, clock: Clock::system() })
    }

    /// The trust domain, as in `pullpass.local`.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The SPIFFE id of `path` (`/platform/portal`) in the trust domain. A whole id must be in the trust domain.
    pub fn identity(&self, path: &str) -> anyhow::Result<SpiffeId> {
        let text = match path {
            whole if whole.contains("://") => whole.to_owned(),
            path => format!("spiffe://{}/{}", self.trust_domain, path.strip_prefix('/').unwrap_or(path)),
        };
        let id: SpiffeId = text.parse()?;
        anyhow::ensure!(
            id.trust_domain() == self.trust_domain,
            "{id} is not in the trust domain {} of this authority",
            self.trust_domain
        );
        Ok(id)
    }

    /// Issues a certificate for `id` as `{prefix}.pem` with its key `{prefix}.key`. Fails if one of them exists.
    pub fn issue(&self, id: &SpiffeId, prefix: &Path) -> anyhow::Result<TlsConfig> {
        let files = self.files(prefix);
        files::none_exists([files.certificate.as_path(), files.key.as_path()])?;
        let (certificate, key) = self.sign(id)?;
        files::create(&files.key, PRIVATE, key.as_bytes())?;
        files::create(&files.certificate, PUBLIC, certificate.as_bytes())?;
        Ok(files)
    }

    /// The same in the place of those that are there.
    pub fn renew(&self, id: &SpiffeId, prefix: &Path) -> anyhow::Result<TlsConfig> {
        let files = self.files(prefix);
        let (certificate, key) = self.sign(id)?;
        files::replace(&files.key, PRIVATE, key.as_bytes())?;
        files::replace(&files.certificate, PUBLIC, certificate.as_bytes())?;
        Ok(files)
    }

    /// The certificate for `id` at `{prefix}.pem` if there is a good one for a while yet, or else a new one in its place.
    pub(crate) fn ensure(&self, id: &SpiffeId, prefix: &Path) -> anyhow::Result<TlsConfig> {
        let files = self.files(prefix);
        if self.is_good(id, &files) { Ok(files) } else { self.renew(id, prefix) }
    }

    fn files(&self, prefix: &Path) -> TlsConfig {
        let with = |ending: &str| {
            let mut path = prefix.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        };
        TlsConfig {
            certificate: with(".pem"),
            key: with(".key"),
            authorities: self.folder.join("ca.pem"),
            trust_domain: self.trust_domain.clone(),
        }
    }

    /// Whether the files can be used, are for `id`, are signed by this authority's key, and last for a while.
    fn is_good(&self, id: &SpiffeId, files: &TlsConfig) -> bool {
        let Ok(tls) = pullpass_runtime::Tls::load(files) else { return false };
        let pem = fs::read_to_string(&files.certificate).unwrap_or_default();
        let enough = (self.clock.now() + Duration::days(RENEW_DAYS)).unix_timestamp();
        tls.identity().spiffe_id == *id
            && not_after(&pem).is_some_and(|until| until > enough)
            && signer(&pem).is_some_and(|signer| signer == self.key_id)
    }

    /// Certificate and key, both PEM.
    fn sign(&self, id: &SpiffeId) -> anyhow::Result<(String, Zeroizing<String>)> {
        let pair = KeyPair::generate().with_context(|| format!("failed to make a key for {id}"))?;
        let failed = || format!("failed to make a certificate for {id}");
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, id.path());
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().with_context(failed)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, &self.clock, LEAF_DAYS);
        let certificate = params.signed_by(&pair, &self.issuer).with_context(failed)?;
        Ok((certificate.pem(), Zeroizing::new(pair.serialize_pem())))
    }
}

/// Makes an authority's key and its certificate, which must not exist yet.
pub(super) fn make(certificate: &Path, key: &Path, trust_domain: &str) -> anyhow::Result<()> {
    let pair = KeyPair::generate().context("failed to make the authority's key")?;
    let own = authority_params(trust_domain, &Clock::system()).self_signed(&pair);
    let own = own.context("failed to make the authority's certificate")?;
    let pem = Zeroizing::new(pair.serialize_pem());
    files::create(key, PRIVATE, pem.as_bytes())?;
    files::create(certificate, PUBLIC, own.pem().as_bytes())
}

fn authority_params(trust_domain: &str, clock: &Clock) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::OrganizationName, "Pullpass development authority");
    params.distinguished_name.push(DnType::CommonName, trust_domain);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, clock, AUTHORITY_DAYS);
    params
}

/// From an hour ago, because clocks differ.
fn set_validity(params: &mut CertificateParams, clock: &Clock, days: i64) {
    let now = clock.now();
    params.not_before = now - Duration::HOUR;
    params.not_after = now + Duration::days(days);
}

fn read<T>(pem: &str, find: impl FnOnce(&X509Certificate<'_>) -> Option<T>) -> Option<T> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
    find(&certificate)
}

fn trust_domain(pem: &str) -> Option<String> {
    read(pem, |c| c.subject().iter_common_name().next().and_then(|n| n.as_str().ok().map(str::to_owned)))
}

/// The public key in the certificate, as DER.
fn public_key(pem: &str) -> Option<Vec<u8>> {
    read(pem, |c| Some(c.public_key().raw.to_vec()))
}

/// The id of the key in the certificate.
fn subject_key_id(pem: &str) -> Option<Vec<u8>> {
    read(pem, |c| {
        c.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
    })
}

/// The id of the key that signed the certificate.
fn signer(pem: &str) -> Option<Vec<u8>> {
    read(pem, |c| {
        c.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        })
    })
}

fn not_after(pem: &str) -> Option<i64> {
    read(pem, |c| Some(c.validity().not_after.timestamp()))
}
