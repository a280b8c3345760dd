//! TLS with one provider of cryptography, ring: two in one process make rustls refuse to choose.

mod identity;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{debug, warn};

pub use self::identity::{Connection, Files, Identity, connections};

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be read or holds nothing of the kind.
    #[error("cannot read {what} from {}", path.display())]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The file has a certificate that cannot be a root, or a key that does not fit the certificate.
    #[error("the certificate in {} cannot be used", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Neither the system nor the configuration has a root certificate: no server could be trusted.
    #[error("the system has no root certificates and the configuration names none (feed.ca_file)")]
    NoRoots,
    /// rustls refused the settings.
    #[error("cannot set up TLS")]
    Rustls(#[from] rustls::Error),
}

/// Makes ring the provider of the whole process. Call it first in `main`; a second call changes nothing.
pub fn install_provider() {
    if ring::default_provider().install_default().is_err() {
        debug!("a TLS provider is installed already");
    }
}

/// For connections to servers: trusts the system's roots and, if given, those in the PEM file `extra_ca`.
///
/// # Errors
/// When the file cannot be used, or there is no root at all.
pub fn client_config(extra_ca: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    if let Some(error) = native.errors.first() {
        warn!(%error, count = native.errors.len(), "some root certificates of the system cannot be read");
    }
    // Systems carry a few roots that are malformed; the rest serve.
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = extra_ca {
        for certificate in certificates(path)? {
            let refused = |source| TlsError::Certificate { path: path.to_owned(), source };
            roots.add(certificate).map_err(refused)?;
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// For a listener: the chain and the key of the server, from PEM files. The protocols of ALPN are the caller's choice.
///
/// # Errors
/// When a file cannot be read or the key does not fit the certificate.
pub fn server_config(chain: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem {
        what: "a private key",
        path: key.to_owned(),
        source,
    })?;
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(chain)?, private_key)
        .map_err(|source| TlsError::Certificate { path: chain.to_owned(), source })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// All certificates of a PEM file; none is an error.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { what: "certificates", path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed)?;
    if certificates.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn self_signed(folder: &Path) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (chain, key)
    }

    #[test]
    fn a_client_trusts_the_extra_root_and_a_server_has_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = self_signed(folder.path());
        client_config(Some(&chain)).unwrap();
        server_config(&chain, &key).unwrap();
    }

    #[test]
    fn files_that_do_not_serve_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = self_signed(folder.path());
        let missing = folder.path().join("missing.pem");
        assert!(
            matches!(client_config(Some(&missing)).unwrap_err(), TlsError::Pem { path, .. } if path == missing)
        );
        assert!(matches!(client_config(Some(&key)).unwrap_err(), TlsError::Pem { path, .. } if path == key));
        assert!(
            matches!(server_config(&chain, &chain).unwrap_err(), TlsError::Pem { path, .. } if path == chain)
        );
        let other = tempfile::tempdir().unwrap();
        let (_, other_key) = self_signed(other.path());
        assert!(matches!(server_config(&chain, &other_key).unwrap_err(), TlsError::Certificate { .. }));
    }
}
