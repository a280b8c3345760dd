//! A certificate for tests of TLS on the loopback interface.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::Scratch;

/// A self-signed certificate and its key, in memory and as PEM files. The certificate is its own trust anchor.
#[derive(Debug)]
pub struct TlsMaterial {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The private key, PEM (PKCS#8).
    pub key_pem: String,
    directory: Scratch,
}

impl TlsMaterial {
    /// For `localhost`, `127.0.0.1` and `::1`.
    ///
    /// # Panics
    /// When no key can be made or written.
    pub fn localhost() -> TlsMaterial {
        crate::or_panic(TlsMaterial::try_localhost())
    }

    fn try_localhost() -> anyhow::Result<TlsMaterial> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
        let material = TlsMaterial {
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            directory: Scratch::try_new()?,
        };
        std::fs::write(material.certificate_path(), &material.certificate_pem)?;
        std::fs::write(material.key_path(), &material.key_pem)?;
        Ok(material)
    }

    /// The file with the certificate; gone when `self` is dropped.
    pub fn certificate_path(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// The file with the key; gone when `self` is dropped.
    pub fn key_path(&self) -> PathBuf {
        self.directory.join("key.pem")
    }
}
