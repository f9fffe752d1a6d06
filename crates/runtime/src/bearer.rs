//! How a caller that has no certificate says who it is: a token from a file, sent with every call over TLS.
//!
//! The file is read for each call, because whoever puts it there (the kubelet, for one) replaces it before it expires.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use http::HeaderValue;
use rustls::{ClientConfig, RootCertStore, client::Resumption, version::TLS13};

use crate::{
    identity::SpiffeId,
    tls::{self, ALPN, Refused},
};

/// Bytes of a token.
const LONGEST: u64 = 8 * 1024;

/// Why a token cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The authorities cannot be used.
    #[error(transparent)]
    Authorities(#[from] tls::Error),
    /// The file is not there or cannot be read.
    #[error("failed to read the token file {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("the token file {} holds no token: one line of up to 8192 visible characters", file.display())]
    Form {
        /// The file.
        file: PathBuf,
    },
}

/// A token file, and the authorities that servers are checked by.
#[derive(Clone)]
pub struct Bearer {
    authorities: Arc<RootCertStore>,
    file: PathBuf,
}

impl Bearer {
    /// Reads both files, so that what is wrong with them shows before the first call.
    pub fn load(authorities: &Path, file: &Path) -> Result<Self, Error> {
        let bearer = Self { authorities: Arc::new(tls::root_store(authorities)?), file: file.to_owned() };
        bearer.header()?;
        Ok(bearer)
    }

    /// The token as it is now, for `authorization`.
    pub(crate) fn header(&self) -> Result<HeaderValue, Error> {
        let read = |source| Error::Read { file: self.file.clone(), source };
        let form = || Error::Form { file: self.file.clone() };
        if std::fs::metadata(&self.file).map_err(read)?.len() > LONGEST {
            return Err(form());
        }
        let text = std::fs::read_to_string(&self.file).map_err(read)?;
        let token = text.trim_end();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(form());
        }
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| form())?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// For one connection to `peer` and nobody else, without a certificate of our own.
    pub(crate) fn client_config(
        &self,
        peer: &SpiffeId,
        refused: &Refused,
    ) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(tls::server_verifier(&self.authorities, peer, refused))
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("file", &self.file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Authority;

    #[test]
    fn a_file_that_holds_no_token_is_named_and_its_content_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let (authorities, file) = (folder.path().join("ca.pem"), folder.path().join("token"));
        std::fs::write(&authorities, Authority::new().pem()).unwrap();
        for (content, usable) in [
            ("eyJ.fake.token", true),
            ("eyJ.fake.token\n", true),
            ("", false),
            ("\n", false),
            ("two words", false),
            ("two\nlines", false),
            ("ä", false),
            (&"x".repeat(9000), false),
        ] {
            std::fs::write(&file, content).unwrap();
            let loaded = Bearer::load(&authorities, &file);
            assert_eq!(loaded.is_ok(), usable, "{content:?}");
            let told =
                format!("{loaded:?} {}", loaded.as_ref().err().map_or_else(String::new, ToString::to_string));
            assert!(
                told.contains("token") && (content.trim().is_empty() || !told.contains(content.trim())),
                "{told}"
            );
        }
        let absent = Bearer::load(&authorities, Path::new("/no/such/token")).unwrap_err();
        assert!(absent.to_string().contains("/no/such/token"));
    }
}
